"""The stamp of a version: when the item had this value, how the version ranks among the others, and
what produced it. The stamp is stored in S3 user metadata.

`at` and `seen` are whole epoch seconds, and the item had the value at some instant between them. A
streamed change happens at one instant, so the two are equal. A scan, or the read of a repair, is
requested at one instant and answered at a later one, and each item had its value at some instant in
between.

Stamps rank by `(at, sequence)`. A read has sequence 0, so every streamed change of the same second
ranks above it.
"""

from dataclasses import dataclass, field
from typing import Literal, Self, cast, get_args

FORMAT = "1"
"""The version of the archive format that this release reads and writes (`docs/format.md`)."""

Kind = Literal["insert", "modify", "remove", "scan", "missing"]
"""What produced a version: a record of a stream, or a read of the table by a backfill or a repair.
`scan` is an item that was read, `missing` one that was not there any more: nobody knows when it was
removed."""

_KINDS = frozenset(get_args(Kind))

NOTHING = "none"
"""The `before` of merged changes that began with an insert and ended with a removal: there was no
item before them, and there is none after them."""

MARK = {"announced": "1"}
"""The mark of a writer that announces late changes, in the user metadata of what it writes."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """The stamp of one version.

    `at` and `seen` are epoch seconds, `sequence` is the stream's SequenceNumber or 0 for a scan.
    `by` is who made the change, if the stream records it: `ttl` for an item that expired. `before`
    is the MD5 of the canonical old image, if the stream has it; a lost change is detected when it
    does not match the version before. `merged` is how many changes of one second the version stands
    for, and `first` the SequenceNumber of the first of them if there are several (`core/second`).
    `announced` says that the version has the mark of a writer that announces late changes: it
    belongs to the version, not to the change.
    """

    at: int
    sequence: int
    seen: int
    kind: Kind
    by: str | None = None
    before: str | None = None
    first: int | None = None
    merged: int = 1
    announced: bool = field(default=False, compare=False, repr=False)

    @property
    def removes(self) -> bool:
        """Whether the item does not exist from then on, so that the version is a tombstone."""
        return self.kind in ("remove", "missing")

    @property
    def streamed(self) -> bool:
        """Whether this is a change at a known second, and not what somebody read."""
        return self.kind not in ("scan", "missing")

    @property
    def rank(self) -> tuple[int, int]:
        """The order of versions: of two versions of an item, the one with the higher rank is
        later."""
        return self.at, self.sequence

    @property
    def begins(self) -> int:
        """The SequenceNumber of the first change that the version stands for."""
        return self.sequence if self.first is None else self.first

    def metadata(self) -> dict[str, str]:
        """Returns the stamp as S3 user metadata, names and values in ASCII, without the mark."""
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
        if self.first is not None:
            found |= {"first": str(self.first), "merged": str(self.merged)}
        return found

    @classmethod
    def of(cls, metadata: dict[str, str]) -> Self:
        """Returns the stamp in S3 user metadata. Raises ValueError when it is not in format 1."""
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
                first=int(metadata["first"]) if "first" in metadata else None,
                merged=int(metadata.get("merged", 1)),
                announced=metadata.items() >= MARK.items(),
            )
        except KeyError as error:
            raise ValueError(f"its metadata has no {error.args[0]!r}") from error
