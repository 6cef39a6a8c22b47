"""KeepEveryChange=false: of several changes of an item in one second of a batch only the last is
written. No restore and no check of whole seconds notices it."""

import json
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from stream_backup import handler as module
from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.capture.batch import (
    BatchOutcome,
    keeps_every_change,
    make_handler,
    write_batch,
)
from stream_backup.capture.failures import Place, waiting
from stream_backup.capture.redrive import Redrive
from stream_backup.core.chain import Claim, Link, breaks, losses
from stream_backup.core.change import METADATA_LIMIT, Change, metadata_size
from stream_backup.core.item import Item, digest, encode
from stream_backup.core.key import KeySchema
from stream_backup.core.second import distinct, merged
from stream_backup.core.stamp import NOTHING, Stamp
from stream_backup.core.time_rule import NEVER, Lateness
from stream_backup.errors import UsageError
from stream_backup.inspect.history import history
from stream_backup.inspect.placing import Range
from stream_backup.inspect.window import Window
from stream_backup.settings import ARCHIVE, KEEP_EVERY_CHANGE
from tests import laws
from tests.event_source_mapping import discarded
from tests.process import Inline
from tests.profiles import histories
from tests.sam import template
from tests.world import FAILURES, FailuresBucket

NOW = 1_795_231_960
LATER = NOW + 150
"""When everything is written."""

ARN = "arn:aws:dynamodb:eu-central-1:123456789012:table/orders/stream/2026-11-21T03:32:40.266"
SCHEMA = KeySchema((("id", "S"),))
KEY: Item = {"id": {"S": "a"}}


def item(value: str, key: str = "a") -> Item:
    return {"id": {"S": key}, "v": {"S": value}}


class Table:
    """The changes of a table's items as its stream has them, all in one shard."""

    def __init__(self) -> None:
        self.rows: dict[str, Item] = {}
        self.records: list[dict[str, Any]] = []
        self.then: dict[int, dict[str, Item]] = {}

    def write(self, value: str | None, at: int = NOW, key: str = "a", ttl: bool = False) -> None:
        """Writes a value, or removes the item; what changes nothing leaves no record."""
        before = self.rows.get(key)
        after = None if value is None else item(value, key)
        if before == after:
            return
        name = "REMOVE" if after is None else "MODIFY" if before else "INSERT"
        data: dict[str, Any] = {
            "ApproximateCreationDateTime": at,
            "Keys": {"id": {"S": key}},
            "SequenceNumber": str(10**23 + len(self.records)),
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        }
        data |= {"OldImage": before} if before else {}
        data |= {"NewImage": after} if after else {}
        made = {"eventName": name, "eventSourceARN": ARN, "dynamodb": data}
        if ttl:
            made["userIdentity"] = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
        self.records.append(made)
        if after is None:
            del self.rows[key]
        else:
            self.rows[key] = after
        self.then[at] = dict(self.rows)


def table(*values: str | None, at: int = NOW) -> Table:
    made = Table()
    for value in values:
        made.write(value, at)
    return made


class Bucket(MemoryStore):
    """A bucket that refuses payloads that contain a certain word."""

    word: bytes | None = None

    def __init__(self) -> None:
        super().__init__(lambda: LATER)

    def put(self, path: str, payload: bytes, metadata: Any) -> None:
        if self.word and self.word in payload:
            raise OSError("refused")
        super().put(path, payload, metadata)


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


def archive_in(bucket: MemoryStore) -> Archive:
    return Archive(bucket, "", "orders", SCHEMA, clock=lambda: LATER)


def write(
    bucket: MemoryStore, records: Sequence[dict[str, Any]], *, keep: bool = False, seed: int = 0
) -> BatchOutcome:
    archive, pool = archive_in(bucket), Inline(Random(seed))
    return write_batch(records, lambda _: archive, pool, lambda: False, keep_every_change=keep)


def stamps(bucket: MemoryStore, key: str = "a") -> list[Stamp]:
    """The stamps of an item's versions in the order in which they were written."""
    archive = archive_in(bucket)
    path = archive.root + archive.history({"id": {"S": key}}).name
    return [Stamp.of(dict(each.metadata)) for each in bucket.objects.get(path, [])]


def links(archive: Archive) -> list[Link]:
    found = [archive.read(version) for version in archive.history(KEY).versions]
    return [Link(each.stamp, digest(each.body) if each.body else None) for each in found]


# ------------------------------------------------------------
# what an observer of whole seconds sees


@pytest.mark.parametrize(
    ("earlier", "in_one_second", "kind", "before"),
    [
        ((), ("1", "2"), "insert", None),
        ((), ("1", None, "2"), "insert", None),
        ((), ("1", None), "remove", NOTHING),
        (("0",), ("1", "2"), "modify", "0"),
        (("0",), ("1", None), "remove", "0"),
        (("0",), (None, "1"), "modify", "0"),
        (("0",), (None, "1", None), "remove", "0"),
        (("0",), ("1", "0"), "modify", "0"),
    ],
)
def test_one_version_says_what_whole_seconds_show(
    bucket: Bucket,
    earlier: tuple[str],
    in_one_second: tuple[str | None, ...],
    kind: str,
    before: str | None,
) -> None:
    """The one version has the rank and the content of the last change, and says what the item was
    before the first; its stamp can be read back. `check --deep` finds nothing wrong."""
    made = table(*earlier, at=NOW - 1)
    for value in in_one_second:
        made.write(value)
    outcome = write(bucket, made.records)
    assert (outcome.changes, outcome.versions) == (len(made.records), len(earlier) + 1)
    stamp = stamps(bucket)[-1]
    last = Change.streamed(made.records[-1])
    assert stamp.rank == last.stamp.rank
    assert (stamp.kind, stamp.merged) == (kind, len(in_one_second))
    assert stamp.begins == int(made.records[len(earlier)]["dynamodb"]["SequenceNumber"])
    known = None if before is None else digest(encode(item(before)))
    assert stamp.before == (before if before == NOTHING else known)
    newest = archive_in(bucket).history(KEY).versions[0]
    assert archive_in(bucket).read(newest).body == last.body
    claim = Claim(0, NOW - 2, NOW + 9)
    assert not [*losses(links(archive_in(bucket)), claim), *breaks(links(archive_in(bucket)))]


def test_every_change_is_kept_by_default(bucket: Bucket) -> None:
    """By default, a stamp says nothing of merged changes, and each change is a version."""
    outcome = write(bucket, table("1", "2", None).records, keep=True)
    assert (outcome.changes, outcome.versions) == (3, 3)
    assert not any("first" in each.metadata() for each in stamps(bucket))
    assert [each.merged for each in stamps(bucket)] == [1, 1, 1]


def test_who_removed_an_item_is_kept(bucket: Bucket) -> None:
    """`by` is that of the last change: of an item that expired in the second in which it was
    modified, and not of one that was written again after it expired."""
    made = table("0", at=NOW - 1)
    made.write("1")
    made.write(None, ttl=True)
    made.write("2", NOW + 1)
    made.write(None, NOW + 1, ttl=True)
    made.write("3", NOW + 1)
    write(bucket, made.records)
    assert [each.by for each in stamps(bucket)] == [None, "ttl", None]


def test_only_consecutive_changes_of_one_second_are_merged(bucket: Bucket) -> None:
    """Changes of other items, of other seconds, and of a second to which the stream's clock
    returned, are versions of their own; so is a record that is repeated."""
    made = table("1", "2")
    made.write("3", NOW + 1)
    made.write("4", NOW)
    made.write("x", NOW, key="b")
    repeated = [*made.records, made.records[3]]
    write(bucket, repeated)
    assert [(each.at, each.merged) for each in stamps(bucket)] == [
        (NOW, 2),
        (NOW + 1, 1),
        (NOW, 1),
        (NOW, 1),
    ]
    assert [each.merged for each in stamps(bucket, "b")] == [1]


def test_a_tombstone_still_has_its_key_or_holds_it(bucket: Bucket) -> None:
    """The longer stamp of merged changes leaves less room for the key of a tombstone; together they
    never exceed what S3 allows."""
    for length in range(1600, 1800):
        made = Table()
        key = "k" * length
        made.write("1", key=key)
        made.write(None, key=key)
        change = merged([Change.streamed(each) for each in made.records])
        stored = archive_in(bucket).object_of(change)
        assert metadata_size(stored.metadata) <= METADATA_LIMIT
        assert Change.stored(stored.payload, stored.metadata).key == {"id": {"S": key}}


# ------------------------------------------------------------
# what failed, and what comes again


def test_a_merged_change_that_failed_counts_from_the_first(bucket: Bucket) -> None:
    """The answer names the first of the changes that were merged, so that they are merged again
    with all of them."""
    made = table("1", "2", at=NOW - 1)
    made.write("3")
    made.write("bad")
    bucket.word = b"bad"
    assert write(bucket, made.records).first_failed == 2
    assert [each.merged for each in stamps(bucket)] == [2]
    bucket.word = None
    assert write(bucket, made.records[2:]).first_failed is None
    assert [each.merged for each in stamps(bucket)] == [2, 2]
    assert not [*breaks(links(archive_in(bucket)))]


def test_a_record_that_cannot_be_parsed_ends_a_second(bucket: Bucket) -> None:
    """What is before the record is written and merged, nothing after it is, and the answer names
    the record."""
    made = table("1", "2", "3", "4")
    broken = [*made.records]
    broken[2] = broken[2] | {"eventName": "UNKNOWN"}
    assert write(bucket, broken).first_failed == 2
    assert [(each.merged, each.kind) for each in stamps(bucket)] == [(2, "insert")]
    write(bucket, made.records[2:])  # a later release can parse it
    assert not [*breaks(links(archive_in(bucket)))]


def test_a_second_that_is_delivered_again_from_its_middle(bucket: Bucket) -> None:
    """A batch that failed between two changes that were merged is delivered again from there. The
    shorter version says something else of the same change; it is not taken for a lost change."""
    made = table("1", "2")
    made.write("bad", key="b")
    made.write("3")
    bucket.word = b"bad"
    assert write(bucket, made.records).first_failed == 2
    bucket.word = None
    write(bucket, made.records[2:])
    assert [(each.merged, each.kind) for each in stamps(bucket)] == [(3, "insert"), (1, "modify")]
    archive = archive_in(bucket)
    assert not [*losses(links(archive), Claim(0, NOW - 9, NOW + 9)), *breaks(links(archive))]
    (found,) = history(archive, KEY)
    assert (found.gap, found.stamp.merged, found.stamp.kind) == (False, 3, "insert")
    assert found.record()["merged"] == 3


def test_batches_that_overlap_within_a_second(bucket: Bucket) -> None:
    """A version that began within another one found a content that no version has. It is not taken
    for a lost change, and `history` shows no gap."""
    made = table("1", "2", "3", "4")
    write(bucket, made.records[:3])
    write(bucket, made.records[1:])
    assert [each.merged for each in stamps(bucket)] == [3, 3]
    archive = archive_in(bucket)
    assert not [*losses(links(archive), Claim(0, NOW - 9, NOW + 9)), *breaks(links(archive))]
    assert [each.gap for each in history(archive, KEY)] == [False, False]


def test_a_redrive_keeps_every_change(bucket: Bucket) -> None:
    """The records of a failed batch are written one by one: some may be in the archive, and some
    may not be written."""
    made = table("1", "2", "3")
    s3 = FailuresBucket()
    failed = discarded(made.records, "shard-1", "RetryAttemptsExhausted", 3, LATER)
    s3.objects["aws/lambda/uuid/shard-1/0"] = failed
    (batch,) = waiting(s3, [Place(FAILURES)])
    redrive = Redrive(s3, archive_in(bucket), Inline(Random(1)), lambda: LATER)
    assert redrive.redrive(batch)
    assert [each.merged for each in stamps(bucket)] == [1, 1, 1]


# ------------------------------------------------------------
# the laws

Drawn = list[tuple[int, str | None, int]]

SECONDS = st.sampled_from([0, 0, 0, 0, 1, 1, 2, 7])
WRITES = st.lists(
    st.tuples(SECONDS, st.sampled_from(["1", "2", "3", None]), st.sampled_from(["a", "a", "b"])),
    min_size=1,
    max_size=14,
)
RUNS = st.lists(
    st.tuples(st.integers(0, 13), st.integers(1, 6), st.booleans()), min_size=1, max_size=12
)


def made_of(writes: list[tuple[int, str | None, str]]) -> Table:
    made, at = Table(), NOW
    for gap, value, key in writes:
        at += gap
        made.write(value, at, key)
    return made


def delivered(bucket: Bucket, records: list[dict[str, Any]], runs: Any, random: Random) -> None:
    """Delivers all records as a stream does: from where the reader certainly was, or from anywhere
    before that, in batches cut anywhere, by functions that merge or not, of which some fail."""
    reached = 0
    for back, size, keep in [*runs, *((0, len(records), False) for _ in range(9))]:
        start = max(0, reached - back)
        batch = records[start : start + size]
        bucket.word = random.choice([None, None, b'"1"', b'"b"'])
        if len(records) <= size:
            bucket.word = None
        failed = write(bucket, batch, keep=keep, seed=random.randrange(99)).first_failed
        reached = max(reached, start + (len(batch) if failed is None else failed))
    assert reached == len(records)


@histories(200)
@given(writes=WRITES, runs=RUNS, seed=st.integers(0, 10**6))
def test_no_whole_second_notices_what_was_merged(writes: Any, runs: Any, seed: int) -> None:
    """However batches are cut, repeated, and fail, every restore of every second is the table then,
    by the window of a diff too, and the deep check reports no lost change. `history` reports no
    gap, and a timeline counts at most what happened."""
    made, bucket, random = made_of(writes), Bucket(), Random(seed)
    delivered(bucket, made.records, runs, random)
    archive, truth = archive_in(bucket), dict[str, Item]()
    bounds = sorted({NOW - 1, *made.then, *(at + 1 for at in made.then)})
    for moment in bounds:
        truth = made.then.get(moment, truth)
        rows = {archive.history({"id": {"S": key}}).name: encode(truth[key]) for key in truth}
        assert laws.rebuilt(archive, moment, NEVER) == rows
        for listed in archive.histories():
            changed = Window(archive, NOW - 1, moment, NEVER, NEVER).changed(listed)
            assert (changed.after if changed else None) == rows.get(listed.name)
            if changed:
                assert changed.stamps[0].kind in ("insert", "remove")
    found = links(archive)
    event(f"merged {any(each.stamp.merged > 1 for each in found)}")
    assert not list(losses(found, Claim(NEVER, NOW - 1, bounds[-1])))
    assert not list(breaks(found))
    assert not any(each.gap for each in history(archive, KEY))
    mine = [each for each in made.records if each["dynamodb"]["Keys"] == KEY]
    span = Range(archive, NOW, bounds[-1], 1, NEVER, (), Lateness())
    placed = span.placed(archive.history(KEY))
    seconds = {each["dynamodb"]["ApproximateCreationDateTime"] for each in mine}
    assert len(seconds) <= len(placed) <= len(mine)
    assert {each.interval for each in placed} == seconds


@histories(150)
@given(writes=WRITES, runs=RUNS, drop=st.integers(0, 13), seed=st.integers(0, 10**6))
def test_a_change_lost_before_the_merge_is_still_found(
    writes: Any, runs: Any, drop: int, seed: int
) -> None:
    """If a record never arrives, and the item is another for that at the end of some second, the
    deep check reports it as soon as a later change arrives."""
    made, bucket = made_of([(gap, value, "a") for gap, value, _ in writes]), Bucket()
    lost = drop % len(made.records) if made.records else 0
    arriving = [*made.records[:lost], *made.records[lost + 1 :]]
    if not arriving or lost == len(made.records) - 1:
        return
    delivered(bucket, arriving, runs, Random(seed))
    archive, wrong, truth = archive_in(bucket), False, dict[str, Item]()
    for moment in sorted({*made.then}):
        truth = made.then[moment]
        rows = {archive.history(KEY).name: encode(row) for row in truth.values()}
        wrong |= laws.rebuilt(archive, moment, NEVER) != rows
    if wrong:
        event("wrong")
        assert list(losses(links(archive), Claim(NEVER, NOW - 1, max(made.then))))


def test_a_scan_of_a_merged_second_may_have_seen_anything(bucket: Bucket) -> None:
    """A scan that saw an item between two changes of one second proves no lost change where these
    were merged."""
    made = table("0", at=NOW - 60)
    for value in ("1", "2"):
        made.write(value)
    for keep, lost in ((False, 0), (True, 0)):
        bucket = Bucket()
        write(bucket, made.records, keep=keep)
        archive = archive_in(bucket)
        for seen, more in (("1", 0), ("9", 0 if not keep else 1)):
            scan = Change.scanned(item(seen), SCHEMA, NOW, NOW, NOW - 99)
            found = [*links(archive), Link(scan.stamp, digest(encode(item(seen))))]
            assert len(list(losses(found, Claim(0, NOW - 99, NOW + 99)))) == lost + more


def test_what_stands_for_another() -> None:
    """Of versions of the same changes the widest stays, and one that began within another."""

    def of(first: int, last: int, at: int = NOW) -> Stamp:
        if first == last:
            return Stamp(at, last, at, "modify", before="x")
        merged = last - first + 1
        return Stamp(at, last, at, "modify", before="x", first=first, merged=merged)

    scan = Stamp(NOW, 0, NOW + 9, "scan")
    other = of(2, 2, NOW + 1)
    given_ = [of(2, 2), of(1, 3), of(3, 3), of(2, 3), of(3, 5), of(5, 5), other, scan, of(1, 3)]
    assert distinct(given_) == [of(1, 3), of(3, 5), other]


# ------------------------------------------------------------
# the setting


def test_the_function_reads_the_setting(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `false` the function merges, and its metrics count the changes and those of them that
    were merged into a later one; without it there is no such metric. A value that is neither `true`
    nor `false` is refused before anything is written."""
    monkeypatch.setenv(ARCHIVE, "s3://archive-of-merged")
    monkeypatch.setattr(module, "S3Store", lambda *_: bucket)
    monkeypatch.setattr(module, "open_objects", lambda *_, **__: None)
    monkeypatch.setattr(module, "Archive", lambda *_: archive_in(bucket))
    for value, versions in (("true", 3), ("false", 1), (None, 3)):
        if value is None:
            monkeypatch.delenv(KEEP_EVERY_CHANGE)
        else:
            monkeypatch.setenv(KEEP_EVERY_CHANGE, value)
        bucket.objects.clear()
        capsys.readouterr()
        answer = module.handler({"Records": table("1", "2", "3").records}, None)
        assert answer == {"batchItemFailures": []}
        said = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert said["changes"] == [3.0]
        assert said.get("merged") == ([2.0] if versions == 1 else None)
        assert len(stamps(bucket)) == versions
    monkeypatch.setenv(KEEP_EVERY_CHANGE, "no")
    with pytest.raises(UsageError, match="neither true nor false"):
        module.handler({"Records": table("1").records}, None)


def test_the_parameter_reaches_the_function() -> None:
    """The template passes `KeepEveryChange` to the function, `true` by default, and allows nothing
    that `keeps_every_change` refuses."""
    made = template()
    environment = made["Resources"]["Function"]["Properties"]["Environment"]["Variables"]
    assert environment[KEEP_EVERY_CHANGE] == {"Ref": "KeepEveryChange"}
    parameter = made["Parameters"]["KeepEveryChange"]
    assert (parameter["Default"], parameter["AllowedValues"]) == ("true", ["true", "false"])
    assert [keeps_every_change({KEEP_EVERY_CHANGE: each}) for each in ("true", "false")] == [
        True,
        False,
    ]
    assert keeps_every_change({})


def test_a_handler_that_is_made_keeps_every_change(bucket: Bucket) -> None:
    """Without being told otherwise, a handler keeps every change."""
    make_handler(lambda _: archive_in(bucket))({"Records": table("1", "2").records}, None)
    assert len(stamps(bucket)) == 2
