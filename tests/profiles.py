"""How many histories the laws are held against: `pytest --hypothesis-profile=dev` for a quick look, else what CI runs."""

from hypothesis import HealthCheck, Phase, settings

settings.register_profile("dev", deadline=None, print_blob=True)
settings.register_profile("mutants", deadline=None, phases=(Phase.explicit, Phase.generate))


def histories(count: int, steps: int = 50) -> settings:
    """The same histories each time, `count` of them; a twentieth for `dev`, and nothing is made small for `mutants`."""
    profile = settings.get_current_profile_name()
    return settings(
        max_examples=max(count // 20, 5) if profile == "dev" else count,
        stateful_step_count=steps,
        derandomize=True,
        deadline=None,
        database=None,
        phases=settings.get_profile("mutants").phases if profile == "mutants" else tuple(Phase),
        suppress_health_check=list(HealthCheck),
    )
