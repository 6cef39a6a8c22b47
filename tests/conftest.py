"""Fixtures for all test files. An AWS emulator starts when the first test requests it, one per
process."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from tests import backends, servers
from tests import profiles as profiles  # registers them

signal.signal(
    signal.SIGINT, signal.default_int_handler
)  # background jobs ignore SIGINT, and so would their child processes
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the same under nohup

settings.register_profile(
    "steady", deadline=None, print_blob=True, derandomize=True
)  # neither the load of a shared machine nor luck must decide; `make soak` explores
settings.load_profile("steady")


LONG = ("operations", "demo", "cli_epochs", "redrive", "volume", "verify", "exact", "laws")
"""The test files, without `test_`, whose tests take longest. They start first, and those of
`SHARED` next, so that none of them is the last to end."""

SHARED = {
    "backfill_workers",
    "cli_interrupted",
    "cli_mistakes",
    "cli_story",
    "deployment",
    "estimate",
    "fault_positions",
    "hostile",
    "outages",
    "output",
    "page",
    "permissions",
    "scale",
    "slices",
    "stack",
    "undo_story",
}
"""The test files whose tests share a fixture that takes long, and therefore a process."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def turn(item: pytest.Item) -> int:
        file = item.path.stem.removeprefix("test_")
        return 0 if file in LONG else 1 if file in SHARED else 2

    items.sort(key=turn)


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Distributes tests one at a time, and those of `SHARED` a file at a time."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if Path(file).stem.removeprefix("test_") in SHARED else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return Scheduling(config, log)


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    with servers.moto() as url:
        yield url


@pytest.fixture(scope="session")
def ministack_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.ministack(tmp_path_factory.mktemp("ministack")) as url:
        yield url


@pytest.fixture(scope="session")
def seaweedfs_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as url:
        yield url


@pytest.fixture
def aws(ministack_url: str, monkeypatch: pytest.MonkeyPatch) -> servers.Aws:
    """An AWS emulator, and an environment in which every client uses only the emulator."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in servers.environment(ministack_url).items():
        monkeypatch.setenv(name, value)
    return servers.Aws(ministack_url)


@pytest.fixture(
    params=[
        "memory",
        *(pytest.param(name, marks=pytest.mark.server) for name in backends.STAND_INS),
    ]
)
def backend(request: pytest.FixtureRequest) -> backends.Backend:
    """Each kind of store in turn, empty."""
    if request.param == "memory":
        return backends.in_memory()
    return backends.on(servers.Aws(request.getfixturevalue(f"{request.param}_url")))
