"""How many histories the laws are held against: `pytest --hypothesis-profile=dev` for a quick look, else what CI runs."""

from hypothesis import HealthCheck, settings

settings.register_profile("dev", deadline=None, print_blob=True)


def histories(count: int, steps: int = 50) -> settings:
    """The same histories each time, `count` of them; a twentieth for `dev`."""
    if settings.get_current_profile_name() == "dev":
        count = max(count // 20, 5)
    return settings(
        max_examples=count,
        stateful_step_count=steps,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
