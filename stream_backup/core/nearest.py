"""The known name that somebody who mistyped a name most likely meant."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns a question that names the nearest of the other known names, followed by a space;
    empty when none is near. Upper and lower case count as the same."""
    by_lower = {each.lower(): each for each in sorted(known) if each != name}
    found = get_close_matches(name.lower(), by_lower, n=1)
    return f"Did you mean {by_lower[found[0]]!r}? " if found else ""
