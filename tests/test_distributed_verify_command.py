"""`verify --distributed` and `--attach`: what they refuse, start, and report. The workers and the
state machine are those of test_distributed_verify.py."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner

from stream_backup.cli import distributed_verify as command
from stream_backup.cli.verify import verify
from stream_backup.cli.verify_report import report
from stream_backup.errors import ArchiveError, IncompleteError, StreamBackupError, UsageError
from stream_backup.verify.rounds import Rounds
from tests import states
from tests.model import NAME
from tests.verify_world import VerifyWorld


class Told:
    """The world, and what the command reports."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world = VerifyWorld(monkeypatch)
        monkeypatch.setattr(command, "runs_of", lambda *_: world.runs)
        self.told: list[Any] = []

    def start(self, *, detach: bool = False, **given: Any) -> None:
        options = {"segments": None, "workers": None, "units": None, "deliver": self.told.append}
        command.distribute(self.world.verification(), **(options | given), detach=detach)

    def attach(self) -> None:
        command.follow_last(self.world.verification(), self.told.append)


@pytest.fixture(autouse=True)
def context() -> Iterator[None]:
    """The report is kept there."""
    with click.Context(verify):
        yield


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(monkeypatch)


def test_it_ends_with_the_report_of_a_verification(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is started, left, and returned to ends with the report and the exit code of a
    local verification; and again when it has ended long ago."""
    local = VerifyWorld(monkeypatch)
    local.damage()
    told: list[Any] = []
    report(local.here(), told.append)
    found = Told(monkeypatch)
    found.world.damage()
    found.start(detach=True)
    said = capsys.readouterr()
    assert found.told.pop()["table"] == NAME
    assert f"The distributed verification of {NAME} was started." in said.err
    assert f"stream-backup verify {NAME} --attach" in said.err
    assert found.world.calls == []
    for _ in range(2):
        with pytest.raises(ArchiveError, match="4 rows of orders do not match") as raised:
            found.attach()
        assert raised.value.exit_code == 5
        found.world.reach()
        assert "This verification began at 20" in capsys.readouterr().err
    first, second = ({**each, "requests": None} for each in found.told)
    assert first == second == {**told[0], "requests": None}
    assert first["busy"] == 1


def test_a_run_is_started_as_asked(started: Told) -> None:
    """The numbers of segments and workers and the capacity are those of the options, and a run that
    finds nothing wrong raises nothing."""
    started.start(segments=7, workers=2, units=10.0**6)
    world = started.world
    job = world.bucket.job(world.calls[0]["job"])
    assert (job.slices, job.at_once, job.read_units, job.stages) == (7, 2, 10.0**6, 2)
    ((told),) = started.told
    assert (told["equal"], told["differs"], told["covered"]) == (40, 0, True)
    started.start()
    assert world.bucket.job(world.calls[-1]["job"]).slices == 16


def test_a_run_that_was_stopped_is_not_resumed(started: Told) -> None:
    """The message says that the same command begins another verification."""

    def stop(_: Any) -> None:
        raise states.AbortedError

    started.world.on_slice(stop)
    with pytest.raises(IncompleteError, match="verification of orders was stopped") as raised:
        started.start()
    assert raised.value.hint == (
        "Nothing was lost. Run the same command again: it begins another verification."
    )


def test_another_epoch_is_not_reported(started: Told) -> None:
    """Where the archive covers the present otherwise than when the run began, its comparisons say
    nothing about the present."""
    started.start(detach=True)
    (stream,) = started.world.catalog.streams()
    world = started.world
    world.model.switch_off()
    world.model.tick(10)
    with pytest.raises(IncompleteError, match="has changed since") as raised:
        started.attach()
    assert "--distributed" in raised.value.hint
    assert stream.label in str(world.label)


def test_an_interrupted_end_is_returned_to(started: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the last rows are compared again says how to return; the workers' results are
    kept."""
    started.world.damage()

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Rounds, "settle", interrupt)
        with pytest.raises(KeyboardInterrupt) as raised:
            started.start()
    assert f"stream-backup verify {NAME} --attach" in raised.value.hint  # type: ignore[attr-defined]
    with pytest.raises(ArchiveError, match="4 rows"):
        started.attach()


def test_results_that_were_removed_are_said_to_be(started: Told) -> None:
    """The work bucket keeps a run for some days. After that, nothing can be returned to."""
    started.start()
    started.world.shelf.objects.clear()
    with pytest.raises(UsageError, match="were removed from the work bucket work") as raised:
        started.attach()
    assert f"stream-backup verify {NAME} --distributed" in raised.value.hint


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--distributed", "--repair"), "--distributed has no meaning with --repair"),
        (("--attach", "--repair"), "--attach has no meaning with --repair"),
        (("--distributed", "--attach"), "--attach returns to a run"),
        (("--detach",), "--detach is about a distributed run"),
        (("--distributed", "--lost-since", "5m"), "--lost-since and --yes need --repair"),
    ],
)
def test_the_command_refuses_it(words: tuple[str, ...], said: str) -> None:
    """What only one machine does is refused with a sentence and a hint, before AWS is asked for
    anything."""
    done = CliRunner().invoke(
        verify, [NAME, *words], obj=SimpleNamespace(), env={"STREAM_BACKUP_ARCHIVE": "s3://b"}
    )
    assert isinstance(done.exception, StreamBackupError), done
    assert said in str(done.exception)
    assert done.exception.hint
    assert done.exception.exit_code == 2
