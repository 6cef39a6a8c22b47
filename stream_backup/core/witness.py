"""How far a function has certainly read a stream, judged by what AWS reports about it and by what
the watcher recorded.

A function that is not called leaves no trace: a mapping that was disabled, or that lost a
permission, has no metric at all. So reading counts as proven only where everything that could speak
against it was read and does not; everything else is claimed up to the last record of the watcher
and no further.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from stream_backup.core.moment import iso
from stream_backup.core.record import Record
from stream_backup.core.records import End, Outage, Stream
from stream_backup.core.retention import DAY, Bound

RECENT = 15 * 60
"""Seconds of metrics that are read. CloudWatch reports with a delay of a minute or two."""

GRACE = 10
"""Seconds for a function to write what it has received: its batching window is one second, and its
runs are short. A longer run that CloudWatch has reported counts instead."""

FINE = ("OK", "No records processed")
"""Results of an event source mapping's last call that report no problem."""


@dataclass(frozen=True, slots=True)
class Witness(Record):
    """The watcher saw at `seen` that the stream had been read without a gap up to `read`."""

    stream: str
    read: int
    seen: int

    TIMES: ClassVar = ("read", "seen")


class Evidence(NamedTuple):
    """What AWS reports about the reader of a stream now. `state` and `last_result` are the
    mapping's, None when there is no mapping or it may not be read; `age`, `errors` and `duration`
    are the greatest age of a record, the number of errors and the longest run of the last RECENT
    seconds, None when the metrics may not be read. Seconds."""

    now: int
    state: str | None
    last_result: str
    age: int | None
    errors: int | None
    duration: int | None

    @property
    def trouble(self) -> str:
        """One sentence about what keeps this from proving that the stream is being read; empty when
        nothing does."""
        if self.state is None:
            return "Its event source mapping does not exist or may not be read."
        if self.state != "Enabled":
            return f"Its event source mapping is {self.state}."
        if self.last_result and not self.last_result.startswith(FINE):
            return f"The last call of the function failed: {self.last_result}."
        if self.age is None or self.errors is None or self.duration is None:
            return "The metrics of the function may not be read."
        if self.errors:
            return f"The function reported {self.errors} errors in the last 15 minutes."
        return ""


def proven(evidence: Evidence, witness: Witness | None) -> Bound | None:
    """Returns how far the stream has certainly been read according to AWS, None when AWS does not
    prove it. After a day without a record of the watcher, records may have expired unread, and what
    AWS reports now says nothing about them."""
    if evidence.trouble or evidence.age is None or evidence.duration is None:
        return None
    if witness and evidence.now - witness.read >= DAY:
        return None
    read = evidence.now - 1 - evidence.age - max(GRACE, evidence.duration)
    return Bound(
        read,
        f"The function reads the stream; its records were at most {evidence.age} s old in the last"
        " 15 minutes.",
    )


def latest_read(stream: Stream, evidence: Evidence | None, witness: Witness | None) -> Bound:
    """Returns how far a function has certainly read the stream: what AWS proves now, else what the
    watcher recorded, else nothing. The newest change in the archive proves nothing, because other
    changes of the same time may come from another shard."""
    if evidence and (now := proven(evidence, witness)):
        return now
    trouble = evidence.trouble if evidence else "Nothing reports how far it has been read."
    if witness is None:
        return Bound(
            stream.recorded, f"No watcher has recorded how far the stream is read. {trouble}"
        )
    seen = f"The watcher saw at {iso(witness.seen)} that the stream had been read up to then."
    return Bound(witness.read, f"{seen} {trouble}".strip())


def watched(
    stream: Stream, evidence: Evidence, witness: Witness | None, ended: End | None = None
) -> tuple[Witness, Outage | None]:
    """Returns the record of this look at the stream, and the outage when the stream was not read
    for longer than it keeps records. An outage that lasts is recorded again under its name, with a
    later end. `ended` is the end of a stream that was switched off."""
    since = witness.read if witness else stream.recorded
    lost = evidence.now - since >= DAY
    now = proven(evidence, None if lost else witness)
    read = max(since, now.moment) if now else since
    outage = None
    if lost and not (ended and since >= ended.end):
        reason = f"the stream was not read for 24 hours. {evidence.trouble}".strip().rstrip(".")
        outage = Outage(stream.label, since, evidence.now, reason)
    return Witness(stream.label, read, evidence.now), outage


def read_to_end(
    stream: Stream, end: End, evidence: Evidence | None, witness: Witness | None
) -> End:
    """Returns the end of a stream that a function reads and that was on until `end`: no later than
    it has certainly been read."""
    read = latest_read(stream, evidence, witness)
    if read.moment >= end.end:
        return end
    return End(read.moment, f"{end.reason}. {read.why}".rstrip("."))
