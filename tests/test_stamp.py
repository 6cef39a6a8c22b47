"""A version's stamp and key are stored in S3 user metadata: ASCII, at most 2 KB, without spaces."""

import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream_backup.core.change import METADATA_LIMIT, Change, metadata_size
from stream_backup.core.item import Item, digest
from stream_backup.core.key import key_hash
from stream_backup.core.stamp import MARK, Kind, Stamp
from tests import strategies

seconds = st.integers(0, 2**33)
kinds: st.SearchStrategy[Kind] = st.sampled_from(["insert", "modify", "remove", "scan"])
stamps = st.builds(
    Stamp,
    at=seconds,
    sequence=st.one_of(st.just(0), st.integers(10**20, 10**40 - 1)),
    seen=seconds,
    kind=kinds,
    by=st.sampled_from([None, "ttl"]),
    before=st.one_of(st.none(), st.binary(max_size=4).map(digest)),
)
REMOVED = Stamp(
    at=9999999999, sequence=10**40 - 1, seen=9999999999, kind="remove", by="ttl", before="f" * 32
)


@given(stamps)
def test_round_trip(stamp: Stamp) -> None:
    """A stamp is read back from its metadata unchanged, including sequence numbers with 40
    digits."""
    assert Stamp.of(stamp.metadata()) == stamp


@given(stamps, stamps)
def test_rank(one: Stamp, other: Stamp) -> None:
    """Stamps rank by second, then by sequence number as an integer, and by nothing else."""
    assert (one.rank < other.rank) == (
        one.at < other.at or (one.at == other.at and one.sequence < other.sequence)
    )


def test_rank_is_no_text() -> None:
    """A sequence number with 22 digits ranks above one with 21, whatever its first digit."""
    low, high = replace(REMOVED, sequence=9 * 10**20), replace(REMOVED, sequence=10**21)
    assert Stamp.of(low.metadata()).rank < Stamp.of(high.metadata()).rank


@given(stamps)
def test_foreign_names_are_ignored(stamp: Stamp) -> None:
    """Metadata that somebody added does not change the stamp."""
    assert Stamp.of(stamp.metadata() | {"owner": "somebody"}) == stamp


@pytest.mark.parametrize("name", ["format", "kind", "at", "sequence", "seen"])
def test_what_lacks_a_part_is_refused(name: str) -> None:
    """Metadata that lacks a part of a stamp is refused, and the error names the part."""
    metadata = REMOVED.metadata()
    del metadata[name]
    with pytest.raises(ValueError, match=name):
        Stamp.of(metadata)


@pytest.mark.parametrize(
    "wrong",
    [
        {"format": "2"},
        {"format": "1.0"},
        {"kind": "INSERT"},
        {"at": "now"},
        {"seen": ""},
        {"sequence": "0x1"},
    ],
)
def test_what_is_no_stamp_is_refused(wrong: dict[str, str]) -> None:
    """An unknown format, or a part that cannot be parsed, is refused."""
    with pytest.raises(ValueError, match=r"unknown|invalid literal"):
        Stamp.of(REMOVED.metadata() | wrong)


def tombstone(key: Item) -> Change:
    return Change(key=key, stamp=REMOVED, body=None)


@given(strategies.keys)
@example({"id": {"S": "a  b\x7f é \U0001f600 \u2028\t"}})
@example({"pk": {"S": "k" * 2048}, "sk": {"B": "//8="}})
def test_tombstone_keeps_its_key(key: Item) -> None:
    """A tombstone contains its key, in the metadata or, if that is too small, in the body. Its
    metadata never exceeds S3's limit of 2 KB."""
    change = tombstone(key)
    assert metadata_size(change.metadata) <= METADATA_LIMIT
    back = Change.stored(change.payload, change.metadata)
    assert back.stamp == REMOVED
    assert back.body is None
    assert key_hash(back.key) == key_hash(key)
    assert (change.payload == b"") == ("key" in change.metadata)


@given(strategies.keys)
@example({"id": {"S": "  a  \x7f\x00\n"}})
def test_metadata_is_fit_for_a_header(key: Item) -> None:
    """Metadata is visible ASCII without spaces, because HTTP folds spaces and S3 encodes other
    characters."""
    for name, value in tombstone(key).metadata.items():
        assert re.fullmatch("[a-z]+", name)
        assert re.fullmatch(r"[\x21-\x7e]+", value)


def test_limit_is_exact() -> None:
    """The key moves to the body at the first byte that would exceed 2,048, with the prefix of each
    name and the mark of a writer that announces counted."""
    room = METADATA_LIMIT - metadata_size(tombstone({"k": {"S": ""}}).metadata | MARK)
    fits, exceeds = tombstone({"k": {"S": "x" * room}}), tombstone({"k": {"S": "x" * (room + 1)}})
    sent = fits.metadata | MARK
    assert sum(len(f"x-amz-meta-{name}{value}".encode()) for name, value in sent.items()) == 2048
    assert fits.payload == b""
    assert exceeds.payload == b'{"k":{"S":"' + b"x" * (room + 1) + b'"}}'
    assert "key" not in exceeds.metadata


def test_item_needs_no_key_in_metadata() -> None:
    """A version of an item has its key only in the body."""
    change = Change({"id": {"S": "a"}}, replace(REMOVED, kind="insert"), b'{"id":{"S":"a"}}')
    assert "key" not in change.metadata
    assert change.payload == change.body
