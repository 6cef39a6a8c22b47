"""Spans of moments, and what is left when some of them are taken away."""

from collections.abc import Iterable
from typing import NamedTuple

from stream_backup.core.moment import iso


class Span(NamedTuple):
    """The moments from `first` to `last`, both included, in epoch seconds."""

    first: int
    last: int

    def record(self) -> dict[str, str]:
        """Returns it as a JSON object."""
        return {"from": iso(self.first), "to": iso(self.last)}


def spoken(spans: Iterable[Span]) -> str:
    """Returns spans in words, "" for none."""
    return ", and ".join(f"from {iso(first)} to {iso(last)}" for first, last in spans)


def without(spans: Iterable[Span], removed: Iterable[Span]) -> tuple[Span, ...]:
    """Returns the moments of `spans` that are in none of `removed`, in order of time."""
    left = sorted(spans)
    for first, last in removed:
        before = [Span(span.first, min(span.last, first - 1)) for span in left]
        after = [Span(max(span.first, last + 1), span.last) for span in left]
        left = sorted(span for span in (*before, *after) if span.first <= span.last)
    return tuple(left)


def common(every: Iterable[Iterable[Span]]) -> tuple[Span, ...]:
    """Returns the moments that are in some span of each of these, in order of time; none of
    nothing."""
    found: list[Span] | None = None
    for spans in every:
        these = sorted(spans)
        if found is not None:
            both = (
                Span(max(one.first, two.first), min(one.last, two.last))
                for one in found
                for two in these
            )
            these = sorted(span for span in both if span.first <= span.last)
        found = these
    return tuple(found or ())
