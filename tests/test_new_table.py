"""The restore to which a partly filled table belongs: no other restore resumes it."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from restore.new_table import IDENTITY, identity_of
from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.archive.selection import Selection
from stream_backup.aws.creation import restore_settings
from stream_backup.aws.dynamodb import Answer
from stream_backup.capture.point import RestorePoint
from stream_backup.core.coverage import Epoch
from stream_backup.core.records import TableDescription
from tests.fake_dynamodb import refusal

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


@pytest.mark.parametrize(("status", "known"), [("ENABLED", True), ("DISABLED", False)])
def test_a_time_to_live_that_is_sent_again(status: str, *, known: bool) -> None:
    """The answer to switching the time to live on is lost, and AWS refuses the same request when it
    is sent again: nothing failed if it is on, and otherwise the refusal is reported."""
    seen = iter(["DISABLED", status])

    class Again:
        def call(self, operation: str, _: object) -> Answer:
            if operation == "describe_time_to_live":
                return Answer({"TimeToLiveDescription": {"TimeToLiveStatus": next(seen)}}, 0)
            error = refusal("ValidationException")
            error.response["ResponseMetadata"] = {"RetryAttempts": 1}
            raise error

    ttl = {"TimeToLiveStatus": "ENABLED", "AttributeName": "until"}
    description = TableDescription({}, ttl, (), point_in_time_recovery=False)
    expected = nullcontext() if known else pytest.raises(ClientError, match="Validation")
    with expected:
        restore_settings(cast(Any, Again()), "orders", description)
