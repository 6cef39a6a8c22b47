"""A bucket that does not keep versions for ever: what is claimed, and what is never deleted."""

from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from restore.plan import Rewind
from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.aws.lifecycle import Lifecycle, lifecycle_of
from stream_backup.core.change import Change
from stream_backup.core.coverage import Coverage, Epoch
from stream_backup.core.item import encode
from stream_backup.core.key import KeySchema
from stream_backup.core.retention import ALL, DAY, UNKNOWN, Bound, Retention, changes, kept_since
from stream_backup.core.stamp import Stamp
from stream_backup.core.time_rule import NEVER
from stream_backup.errors import CoverageError

NOW = 1_795_231_960
EPOCH = Epoch("label", NOW - 100 * DAY, NOW - 90 * DAY, None)


def test_no_moment_before_the_retention_is_claimed() -> None:
    """An epoch that began long ago is exact only as far back as the bucket keeps superseded
    versions, and the refusal says so."""
    kept = kept_since(30, True, [], NOW)
    coverage = Coverage((EPOCH,), Bound(NOW - 1, "read"), kept=kept)
    assert coverage.epoch_at(NOW - 29 * DAY)
    assert coverage.epoch_at(NOW - 30 * DAY) is None
    with pytest.raises(CoverageError, match="superseded versions for 30 days"):
        coverage.require(NOW - 31 * DAY, "orders")


def test_a_longer_rule_brings_no_version_back() -> None:
    """What a shorter rule has removed stays removed, whatever rule applies later."""
    records = changes(3, [], NOW - 50 * DAY)
    later = [*changes(60, records, NOW - 10 * DAY)]
    assert {(each.days, each.current) for each in later} == {(3, False), (60, True)}
    bound = kept_since(60, True, later, NOW)
    assert NOW - 13 * DAY <= bound.moment <= NOW - 13 * DAY + 60
    assert kept_since(None, True, later, NOW).moment == bound.moment


def test_where_nothing_tells_nothing_is_claimed() -> None:
    """Without permission to read the rules and without a record, every moment is refused; with a
    record, its rule counts as still in force."""
    assert kept_since(None, False, [], NOW) == UNKNOWN
    assert Coverage((EPOCH,), Bound(NOW - 1, ""), kept=UNKNOWN).epoch_at(NOW - 5) is None
    record = Retention(7, NOW - 40 * DAY, current=True)
    assert kept_since(None, False, [record], NOW).moment >= NOW - 7 * DAY
    assert kept_since(None, True, [], NOW) == ALL


@given(
    rules=st.lists(
        st.tuples(st.sampled_from([None, 1, 7, 30]), st.integers(1, 40 * DAY)), min_size=1
    )
)
def test_the_record_is_never_shorter_than_what_was_seen(
    rules: list[tuple[int | None, int]],
) -> None:
    """Whatever rules were in force one after another, no moment is claimed whose versions one of
    them may have removed."""
    now, records = NOW, dict[int, Retention]()
    removed = NEVER
    for days, lasted in rules:
        for record in changes(days, list(records.values()), now):
            records[record.days] = record
        now += lasted
        if days is not None:
            removed = max(removed, now - days * DAY)
        bound = kept_since(days, True, list(records.values()), now)
        assert bound.moment >= removed
        assert kept_since(None, False, list(records.values()), now).moment >= removed


class Rules:
    """S3's answer about the lifecycle rules of a bucket."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def get_paginator(self, _: str) -> Any:
        return SimpleNamespace(paginate=lambda **_: [{}])

    def get_bucket_lifecycle_configuration(self, **_: Any) -> Any:
        if isinstance(self.answer, str):
            raise ClientError({"Error": {"Code": self.answer}}, "GetBucketLifecycleConfiguration")
        return {"Rules": self.answer}


def rule(**content: Any) -> dict[str, Any]:
    return {"ID": "rule", "Status": "Enabled", **content}


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("NoSuchLifecycleConfiguration", Lifecycle()),
        ("AccessDenied", None),
        ([rule(NoncurrentVersionExpiration={"NoncurrentDays": 9})], Lifecycle(9)),
        (
            [
                rule(NoncurrentVersionExpiration={"NoncurrentDays": 9}),
                rule(
                    NoncurrentVersionExpiration={"NoncurrentDays": 5, "NewerNoncurrentVersions": 2},
                    Filter={"And": {"Prefix": "production/", "Tags": []}},
                ),
            ],
            Lifecycle(5),
        ),
        (
            [
                rule(
                    NoncurrentVersionExpiration={"NoncurrentDays": 1},
                    Filter={"Prefix": "elsewhere/"},
                )
            ],
            Lifecycle(),
        ),
        (
            [rule(NoncurrentVersionExpiration={"NoncurrentDays": 1}) | {"Status": "Disabled"}],
            Lifecycle(),
        ),
        (
            [rule(Prefix="production/orders/e", Expiration={"Days": 3})],
            Lifecycle(None, ("rule",), 3),
        ),
        ([rule(Expiration={"Days": 3}, Filter={"ObjectSizeLessThan": 1})], Lifecycle(None, (), 3)),
        ([rule(Expiration={"ExpiredObjectDeleteMarker": True})], Lifecycle()),
    ],
)
def test_the_rules_that_concern_an_archive(answer: Any, found: Lifecycle | None) -> None:
    """The shortest rule that can touch an object of the archive counts, and a rule that expires
    present rows is told from the one for tombstones."""
    assert lifecycle_of(Rules(answer), "bucket", "production/orders/") == found


def test_a_rewind_deletes_no_row_because_a_version_expired() -> None:
    """Outside coverage, an item without a version that old is left as it is; one whose tombstone is
    that old is deleted."""
    schema = KeySchema((("id", "S"),))
    clock = [NOW]
    archive = Archive(MemoryStore(lambda: clock[0]), "", "orders", schema)

    def write(name: str, at: int, *, removed: bool = False) -> None:
        clock[0] = at
        item = {"id": {"S": name}, "at": {"N": str(at)}}
        stamp = Stamp(at, at, at, "remove" if removed else "modify")
        archive.put(Change({"id": {"S": name}}, stamp, None if removed else encode(item)))

    write("expired", NOW)
    write("removed", NOW - 50, removed=True)
    write("removed", NOW)
    plan = Rewind(archive, NOW - 20, NEVER, NEVER, exact=False)
    steps = {archive.history({"id": {"S": name}}).name: name for name in ("expired", "removed")}
    found = {steps[step.name]: step.action for step in map(plan.step, archive.histories())}
    assert found == {"expired": "unknown", "removed": "delete"}
