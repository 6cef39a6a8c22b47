"""The restore to which a partly filled table belongs: no other restore resumes it."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from restore.new_table import IDENTITY, identity_of
from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.archive.selection import Selection
from stream_backup.capture.point import RestorePoint
from stream_backup.core.coverage import Epoch

LONGEST_NAME = "t" * 255
"""The longest name of a table in DynamoDB."""

MOMENT = 1_795_231_960


def identity(
    *,
    archive: str = "s3://backups",
    table: str = LONGEST_NAME,
    moment: int = MOMENT,
    floor: int = MOMENT - 60,
    keys: tuple[dict[str, Any], ...] = (),
    incomplete_ok: bool = False,
) -> str:
    state = cast(Any, SimpleNamespace(table=table))
    point = RestorePoint(moment, Epoch("label", floor, floor, None), state)
    chosen = Selection(Archive(MemoryStore(lambda: 0), "", table), keys)
    return identity_of(archive, chosen, point, incomplete_ok=incomplete_ok)


@pytest.mark.parametrize(
    "other",
    [
        {"archive": "s3://other"},
        {"table": LONGEST_NAME[:-1] + "u"},
        {"moment": MOMENT + 1},
        {"floor": MOMENT - 61},
        {"keys": ({"id": {"S": "a"}},)},
        {"incomplete_ok": True},
    ],
    ids=lambda other: next(iter(other)),
)
def test_another_restore_has_another_identity(other: dict[str, Any]) -> None:
    """Everything that decides which rows a restore writes is part of its identity, however long the
    name of the table is."""
    assert identity() != identity(**other)


def test_the_same_restore_has_the_same_identity() -> None:
    """The order in which keys were given does not matter."""
    one, two = {"id": {"S": "a"}}, {"id": {"S": "b"}}
    assert identity(keys=(one, two)) == identity(keys=(two, one))


def test_an_identity_fits_in_a_tag() -> None:
    """The value of a tag has at most 256 characters, including the word that marks a replaced
    table."""
    assert len(identity()) <= IDENTITY
    assert len(identity() + " overwrite") <= 256
