"""One thing done for each of several tables, so that the failure of one stops no other.

The exit code for all of them is the worst of any table: WORST says which that is. A table that
could not be processed because of what it is, or because somebody said no (2 for a single table),
counts as incomplete (3): with several tables, 2 means that the command itself was wrong and nothing
was done.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any, Literal

from stream_backup.aws.errors import translate
from stream_backup.errors import IncompleteError, StreamBackupError, UsageError

INTERRUPTED = 130
"""The exit code of whatever was interrupted."""

WORST = (0, 3, 4, 1, 5, INTERRUPTED)
"""The exit codes, from the best to the worst: done, incomplete, outside coverage, an unexpected
error, an archive that is unreadable or inconsistent, interrupted."""

Result = Literal["done", "failed", "skipped", "interrupted", "left"]
"""What became of a table. `interrupted` is one that was being processed at Ctrl-C, `left` one that
was not begun."""

Deliver = Callable[[dict[str, Any]], None]
"""Receives the report of a table as a JSON object, before the error that it leads to is raised."""

Work = Callable[[str, Deliver], None]
"""Processes the table of this name. Raises what keeps it from the end."""

Translate = Callable[[BaseException], StreamBackupError | None]


def worst(codes: Iterable[int]) -> int:
    """Returns the exit code of several tables, of which each has one of these."""
    return max((3 if code == UsageError.exit_code else code for code in codes), key=WORST.index)


class SeveralError(StreamBackupError):
    """Some of several tables failed. Its exit code is the worst of them."""

    exit_code = IncompleteError.exit_code

    def __init__(self, message: str, hint: str = "", exit_code: int = exit_code) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class TableOutcome:
    """What became of one table. `reason` says why it is not done, `hint` what to do next; `report`
    is what the command reports of this table as a JSON object, None where it came to none."""

    table: str
    result: Result
    exit_code: int = 0
    reason: str = ""
    hint: str = ""
    report: dict[str, Any] | None = None

    def record(self) -> dict[str, Any]:
        """Returns the outcome as a JSON object."""
        return {
            "table": self.table,
            "result": self.result,
            "exit_code": self.exit_code,
            "reason": self.reason or None,
            "hint": self.hint or None,
            "report": self.report,
        }


@dataclass(frozen=True, slots=True)
class TableOutcomes:
    """What became of every table, in the order of their names. `stopped` is what ended the work
    before all tables were processed, None when nothing did."""

    every: tuple[TableOutcome, ...]
    stopped: BaseException | None = None

    @property
    def exit_code(self) -> int:
        """The worst of all tables."""
        codes = [each.exit_code for each in self.every]
        return worst([0, *codes, *([INTERRUPTED] if self.stopped else [])])

    def named(self, *results: Result) -> list[TableOutcome]:
        """Returns the outcomes with one of these results."""
        return [each for each in self.every if each.result in results]

    def record(self) -> dict[str, Any]:
        """Returns the outcomes as a JSON object."""
        return {"exit_code": self.exit_code, "tables": [each.record() for each in self.every]}

    def complain(self) -> None:
        """Raises what stopped the work, or SeveralError when a table failed."""
        if self.stopped:
            raise self.stopped
        if failed := self.named("failed"):
            raise SeveralError(
                f"{len(failed)} of {len(self.every)} tables failed; they are listed above.",
                "Fix the cause and run the same command again, or run it for each of these tables"
                " by its name.",
                self.exit_code,
            )


@dataclass(frozen=True, slots=True)
class Several:
    """`tables` are processed `at_once`, one after another by default: a command is parallel within
    one table already. `skip` returns why a table is left as it is, else "". `ended` receives each
    outcome when it is known, `begins` each table and its number, from 1. An error that is one of
    `stops` ends the work on all tables, as Ctrl-C does; `known` translates the others."""

    tables: Sequence[str]
    work: Work
    skip: Callable[[str], str] = lambda _: ""
    begins: Callable[[str, int], None] = lambda *_: None
    ended: Callable[[TableOutcome], None] = lambda _: None
    known: Translate = translate
    stops: tuple[type[BaseException], ...] = (BrokenPipeError,)
    at_once: int = 1
    _found: dict[str, TableOutcome] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def run(self) -> TableOutcomes:
        """Processes every table, and returns what became of each."""
        stopped: BaseException | None = None
        try:
            if self.at_once == 1:
                for number, table in enumerate(self.tables, 1):
                    self._one(table, number)
            else:
                self._all_at_once()
        except self._stops as stop:
            stopped = stop
        every = (self._found.get(table, TableOutcome(table, "left")) for table in self.tables)
        return TableOutcomes(tuple(every), stopped)

    @property
    def _stops(self) -> tuple[type[BaseException], ...]:
        return (KeyboardInterrupt, *self.stops)

    def _all_at_once(self) -> None:
        with ThreadPoolExecutor(self.at_once) as pool:
            futures: list[Future[None]] = [
                pool.submit(self._one, table, number) for number, table in enumerate(self.tables, 1)
            ]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _one(self, table: str, number: int) -> None:
        reports: list[dict[str, Any]] = []
        try:
            if reason := self.skip(table):
                outcome = TableOutcome(table, "skipped", reason=reason)
            else:
                self.begins(table, number)
                self.work(table, reports.append)
                outcome = TableOutcome(table, "done")
        except self._stops:
            self._add(TableOutcome(table, "interrupted", INTERRUPTED))
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the other tables are processed
            found = self.known(error) or _unexpected(error)
            outcome = TableOutcome(table, "failed", _code(found), str(found), found.hint)
        if reports:
            outcome = replace(outcome, report=reports[-1])
        self._add(outcome)
        self.ended(outcome)

    def _add(self, outcome: TableOutcome) -> None:
        with self._lock:
            self._found[outcome.table] = outcome


def _code(error: StreamBackupError) -> int:
    usage = error.exit_code == UsageError.exit_code
    return IncompleteError.exit_code if usage else error.exit_code


def _unexpected(error: Exception) -> StreamBackupError:
    return StreamBackupError(
        f"Unexpected: {type(error).__name__}: {' '.join(str(error).split())}",
        "Run the command for this table alone with --debug to see where, and report it.",
    )
