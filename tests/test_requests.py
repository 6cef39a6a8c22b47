"""What a restore of a recent moment costs in requests for each item, counted at the bucket."""

import pytest

from restore.plan import Rebuild
from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.archive.status import status_of
from stream_backup.core.change import Change
from stream_backup.core.item import encode
from stream_backup.core.stamp import Stamp
from stream_backup.core.time_rule import Lateness
from tests.late import HOUR, NOON, SCHEMA

ITEMS, CHANGES = 20, 50
DAY = 24 * HOUR


def reads(ago: int, *, announced: bool) -> float:
    """Reads for each item of a restore to `ago` seconds before now, where every item had changed
    once long before and then changed 50 times since, each written two seconds late."""
    now = NOON - ago - 9 * HOUR
    store = MemoryStore(lambda: now)
    archive = Archive(store, "", "orders", SCHEMA, lambda: now)
    moment = NOON - ago
    for item in range(ITEMS):
        since = (
            moment + (number + (item + 1) / ITEMS) * ago / CHANGES for number in range(CHANGES)
        )
        for number, second in enumerate([moment - 8 * HOUR, *since]):
            at, now = int(second) + 1, int(second) + 3
            body = {"id": {"S": str(item)}, "v": {"N": str(number)}}
            stamp = Stamp(at, 10**21 + number, at, "modify")
            archive.put(Change({"id": body["id"]}, stamp, encode(body)))
    now = NOON + 60
    lateness = status_of(archive, now).lateness if announced else Lateness()
    plan = Rebuild(archive, moment, moment - DAY, lateness=lateness.of_stream(announces=announced))
    store.requests.clear()
    steps = [plan.step(history) for history in archive.histories()]
    assert {step.body for step in steps} == {
        encode({"id": {"S": str(item)}, "v": {"N": "0"}}) for item in range(ITEMS)
    }
    return (store.requests["get"] + store.requests["head"]) / ITEMS


@pytest.mark.parametrize(
    ("ago", "announced", "wide"),
    [
        (600, 26.2, 51.0),
        (HOUR, 5.2, 51.0),
        (5 * HOUR, 1.8, 51.0),
        (30 * HOUR, 1.1, 41.4),
    ],
)
def test_a_recent_moment_costs_what_was_written_within_minutes_of_it(
    ago: int, announced: float, wide: float
) -> None:
    """Versions are read that were written within minutes after the moment, and not within a day:
    the table is in docs/performance.md."""
    assert reads(ago, announced=True) == pytest.approx(announced, abs=0.1)
    assert reads(ago, announced=False) == pytest.approx(wide, abs=0.1)
