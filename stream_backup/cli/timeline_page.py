"""The page of `timeline --html`: one file that needs no network.

Plotly draws the chart. What the page shows comes from JSON that no markup can leave, and is set as
text; a content security policy allows no script but the two of the page, by their hashes, and no
request at all.
"""

import json
import os
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from stream_backup.cli.diff_report import FATES, key_text, shape_text
from stream_backup.cli.timeline_report import TimelineReport
from stream_backup.errors import UsageError
from stream_backup.inspect.shapes import Shape
from stream_backup.inspect.timeline import Timeline

LISTED = 12
"""How many shapes the page shows."""


def require_page(path: Path) -> None:
    """Raises UsageError when no page can be written to `path`."""
    if path.exists():
        raise UsageError(f"{path} exists.", "Choose another name, or remove it.")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder.", "Create it, or choose another name.")
    _plotly()


def _plotly() -> str:
    """The source of Plotly. Raises UsageError when it is not installed."""
    try:
        from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]
    except ImportError as error:
        raise UsageError(
            "--html needs plotly, which is not installed.",
            "Run: pip install 'stream-backup[html]'. Without --html, the chart is drawn here.",
        ) from error
    return str(get_plotlyjs())


def write_page(
    path: Path,
    report: TimelineReport,
    found: Timeline,
    burst: tuple[int, int] | None,
    shapes: Sequence[Shape] | None,
) -> None:
    """Writes the page of the timeline `found`, whose intervals are as short as a page needs.
    `shapes` are those of what changed in `burst`, None where that was not examined.

    Raises UsageError when the file cannot be created.
    """
    text = page(report, found, burst, shapes)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise UsageError(f"{path} cannot be written: {error.strerror}.", "") from error


def page(
    report: TimelineReport,
    found: Timeline,
    burst: tuple[int, int] | None,
    shapes: Sequence[Shape] | None,
) -> str:
    """Returns the page as HTML."""
    folder = files("stream_backup.cli") / "page"
    script, plotly = (folder / "timeline.js").read_text("utf-8"), _plotly()
    policy = (
        f"default-src 'none'; script-src {_hash(plotly)} {_hash(script)};"
        " style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": policy,
        "style": (folder / "timeline.css").read_text("utf-8"),
        "data": _embedded(_data(report, found, burst, shapes)),
        "plotly": plotly,
        "script": script,
    }
    text = (folder / "timeline.html").read_text("utf-8")
    # In one pass, so that nothing in one part is taken for the place of another.
    first, *rest = text.split("{")
    filled = [first]
    for piece in rest:
        name, _, after = piece.partition("}")
        filled += [parts[name], after]
    return "".join(filled)


def _hash(script: str) -> str:
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"


def _embedded(value: Any) -> str:
    """JSON that cannot end the element in which it stands, whatever text it holds."""
    text = json.dumps(value, separators=(",", ":"))  # ASCII
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _data(
    report: TimelineReport,
    found: Timeline,
    burst: tuple[int, int] | None,
    shapes: Sequence[Shape] | None,
) -> dict[str, Any]:
    note = "" if found.every == 1 else f"Changes are shown to {found.every} seconds."
    return {
        "table": report.table,
        "since": found.since,
        "until": found.until,
        "earliest": report.earliest,
        "step": found.every,
        "counts": [[start, *counts] for start, counts in sorted(found.intervals.items())],
        "commands": report.parts,
        "note": note,
        "burst": None if burst is None or shapes is None else _burst(*burst, shapes),
    }


def _burst(first: int, last: int, shapes: Sequence[Shape]) -> dict[str, Any]:
    rows = [
        {
            "text": shape_text(shape) if shape.fate == "modify" else FATES[shape.fate],
            "items": shape.items,
            "first": shape.first,
            "last": shape.last,
            "example": key_text(shape.key),
        }
        for shape in shapes
    ]
    left = rows[LISTED:]
    more = sum(shape.items for shape in shapes[LISTED:])
    text = f"And {len(left):,} more shapes ({more:,} items)." if left else ""
    return {"first": first, "last": last, "shapes": rows[:LISTED], "more": text}
