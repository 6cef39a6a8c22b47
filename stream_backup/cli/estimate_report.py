"""The report of an estimate on stdout."""

from collections.abc import Iterator

from stream_backup.cli.console import show
from stream_backup.estimate.model import Part
from stream_backup.estimate.rates import GB, MB
from stream_backup.estimate.result import Estimate
from stream_backup.estimate.sizes import KB


def report(estimate: Estimate) -> None:
    """Prints an estimate for people; `Estimate.record` is the same for programs."""
    show(*lines(estimate))


def lines(estimate: Estimate) -> Iterator[str]:
    """Yields the lines of the report."""
    facts, parts = estimate.facts, estimate.parts
    size = _bytes(facts.items * facts.sizes.mean)
    yield f"{estimate.table}: {_count(facts.items, 'item')}, {size}"
    yield "backfill, once"
    yield from _block(estimate, "backfill", f"adds {_bytes(parts['backfill'].stored)}")
    yield from _capture(estimate)
    yield f"restore, of {_count(facts.versions, 'version')}"
    yield " into a new table"
    yield from _block(estimate, "into_table")
    if estimate.warm:
        yield f" into a new table, with --warm-throughput {estimate.warm}"
        yield from _block(estimate, "into_warm_table")
    yield " to a file"
    yield from _block(estimate, "to_file")
    yield f"total       {_total(estimate)}"
    yield "This is an estimate. It assumes:"
    for line in estimate.assumptions:
        yield f"  - {line}"


def _capture(estimate: Estimate) -> Iterator[str]:
    changes = estimate.facts.changes
    if changes is None:
        yield "capture"
        yield (
            "  changes   unknown: CloudWatch returned no write metrics of this table. "
            "Pass --changes-per-month N."
        )
        return
    stored = _bytes(estimate.parts["capture"].stored)
    yield f"capture, a month with {_count(changes, 'change')}"
    yield from _block(estimate, "capture", f"adds {stored} each month")


def _block(estimate: Estimate, name: str, stored: str = "") -> Iterator[str]:
    """Yields the requests, capacity, storage, duration and cost of one operation."""
    part = estimate.parts[name]
    yield f"  requests  {_counts(part.requests)}"
    if part.capacity:
        yield f"  capacity  {_counts(part.capacity)}"
    if stored:
        yield f"  storage   {stored}"
    yield f"  time      {_duration(part)}"
    yield f"  cost      {_cost(estimate.usd(name))}"


def _total(estimate: Estimate) -> str:
    once = f"{_usd(sum(estimate.usd('backfill').values()))} once"
    months = estimate.facts.months
    first, last = estimate.month(1), estimate.month(months)
    if first is None or last is None:
        return once
    growth = f", and {_usd(last)} in month {months}" if months > 1 else ""
    return f"{once}, then {_usd(first)} in the first month{growth}, storage included"


def _duration(part: Part) -> str:
    if part.limit:
        return f"{_time(part.seconds)}, limited by {part.limit}"
    return f"{_time(part.seconds)} until a change is in the archive"


def _cost(usd: dict[str, float]) -> str:
    total = _usd(sum(usd.values()))
    if len(usd) < 2:
        return total
    return f"{total}: {', '.join(f'{service} {_usd(cost)}' for service, cost in usd.items())}"


def _counts(counts: dict[str, float]) -> str:
    return ", ".join(f"{count:,.0f} {name}" for name, count in counts.items())


def _count(number: float, noun: str) -> str:
    return f"{number:,.0f} {noun}{'' if round(number) == 1 else 's'}"


def _usd(amount: float) -> str:
    return f"${amount:,.2f}" if amount >= 0.005 or not amount else "less than $0.01"


def _bytes(count: float) -> str:
    for unit, size in (("GB", GB), ("MB", MB), ("KB", KB)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,.0f} bytes"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:,.0f} s" if seconds >= 1 else "about 1 s"
    return f"{seconds / 60:,.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"
