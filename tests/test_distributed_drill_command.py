"""`drill --distributed` and `--attach`: what they refuse, start, and report. The workers and the
state machine are those of test_distributed_drill.py."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import click
import pytest

import stream_backup.cli.options
from stream_backup.aws.stack import Stack
from stream_backup.cli import distributed_drill, distribution
from stream_backup.cli.drill import drill as command
from stream_backup.core.drill import DrillRecord
from stream_backup.distributed.drill_result import STOPPED
from stream_backup.distributed.machine import RUNNING
from stream_backup.errors import ArchiveError, IncompleteError, UnavailableError, UsageError
from tests import states
from tests.drill_fleet import DrillFleet
from tests.model import NAME

STACK = Stack("s", "s3://backups", "f", "arn:aws:f", None, NAME, {})


class Command:
    """The command in a world of its own. `out` and `err` are what it printed last."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stack: Stack
    ) -> None:
        self.world = world = DrillFleet(monkeypatch)
        self.capsys = capsys
        self.out = self.err = ""
        monkeypatch.setattr(distributed_drill, "runs_of", lambda *_: world.runs)
        monkeypatch.setattr(stream_backup.cli.options, "Connection", lambda *_: world.connection)
        monkeypatch.setattr(stream_backup.cli.options, "_end_when_interrupted", lambda _: None)
        world.connection.__dict__["stack"] = stack

    def __call__(self, *words: str) -> Any:
        self.capsys.readouterr()
        try:
            command.main([NAME, *words], standalone_mode=False)
        finally:
            said = self.capsys.readouterr()
            self.out, self.err = said.out, said.err
        return json.loads(self.out) if self.out else None


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys, STACK)


def test_it_ends_with_the_report_of_a_drill(run: Command) -> None:
    """A drill that is started, left, and returned to ends with the record of a drill; and again
    when it has ended long ago."""
    told = run("--distributed", "--detach", "--seed", "5", "--workers", "1", "--json")
    assert told["table"] == NAME
    assert f"stream-backup drill {NAME} --attach" in run.err
    assert run.world.calls == []
    assert len(run.world.scratch_tables) == 1
    told = run("--attach", "--json")
    (found,) = run.world.catalog.drills()
    assert DrillRecord.of(told) == found
    assert (found.result, found.seed) == ("passed", 5)
    assert run.world.scratch_tables == []
    assert run.world.run.at_once[0] == 1
    assert run("--attach", "--json") == told
    run("--attach")
    assert f"Restored {found.rows} rows of {NAME}" in run.err
    assert "24 items" in run.err
    assert "passed." in run.err
    run("--distributed")
    assert len(run.world.catalog.drills()) == 2


def test_a_drill_that_finds_something_fails(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drill that finds a difference ends with the error of a local one (exit code 5), and names
    what makes the same choices again."""
    monkeypatch.setattr("restore.plan.settled", lambda *_: True)
    at = str(int(run.world.model.now) - 60)
    with pytest.raises(ArchiveError, match="compared rows differ") as failed:
        run("--distributed", "--at", at, "--seed", "2")
    assert "--seed 2" in failed.value.hint
    assert "differs: " in run.err


def test_a_drill_that_was_stopped_elsewhere(run: Command) -> None:
    """When somebody else has stopped the execution, whoever follows it removes the scratch table,
    and the drill is not complete (exit code 3)."""

    def stop(event: dict[str, Any]) -> None:
        raise states.AbortedError

    run.world.on_call = stop
    with pytest.raises(IncompleteError, match=f"not complete: {STOPPED}"):
        run("--distributed")
    assert run.world.scratch_tables == []
    assert [each.result for each in run.world.catalog.drills()] == ["interrupted"]
    with pytest.raises(IncompleteError, match="not complete"):
        run("--attach")


def test_a_drill_that_could_not_go_on(run: Command) -> None:
    """When the state machine ends without the last step, the drill has failed, and why is not
    quoted: it may contain what an item contains."""
    machine, world = run.world.machine, run.world
    job = world.start().job
    machine.ended[job] = "FAILED"
    describe = machine.describe
    machine.describe = lambda execution: describe(execution)._replace(
        error="Runtime.ExitError", cause="secret"
    )
    with pytest.raises(ArchiveError, match=r"Its execution ended: FAILED Runtime.ExitError\."):
        run("--attach")
    assert world.scratch_tables == []
    (found,) = world.catalog.drills()
    assert "secret" not in json.dumps(found.record())


def test_trouble_of_this_command_does_not_end_the_drill(run: Command) -> None:
    """When the command cannot reach AWS, the drill goes on, and its scratch table stays."""
    world, machine = run.world, run.world.machine
    world.start()
    describe = machine.describe

    def unreachable(execution: Any) -> Any:
        machine.describe = lambda given: given._replace(status=RUNNING)
        raise UnavailableError("AWS is out of reach.")

    machine.describe = unreachable
    with pytest.raises(UnavailableError):
        run("--attach")
    assert len(world.scratch_tables) == 1
    assert world.catalog.drills() == []
    machine.describe = describe
    assert run("--attach", "--json")["result"] == "passed"


@pytest.mark.parametrize("answer", [True, False])
def test_ctrl_c_asks(run: Command, monkeypatch: pytest.MonkeyPatch, answer: bool) -> None:
    """Ctrl-C asks whether to stop the drill. Stopped, it leaves no scratch table and is on record;
    otherwise it goes on, and can be returned to."""
    world, machine = run.world, run.world.machine
    monkeypatch.setattr(distribution, "is_answered", lambda: True)
    monkeypatch.setattr(distribution, "confirm", lambda _: answer)
    describe = machine.describe

    def interrupted(_: Any) -> Any:
        machine.describe = describe
        raise KeyboardInterrupt

    machine.describe = interrupted
    with pytest.raises((KeyboardInterrupt, click.Abort)) as stop:
        run("--distributed")
    hints = [getattr(each, "hint", "") for each in (stop.value, stop.value.__context__)]
    if answer:
        assert any(STOPPED in hint for hint in hints)
        assert world.scratch_tables == []
        (found,) = world.catalog.drills()
        assert (found.result, found.reason) == ("interrupted", STOPPED)
        assert next(machine.executions("")).status == "ABORTED"
    else:
        assert any("goes on without this command" in hint for hint in hints)
        assert len(world.scratch_tables) == 1
        assert run("--attach", "--json")["result"] == "passed"


def test_a_table_that_workers_may_not_read_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table that TablePattern does not match is refused before anything is made."""
    run = Command(monkeypatch, capsys, replace(STACK, pattern="x-*"))
    with pytest.raises(UsageError, match="can read only tables that match"):
        run("--distributed")
    assert run.world.scratch_tables == []
    assert run.world.catalog.drills() == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--distributed", "--rows", "5"), "--rows is not possible with --distributed"),
        (("--distributed", "--at", "now"), "--at now is not possible with --distributed"),
        (("--distributed", "--rows", "5", "--sample", "5%"), "exclude each other"),
        (("--distributed", "--attach"), "--attach returns to a run"),
        (("--detach",), "--detach is about a distributed run"),
        (("--attach", "--sample", "5%"), "--sample has no meaning with --attach"),
        (("--attach", "--seed", "5"), "--seed has no meaning with --attach"),
        (("--workers", "5"), "--workers has no meaning without --distributed"),
        (("--report", "--distributed"), "--distributed has no meaning with --report"),
        (("--report", "--attach"), "--attach has no meaning with --report"),
        (("--distributed", "--since", "1h"), "--since has no meaning without --report"),
    ],
)
def test_what_it_refuses(run: Command, words: tuple[str, ...], said: str) -> None:
    """Each is one sentence and a hint, and nothing is made."""
    with pytest.raises(UsageError, match=said) as refused:
        run(*words)
    assert refused.value.hint
    assert run.world.machine.given == {}
    assert run.world.scratch_tables == []
    assert run.world.catalog.drills() == []


def test_nothing_to_return_to(run: Command) -> None:
    """Without a drill, --attach says so."""
    with pytest.raises(UsageError, match="No distributed drill of orders was started"):
        run("--attach")


def test_a_stack_without_workers(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack that has no state machine for drills is named, with what to deploy."""
    monkeypatch.undo()
    connection: Any = SimpleNamespace(stack=STACK, stack_name="s")
    with pytest.raises(UsageError, match="has no workers for a distributed drill"):
        distributed_drill.follow_last(connection, NAME)
