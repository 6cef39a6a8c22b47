"""What `timeline` reports: a chart that fits the terminal, JSON, and the commands for the busiest
stretch."""

import shlex
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.table import Table as Grid
from rich.text import Text

from stream_backup.cli.console import draw, say, show, unicode, width
from stream_backup.core.moment import iso
from stream_backup.errors import ArchiveError
from stream_backup.inspect.placing import SORTS, Sort
from stream_backup.inspect.timeline import ChangeCounts, Timeline
from stream_backup.inspect.window import Examined

STEPS = (
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600),
    *(7200, 10800, 21600, 43200, 86400, 7 * 86400),
)
"""Lengths of intervals that are chosen by default, in seconds."""

LISTED = 20
"""How many errors are named."""

NARROW = 70
"""Columns below which only the sum of an interval is shown."""

NAMES: dict[Sort, str] = {
    "insert": "inserted",
    "modify": "modified",
    "remove": "removed",
    "expiry": "expired",
}
_STYLES: dict[Sort, str] = {
    "insert": "green",
    "modify": "cyan",
    "remove": "red",
    "expiry": "magenta",
}
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def step_for(seconds: int, intervals: int) -> int:
    """Returns the shortest usual length of an interval of which no more than so many are needed."""
    return next((step for step in STEPS if seconds <= step * intervals), STEPS[-1])


def regrouped(found: Timeline, every: int) -> Timeline:
    """Returns the same changes in longer intervals."""
    grouped: dict[int, ChangeCounts] = {}
    for start, counts in found.intervals.items():
        first = start - start % every
        former = grouped.get(first, ChangeCounts())
        grouped[first] = ChangeCounts(*map(sum, zip(former, counts, strict=True)))
    return Timeline(found.since, found.until, every, grouped, found.listed, found.read)


class TimelineReport:
    """A timeline of one table. `earliest` is the first exact moment of the epoch, `archive` is the
    archive as it was given, which the commands name too, and `requests` has the numbers of requests
    by kind."""

    def __init__(
        self,
        table: str,
        earliest: int,
        archive: str | None,
        found: Timeline,
        requests: Mapping[str, int],
    ) -> None:
        self.table, self.earliest, self.found = table, earliest, found
        self._archive = archive
        self._requests = requests

    def record(self, examined: Examined) -> dict[str, Any]:
        """Returns the report as a JSON object. Intervals without changes are left out."""
        found, busiest = self.found, self.found.busiest()
        return {
            "table": self.table,
            "since": iso(found.since),
            "until": iso(found.until),
            "every": found.every,
            "intervals": [
                {"start": iso(start)} | counts._asdict()
                for start, counts in sorted(found.intervals.items())
            ],
            "total": found.total._asdict(),
            "busiest": busiest and {"since": iso(busiest[0]), "until": iso(busiest[1])},
            "placed_by_listing": found.listed,
            "placed_by_stamp": found.read,
            "unreadable": len(examined.unreadable),
            "versions_listed": examined.versions,
            "requests": dict(self._requests),
        }

    def show(self) -> None:
        """Prints the chart on stdout, and below it the commands for the busiest stretch."""
        found = self.found
        show(
            f"{self.table} from {iso(found.since)} to {iso(found.until)},"
            f" every {spoken(found.every)}, UTC"
        )
        if not found.intervals:
            return
        self._draw()
        if busiest := found.busiest():
            inside = [
                counts.total
                for start, counts in found.intervals.items()
                if busiest[0] < start + found.every and start <= busiest[1]
            ]
            show("", f"Most changes: {iso(busiest[0])} to {iso(busiest[1])}, {sum(inside):,}.")
            if found.every > 1:
                show(f"  {self._command('timeline', *busiest)}")
            for name in self.parts:
                show(f"  {self._command(name, *busiest)}")

    @property
    def parts(self) -> dict[str, list[str]]:
        """The commands about what happened in some seconds, by name. Every second part of a command
        is the name of a moment: `before` is the second before the first of them, `until` is the
        last."""
        return {name: self._parts(name) for name in ("diff", "undo", "restore")}

    def _parts(self, name: str) -> list[str]:
        window = (("--from", "before"), ("--to", "until"))
        options: dict[str, tuple[tuple[str, str], ...]] = {
            "timeline": (("--since", "first"), ("--until", "until")),
            "diff": window,
            "undo": window,
            "restore": (("--at", "before"),),
        }
        where = ["--archive", self._archive] if self._archive else []
        words = shlex.join(["stream-backup", name, self.table, *where])
        found = [words]
        for option, moment in options[name]:
            found[-1] += f" {option} "
            found += [moment, ""]
        return found

    def _command(self, name: str, first: int, last: int) -> str:
        before = max(first - 1, self.earliest)
        moments = {"first": iso(first), "before": iso(before), "until": iso(last)}
        parts = self._parts(name)
        return "".join(moments[part] if place % 2 else part for place, part in enumerate(parts))

    def _draw(self) -> None:
        found = self.found
        signs = dict(zip(SORTS, "░█▓▒" if unicode() else "+#-x", strict=True))
        columns = SORTS if width() >= NARROW else ()
        legend = Text(" ").join(
            Text(f"{signs[sort]} {NAMES[sort]}", _STYLES[sort])
            for sort in SORTS
            if any(getattr(counts, sort) for counts in found.intervals.values())
        )
        draw(legend)
        grid = Grid(box=None, pad_edge=False, expand=True)
        grid.add_column("", no_wrap=True)
        grid.add_column("", ratio=1, no_wrap=True)
        grid.add_column("changes", justify="right", no_wrap=True)
        for sort in columns:
            grid.add_column(NAMES[sort], justify="right", no_wrap=True, style=_STYLES[sort])
        most = max(counts.total for counts in found.intervals.values())
        for start, counts in self._folded():
            if isinstance(counts, ChangeCounts):
                numbers = [f"{getattr(counts, sort):,}" for sort in columns]
                bar = StackedBar(counts, most, signs)
                grid.add_row(self._time(start), bar, f"{counts.total:,}", *numbers)
            else:
                grid.add_row("…" if unicode() else "...", f"no changes, {spoken(counts)}")
        draw(grid)

    def _folded(self) -> Iterator[tuple[int, ChangeCounts | int]]:
        """The intervals in order. A stretch of several without changes is one, with its length in
        seconds."""
        for quiet, group in groupby(self.found.rows(), key=lambda row: not row[1].total):
            rows = list(group)
            if quiet and len(rows) > 1:
                yield rows[0][0], len(rows) * self.found.every
            else:
                yield from rows

    def _time(self, start: int) -> str:
        days = self.found.since // 86400 != self.found.until // 86400
        text = iso(start)
        day = f"{text[:10]} " if days else ""
        return f"{day}{text[11:19] if self.found.every < 60 else text[11:16]}"

    def summarize(self, examined: Examined, *, incomplete_ok: bool) -> None:
        """Prints on stderr how the changes were placed, and what that cost. Raises ArchiveError
        when items could not be read, unless that is accepted."""
        found = self.found
        total = found.listed + found.read
        changes = f"{total:,} change{'' if total == 1 else 's'}"
        say(
            f"{changes}: {found.listed:,} placed by the listing, {found.read:,} by their stamps."
            f" {examined.versions:,} versions listed; {self._requests['list']:,} LIST,"
            f" {self._requests['head']:,} HEAD."
        )
        for error in examined.unreadable[:LISTED]:
            say(f"  {error}")
        if examined.unreadable and not incomplete_ok:
            raise ArchiveError(
                f"{len(examined.unreadable):,} items could not be read. Their changes are not"
                " counted.",
                "They are listed above. Everything else is as reported.",
            )


class StackedBar:
    """A bar as long as its share of the column: each kind of change has its sign and color."""

    def __init__(self, counts: ChangeCounts, most: int, signs: Mapping[Sort, str]) -> None:
        self._counts, self._most, self._signs = counts, most, signs

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Draws the bar."""
        bar = Text(no_wrap=True)
        counts = self._counts
        taken = lengths(counts, self._most, options.max_width) if counts.total else {}
        for sort, length in taken.items():
            bar.append(self._signs[sort] * length, _STYLES[sort])
        yield bar

    def __rich_measure__(self, _: Console, options: ConsoleOptions) -> Measurement:
        """Takes what is left of the line."""
        return Measurement(4, options.max_width)


def lengths(counts: ChangeCounts, most: int, columns: int) -> dict[Sort, int]:
    """Returns how many of the columns each kind of change takes, where `most` takes all. An
    interval with changes takes one at least; a kind may have too few to be seen."""
    whole = max(1, round(columns * counts.total / most))
    shares = {sort: whole * getattr(counts, sort) / counts.total for sort in SORTS}
    found = {sort: int(share) for sort, share in shares.items()}
    by_remainder = sorted(SORTS, key=lambda sort: found[sort] - shares[sort])
    for sort in by_remainder[: whole - sum(found.values())]:
        found[sort] += 1
    return found


def spoken(seconds: int) -> str:
    """Returns a length of time in its units: `1 h 30 min`."""
    parts = []
    for size, unit in _UNITS:
        count, seconds = divmod(seconds, size)
        parts += [f"{count:,} {unit}"] if count else []
    return " ".join(parts)
