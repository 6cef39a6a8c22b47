"""A change: the content of an item after it, and its stamp. Everything that writes to the archive
creates changes, and everything that reads from it returns them.

`Change.streamed` creates a change from a stream record and is the only code that depends on the
structure of a record. `Change.scanned` creates one from a scanned item, `Change.missing` from one
that was not found. `Change.stored` reads back what `metadata` and `payload` return.
"""

import json
from dataclasses import dataclass, field
from functools import lru_cache
from math import floor, isfinite
from typing import Any, Self

from stream_backup.core.item import Item, decode, digest, encode
from stream_backup.core.key import KeySchema, key_hash, key_json
from stream_backup.core.stamp import MARK, Kind, Stamp
from stream_backup.core.time_rule import scan_interval
from stream_backup.errors import RecordError

METADATA_LIMIT = 2048
"""The maximum size of S3 user metadata in bytes, names and values together (Amazon S3 User Guide,
"Working with object metadata")."""

VIEWS = ("NEW_AND_OLD_IMAGES", "NEW_IMAGE")
"""The stream view types whose records contain the new image of an item."""

_KINDS: dict[str, Kind] = {"INSERT": "insert", "MODIFY": "modify", "REMOVE": "remove"}


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one item. `body` is the canonical JSON of the item after the change, or None if
    the change removed it."""

    key: Item
    stamp: Stamp
    body: bytes | None
    name: str = field(init=False, compare=False, repr=False)
    """The name of the item's object in the archive: the hash of `key`, computed once."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", key_hash(self.key))

    @classmethod
    def streamed(cls, record: dict[str, Any]) -> Self:
        """Returns the change in one record of a DynamoDB Streams event.

        Raises RecordError when the record cannot be parsed or has no new image. The error states
        the cause and contains no values of the item.
        """
        try:
            kind, data = _KINDS[record["eventName"]], record["dynamodb"]
            moment = data["ApproximateCreationDateTime"]
            if isinstance(moment, bool) or not isfinite(moment):
                raise ValueError("ApproximateCreationDateTime is not a time")
            at = floor(moment)
            view = data.get("StreamViewType", "NEW_IMAGE")
            if view not in VIEWS:
                raise RecordError(
                    f"A stream record has no new image because the stream's view type is {view}.",
                    "Disable the stream, then enable it again with NEW_AND_OLD_IMAGES.",
                )
            stamp = Stamp(
                at=at,
                sequence=int(data["SequenceNumber"]),
                seen=at,
                kind=kind,
                by="ttl" if _expired(record.get("userIdentity")) else None,
                before=digest(encode(data["OldImage"])) if data.get("OldImage") else None,
            )
            return cls(
                key=data["Keys"],
                stamp=stamp,
                body=None if kind == "remove" else encode(data["NewImage"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise RecordError(
                f"A stream record cannot be parsed: {type(error).__name__}: {error}."
            ) from error

    @classmethod
    def scanned(
        cls, item: Item, schema: KeySchema, asked: int, answered: int, earliest: int
    ) -> Self:
        """Returns the change for an item that a consistent scan returned.

        `asked` and `answered` are the epoch seconds of the scan on AWS's clock. The change's `at`
        is never before `earliest`, the floor of the epoch. Raises KeyError when the item has no
        key, and ValueError or TypeError when it is not in wire form.
        """
        stamp = _read("scan", asked, answered, earliest)
        return cls(key=schema.key_of(item), stamp=stamp, body=encode(item))

    @classmethod
    def missing(cls, key: Item, asked: int, answered: int, earliest: int) -> Self:
        """Returns the change for an item that a consistent read did not find any more. The
        arguments are those of `scanned`."""
        return cls(key=key, stamp=_read("missing", asked, answered, earliest), body=None)

    @classmethod
    def stored(
        cls,
        payload: bytes,
        metadata: dict[str, str],
        schema: KeySchema | None = None,
        stamp: Stamp | None = None,
    ) -> Self:
        """Returns the change that is stored as an object's payload and metadata, whose `stamp` need
        not be read again where it was read before.

        Raises ValueError when they are not in format 1, and KeyError when the item has no key.
        Without a schema the key is empty unless the change is a removal: the body of an item
        contains its key but does not identify the key attributes.
        """
        stamp = stamp or Stamp.of(metadata)
        if stamp.removes:
            key = json.loads(metadata["key"]) if "key" in metadata else decode(payload)
            if not isinstance(key, dict):
                raise ValueError("its key is not a JSON object")
            return cls(key=key, stamp=stamp, body=None)
        if not payload:
            raise ValueError("it is empty but is not a tombstone")
        if b"\n" in payload:
            raise ValueError("it is not canonical JSON, which has no line breaks")
        return cls(key=schema.key_of(decode(payload)) if schema else {}, stamp=stamp, body=payload)

    def object(self) -> tuple[bytes, dict[str, str]]:
        """Returns the bytes of the object that stores the change, and its S3 user metadata: the
        canonical JSON of the item, and the stamp. A tombstone is empty and has its key in the
        metadata, or, if that does not fit within METADATA_LIMIT, the canonical JSON of its key as
        its bytes."""
        metadata = self.stamp.metadata()
        if self.body is not None:
            return self.body, metadata
        with_key = metadata | {"key": _ascii(self.key)}
        if metadata_size(with_key | MARK) <= METADATA_LIMIT:
            return b"", with_key
        return key_json(self.key).encode(), metadata

    @property
    def metadata(self) -> dict[str, str]:
        """The S3 user metadata of the change, see `object`."""
        return self.object()[1]

    @property
    def payload(self) -> bytes:
        """The bytes of the object that stores the change, see `object`."""
        return self.object()[0]


def metadata_size(metadata: dict[str, str]) -> int:
    """Returns the size of user metadata in bytes. Each name is counted with its `x-amz-meta-`
    prefix, so the result is never less than the size that S3 computes."""
    return sum(len("x-amz-meta-") + len(name) + len(value) for name, value in metadata.items())


@lru_cache(maxsize=16)
def _read(kind: Kind, asked: int, answered: int, earliest: int) -> Stamp:
    """The stamp of what a read of the table shows: the same for all items of a page."""
    interval = scan_interval(asked, answered)
    at = max(interval.at, earliest)
    return Stamp(at=at, sequence=0, seen=max(interval.seen, at), kind=kind)


def _expired(identity: dict[str, Any] | None) -> bool:
    """Whether DynamoDB itself removed the item because its time to live was over. A Lambda event
    spells the members `type` and `principalId`, GetRecords `Type` and `PrincipalId`."""
    if not identity:
        return False
    members = {name.lower(): value for name, value in identity.items()}
    service = members.get("principalid") == "dynamodb.amazonaws.com"
    return service and members.get("type") == "Service"


def _ascii(key: Item) -> str:
    """Returns a key as JSON that an HTTP header can carry: ASCII without DEL, and without spaces,
    because request signing replaces consecutive spaces with one."""
    text = key_json(key)
    if text.isascii() and text.isprintable() and " " not in text:
        return text
    text = json.dumps(json.loads(text), separators=(",", ":"))
    return text.replace(" ", "\\u0020")


def table_of(record: dict[str, Any]) -> str:
    """Returns the name of the table that a stream record comes from: NAME in its eventSourceARN,
    `arn:aws:dynamodb:REGION:ACCOUNT:table/NAME/stream/LABEL`. Raises RecordError when the record
    has no such ARN."""
    try:
        return str(record["eventSourceARN"]).split(":table/", 1)[1].split("/", 1)[0]
    except (KeyError, IndexError, TypeError) as error:
        raise RecordError(
            "A stream record has no valid eventSourceARN, so its table is unknown."
        ) from error
