"""What the watcher does: it looks at every enabled table and records how far its stream has been
read.

A record says more than any metric: a function that is not called leaves no trace, but the record of
the watcher then grows old, and no restore claims a second after it.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive, History
from stream_backup.archive.status import Status
from stream_backup.aws.connection import Connection
from stream_backup.capture.state import State, state_of
from stream_backup.capture.walks import go_on, next_walk
from stream_backup.core.key import KeySchema
from stream_backup.core.order import Walk
from stream_backup.core.records import Outage, Stream
from stream_backup.core.retention import DAY, changes
from stream_backup.core.witness import Witness, watched


@dataclass(frozen=True, slots=True)
class Watched:
    """What the watcher saw of one table. `age` is the age of the newest exact second in seconds,
    but at most the time since the newest stream was enabled; None for a table that is not enabled
    any more, or that was deleted more than a day ago. `witness` is the record of the newest stream,
    where a function reads it; `unseen` has one sentence for each thing that the watcher could not
    read, `problems` one for each thing that endangers the archive. `status` is what the archive can
    answer."""

    table: str
    age: int | None
    witness: Witness | None
    outages: tuple[Outage, ...]
    unseen: tuple[str, ...]
    problems: tuple[str, ...]
    status: Status


class Unwatched(NamedTuple):
    """A table that the watcher could not look at, and the reason."""

    table: str
    error: Exception


class RecordsConnection(Connection):
    """A connection to the records of each archive, without its items. To search the items for the
    last change of a stream that went off would take longer than the watcher may run; its newest
    exact second is then older than it would have to be."""

    def archive(self, table: str, schema: KeySchema | None = None) -> Archive:
        """Returns the archive of a table, which appears to hold no items."""
        return _Records(self.store, self.location.prefix, table, schema, self.now)

    def items(self, table: str) -> Archive:
        """Returns the archive of a table with its items, for a walk that stops in time."""
        return super().archive(table)


class _Records(Archive):
    def histories(self, shard: str = "", **_: object) -> Iterator[History]:  # noqa: ARG002 - an override
        return iter(())


def watch_all(connection: Connection) -> Iterator[Watched | Unwatched]:
    """Looks at every table in the archive that was ever enabled, and yields what it saw. A table
    that cannot be looked at does not keep the others from it. Raises what AWS answers when the
    tables cannot be listed."""
    for table in connection.tables():
        try:
            found = watch(connection, table)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other tables are watched
            yield Unwatched(table, error)
        else:
            if found:
                yield found


def watch(connection: Connection, table: str) -> Watched | None:
    """Records how far the streams of one table have been read, for how long the bucket keeps
    superseded versions, and an outage when a stream was not read for longer than it keeps records.
    Returns None for a table that was never enabled."""
    catalog = Catalog(connection.archive(table))
    streams = catalog.streams()
    if not streams:
        return None
    state = state_of(connection, table)
    ends = catalog.recorded_ends()
    if state.live and state.live.label:
        ends.pop(state.live.label, None)  # `disable` recorded it and did not switch the stream off.
    record_retention(catalog, state)
    witness, outages = None, []
    for stream in streams:
        if stream.label not in state.evidence:
            continue
        evidence, before = state.evidence[stream.label], catalog.last_read(stream)
        witness, outage = watched(stream, evidence, before, ends.get(stream.label))
        if outage:
            outages.append(outage)
            catalog.write_outage(outage)
        catalog.write_witness(witness)
    age = None
    if streams[-1].label not in ends:
        after = state_of(connection, table) if outages else state
        age = max(0, after.now - newest_exact(after, streams[-1]))
        if after.live is None and after.described and age >= DAY:
            age = None  # The table was deleted, and nothing is left in its stream.
    found = (state.unseen, state.problems)
    return Watched(table, age, witness, tuple(outages), *found, state.status)


def walk_all(
    connection: RecordsConnection, watched: Iterable[Watched], seconds: float
) -> Iterator[Walk | Unwatched]:
    """Goes on with the walks through the items of these tables for so many seconds in all, and
    yields how far each has come. Tables in which something must be put in order come first, and
    then those that were not looked at for the longest time."""
    waiting = [(next_walk(each.status), each) for each in watched]
    todo = [(walk, each) for walk, each in waiting if walk]
    todo.sort(key=lambda pair: (pair[0].since == pair[0].began, pair[0].began))
    end = time.monotonic() + seconds
    for walk, each in todo:
        if time.monotonic() >= end:
            return
        try:
            archive = connection.items(each.table)
            yield go_on(connection, archive, each.status, walk, end - time.monotonic())
        except Exception as error:  # noqa: BLE001 - whatever it is, the other tables are walked
            yield Unwatched(each.table, error)


def record_retention(catalog: Catalog, state: State) -> None:
    """Records for how long the bucket keeps superseded versions, where its rules may be read."""
    if state.lifecycle is None:
        return
    for record in changes(state.lifecycle.noncurrent_days, catalog.retentions(), state.now):
        catalog.write_retention(record)


def newest_exact(state: State, newest: Stream) -> int:
    """The newest exact second of any epoch, but no earlier than the newest stream was enabled: a
    table whose first backfill has not ended is not late yet."""
    coverage = state.status.coverage
    spans = [
        (coverage.start_of(epoch).moment, coverage.end_of(epoch).moment)
        for epoch in coverage.epochs
    ]
    return max([newest.recorded, *(end for start, end in spans if start <= end)])
