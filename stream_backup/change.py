"""A change: what an item became, and its stamp. The one value between every way in and every way out.

`Change.streamed` is the only code that knows the shape of a stream record; `Change.scanned` makes one of a scanned row;
`Change.stored` reads back what `metadata` and `payload` wrote.
"""

import json
from dataclasses import dataclass, field
from math import floor, isfinite
from typing import Any, Self

from stream_backup.errors import RecordError
from stream_backup.item import Item, decode, digest, encode
from stream_backup.key import KeySchema, key_hash, key_json
from stream_backup.stamp import Kind, Stamp

MARGIN = 5
"""Seconds by which a scan's interval is widened on either side, against skew between AWS's clocks. Always safe."""

METADATA_LIMIT = 2048
"""Bytes of user metadata S3 takes (Amazon S3 User Guide, "Working with object metadata"): names and values together."""

VIEWS = ("NEW_AND_OLD_IMAGES", "NEW_IMAGE")
"""The stream view types that carry what an item became."""

_KINDS: dict[str, Kind] = {"INSERT": "insert", "MODIFY": "modify", "REMOVE": "remove"}


@dataclass(frozen=True, slots=True)
class Change:
    """`body` is the item's canonical JSON; None for a removal."""

    key: Item
    stamp: Stamp
    body: bytes | None
    name: str = field(init=False, compare=False, repr=False)
    """The name of its item's object, hashed once."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", key_hash(self.key))

    @classmethod
    def streamed(cls, record: dict[str, Any]) -> Self:
        """From one record of a DynamoDB Streams event. Raises RecordError, which names what is wrong and no values."""
        try:
            kind, data = _KINDS[record["eventName"]], record["dynamodb"]
            moment = data["ApproximateCreationDateTime"]
            if isinstance(moment, bool) or not isfinite(moment):
                raise ValueError("ApproximateCreationDateTime is not a time")
            at = floor(moment)
            view = data.get("StreamViewType", "NEW_IMAGE")
            if view not in VIEWS:
                raise RecordError(
                    f"A stream record has no new image, for the stream's view type is {view}.",
                    "Switch the stream off and on again with NEW_AND_OLD_IMAGES.",
                )
            identity = record.get("userIdentity") or {}
            expired = identity.get("type") == "Service" and identity.get("principalId") == "dynamodb.amazonaws.com"
            stamp = Stamp(
                at=at,
                sequence=int(data["SequenceNumber"]),
                seen=at,
                kind=kind,
                by="ttl" if expired else None,
                before=digest(encode(data["OldImage"])) if data.get("OldImage") else None,
            )
            return cls(key=data["Keys"], stamp=stamp, body=None if kind == "remove" else encode(data["NewImage"]))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise RecordError(f"A stream record cannot be parsed: {type(error).__name__}: {error}.") from error

    @classmethod
    def scanned(cls, item: Item, schema: KeySchema, asked: int, answered: int, earliest: int) -> Self:
        """From a row of a consistent scan asked and answered at these seconds; its `at` is never before `earliest`,
        the floor of the epoch."""
        at = max(asked - MARGIN, earliest)
        stamp = Stamp(at=at, sequence=0, seen=max(answered + 1 + MARGIN, at), kind="scan")
        return cls(key=schema.key_of(item), stamp=stamp, body=encode(item))

    @classmethod
    def stored(cls, payload: bytes, metadata: dict[str, str], schema: KeySchema | None = None) -> Self:
        """Back from an object's bytes and metadata. Raises ValueError when they are not what format 1 writes.

        Without a schema the key of an item that is still there stays empty: its body holds it, but does not say which
        attributes they are.
        """
        stamp = Stamp.of(metadata)
        if stamp.kind == "remove":
            key = json.loads(metadata["key"]) if "key" in metadata else decode(payload)
            if not isinstance(key, dict):
                raise ValueError("its key is not a JSON object")
            return cls(key=key, stamp=stamp, body=None)
        if not payload:
            raise ValueError("it is empty, yet no tombstone")
        return cls(key=schema.key_of(decode(payload)) if schema else {}, stamp=stamp, body=payload)

    @property
    def metadata(self) -> dict[str, str]:
        """User metadata: the stamp, and for a tombstone its key where it fits."""
        found = self.stamp.metadata()
        if self.body is None:
            with_key = found | {"key": _ascii(self.key)}
            if metadata_size(with_key) <= METADATA_LIMIT:
                return with_key
        return found

    @property
    def payload(self) -> bytes:
        """The object's bytes: the item; nothing for a tombstone, or its key when that does not fit in the metadata."""
        if self.body is not None:
            return self.body
        return b"" if "key" in self.metadata else key_json(self.key).encode()


def metadata_size(metadata: dict[str, str]) -> int:
    """Bytes as S3 counts them, with each name's `x-amz-meta-` prefix, to be on the safe side."""
    return sum(len("x-amz-meta-") + len(name) + len(value) for name, value in metadata.items())


def _ascii(key: Item) -> str:
    """JSON that survives an HTTP header: ASCII without DEL, and no space, since signatures fold runs of spaces."""
    text = json.dumps(json.loads(key_json(key)), separators=(",", ":"))
    return text.replace(" ", "\\u0020")


def table_of(record: dict[str, Any]) -> str:
    """The table a stream record comes from: `arn:aws:dynamodb:REGION:ACCOUNT:table/NAME/stream/LABEL` → NAME."""
    try:
        return str(record["eventSourceARN"]).split(":table/", 1)[1].split("/", 1)[0]
    except (KeyError, IndexError, TypeError) as error:
        raise RecordError("A stream record does not say which table it comes from.") from error
