"""A frozen value that is kept as a JSON object: `of` reads it, and `record` returns the object.
Times are whole seconds inside and ISO-8601 with a `Z` in the JSON.

Whoever can write to an archive can write any object there, so what is read has the types that it
must have, and a part of the name of an object has only characters that AWS's own names have.
"""

import re
from collections.abc import Mapping as Object
from dataclasses import MISSING, Field, fields
from types import UnionType
from typing import Any, ClassVar, Literal, Self, get_args, get_origin

from stream_backup.core.moment import from_iso, iso


class Record:
    """A dataclass whose fields are the members of a JSON object. `of` raises KeyError, TypeError or
    ValueError when the object is not such a record."""

    __slots__ = ()

    TIMES: ClassVar[tuple[str, ...]] = ()
    """The fields that are seconds inside and ISO-8601 in JSON. One may be None."""

    @classmethod
    def of(cls, record: Object[str, Any]) -> Self:
        """Reads the record from its JSON object; members that are not known here are ignored, and
        members that an older release did not write have their default."""
        known = {
            field.name: _member(record, field)
            for field in fields(cls)  # type: ignore[arg-type]
        }
        times = {name: known[name] for name in cls.TIMES}
        found = known | {
            name: time if time is None else from_iso(time) for name, time in times.items()
        }
        for field in fields(cls):  # type: ignore[arg-type]
            if not _fits(found[field.name], field.type):
                raise ValueError(f"its {field.name!r} has another type")
        return cls(**found)

    def record(self) -> dict[str, Any]:
        """Returns the record as a JSON object."""
        names = [field.name for field in fields(self)]  # type: ignore[arg-type]
        kept = {name: getattr(self, name) for name in names}
        known = [name for name in self.TIMES if kept[name] is not None]
        return kept | {name: iso(kept[name]) for name in known}


def _member(record: Object[str, Any], field: Field[Any]) -> Any:
    if field.default is MISSING or field.name in record:
        return record[field.name]
    return field.default


def require_name(name: str) -> None:
    """Raises ValueError for a label or an ID that no AWS service makes. Both become parts of the
    names of objects."""
    if not re.fullmatch("[A-Za-z0-9:._-]+", name):
        raise ValueError(f"{name!r} is not a label or an ID")


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value has the type of its field: a class, a choice of texts, or a mapping."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    return isinstance(value, tuple(get_origin(each) or each for each in kinds))
