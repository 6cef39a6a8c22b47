"""Histories of one item's versions after hostile delivery, and the answer that reading every stamp
gives."""

from collections import Counter
from dataclasses import dataclass

from hypothesis import strategies as st

from stream_backup.core.announcement import announcement, hours_between, is_late
from stream_backup.core.stamp import Kind, Stamp
from stream_backup.core.time_rule import BUDGET, LATE, NEVER, NORMAL, SKEW, Lateness
from stream_backup.core.version import Version

DAY = 86400
T0 = 1795231959
KINDS: list[Kind] = ["insert", "modify", "remove", "remove"]


@dataclass(frozen=True)
class Written:
    """A version as it is stored: when it was written, and its stamp, which a listing does not
    show."""

    stamp: Stamp
    written: int
    size: int


@dataclass
class Bucket:
    stored: dict[str, Written]
    reads: Counter[str]

    def read(self, version: Version) -> Written:
        self.reads[version.version_id] += 1
        return self.stored[version.version_id]

    def versions(self) -> list[Version]:
        """Returns the versions as S3 lists them: the newest written first, and within one second
        the later put first."""
        newest_first = sorted(
            self.stored.items(), key=lambda each: (each[1].written, int(each[0])), reverse=True
        )
        return [Version("T/a", name, each.written, each.size, "") for name, each in newest_first]


def bucket(*stored: Written) -> Bucket:
    return Bucket({str(index): each for index, each in enumerate(stored)}, Counter())


def reference(stored: list[Written], moment: int, floor: int) -> Stamp | None:
    """The definition: returns the highest-ranked stamp that counts, or None if it is a
    tombstone."""
    counting = [
        each.stamp for each in stored if each.stamp.at >= floor and each.stamp.seen <= moment
    ]
    best = max(counting, key=lambda stamp: stamp.rank, default=None)
    return None if best is None or best.removes else best


def answer(found: Written | None) -> Stamp | None:
    return None if found is None or found.stamp.removes else found.stamp


def streamed(
    at: int, sequence: int, written: int, kind: Kind = "modify", size: int | None = None
) -> Written:
    return Written(
        Stamp(at, sequence, at, kind),
        written,
        (0 if kind == "remove" else 9) if size is None else size,
    )


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Written], int, int, Lateness]:
    """Draws (versions in order of writing, moment, floor, lateness). Changes occur in bursts and
    far apart, and are written late, early because of skew, repeatedly, and out of order. Scans and
    repairs race them, and tombstones occur with and without a body."""
    lateness = draw(st.sampled_from([0, 0, 0, 3600, 3 * DAY]))
    second, sequence, stored = T0, 10**21, list[Written]()
    for _ in range(draw(st.integers(1, 7))):
        second += draw(
            st.sampled_from(
                [0, 0, 1, 2, SKEW + 1, SKEW + 2, 60, DAY - 1, LATE, LATE + 2 * SKEW + 2, 3 * DAY]
            )
        )
        if draw(st.integers(0, 4)) == 0:
            asked, took = second - draw(st.integers(0, 3)), draw(st.integers(0, 120))
            seen: Kind = draw(st.sampled_from(["scan", "scan", "missing"]))
            stamp = Stamp(asked - 5, 0, asked + took + 6, seen)
            size = draw(st.sampled_from([0, 3000])) if seen == "missing" else 9
            written = asked + took + draw(st.sampled_from([-2, 0, 2, 300]))
            stored.append(Written(stamp, written, size))
            continue
        sequence += draw(st.integers(1, 3))
        kind = draw(st.sampled_from(KINDS))
        size = draw(st.sampled_from([0, 0, 3000])) if kind == "remove" else 9
        for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
            delay = draw(
                st.sampled_from(
                    [-SKEW - 1, -2, -1, 0, 1, 2, 60, DAY // 2, DAY - 1, DAY, DAY + lateness]
                )
            )
            stored.append(streamed(second, sequence, second + delay, kind, size))
    dangerous = sorted(
        {T0} | {edge for each in stored for edge in (each.stamp.at, each.stamp.seen, each.written)}
    )
    steps = [-1, 0, 1, DAY, LATE + SKEW]
    moment = draw(st.sampled_from(dangerous)) + draw(st.sampled_from(steps))
    floor = draw(
        st.one_of(
            st.just(NEVER),
            st.sampled_from(dangerous).map(lambda at: at + draw(st.sampled_from([-1, 0, 1]))),
        )
    )
    return sorted(stored, key=lambda each: each.written), moment, floor, Lateness(redriven=lateness)


@st.composite
def announced(draw: st.DrawFn) -> tuple[list[Written], int, int, Lateness]:
    """The same from writers that announce: what is late is on record for the hour of S3's clock or
    of the writer's own, unless it was written after the records were listed."""
    second, sequence, stored = T0 - T0 % 3600 - draw(st.sampled_from([0, 3, 400])), 10**21, []
    records: dict[int, int] = {}
    listed = second + draw(st.sampled_from([0, 301, 4000, DAY, 9 * DAY]))
    gaps = [0, 1, SKEW + 1, 60, NORMAL - 1, NORMAL + SKEW + 1, 1800, 3600, DAY]
    delays = [
        -SKEW,
        0,
        2,
        60,
        NORMAL - BUDGET,
        NORMAL - BUDGET + 1,
        NORMAL,
        400,
        4000,
        DAY,
        3 * DAY,
    ]
    for _ in range(draw(st.integers(1, 8))):
        second += draw(st.sampled_from(gaps))
        sequence += 1
        kind = draw(st.sampled_from(KINDS))
        for _ in range(draw(st.sampled_from([1, 1, 2]))):
            began = second + max(0, draw(st.sampled_from(delays)))
            put = began + draw(st.sampled_from([0, 1, BUDGET]))
            written = put + draw(st.sampled_from([-SKEW, 0, SKEW]))
            stamp = Stamp(second, sequence, second, kind, announced=True)
            stored.append(Written(stamp, written, 0 if kind == "remove" else 9))
            if is_late(second, began) and put < listed:
                hour = hours_between(put + SKEW, put)[0]
                records[hour] = max(announcement(second, began), records.get(hour, 0))
    edges = {edge for each in stored for edge in (each.stamp.at, each.written, listed)}
    steps = [-1, 0, 1, NORMAL, NORMAL + SKEW, DAY]
    moment = draw(st.sampled_from(sorted(edges))) + draw(st.sampled_from(steps))
    floor = draw(st.sampled_from([NEVER, *sorted(edges)]))
    lateness = Lateness(records, listed, announces=True)
    return sorted(stored, key=lambda each: each.written), moment, floor, lateness
