"""The stamp of a version: when its value held, in what order, and why it was written. It travels in S3 user metadata.

`at` and `seen` bound the instant the value held, in whole epoch seconds. A streamed change is an instant, so they are the
same; a scan was asked at one instant and answered at a later one, and its value held at some instant between. Stamps
rank by `(at, sequence)`; a scan has sequence 0, so any streamed change of its second outranks it.
"""

from dataclasses import dataclass
from typing import Literal, Self, cast, get_args

FORMAT = "1"

Kind = Literal["insert", "modify", "remove", "scan"]

_KINDS = frozenset(get_args(Kind))


@dataclass(frozen=True, slots=True)
class Stamp:
    """`before` is the MD5 of the canonical old image, so that a lost change shows as a broken chain; `by` is who did it
    where the stream says (`ttl` for an expiry)."""

    at: int
    sequence: int
    seen: int
    kind: Kind
    by: str | None = None
    before: str | None = None

    @property
    def rank(self) -> tuple[int, int]:
        return self.at, self.sequence

    def metadata(self) -> dict[str, str]:
        """As S3 user metadata (ASCII)."""
        found = {
            "format": FORMAT,
            "kind": self.kind,
            "at": str(self.at),
            "sequence": str(self.sequence),
            "seen": str(self.seen),
        }
        if self.by is not None:
            found["by"] = self.by
        if self.before is not None:
            found["before"] = self.before
        return found

    @classmethod
    def of(cls, metadata: dict[str, str]) -> Self:
        """From S3 user metadata. Raises ValueError when it is not format 1."""
        try:
            if metadata["format"] != FORMAT:
                raise ValueError(f"format {metadata['format']!r} is unknown to this release")
            kind = metadata["kind"]
            if kind not in _KINDS:
                raise ValueError(f"kind {kind!r} is unknown")
            return cls(
                at=int(metadata["at"]),
                sequence=int(metadata["sequence"]),
                seen=int(metadata["seen"]),
                kind=cast(Kind, kind),
                by=metadata.get("by"),
                before=metadata.get("before"),
            )
        except KeyError as error:
            raise ValueError(f"it has no {error.args[0]!r} in its metadata") from error
