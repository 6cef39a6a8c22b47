"""The result of a drill: what the product itself reports as not done, and what the comparison has
found."""

from collections.abc import Sequence
from typing import Literal

from stream_backup.core.drill import DrillResult

HOW = (
    "Every row of the copy was compared with an independent reading of the archive, which reads"
    " every version of each item and takes no shortcut"
)

Done = Literal["restored", "rewound"]


def how_compared(*, rewound: bool) -> str:
    """Returns the sentence that says how the copy was compared, once or twice."""
    return f"{HOW}, before and after the copy was rewound." if rewound else f"{HOW}."


def troubles_of(what: Done, left: int, unreadable: int, first: str = "") -> list[str]:
    """Returns sentences about rows that are `left`, and about items with an unreadable version, of
    which the `first` is described. Why AWS refused a row is not in them: the reason may contain
    what the row contains."""
    found = [f"{left:,} rows could not be {what}."] if left else []
    return found + ([f"{unreadable:,} items cannot be read: {first}"] if unreadable else [])


def judge(differ: int, items: int, troubles: Sequence[str]) -> tuple[DrillResult, str]:
    """Returns the result of a drill that compared everything, and the reason of one that failed.
    `differ` of the `items` rows that were compared are not what they must be."""
    differences = [f"{differ:,} of {items:,} compared rows differ."] if differ else []
    reasons = [*differences, *troubles]
    return "failed" if reasons else "passed", " ".join(reasons)
