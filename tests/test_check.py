"""`check` finds each way in which an archive can break its own rules, repairs what can be repaired,
and reports nothing about an honest archive."""

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

import stream_backup.cli.check
import stream_backup.verify.check
from stream_backup.archive.audit import KINDS
from stream_backup.archive.layout import Stat
from stream_backup.archive.status import last_moment
from stream_backup.aws.lifecycle import Lifecycle
from stream_backup.core.as_of import item_at
from stream_backup.core.chain import Claim, Link, Loss, breaks, losses
from stream_backup.core.change import Change
from stream_backup.core.item import encode
from stream_backup.core.key import key_hash
from stream_backup.core.moment import from_iso, iso
from stream_backup.core.records import Outage
from stream_backup.core.stamp import MARK, Kind, Stamp
from stream_backup.core.version import Version
from stream_backup.errors import ArchiveError, StampError
from stream_backup.progress import Silent
from stream_backup.verify.check import Check, CheckPart, CheckResult
from stream_backup.verify.claims import Claims
from stream_backup.verify.faults import Faults
from stream_backup.verify.items import ItemCheck
from tests.cli import Said
from tests.damage import CAUSE, LABEL, NOW, START, Night, incident, order
from tests.damage import SCHEMA as SCHEMA_OF_NIGHT
from tests.model import DAY, KEYS, SCHEMA, VALUES
from tests.process import Inline
from tests.profiles import histories
from tests.test_order import act, changes, life, settle
from tests.world import World, patched

running: list[World] = []


@pytest.fixture
def timeless() -> Iterator[None]:
    with patched(lambda: running[-1]), pytest.MonkeyPatch.context() as patch:
        threads = lambda *_, **__: Inline(running[-1].random)  # noqa: E731
        patch.setattr(stream_backup.verify.check, "RequestPool", threads)
        yield


def checked(world: World, part: CheckPart | None = None, **how: bool) -> CheckResult:
    """A check of the world's archive now."""
    clock = lambda: world.model.now  # noqa: E731
    items = ItemCheck(world.archive, Claims(world.status_of(), clock), (SCHEMA,), Faults(), **how)
    return Check(items, None, clock, Silent(), part or CheckPart()).run()


def found(result: CheckResult) -> list[Any]:
    return [(each.kind, each.name, each.known, each.repaired) for each in result.faults.examples]


# ------------------------------------------------------------
# any honest history


def really_lost(world: World, name: str, since: int, until: int) -> bool:
    """Whether a stream had a record of this item in these seconds for which no version of the
    archive stands."""
    versions = world.archive.history(next(key for key in KEYS if key_hash(key) == name)).versions
    stamps = [world.archive.read(version).stamp for version in versions]

    def is_there(at: int, sequence: int) -> bool:
        return any(each.at == at and each.begins <= sequence <= each.sequence for each in stamps)

    return any(
        key_hash(record.event["dynamodb"]["Keys"]) == name
        and not is_there(int(record.at), int(record.event["dynamodb"]["SequenceNumber"]))
        for stream in world.model.streams
        for shard in stream.shards
        for record in shard
        if since <= int(record.at) <= until
    )


def honest(world: World) -> None:
    """Nothing that a check reports about an honest archive is wrong, except for versions whose
    writer was killed, and what a watcher that is off leaves as it is. A change that it reports as
    lost for a known reason was lost."""
    result = checked(world, deep=True)
    disorders = world.status_of().coverage.disorders
    overdue = any(each.is_due(int(world.model.now) - DAY) for each in disorders)
    expected = {"late", "retention", "order"} if overdue else {"late"}
    for each in result.faults.examples:
        assert each.known or each.kind in expected, each
        if each.kind == "order":
            stored = world.store.objects[world.archive.root + each.name]
            ranks = [Stamp.of(dict(one.metadata)).rank for one in stored if not one.deleted]
            assert ranks[-1] < max(ranks)
            event("an older version on top")
        if each.kind == "lost":
            assert each.since is not None
            assert each.at is not None
            assert really_lost(world, each.name, each.since, each.at)
            event("a loss that is known")


@pytest.mark.usefixtures("timeless")
@histories(12)
@given(
    seed=st.integers(0, 10**9),
    skew=st.sampled_from([(0, 0), (0, 0), (2, -2), (-2, 2), (0, 2)]),
    retention=st.sampled_from([None, None, 3, 4]),
    tombstones=st.sampled_from([None, 1]),
    lives=st.integers(1, 4),
    merging=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_an_honest_archive_has_no_fault(
    seed: int,
    skew: tuple[int, int],
    retention: int | None,
    tombstones: int | None,
    lives: int,
    merging: float,
) -> None:
    """Whatever happens to honest writers, a deep check reports nothing: races, retries, killed
    backfills, redrives, new streams and tables, outages, expired versions, changes that were
    merged. What it calls lost for a known reason was lost."""
    world = World(seed, *skew, retention=retention, tombstones=tombstones)
    running[:] = [world]
    world.walking, world.merging = True, merging
    random = Random(seed)
    for each in changes(random, 6):
        act(world, *each)
    world.enable("function").finish()
    world.backfill(1).finish()
    world.model.tick(8)
    for _ in range(lives):
        for each in life(random):
            act(world, *each)
            if each[0] == "look":
                honest(world)
    honest(world)
    settle(world)
    honest(world)


# ------------------------------------------------------------
# the chain of one item

FLOOR = 100
CLAIM = Claim(FLOOR, 200, 900)


def link(kind: Kind, at: int, content: str | None, before: str | None = None, **more: int) -> Link:
    """A version: `more` has the `sequence` of a change, or the second until which a scan was
    `seen`."""
    sequence = 0 if kind == "scan" else more.get("sequence", at)
    return Link(Stamp(at, sequence, more.get("seen", at), kind, before=before), content)


INSERT = link("insert", 300, "a")
MODIFY = link("modify", 400, "b", "a")
REMOVE = link("remove", 500, None, "b")
SCAN = link("scan", 120, "a", seen=150)


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ([INSERT, MODIFY, REMOVE], []),
        ([REMOVE, INSERT, MODIFY, INSERT, MODIFY], []),  # shuffled, and written twice
        ([INSERT, REMOVE], [Loss(300, 500)]),
        ([MODIFY, REMOVE], [Loss(200, 400)]),  # the archive claims that the item did not exist
        ([INSERT, link("insert", 400, "b")], [Loss(300, 400)]),
        ([INSERT, MODIFY, REMOVE, link("modify", 600, "c", "b")], [Loss(500, 600)]),
        ([INSERT, MODIFY, REMOVE, link("remove", 600, None)], [Loss(500, 600)]),
        ([INSERT, link("modify", 400, "b")], []),  # a stream without old images
        ([INSERT, link("modify", 300, "c", "b", sequence=302)], [Loss(300, 300)]),
        ([INSERT, link("modify", 300, "c", "a", sequence=302)], []),
        # a scan counts where it ended before the change
        ([SCAN, MODIFY], []),
        ([SCAN, link("modify", 400, "c", "b")], [Loss(120, 400)]),
        ([SCAN, INSERT], [Loss(120, 300)]),
        ([link("scan", 390, "z", seen=410), INSERT, MODIFY], [Loss(300, 410)]),
        ([link("scan", 390, "a", seen=410), INSERT, MODIFY], []),
        ([link("scan", 390, "b", seen=410), INSERT, MODIFY], []),
        ([link("scan", 350, "z", seen=360), INSERT, MODIFY], [Loss(300, 360), Loss(350, 400)]),
        ([link("scan", 350, "z", seen=360)], [Loss(200, 360)]),
        ([link("scan", 299, "z", seen=300), INSERT], [Loss(200, 300)]),
        ([link("scan", 299, "a", seen=300), INSERT], []),
        # what is not claimed proves nothing
        ([link("modify", 200, "b", "a")], []),
        ([link("modify", 201, "b", "a")], [Loss(200, 201)]),
        ([link("modify", 900, "b", "a")], [Loss(200, 900)]),
        ([link("modify", 901, "b", "a")], []),
        ([link("scan", 200, "z", seen=300)], []),
        ([link("scan", 899, "z", seen=901)], []),
        ([link("insert", 99, "a"), link("insert", 300, "b")], []),  # of an earlier life
        ([link("insert", 100, "a"), link("insert", 300, "b")], [Loss(100, 300)]),
    ],
)
def test_what_proves_a_lost_change(links: list[Link], expected: list[Loss]) -> None:
    """A change was lost where an exact moment contradicts what the next change or scan found, and
    nowhere else."""
    assert sorted(losses(links, CLAIM)) == expected
    assert sorted(losses(reversed(links), CLAIM)) == expected


@st.composite
def lives_of_an_item(draw: st.DrawFn) -> tuple[list[Link], list[Link]]:
    """Draws the streamed changes of an item in order, from before the first exact moment on, and
    scans of it that each saw what it was at some instant of their interval."""
    at, content = 150, None
    changes_made: list[Link] = []
    for sequence in range(draw(st.integers(2, 8))):
        at += draw(st.sampled_from([0, 1, 2, 40, 90]))
        values = [None, "a", "b", "c"]
        values.remove(content)
        after = draw(st.sampled_from(values))
        kind: Kind = "insert" if content is None else "modify" if after else "remove"
        changes_made.append(link(kind, at, after, content, sequence=sequence))
        content = after
    scans = []
    for _ in range(draw(st.integers(0, 3))):
        asked = draw(st.sampled_from([each.stamp.at for each in changes_made])) + draw(
            st.integers(-20, 20)
        )
        width = draw(st.sampled_from([11, 12, 60]))
        instant = asked + draw(st.integers(0, width))
        happened = [each for each in changes_made if each.stamp.at <= instant]
        before = [each for each in happened if each.stamp.at < instant]
        seen = draw(st.sampled_from([happened, before]))  # some changes of that second came later
        if seen and seen[-1].content:
            scans.append(link("scan", asked, seen[-1].content, seen=asked + width))
    return changes_made, scans


@given(life=lives_of_an_item(), drop=st.integers(0, 6), copies=st.randoms(use_true_random=False))
def test_a_dropped_change_is_found_and_no_other(
    life: tuple[list[Link], list[Link]], drop: int, copies: Random
) -> None:
    """Of an honest item, whose scans raced its changes and whose versions were written repeatedly
    in any order, nothing is lost. If any one change but the last is dropped, it is found, within
    the two seconds that are named."""
    made, scans = life
    claim = Claim(100, 120, 2000)  # before any scan began: what it found may be as old as that
    every = [*made, *scans, *copies.sample(made, len(made) // 2)]
    copies.shuffle(every)
    assert list(losses(every, claim)) == []
    index = drop % (len(made) - 1)
    lost = made[index]
    found = list(losses([each for each in every if each != lost], claim))
    assert found
    at = lost.stamp.at
    assert any(loss.after <= at <= loss.until for loss in found)


def test_a_break_that_proves_nothing() -> None:
    """A change that does not fit the version before it is found without a claim; one without a
    version before it is not, nor is a scan."""
    assert list(breaks([INSERT, REMOVE])) == [Loss(300, 500)]
    assert list(breaks([SCAN, REMOVE])) == [Loss(120, 500)]
    assert list(breaks([INSERT, MODIFY, REMOVE])) == []
    assert list(breaks([REMOVE])) == []
    assert list(breaks([INSERT, link("scan", 350, "z", seen=360)])) == []


# ------------------------------------------------------------
# each way to break an archive, as the command finds it


@pytest.fixture
def night(capsys: pytest.CaptureFixture[str]) -> Night:
    made = incident(capsys, orders=12)
    made.now = NOW - 1000
    return made


def path_of(number: int) -> str:
    return f"orders/{key_hash(order(number, None))}"


def stored(night: Night, number: int) -> Any:
    return night.store.objects[path_of(number)]


def faults(said: Said, kind: str) -> list[Any]:
    return [each for each in said.json["findings"] if each["kind"] == kind]


def alone(night: Night, kind: str, *words: str) -> Any:
    """Checks that a check finds one fault, of this kind, and returns it."""
    said = night.run("check", "orders", *words, "--json")
    assert said.code == 5, said
    assert said.json["found"] == {kind: 1}, said.out
    (fault,) = faults(said, kind)
    return fault


def test_an_archive_in_order(night: Night) -> None:
    """Nothing is found, in any way of checking."""
    for words in ([], ["--deep"], ["--repair"], ["--deep", "--repair"]):
        said = night.done("check", "orders", *words, "--json")
        assert said.json["found"] == said.json["known"] == said.json["repaired"] == {}
        assert said.json["covered"] == 1.0
        assert said.json["items"] == 26
    text = night.done("check", "orders", "--deep").err
    assert "orders: 0 found." in text
    assert "Lost changes were searched for from 2026-11-20T00:10:00Z to" in text


def test_a_check_writes_nothing_without_being_asked(night: Night) -> None:
    """A check of everything writes no object."""
    before = night.store.requests["put"]
    night.done("check", "orders", "--deep")
    assert night.store.requests["put"] == before


def test_the_listing_answers_most(night: Night) -> None:
    """A thousand items, each of one version or of versions written days apart, take the LISTs of
    the slices, four for other objects, and no more than 32 reads of each slice."""
    for number in range(5000, 6000):
        night.write(CAUSE - 3 * DAY, order(number, "new"))
    said = night.done("check", "orders", "--json")
    assert said.json["requests"]["list"] <= 16 + 4 + 3
    assert said.json["requests"]["head"] <= 26
    assert said.json["requests"]["get"] <= 16 * 32 + 4


def test_a_dropped_change(night: Night) -> None:
    """A change that is missing is named with its item and the two seconds between which it was
    lost; the hint puts it on record, and then it is known."""
    versions = stored(night, 0)
    lost = versions.pop(1)
    at = [int(each.metadata["at"]) for each in versions]
    night.done("check", "orders")
    fault = alone(night, "lost", "--deep")
    assert fault["key"] == {"id": {"S": "order-0"}}
    assert (from_iso(fault["since"]), from_iso(fault["at"])) == (at[0], at[1])
    assert at[0] <= int(lost.metadata["at"]) <= at[1]
    said = night.run("check", "orders", "--deep", "--repair")
    assert said.code == 5
    since, until = iso(at[0] - 1), iso(at[1])
    assert f"outage orders --since {since} --until {until}" in said.err
    wrong_ones = (START, at[1] - 1, at[1])
    assert all(night.state().status.coverage.epoch_at(each) for each in wrong_ones)
    night.meta.write_outage(Outage(LABEL, at[0] - 1, at[1], "a change was lost"))
    assert not any(night.state().status.coverage.epoch_at(each) for each in wrong_ones)
    known = night.done("check", "orders", "--deep", "--json").json
    assert (known["found"], known["known"]) == ({}, {"lost": 1})
    assert "is on record: a change was lost." in known["findings"][0]["text"]


def test_an_older_version_on_top(night: Night) -> None:
    """It is found without reading everything, repaired by writing the newest version again, and
    then in order. A repair removes nothing."""
    old = stored(night, 0)[0]
    night.now = NOW - 2000
    night.store.put(path_of(0), old.payload, {**old.metadata, **MARK})
    night.meta.announce(night.now // 3600 * 3600, 131072)
    before = list(stored(night, 0))
    fault = alone(night, "order")
    assert fault["key"] == {"id": {"S": "order-0"}}
    assert "check orders --repair" in night.run("check", "orders").err
    night.now = NOW - 1000
    said = night.done("check", "orders", "--repair", "--json")
    assert said.json["repaired"] == {"order": 1}
    assert stored(night, 0)[:-1] == before
    assert stored(night, 0)[-1].payload == before[-2].payload
    count = night.store.requests["put"]
    assert night.done("check", "orders", "--repair", "--json").json["repaired"] == {}
    assert night.store.requests["put"] == count
    night.done("check", "orders")


def test_an_older_version_that_was_just_written(night: Night) -> None:
    """A writer that repeats its changes may be about to write the newer one again."""
    old = stored(night, 0)[0]
    night.now = NOW - 60
    night.meta.announce(night.now // 3600 * 3600, 131072)
    night.store.put(path_of(0), old.payload, {**old.metadata, **MARK})
    assert night.done("check", "orders", "--json").json["known"] == {"order": 1}


def test_a_stray_delete_marker(night: Night) -> None:
    """A marker on a row is found and repaired; one on a removal is left alone, since a lifecycle
    rule may have put it there."""
    night.store.delete(path_of(1))
    night.store.delete(path_of(1008))
    fault = alone(night, "hidden")
    assert fault["key"] == {"id": {"S": "order-1"}}
    said = night.done("check", "orders", "--repair", "--json")
    assert said.json["repaired"] == {"hidden": 1}
    assert not stored(night, 1)[-1].deleted
    assert stored(night, 1008)[-1].deleted
    assert night.done("check", "orders", "--repair", "--json").json["repaired"] == {}


def test_a_record_under_a_delete_marker(night: Night) -> None:
    """A record that somebody deleted is still read, and a repair writes it again."""
    night.store.delete("orders/meta/runs/r.json")
    assert alone(night, "hidden")["name"] == "meta/runs/r"
    assert night.done("check", "orders", "--repair", "--json").json["repaired"] == {"hidden": 1}
    assert night.done("check", "orders", "--json").json["findings"] == []


STRANGERS = [
    "orders/0/readme.txt",
    "orders/00000000000000000000000000000000.bak",
    "orders/A0000000000000000000000000000000",
    "orders/.hidden",
    "orders/9:x",
    "orders/:x",
    "orders/f~x",
    "orders/g",
    "orders/meta",
    "orders/meta.json",
    "orders/meta/notes.txt",
    "orders/meta/unknown/x.json",
    "orders/metadata",
    "orders/zzz",
    "orders/ÿ",
]


def test_foreign_objects(night: Night) -> None:
    """Every object that is neither an item nor a record is found, wherever its name sorts, and
    left; one that somebody deleted is not."""
    for name in STRANGERS:
        night.store.put(name, b"hello", {})
    night.store.put("orders/gone", b"hello", {})
    night.store.delete("orders/gone")
    for words in ([], ["--repair"]):
        said = night.run("check", "orders", *words, "--json")
        assert said.code == 5
        assert sorted(f"orders/{each['name']}" for each in faults(said, "foreign")) == sorted(
            name.removesuffix(".json") if "/meta/" in name else name for name in STRANGERS
        )
        assert said.json["found"] == {"foreign": len(STRANGERS)}
    assert all(len(night.store.objects[name]) == 1 for name in STRANGERS)


def test_an_object_uploaded_in_parts(night: Night) -> None:
    """An ETag with a dash is that of an upload in parts, which no writer of this project makes."""
    (only,) = stored(night, 1000)[:1]
    part = only._replace(version=only.version._replace(etag=f"{only.version.etag}-2"))
    stored(night, 1000)[0] = part
    assert "uploaded in parts" in alone(night, "foreign")["text"]


def forge(night: Night, number: int, at: int, **changed: str) -> None:
    """Writes a version of an order, stamped `at`, with changed metadata."""
    row = order(number, "forged")
    change = Change(SCHEMA_OF_NIGHT.key_of(row), Stamp(at, 10**30, at, "modify"), encode(row))
    made = night.archive().object_of(change)
    night.store.put(made.path, made.payload, {**made.metadata, **changed})


def test_a_forged_stamp(night: Night) -> None:
    """A version stamped later than S3 wrote it is found and left. A moment at which it would count
    is refused."""
    night.now = NOW - 1000
    forge(night, 1, NOW - 100)
    before = {path: len(each) for path, each in night.store.objects.items()}
    for words in ([], ["--repair"], ["--deep"]):
        said = night.run("check", "orders", *words, "--json")
        assert said.code == 5, said
        (fault,) = faults(said, "future")
        assert fault["key"] == {"id": {"S": "order-1"}}
        assert "900 seconds after S3 wrote it" in fault["text"]
    assert {path: len(each) for path, each in night.store.objects.items()} == before
    versions = night.archive().history(order(1, None)).versions
    archive, floor = night.archive(schema=SCHEMA_OF_NIGHT), START - 60
    with pytest.raises(StampError, match="is stamped 900 seconds after S3 wrote it"):
        item_at(versions, NOW - 100, floor, archive.read)
    early = item_at(versions, NOW - 101, floor, archive.read)
    assert early
    assert early.stamp.kind == "modify"
    asked = ("diff", "orders", "--from", iso(NOW - 1100), "--json")
    said = night.run(*asked)
    assert said.code == 5
    assert "stamped 900 seconds after S3 wrote it" in said.err
    night.done(*asked, "--to", iso(NOW - 101))


def test_a_stamp_that_cannot_be_read(night: Night) -> None:
    """A version without a valid stamp is found by a deep check, and by any check that has to read
    it."""
    night.now = CAUSE - 600
    forge(night, 1, CAUSE - 601, kind="truncate")
    assert "'truncate' is unknown" in alone(night, "stamp", "--deep")["text"]
    forge(night, 2000, 2**70)
    said = night.run("check", "orders", "--deep")
    assert said.code == 5
    assert "Unexpected" not in said.err


@pytest.mark.parametrize("words", [[], ["--deep"]])
def test_a_removal_without_a_key(night: Night, words: list[str]) -> None:
    """A removal must hold the key of its item, or it says nothing to a restore."""
    night.now = START - 10
    at = str(START - 11)
    stamp = {"format": "1", "kind": "remove", "at": at, "seen": at, "sequence": "9" * 25} | MARK
    night.store.put("orders/" + "0" * 32, b"", stamp)
    assert alone(night, "tombstone", *words)["name"] == "0" * 32


@pytest.mark.parametrize("words", [[], ["--deep"]])
def test_a_name_that_is_not_the_hash_of_its_key(night: Night, words: list[str]) -> None:
    """An object under the name of another key is found."""
    night.now = NOW - 600
    at = str(NOW - 601)
    stamp = {"format": "1", "kind": "insert", "at": at, "seen": at, "sequence": "9" * 25} | MARK
    night.store.put("orders/" + "0" * 32, encode(order(1, "copied")), stamp)
    assert "order-1" in alone(night, "name", *words)["text"]


def test_a_late_version_is_announced(night: Night) -> None:
    """A version that was written later than announced is found, and a repair announces it, so that
    readers do not pass it over."""
    newest = stored(night, 11)[-1]
    night.now = NOW - 2000
    night.store.put(path_of(11), newest.payload, newest.metadata)
    assert alone(night, "late")["key"] == {"id": {"S": "order-11"}}
    assert night.done("check", "orders", "--repair", "--json").json["repaired"] == {"late": 1}
    assert night.done("check", "orders", "--json").json["findings"] == []


def test_a_version_without_the_mark(night: Night) -> None:
    """A version by a release that does not announce is found."""
    night.now = NOW - 600
    forge(night, 1, NOW - 600, announced="0")
    assert "does not announce late changes" in alone(night, "unannounced")["text"]


def test_a_record_that_cannot_be_read(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that is not in format 1 is named, and the items are checked all the same."""
    night.archive().meta.write("runs/r", {"name": "r"})
    night.store.put("orders/strange", b"", {})

    def state() -> Any:
        raise ArchiveError("orders/meta/runs/r.json in the archive is not in format 1.")

    monkeypatch.setattr(night, "state", state)
    said = night.run("check", "orders", "--deep", "--json")
    assert said.json["found"] == {"record": 1, "foreign": 1}
    assert said.json["items"] == 26
    assert faults(said, "record")[0]["name"] == "meta/runs/r"
    assert "It is unknown what the archive covers" in said.err


@pytest.mark.parametrize("words", [[], ["--deep"]])
def test_a_version_that_expires_meanwhile(
    night: Night, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    """A version that was listed, and that a lifecycle rule removed before it was read, is no
    fault and no reason to stop."""
    gone = stored(night, 0)[-1].version

    def expired(read: Any) -> Any:
        def look(path: str, version_id: str) -> Any:
            if version_id == gone.version_id:
                raise FileNotFoundError(path)
            return read(path, version_id)

        return look

    for name in ("get", "stat"):
        monkeypatch.setattr(night.store, name, expired(getattr(night.store, name)))
    assert night.done("check", "orders", *words, "--json").json["findings"] == []


def test_rules_that_remove_rows(night: Night) -> None:
    """A lifecycle rule that expires current versions endangers the present rows."""
    night.lifecycle = Lifecycle(expiring=("tidy",))
    assert "'tidy'" in alone(night, "retention")["text"]


def test_samples_cover_everything(night: Night) -> None:
    """Checks of a share look at different items, and four of a quarter at all of them; what they
    found is on record, and the next one begins a new round."""
    for number in range(4000, 4100):
        night.write(CAUSE - 900, order(number, "new"))
    night.now = NOW - 1000
    night.store.delete(path_of(4000))
    seen, wrong, covered = 0, 0, 0.0
    for done in range(1, 5):
        said = night.run("check", "orders", "--sample", "25%", "--json")
        assert 0 < said.json["items"] < 126
        seen, wrong = seen + said.json["items"], wrong + (said.code == 5)
        covered += said.json["covered"]
        assert sum(said.json["round"]["found"].values()) == wrong
        over = [name is None for name in said.json["round"]["next"].values()]
        assert all(over) is (done == 4)
    assert (seen, wrong, covered) == (126, 1, 1.0)
    text = night.run("check", "orders", "--sample", "50%").err
    assert re.search(
        r"This check looked at \d\d\.\d% of the items\. With it, \d\d\.\d% of the", text
    )
    text = night.run("check", "orders", "--sample", "60%").err
    assert "is complete" in text
    assert night.done("check", "orders", "--deep", "--sample", "1%", "--json").json["round"]


def test_a_check_that_ends_at_its_time_limit(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no error, says what part was looked at, and the next one goes on from there."""
    clock = iter(range(10**6))
    here = SimpleNamespace(monotonic=lambda: next(clock))
    monkeypatch.setattr(stream_backup.cli.check, "time", here)
    seen = 0
    for _ in range(30):
        said = night.done("check", "orders", "--max-duration", "12s", "--json")
        seen += said.json["items"]
        if all(name is None for name in said.json["round"]["next"].values()):
            break
        assert 0 < said.json["items"] < 26
    assert seen == 26


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--sample", "5"), "'5' is not a share."),
        (("--sample", "0%"), "'0%' is not a share."),
        (("--sample", "101%"), "'101%' is not a share."),
        (("--max-duration", "10"), "'10' is not a duration."),
        (("--max-duration", "0m"), "'0m' is not a duration."),
    ],
)
def test_mistakes(night: Night, words: tuple[str, str], said: str) -> None:
    """A share is a percentage, and a duration has a unit."""
    run = night.run("check", "orders", *words)
    assert run.code == 2
    assert said in run.err
    assert "hint: Write" in run.err


def test_progress_that_may_not_be_recorded(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may only read can check a part, and is told that the next check looks at the same."""

    def refuse(*_: object) -> None:
        raise PermissionError("403 Forbidden")

    monkeypatch.setattr(night.store, "put", refuse)
    said = night.done("check", "orders", "--sample", "10%")
    assert "the next check looks at the same items" in said.err


def test_every_kind_of_record_is_known() -> None:
    """Each kind of record that the format describes is one that a check can read."""
    page = (Path(__file__).parent.parent / "docs/format.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)/\S+`.* \|$", page, re.MULTILINE)
    assert set(rows) == set(KINDS)


@pytest.mark.parametrize("ahead", [6, 7])
def test_how_far_ahead_a_stamp_may_be(ahead: int) -> None:
    """A stamp may be 6 seconds ahead of S3's whole seconds, as clocks differ; with one more it is
    false, and an error where it counts."""
    version = Version("orders/x", "1", 1000, 9, "e")
    stat = Stat(Stamp(1000 + ahead, 1, 1000 + ahead, "modify"), version)
    assert item_at([version], 999 + ahead, FLOOR, lambda _: stat) is None
    if ahead == 6:
        assert item_at([version], 1000 + ahead, FLOOR, lambda _: stat) is stat
    else:
        with pytest.raises(StampError):
            item_at([version], 1000 + ahead, FLOOR, lambda _: stat)


@pytest.mark.usefixtures("timeless")
def test_a_false_stamp_does_not_prolong_a_stream() -> None:
    """A stream that went off unseen was on until its last change; a version stamped later than it
    was written proves nothing."""
    world = World(1)
    running[:] = [world]
    world.enable("function").finish()
    world.backfill(1).finish()
    world.model.tick(60)
    world.model.write(KEYS[0], VALUES[0])
    world.quiet()
    (stream,) = world.known()
    now = int(world.model.now)
    true = last_moment(world.archive, stream, now + 900)
    stamp = Stamp(now + 600, 10**36, now + 600, "insert")
    world.archive.put(Change(KEYS[1], stamp, encode(KEYS[1])))
    assert last_moment(world.archive, stream, now + 900) == true
