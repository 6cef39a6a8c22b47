"""Why the bounds of coverage are where they are: one sentence for each, in `status` and in what a
restore reports."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from restore.plan import Tally
from stream_backup.archive.status import Status
from stream_backup.capture.point import RestorePoint
from stream_backup.capture.state import State
from stream_backup.cli.restore_report import RestoreReport, facts_of
from stream_backup.cli.status_report import record, show
from stream_backup.core.coverage import Coverage, Epoch, Hole
from stream_backup.core.moment import iso
from stream_backup.core.order import ENDED, Disorder, Walk
from stream_backup.core.records import Outage, Stream
from stream_backup.core.retention import DAY, UNKNOWN, Bound, kept_since
from stream_backup.core.witness import Evidence, Witness, latest_read

NOW = 1_795_231_960
LABEL = "2026-11-01T00:00:00.000"
STREAM = Stream(LABEL, "arn", "1", NOW - 90 * DAY, False, "function", NOW - 90 * DAY)
EPOCH = Epoch(LABEL, NOW - 90 * DAY, NOW - 80 * DAY, None)
FINE = Evidence(NOW, "Enabled", "OK", 3, 0, 1)
READ = latest_read(STREAM, FINE, None)
PLAIN = Coverage((EPOCH,), READ)


def state(coverage: Coverage, walk: Walk | None = None) -> State:
    outages = [Outage(LABEL, NOW - 9, NOW, "x")]
    walks = {ENDED: walk} if walk else {}
    status = Status(coverage, [STREAM], [], outages, [], None, NOW, walks=walks)
    return State("orders", status, None, (), (), (), True, {}, None)


def backfilled() -> tuple[Coverage, str, str, int, int]:
    why = "The first complete backfill or repair of this epoch ended then."
    return PLAIN, why, "its records were at most 3 s old", EPOCH.start, READ.moment


def expired() -> tuple[Coverage, str, str, int, int]:
    kept = kept_since(30, True, [], NOW)
    why = "The bucket keeps superseded versions for 30 days."
    return replace(PLAIN, kept=kept), why, "", NOW - 30 * DAY + 5, READ.moment


def ordered() -> tuple[Coverage, str, str, int, int]:
    kept = kept_since(30, True, [], NOW)
    since, until = NOW - 31 * DAY, NOW - 29 * DAY
    disorder = Disorder(LABEL, EPOCH.floor, since, since + DAY, until)
    why = f"they were put in order at {iso(until)}"
    return replace(PLAIN, kept=kept, disorders=(disorder,)), why, "", until + 11, READ.moment


def holed() -> tuple[Coverage, str, str, int, int]:
    hole = Hole(LABEL, NOW - 500, NOW - 400)
    why = f"A failed batch has changes from {iso(NOW - 500)} on."
    return replace(PLAIN, holes=(hole,)), "", why, EPOCH.start, NOW - 501


def witnessed() -> tuple[Coverage, str, str, int, int]:
    evidence = FINE._replace(state="Disabled")
    read = latest_read(STREAM, evidence, Witness(LABEL, NOW - 7000, NOW - 6990))
    why = f"The watcher saw at {iso(NOW - 6990)}"
    return replace(PLAIN, witness=read), "", why, EPOCH.start, NOW - 7000


def disabled() -> tuple[Coverage, str, str, int, int]:
    read = latest_read(STREAM, FINE._replace(state="Disabled"), None)
    why = "No watcher has recorded how far the stream is read. Its event source mapping is Disabled"
    return replace(PLAIN, witness=read), "", why, EPOCH.start, STREAM.recorded


def lost() -> tuple[Coverage, str, str, int, int]:
    why = "Changes may have been lost: the stream was not read for 24 hours."
    ended = EPOCH._replace(end=NOW - DAY, ended=why)
    return replace(PLAIN, epochs=(ended,)), "", why, EPOCH.start, NOW - DAY


CASES = (backfilled, expired, ordered, holed, witnessed, disabled, lost)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_every_bound_says_why(
    case: Callable[[], tuple[Coverage, str, str, int, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    """`status` and a restore give for each bound one sentence about retention, the order of
    versions, a failed batch, the witness, or the outage that it comes from."""
    coverage, earliest_why, latest_why, earliest, latest = case()
    found = state(coverage)
    point = RestorePoint(NOW - 10, coverage.epochs[-1], found)
    restored = RestoreReport(facts_of(point), Tally(), {}, None, None).record()
    for report in (record(found), restored):
        assert (report["earliest"], report["latest"]) == (iso(earliest), iso(latest))
        assert earliest_why in report["earliest_why"]
        assert latest_why in report["latest_why"]
        assert report["earliest_why"].endswith(".")
        assert report["latest_why"].endswith(".")
    show(found)
    said = capsys.readouterr().out
    assert f"not earlier: {restored['earliest_why']}" in said
    assert f"not later: {restored['latest_why']}" in said


def test_no_moment_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    """Where no moment is exact, `status` says what keeps it from that."""
    show(state(replace(PLAIN, kept=UNKNOWN)))
    said = capsys.readouterr().out
    assert "no moment\n" in said
    assert "not earlier: It is unknown how long the bucket keeps superseded versions" in said
    late = Disorder(LABEL, EPOCH.floor, NOW - 31 * DAY, NOW - 30 * DAY, None)
    show(state(replace(PLAIN, kept=kept_since(30, True, [], NOW), disorders=(late,))))
    said = capsys.readouterr().out
    assert "they were not put in order in time" in said
    assert "problem" in said
    show(state(Coverage((), Bound(NOW, ""))))
    assert "no backfill was completed" in capsys.readouterr().out


def test_status_shows_what_endangers_an_archive(capsys: pytest.CaptureFixture[str]) -> None:
    """`status` has a line for delete markers, and for a function that does not announce."""
    walk = Walk(NOW - 50, NOW - 50, NOW, hidden=3, hidden_since=NOW - 99, unannounced=2)
    found = state(replace(PLAIN, kept=kept_since(30, True, [], NOW)), walk)
    show(found)
    said = capsys.readouterr().out
    assert (
        f"3 rows and records have a delete marker on top, the first since {iso(NOW - 99)}" in said
    )
    assert "Their history expires. Run a backfill." in said
    assert "2 versions were written by a function that does not announce" in said
    assert len(record(found)["problems"]) == 2
