"""`restore --distributed` and `--attach`: what they refuse, start, and report. The workers and the
state machine are those of test_distributed_restore.py."""

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner

from restore.new_table import NewTable
from stream_backup.aws.stack import Stack
from stream_backup.capture.point import resolve
from stream_backup.capture.state import state_of
from stream_backup.cli import distributed_restore as command
from stream_backup.cli.options import ChosenTables
from stream_backup.cli.restore import restore
from stream_backup.cli.restore_options import RestoreOptions
from stream_backup.errors import IncompleteError, StreamBackupError, UsageError
from stream_backup.progress import Silent
from tests import states
from tests.model import NAME
from tests.restore_world import IDENTITY, INTO, RestoreWorld

STACK = Stack("s", "s3://backups", "f", "arn:aws:f", None, NAME, {}, restore_pattern="*-restored-*")
CHOSEN = ChosenTables((NAME,), None)


def options(**given: Any) -> RestoreOptions:
    plain = dict.fromkeys(("into", "to", "like", "rate", "warm_throughput"))
    off = dict.fromkeys(("in_place", "overwrite", "incomplete_ok", "with_stream"), False)
    return RestoreOptions(**{**plain, **off, **given})


class Command:
    """The command in a world of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world = RestoreWorld(monkeypatch)
        monkeypatch.setattr(command, "runs_of", lambda *_: world.runs)
        state = state_of(world.connection, NAME)
        self.point = resolve(world.connection, state, world.moment, Silent(), incomplete_ok=False)
        world.connection.__dict__["stack"] = STACK

    def start(self, into: str = INTO, *, detach: bool = False, **given: Any) -> None:
        table = NewTable(into, self.world.description, IDENTITY, None, False, False)
        more: dict[str, Any] = {"detach": detach, "as_json": True}
        command.distribute(self.world.connection, self.point, options(**given), table, **more)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    with click.Context(restore):  # the report is kept there
        yield Command(monkeypatch)


def test_it_ends_with_the_report_of_a_restore(
    started: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that is started, left, and returned to ends with the members of the report of a local
    restore; and again when it has ended long ago."""
    started.start(detach=True)
    said = capsys.readouterr()
    assert json.loads(said.out)["table"] == NAME
    assert f"stream-backup restore {NAME} --attach" in said.err
    world = started.world
    assert world.restored() == {}
    command.follow_last(world.connection, CHOSEN, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert world.restored() == world.expected()
    assert world.finished
    assert (found["table"], found["into"], found["written"]) == (NAME, INTO, 30)
    assert (found["put"], found["absent"], found["exact"]) == (30, 10, True)
    assert (found["resumed"], found["unreadable"], found["left"]) == (False, 0, [])
    assert found["requests"]["list"] > 0
    command.follow_last(world.connection, CHOSEN, as_json=True)
    assert json.loads(capsys.readouterr().out) == found


def test_a_run_that_was_stopped_is_resumed(
    started: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command says that a run was stopped. Given again, it says how much is complete, and ends
    well."""
    world = started.world

    def stop(event: dict[str, Any]) -> None:
        if event["step"] == "slice" and event["slice"]["name"] == "4":
            raise states.AbortedError

    world.on_call = stop
    with pytest.raises(IncompleteError, match="was stopped"):
        started.start()
    world.on_call = lambda _: None
    started.start(rate=10.0**6, workers=2)
    said = capsys.readouterr()
    assert "Resuming the restore into table" in said.err
    assert "50% of the names are complete" in said.err
    assert json.loads(said.out)["resumed"]
    assert world.restored() == world.expected()
    job = world.bucket.job(world.calls[-1]["job"])
    assert (job.write_units, job.at_once) == (10.0**6, 2)


def test_a_run_that_only_lacks_its_end_is_ended(
    started: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """When everything is loaded and the tags are not yet put back, nothing is started."""
    world = started.world
    target = world.prepare()
    target.keep(type(target.done)((1 << 1024) - 1))
    started.start()
    assert world.finished
    assert world.calls == []
    assert json.loads(capsys.readouterr().out)["written"] == 0


def test_a_table_that_workers_may_not_write_is_refused(started: Command) -> None:
    """A name that the role of the workers does not match is refused before a table is created."""
    with pytest.raises(UsageError, match="may not write to table before-42"):
        started.start("before-42")
    assert started.world.dynamodb.others == {}


@pytest.mark.parametrize(
    ("given", "others", "chosen", "said"),
    [
        ({"in_place": True}, {}, CHOSEN, "--in-place is not possible"),
        ({"to": "rows.json"}, {}, CHOSEN, "--to is not possible"),
        ({"overwrite": True}, {}, CHOSEN, "--overwrite is not possible"),
        ({}, {"--plan": True}, CHOSEN, "--plan is not possible"),
        ({}, {"--key": ("{}",)}, CHOSEN, "--key is not possible"),
        ({}, {}, ChosenTables((), "a*"), "of one table"),
        ({}, {}, ChosenTables(("a", "b"), None), "of one table"),
    ],
)
def test_what_one_machine_does_is_refused(
    given: dict[str, Any], others: dict[str, Any], chosen: ChosenTables, said: str
) -> None:
    """What only a restore on one machine can do is refused with a sentence and a hint."""
    with pytest.raises(UsageError, match=said) as found:
        command.check(options(**given), chosen, others)
    assert "--distributed" in found.value.hint
    assert command.check(options(), CHOSEN, {"--plan": False, "--key": ()}) == NAME


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--distributed",), "Missing option '--at'"),
        ((), "Missing option '--at'"),
        (("--at", "5m", "--distributed", "--plan"), "--plan is not possible"),
        (("--at", "5m", "--distributed", "--key", "{}"), "--key is not possible"),
        (("--at", "5m", "--distributed", "--in-place"), "--in-place is not possible"),
        (("--at", "5m", "--distributed", "--attach"), "--attach returns to a run"),
        (("--at", "5m", "--detach"), "--detach is about a distributed run"),
    ],
)
def test_the_command_refuses_it(words: tuple[str, ...], said: str) -> None:
    """The command itself refuses, before it asks AWS for anything."""
    done = CliRunner().invoke(
        restore, [NAME, *words], obj=SimpleNamespace(), env={"STREAM_BACKUP_ARCHIVE": "s3://b"}
    )
    assert isinstance(done.exception, StreamBackupError), done
    assert said in str(done.exception)
