"""Which tables the stack enables by itself: those whose names match one of some patterns, and those
that carry a tag."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Self

from stream_backup.drill.scratch import PREFIX
from stream_backup.errors import UsageError
from stream_backup.settings import ENROL_PATTERN, ENROL_READ_SHARE, ENROL_TAG

SHARE = 0.25
"""The share of a provisioned table's read capacity that a backfill uses where nothing else is set.
It is smaller than that of a command, because nobody watches."""

Tags = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class EnrolRule:
    """`patterns` are compared with names as the patterns of `--match` are. `key` and `value` are
    those of the tag; without a `value`, any value counts. `share` is the share of a provisioned
    table's read capacity that a backfill may use."""

    patterns: tuple[str, ...]
    key: str = ""
    value: str | None = None
    share: float = SHARE

    @classmethod
    def of(cls, settings: Mapping[str, str]) -> Self:
        """Returns the rule that environment variables state. Raises UsageError when they name
        neither a pattern nor a tag."""
        listed = settings.get(ENROL_PATTERN, "").split(",")
        patterns = tuple(name for each in listed if (name := each.strip()))
        key, equals, value = settings.get(ENROL_TAG, "").strip().partition("=")
        if not patterns and not key:
            raise UsageError(
                "Neither a pattern nor a tag says which tables to enable.",
                f"Set {ENROL_PATTERN} or {ENROL_TAG}.",
            )
        share = settings.get(ENROL_READ_SHARE)
        percent = float(share) / 100 if share else SHARE
        return cls(patterns, key, value if equals else None, percent)

    def why(self, table: str, tags: Callable[[], Tags]) -> str:
        """Returns why a table is enabled, "" if it is not to be. `tags` returns its tags; it is
        called only where they decide. The scratch table of a drill is never enabled."""
        if table.startswith(PREFIX):
            return ""
        for pattern in self.patterns:
            if fnmatchcase(table, pattern):
                return f"its name matches {pattern!r}"
        if not self.key:
            return ""
        found = tags().get(self.key)
        if found is None or self.value not in (None, found):
            return ""
        return f"it has the tag {self.key}" + (f"={found}" if self.value is not None else "")
