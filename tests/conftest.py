"""Fixtures every test file may ask for. A stand-in for AWS starts when the first test asks for it, one per process."""

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests import backends, servers
from tests import profiles as profiles  # registers them

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it, as would what tests start

settings.register_profile("steady", deadline=None, print_blob=True)  # a shared machine has no say in what holds
settings.load_profile("steady")


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
    """AWS on this machine, and an environment in which every client finds it and nothing else."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in servers.environment(ministack_url).items():
        monkeypatch.setenv(name, value)
    return servers.Aws(ministack_url)


@pytest.fixture(params=["memory", *(pytest.param(name, marks=pytest.mark.server) for name in backends.STAND_INS)])
def backend(request: pytest.FixtureRequest) -> backends.Backend:
    """Each kind of store in turn, empty."""
    if request.param == "memory":
        return backends.in_memory()
    return backends.on(servers.Aws(request.getfixturevalue(f"{request.param}_url")))
