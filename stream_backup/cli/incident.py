"""`stream-backup incident`."""

from pathlib import Path

import click

from restore.receipt import require_writable
from stream_backup.aws.connection import Connection
from stream_backup.aws.errors import translate
from stream_backup.capture.catch_up import catch_up
from stream_backup.capture.state import State, state_of
from stream_backup.cli.console import Terminal, say
from stream_backup.cli.incident_damage import find_damage
from stream_backup.cli.incident_report import IncidentReport
from stream_backup.cli.incident_restores import RewindWay, TableWay
from stream_backup.cli.incident_ways import IncidentDamage, UndoWay, Way, receipts_of
from stream_backup.cli.options import connected, table_argument
from stream_backup.cli.questions import InputEndedError, ask, confirm, is_answered
from stream_backup.cli.status import status
from stream_backup.cli.steps import Steps, options_of
from stream_backup.cli.verify import verify
from stream_backup.core.moment import iso
from stream_backup.errors import IncompleteError, StreamBackupError, UsageError

COMMANDS = (
    "status {}",
    "timeline {}",
    "diff {} --from WHEN --to WHEN",
    "undo {} --from WHEN --to WHEN --plan",
    "restore {} --at WHEN --plan",
)
"""What to run where nobody can answer."""


class Interrupted(click.Abort):
    """The guide was interrupted. `hint` names the command that resumes."""

    def __init__(self, hint: str) -> None:
        super().__init__()
        self.hint = hint


@click.command()
@table_argument
@connected
def incident(connection: Connection, table: str) -> None:
    """Guides you through an incident: what happened, when, and how to take it back.

    It shows which moments are exact and the changes of the last day, asks for the seconds of the
    damage, and shows what differs. Then it offers an undo, a rewind, or a new table, with what each
    would write. It checks the result and writes a report in Markdown to the current folder.

    It writes to no table before you agree to it. Each step prints the plain command that it runs,
    so that you can stop at any question and go on with these. It needs a terminal.

    \b
      stream-backup incident orders
    """
    if not is_answered():
        commands = "; ".join(f"stream-backup {command.format(table)}" for command in COMMANDS)
        raise UsageError(
            "incident asks questions, and its input or its output is not a terminal.",
            f"Run the plain commands instead: {commands}",
        )
    require_writable(Path())
    Guide(connection, table).run()


class Guide:
    """The steps of one incident."""

    def __init__(self, connection: Connection, table: str) -> None:
        self._connection = connection
        self._steps = Steps(table, options_of(connection), connection.now)
        began = iso(int(connection.now()))
        again = f"To begin again: {self._steps.text('incident')}"
        self._report = IncidentReport(table, began, again, self._steps.done)
        self._known: set[Path] | None = None
        self._created = False

    def run(self) -> None:
        """Goes through all steps, and writes the report. It is written early when the guide ends
        after something was written.

        Raises Interrupted when it is interrupted, UsageError at the end of the input, and
        IncompleteError when something was left; besides these what the commands raise.
        """
        try:
            left = self._guide()
        except (KeyboardInterrupt, click.Abort) as stop:
            raise Interrupted(self._ended("It was interrupted.")) from stop
        except InputEndedError as end:
            raise UsageError(str(end), self._ended(str(end))) from end
        except Exception as error:
            if self._known is not None:
                say(self._ended(str(error)))
            raise
        self._write_report()
        if left:
            raise left

    def _guide(self) -> IncompleteError | None:
        """Goes through the steps, and returns the error that says what was left."""
        (state,) = self._steps.run(status).report
        damage = find_damage(self._steps, self._report, self._earliest(state))
        way = self._choose(damage)
        return self._execute(way) if way else None

    def _earliest(self, state: State) -> int:
        self._report.coverage = state.span
        bounds = state.status.coverage.bounds
        return bounds[0].moment if bounds else state.now

    def _choose(self, damage: IncidentDamage) -> Way | None:
        """Shows what each way would write, and asks for one. Returns None for nothing."""
        known: list[Way] = [each(self._steps, damage) for each in (UndoWay, RewindWay, TableWay)]
        ways, offers = {}, self._report.offers
        for way in known:
            try:
                offers[way.name] = way.plan()
                ways[way.name] = way
            except Exception as error:
                refused = error if isinstance(error, StreamBackupError) else translate(error)
                if refused is None:
                    raise
                say(str(refused), f"hint: {refused.hint}")
                offers[way.name] = f"Not possible. {refused}"
        say("", f"What is to be done? The last second before the damage is {iso(damage.before)}.")
        for name, offer in {**offers, "nothing": "End here, with a report."}.items():
            say(f"  {name:<8} {offer}")
        names = [*ways, "nothing"]
        name = ask(", ".join(names), lambda typed: _one_of(names, typed))
        self._report.chosen = name
        return ways.get(name)

    def _execute(self, way: Way) -> IncompleteError | None:
        """Does it, and checks it. Returns the error that says what was left."""
        report = self._report
        report.resume = f"To go on from here: {way.resume()}"
        way.prepare()
        report.resume = f"To resume: {way.resume()}"
        self._known, self._created = receipts_of(self._steps.table), not way.live
        ran = way.run()
        report.done = way.result(ran)
        report.resume = f"It was done, but not checked. To check it: {way.recheck()}"
        if way.live:
            say("", "Waiting until the archive has what was written.")
            state = state_of(self._connection, self._steps.table)
            catch_up(self._connection, state, Terminal())
        report.checked.append(way.check())
        say(report.checked[-1])
        report.resume = f"It was done and checked. To compare all: {self._steps.text('verify')}"
        whole = "Compare every row with the archive too? It reads the whole table."
        if way.live and confirm(whole):
            found = self._steps.run(verify).report.findings
            report.checked.append(f"{found.counts['equal']:,} rows match the archive.")
        return ran.left

    def _ended(self, why: str) -> str:
        """Writes the report if anything was written, says how to take that back, and returns what
        to do next."""
        report = self._report
        if not self._receipts() and not self._created:
            return f"Nothing was written. {report.resume}"
        report.ended = why
        self._write_report()
        for _, text in report.receipts:
            say(f"To take it back: {text}")
        return report.resume

    def _receipts(self) -> list[tuple[str, str]]:
        """The receipts of this incident, the last first, with the commands that take them back."""
        if self._known is None:
            return []
        new = receipts_of(self._steps.table) - self._known
        files = sorted(new, key=lambda path: path.stat().st_mtime_ns, reverse=True)
        return [(str(path), self._steps.text("undo", "--receipt", str(path))) for path in files]

    def _write_report(self) -> None:
        self._report.receipts = self._receipts()
        say(f"Report: {self._report.write(Path())}")


def _one_of(names: list[str], typed: str) -> str:
    if typed not in names:
        raise UsageError(f"{typed!r} is none of these.", f"Type {', '.join(names)}.")
    return typed
