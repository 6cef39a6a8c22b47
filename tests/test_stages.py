"""The stages of a distributed job: each begins when nothing is left of the one before it, with what
that has kept, however often workers and steps are called and whoever is killed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_backup.core.rounds import IDLE_ROUNDS
from stream_backup.core.slice import NameSlice, Slice, cut_names, cut_scan, slice_of
from stream_backup.distributed.limits import Limits, WorkTime
from stream_backup.distributed.machine import MapProgress
from stream_backup.distributed.records import DistributedJob, JobFailure, Report, StageStart
from stream_backup.distributed.run import _Shown
from stream_backup.distributed.task import Begun, LaterStage
from stream_backup.distributed.work_bucket import WorkBucket
from stream_backup.distributed.worker import collect, do_slice, start_of
from stream_backup.errors import IncompleteError
from tests.distributed_world import WORK, Shelf

JOB = DistributedJob("job", "verify", "orders", 2, 4, None, None, {}, stages=3)
STEPS = 4
"""Steps of a segment. The key that a scan goes on with is the number of the next step."""


class Segments:
    """A first stage: each call of a worker does `reach` steps of its segment, and keeps which."""

    def __init__(self, later: Sequence[LaterStage] = ()) -> None:
        self.later = later
        self.reach = STEPS
        self.modest = False
        self.recorded: list[int] = []

    def work(self, piece: Slice, _: Limits | None) -> Report:
        assert not isinstance(piece, NameSlice)
        at = int(piece.next["step"]["N"]) if piece.next else 0
        end = min(at + self.reach, STEPS)
        after = piece.reached(None if end == STEPS else {"step": {"N": str(end)}})
        kept = [{"steps": [f"{piece.segment}/{each}" for each in range(at, end)]}]
        return Report(after, {"steps": end - at}, advanced=end > at and not self.modest, kept=kept)

    def record(self, left: Sequence[Slice]) -> None:
        self.recorded.append(len(left))

    def finish(
        self, counts: Mapping[str, int], failures: Sequence[JobFailure], *, left: int
    ) -> Mapping[str, Any]:
        return {"left": left}


@dataclass
class Names:
    """A stage of names, which begins with `first` slices and keeps what it was given."""

    first: int
    given: list[tuple[dict[str, int], list[Any]]] = field(default_factory=list)
    reach: bool = True

    def begin(self, counts: Mapping[str, int], kept: Sequence[Mapping[str, Any]]) -> Begun:
        self.given.append((dict(counts), [dict(each) for each in kept]))
        return Begun(cut_names(self.first) if self.first else (), {"call": len(self.given)})

    def work(self, piece: Slice, _: Limits | None) -> Report:
        done = piece.finished() if self.reach else piece
        return Report(done, {"names": 1}, advanced=self.reach, kept=[{"range": [*piece.range]}])

    def record(self, left: Sequence[Slice]) -> None:
        """Records nothing."""


@pytest.fixture
def bucket() -> WorkBucket:
    return made(cut_scan(2))


def made(slices: Sequence[Slice]) -> WorkBucket:
    """A work bucket with the job and its first list."""
    found = WorkBucket(Shelf(), WORK)
    found.write_job(JOB)
    start_of(found, JOB, 0, slices)
    return found


def do(bucket: WorkBucket, task: Segments, number: int) -> dict[str, Any]:
    """Does a round, as the state machine does."""
    for item in bucket.list_of("job", number):
        do_slice(bucket, JOB, task, number, item, WorkTime())
    return collect(bucket, JOB, task, number)


def test_a_stage_begins_when_nothing_is_left(bucket: WorkBucket) -> None:
    """The second stage is begun after the last round of the first one, and is given the counts and
    what all its reports have kept. Each round is worked on by the stage that it belongs to."""
    names = Names(4)
    task = Segments([names])
    task.reach = 3
    found = do(bucket, task, 0)
    assert (found["state"], found["round"], found["at_once"]) == ("left", 1, 2)
    assert task.recorded == [2]
    assert not names.given
    found = do(bucket, task, 1)
    assert (found["state"], found["round"], found["at_once"]) == ("left", 2, 4)
    ((counts, kept),) = names.given
    assert counts == {"steps": 2 * STEPS}
    assert [each["steps"] for each in kept] == [
        *(["0/0", "0/1", "0/2"], ["1/0", "1/1", "1/2"], ["0/3"], ["1/3"])
    ]
    assert bucket.stage("job", 1) == StageStart(4, {"call": 1}, kept)
    assert do(bucket, task, 2) == {"state": "done", "job": "job"}
    end = bucket.end("job")
    assert end
    assert end.counts == {"steps": 2 * STEPS, "names": 4}
    assert [each["range"] for each in end.kept] == [[*each.range] for each in cut_names(4)]
    assert task.recorded == [2], "nothing was left of the last round"


def test_a_stage_without_slices_is_passed_over(bucket: WorkBucket) -> None:
    """A stage that has nothing to do takes no round. Where no later one has anything to do, the job
    is done."""
    task = Segments([Names(0), Names(2)])
    assert do(bucket, task, 0)["at_once"] == 2
    assert bucket.standing("job", 0).stage == 2
    assert do(bucket, task, 1)["state"] == "done"
    bare = made(cut_scan(2))
    assert do(bare, Segments([Names(0)]), 0)["state"] == "done"


def test_the_end_of_a_stage_is_an_advance(bucket: WorkBucket) -> None:
    """Idle rounds at the end of a stage do not count against the next one, which has as many rounds
    as any other until the run ends, incomplete."""
    names = Names(2, reach=False)
    task = Segments([names])
    task.reach = 0
    for number in range(IDLE_ROUNDS - 1):
        assert do(bucket, task, number)["state"] == "left"
    task.reach, task.modest = STEPS, True  # the work was done by a worker that nobody heard of
    number = IDLE_ROUNDS - 1
    assert do(bucket, task, number)["state"] == "left"
    for each in range(1, IDLE_ROUNDS):
        assert do(bucket, task, number + each)["state"] == "left"
    assert do(bucket, task, number + IDLE_ROUNDS)["state"] == "incomplete"


def test_a_job_that_is_stopped_between_stages_is_not_complete(bucket: WorkBucket) -> None:
    """When a job was stopped while its last slices of a stage were done, the slices of the next
    stage are left."""
    task = Segments([Names(4)])
    for item in bucket.list_of("job", 0):
        do_slice(bucket, JOB, task, 0, item, WorkTime())
    bucket.stop("job")
    assert collect(bucket, JOB, task, 0)["state"] == "incomplete"
    end = bucket.end("job")
    assert end
    assert (end.left, end.result) == (4, {"left": 4})
    assert end.failure
    assert isinstance(end.failure.error(), IncompleteError)


def test_the_first_settings_of_a_stage_count(bucket: WorkBucket) -> None:
    """A step that is repeated may find other settings for the stage. Its workers use those that
    were stored first."""
    task = Segments([Names(4)])
    first = do(bucket, task, 0)
    assert collect(bucket, JOB, task, 0) == first
    found = bucket.stage("job", 1)
    assert found
    assert found.settings == {"call": 1}


events = st.lists(st.sampled_from(["works", "dies", "twice", "late", "overtaken"]), max_size=60)


@given(events=events, reaches=st.lists(st.integers(1, STEPS), min_size=1, max_size=8))
def test_nothing_is_kept_twice_or_lost(events: list[str], reaches: list[int]) -> None:
    """Whichever workers die, report twice with other results, or report after the end of their
    round, a step that is repeated gives the same answer and the same list, and the next stage is
    given each step of each segment once."""
    bucket, names, left = made(cut_scan(3)), Names(2), list(events)
    task, number = Segments([names]), 0
    calls = 0

    def work(item: Mapping[str, Any], *, report: bool) -> Report:
        nonlocal calls
        calls += 1
        task.reach = reaches[calls % len(reaches)]
        found = task.work(slice_of(item), None)
        return bucket.write_report("job", number, item["name"], found) if report else found

    while not names.given:
        late: list[tuple[str, Report]] = []
        for item in bucket.list_of("job", number):
            match left.pop() if left else "works":
                case "works":
                    work(item, report=True)
                case "twice":
                    assert work(item, report=True) == work(item, report=True)
                case "late":
                    late.append((item["name"], work(item, report=False)))
                case "overtaken":
                    late.append((item["name"], work(item, report=False)))
                    work(item, report=True)
        answer = collect(bucket, JOB, task, number)
        following = bucket.list_of("job", number + 1)
        for name, report in late:
            bucket.write_report("job", number, name, report)
        if answer["state"] != "left":
            return  # nothing was done in three rounds
        assert collect(bucket, JOB, task, number) == answer
        assert bucket.list_of("job", number + 1) == following
        number += 1
    steps = [each for kept in names.given[0][1] for each in kept["steps"]]
    assert sorted(steps) == [f"{part}/{step}" for part in range(3) for step in range(STEPS)]
    assert names.given[0][0] == {"steps": 3 * STEPS}
    assert all(each == names.given[0] for each in names.given)


def test_the_bar_goes_through_all_stages(bucket: WorkBucket) -> None:
    """Each stage is an equal part of the bar, however many slices it has, and the bar never goes
    back when one begins."""
    shown = _Told()
    bar = _Shown(bucket, JOB, shown)
    bar.advance(MapProgress("1", 2, 1))
    bar.advance(MapProgress("1", 2, 2))
    bucket.begin("job", 1, StageStart(100, {}, ()))
    bar.advance(MapProgress("2", 100, 0))
    bar.advance(MapProgress("2", 100, 50))
    bar.advance(MapProgress("3", 50, 25))  # a second round of the second stage
    bucket.begin("job", 2, StageStart(0, {}, ()))  # passed over
    bar.advance(MapProgress("4", 50, 50))
    counts, fractions = zip(*shown.told, strict=True)
    assert counts == (1, 1, 0, 50, 25, 50)
    assert fractions == pytest.approx((1 / 6, 1 / 3, 1 / 3, 1 / 2, 7 / 12, 0.99))


class _Told:
    done = 0

    def __init__(self) -> None:
        self.told: list[tuple[int, float | None]] = []

    def advance(self, count: int, fraction: float | None = None) -> None:
        self.told.append((count, fraction))
