"""A stream that nobody read for longer than it keeps records, whoever reads on: an outage."""

from stream_backup.archive.catalog import Catalog
from stream_backup.core.records import Outage, Stream
from stream_backup.core.time_rule import may_be_trimmed

REASON = "nobody read the stream for more than 24 hours"
"""The reason of an outage that no error shows: a reader begins with what is left."""

BEGINNING = 300
"""Seconds that a function may take until it reads its first record."""


def record_unread(catalog: Catalog, stream: Stream, now: int) -> None:
    """Records an outage when records that `follow` did not read may be gone by `now`, where a
    function begins to read the stream. `stream` is the record of the time before the takeover."""
    kept = catalog.follow_checkpoint(stream.label)
    read = max(kept.caught_up if kept else 0, stream.recorded)
    if may_be_trimmed(read, now + BEGINNING) and not (kept and kept.drained):
        catalog.write_outage(Outage(stream.label, read, now, REASON))
