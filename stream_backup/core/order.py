"""The order in which the versions of an item were written, and when it may have been wrong.

No restore depends on that order, but lifecycle rules do: a version is superseded when the next one
is written, and the bucket keeps it for a number of days from then. A restore relies on more: that
the version of a moment is superseded only after that moment. These things break this:

    an epoch begins       for a day, records stamped before its floor are still delivered, and cover
                          versions of the epoch
    an announcement       a version as old as that may be written later, by a redrive for example
    a backfill            replaces versions from before the floor by their content, and may cover a
                          newer version with the same content
    a redrive             writes old changes, and then the newest version of their items again
    a repair              replaces what it looked at by its content, as a backfill does

Each is a disorder. A pass over every item that began after it puts the newest version of each on
top again. What was superseded meanwhile counts from when it was first covered, so once the bucket
may have expired versions covered since then, no moment before the end of that pass is exact.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Mapping as Object
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from stream_backup.core.moment import iso
from stream_backup.core.record import Record
from stream_backup.core.records import NO_STREAM, RedriveRecord, Run, Stream
from stream_backup.core.repair import Repair
from stream_backup.core.retention import DAY, Bound
from stream_backup.core.time_rule import (
    FOREVER,
    delivered_by,
    in_order_from,
    late_hour,
    superseded_from,
    written_until,
)

if TYPE_CHECKING:
    from stream_backup.core.coverage import Epoch


UNDER_WAY, ENDED = "under-way", "ended"
"""The walk that has items left, and the last one that had none."""


@dataclass(frozen=True, slots=True)
class Ordered(Record):
    """A pass over every item, between `began` and `ended`, put the newest version of each on top
    whose last version was written at or after `since`."""

    since: int
    began: int
    ended: int

    TIMES: ClassVar = ("since", "began", "ended")


@dataclass(frozen=True, slots=True)
class Walk(Record):
    """How far the watcher has looked through the items, and what it found. `next` has for each
    slice the name after which it goes on, null at its end. `since` is that of `Ordered`, `ended` is
    1970-01-01 while items are left.

    `hidden` items and records have a delete marker on top. `hidden_since` is the first marker above
    a row, and `hidden_until` when the last such row was written again; 1970-01-01 for none. `late`
    versions contradict what was announced, `unannounced` ones lack the mark of a writer that
    announces, `unreadable` ones have no valid stamp. `reordered` items were put in order.
    """

    began: int
    since: int
    ended: int = 0
    next: Object[str, str | None] = field(default_factory=dict)
    hidden: int = 0
    hidden_since: int = 0
    hidden_until: int = 0
    late: int = 0
    unannounced: int = 0
    unreadable: int = 0
    reordered: int = 0
    examples: Sequence[str] = ()

    TIMES: ClassVar = ("began", "since", "ended", "hidden_since", "hidden_until")


class Disorder(NamedTuple):
    """In the epoch of this stream and floor, a version may have been covered by an older one from
    `since` until `last`. `until` is the end of the first pass after that, None before it. Epoch
    seconds; `since` is by the clock that retention is counted with, margins included."""

    stream: str
    floor: int
    since: int
    last: int
    until: int | None

    def is_due(self, now: int) -> bool:
        """Whether a pass that begins now would put it in order."""
        return self.until is None and self.last < now

    @property
    def bound(self) -> Bound:
        """The first exact moment of the epoch, where the bucket may have expired what was covered
        from `since` on."""
        covered = f"versions that older ones have covered since {iso(max(self.since, 0))}"
        if self.until is None:
            return Bound(
                FOREVER,
                f"The bucket may have expired {covered}: they were not put in order in time.",
            )
        return Bound(
            in_order_from(self.until),
            f"The bucket may have expired {covered}; they were put in order at {iso(self.until)}.",
        )


def disorders(
    epochs: Iterable["Epoch"],
    streams: Sequence[Stream],
    runs: Sequence[Run],
    redrives: Sequence[RedriveRecord],
    announced: Mapping[int, int],
    passes: Sequence[Ordered],
    walks: Iterable[Walk] = (),
    repairs: Sequence[Repair] = (),
) -> list[Disorder]:
    """Returns every disorder of these epochs. `announced` has the seconds announced by hour;
    `walks` are what the watcher found; `repairs` are all that were begun."""
    known = {stream.label: stream for stream in streams}
    hidden = list(_hidden(walks))
    found = []
    for epoch in epochs:
        causes = [*_causes(epoch, known[epoch.stream], runs, redrives, announced)]
        causes += [
            (superseded_from(each.began), written_until(each.answered))
            for each in repairs
            if each.stream == epoch.stream and (epoch.end is None or each.began <= epoch.end)
        ]
        for since, last in causes:
            after = [each.ended for each in passes if each.began > last and each.since <= since]
            until = min(after, default=None)
            found.append(Disorder(epoch.stream, epoch.floor, since, last, until))
        for since, until in hidden:
            found.append(Disorder(epoch.stream, epoch.floor, since, FOREVER, until))
    return found


def _causes(
    epoch: "Epoch",
    stream: Stream,
    runs: Sequence[Run],
    redrives: Sequence[RedriveRecord],
    announced: Mapping[int, int],
) -> Iterator[tuple[int, int]]:
    """Yields from when until when each disorder of an epoch lasted, except for delete markers."""
    for redrive in redrives:
        if redrive.began and (epoch.end is None or redrive.began <= epoch.end):
            yield superseded_from(redrive.began), written_until(redrive.last)
    saved = any(run.stream == NO_STREAM for run in runs)
    if stream.empty and epoch.floor == stream.floor and not saved:
        return  # Nothing older than the floor exists.
    yield superseded_from(epoch.floor), delivered_by(epoch.floor)
    for hour, seconds in announced.items():
        if interval := late_hour(hour, seconds, epoch.floor):
            yield superseded_from(interval.at), interval.seen
    for run in runs:
        if run.stream == epoch.stream and run.asked >= epoch.floor:
            yield superseded_from(run.asked), written_until(run.answered)


def _hidden(walks: Iterable[Walk]) -> Iterator[tuple[int, int | None]]:
    """Yields from when until when delete markers covered rows."""
    for walk in walks:
        if walk.hidden_since:
            yield superseded_from(walk.hidden_since), None if walk.hidden else walk.hidden_until


def problems(walks: Iterable[Walk], found: Iterable[Disorder], kept: Bound, now: int) -> list[str]:
    """Returns one sentence for each thing that endangers the archive. `kept` is how far back the
    bucket keeps versions."""
    said = []
    expires = kept.moment > 0
    for walk in walks:
        if walk.hidden:
            said.append(
                f"Somebody deleted objects of the archive: {walk.hidden:,} rows and records have a"
                f" delete marker on top, the first since {iso(walk.hidden_since)}."
                + (" Their history expires. Run a backfill." if expires else "")
            )
        if walk.unannounced:
            said.append(
                f"{walk.unannounced:,} versions were written by a function that does not announce"
                " late changes. Deploy this release of the function."
            )
        if walk.unreadable:
            said.append(f"{walk.unreadable:,} versions have no valid stamp.")
    if expires and any(each.is_due(now - DAY) for each in found):
        said.append(
            "The versions of the present epoch should have been put in order a day ago. Until that"
            " is done, the bucket may expire versions that are needed."
        )
    return list(dict.fromkeys(said))
