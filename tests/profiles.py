"""How many histories the laws are checked on. `pytest --hypothesis-profile=dev` runs few of them,
and `soak` runs other and longer histories each time (tests/soak.py). Without a profile, the tests
run what CI runs.
"""

from hypothesis import HealthCheck, Phase, settings

EVERY_CHECK = list(HealthCheck)
UNSHRUNK = (Phase.explicit, Phase.generate)

settings.register_profile("dev", deadline=None, print_blob=True, derandomize=True)
settings.register_profile("mutants", deadline=None, phases=UNSHRUNK)
settings.register_profile(
    "soak",
    deadline=None,
    print_blob=True,
    database=None,
    phases=UNSHRUNK,
    suppress_health_check=EVERY_CHECK,
)


def histories(count: int, steps: int = 50) -> settings:
    """Returns settings for the same `count` histories each time: so many where mutants are tested,
    half of them in `make test`, a twentieth with the profile `dev`, and a tenth at a time with
    `soak`. Only `make test` shrinks failures, which takes minutes."""
    profile = settings.get_current_profile_name()
    soak = profile == "soak"
    part = {"steady": 2, "dev": 20, "soak": 10}.get(profile, 1)
    return settings(
        max_examples=max(count // part, 5),
        stateful_step_count=4 * steps if soak else steps,
        derandomize=not soak,
        deadline=None,
        database=None,
        print_blob=True,
        phases=UNSHRUNK if profile in ("mutants", "dev", "soak") else tuple(Phase),
        suppress_health_check=EVERY_CHECK,
    )
