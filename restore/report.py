"""What a restore says at its end: the plan, what was done, and what could not be."""

from typing import Any

from restore.order import Order
from restore.plan import Tally
from stream_backup.errors import ArchiveError, IncompleteError
from stream_backup.moment import iso
from stream_backup.talk import data, say

LISTED = 20
"""How many of the items that could not be restored are named."""


def report(
    order: Order,
    tally: Tally,
    requests: dict[str, int],
    result: dict[str, Any],
    *,
    in_place: bool,
    plan_only: bool,
    as_json: bool,
) -> None:
    """The plan in numbers, and what came of it; as JSON on stdout with `as_json`."""
    earliest, latest = order.bounds
    steps = {action: tally.steps[action] for action in ("put", "delete", "unchanged", "absent")}
    if as_json:
        found = {"table": order.table, "moment": iso(order.moment), "exact": order.epoch is not None}
        found |= {"earliest": earliest, "latest": latest, **steps, "unreadable": len(tally.unreadable)}
        data(found | {"versions_listed": tally.versions, "requests": requests, **result})
        return
    put, delete, absent = (f"{steps[action]:,}" for action in ("put", "delete", "absent"))
    moment = f"{order.table} at {iso(order.moment)}"
    if in_place:
        say(
            f"Plan: {moment}: {put} to put, {delete} to delete, {steps['unchanged']:,} unchanged, {absent} absent then and now."
        )
    else:
        say(f"Plan: {moment}: {put} items to put; {absent} more that the archive knows were not there then.")
    say(
        f"{tally.versions:,} versions listed; {requests['list']:,} LIST, {requests['get']:,} GET, {requests['head']:,} HEAD."
    )
    if plan_only and not in_place:
        say("That is for a new table or a file; add --in-place to see what a rewind of the live table would touch.")
    if "rewound" in result:
        say(f"Done: {result['rewound']:,} rows rewound, {result['already']:,} were as wanted already.")
    elif "written" in result:
        where = f"table {result['into']}" if "into" in result else result["to"]
        say(f"Done: {result['written']:,} items written to {where}.")


def complain(tally: Tally, result: dict[str, Any], *, incomplete_ok: bool) -> None:
    """What went wrong, worst first; returns when nothing did."""
    left = result.get("left", [])
    for line in left[:LISTED]:
        say(f"  {line}")
    for error in tally.unreadable[:LISTED]:
        say(f"  {error}")
    if tally.unreadable and not incomplete_ok:
        raise ArchiveError(
            f"{len(tally.unreadable)} items have a version in the archive that cannot be read; they are not restored.",
            "They are listed above. Everything else is as reported.",
        )
    if left:
        raise IncompleteError(
            f"{len(left)} items are not as they were at that moment.",
            "They are listed above with the reason. Run the same command again: it goes on.",
        )
