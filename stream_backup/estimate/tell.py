"""An estimate as it is told: `record` for machines, `print` for people. Both say what was assumed."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import click

from stream_backup.estimate.assumptions import assumptions
from stream_backup.estimate.facts import Facts
from stream_backup.estimate.model import Part, backfill, capture, restore, storage
from stream_backup.estimate.prices import Prices
from stream_backup.estimate.rates import GB, MB


@dataclass(frozen=True)
class Estimate:
    """`notes` say where items and sizes come from; `by_hand` that the changes were given; `deployed` that a stack was found."""

    table: str
    region: str
    facts: Facts
    prices: Prices
    notes: tuple[str, ...]
    by_hand: bool
    deployed: bool

    @cached_property
    def parts(self) -> dict[str, Part]:
        """By name. A capture nobody knows the changes of is left out."""
        facts = self.facts
        found = {"backfill": backfill(facts), "capture": capture(facts)}
        found |= {"into_table": restore(facts, to_file=False), "to_file": restore(facts, to_file=True)}
        return {name: part for name, part in found.items() if name != "capture" or facts.changes is not None}

    def usd(self, name: str) -> dict[str, float]:
        """Dollars by service, for those that cost anything."""
        return {service: cost for service, cost in self.prices.cost(self.parts[name].priced).items() if cost}

    def month(self, number: int) -> float | None:
        """Dollars of a month of capture, with what S3 keeps at its end."""
        if "capture" not in self.parts:
            return None
        kept = self.prices.cost({"s3-storage": storage(self.facts, number) / GB})
        return sum(self.usd("capture").values()) + sum(kept.values())

    def record(self) -> dict[str, Any]:
        """Of the restore both ways; counts are not rounded."""
        facts, prices = self.facts, self.prices
        found: dict[str, Any] = {"table": self.table, "region": self.region, "items": facts.items}
        found |= {"item_bytes": facts.sizes.mean, "changes_per_month": facts.changes}
        found |= {name: self._record(name) if name in self.parts else None for name in ("backfill", "capture")}
        found["restore"] = {"versions": facts.versions, "months": facts.months}
        found["restore"] |= {name: self._record(name) for name in ("into_table", "to_file")}
        found["month_usd"] = {"first": self.month(1), "last": self.month(facts.months)}
        return found | {"prices": {"region": prices.region, "date": prices.date}, "assumptions": self.assumptions}

    def _record(self, name: str) -> dict[str, Any]:
        part, usd = self.parts[name], self.usd(name)
        found = {"requests": part.requests, "capacity": part.capacity, "seconds": part.seconds}
        found |= {"limited_by": part.limit or None, "stored_bytes": part.stored}
        return found | {"usd": usd | {"total": sum(usd.values())}}

    def print(self) -> None:
        facts, parts = self.facts, self.parts
        click.echo(f"{self.table}: {facts.items:,} items, {_bytes(facts.items * facts.sizes.mean)}")
        click.echo("backfill, once")
        self._block("backfill", f"adds {_bytes(parts['backfill'].stored)}")
        if "capture" in parts:
            click.echo(f"capture, a month of {facts.changes:,.0f} changes")
            self._block("capture", f"adds {_bytes(parts['capture'].stored)} a month, for as long as it is kept")
        else:
            click.echo(
                "capture\n  changes   not known: CloudWatch says nothing of this table's writes; --changes-per-month N"
            )
        click.echo(f"restore, of {facts.versions:,.0f} versions")
        click.echo(" into a new table")
        self._block("into_table")
        click.echo(" to a file")
        self._block("to_file")
        once = f"{_usd(sum(self.usd('backfill').values()))} once"
        first, last = self.month(1), self.month(facts.months)
        if first is not None and last is not None:
            grows = f", and {_usd(last)} in month {facts.months}" if facts.months > 1 else ""
            once += f", then {_usd(first)} in the first month{grows}, storage included"
        click.echo(f"in all      {once}")
        click.echo("This is an estimate. It assumes:")
        for line in self.assumptions:
            click.echo(f"  - {line}")

    def _block(self, name: str, stored: str = "") -> None:
        part, usd = self.parts[name], self.usd(name)
        click.echo(f"  requests  {', '.join(f'{count:,.0f} {kind}' for kind, count in part.requests.items())}")
        if part.capacity:
            click.echo(f"  capacity  {', '.join(f'{count:,.0f} {unit}' for unit, count in part.capacity.items())}")
        if stored:
            click.echo(f"  storage   {stored}")
        if part.limit:
            click.echo(f"  time      {_time(part.seconds)}, limited by {part.limit}")
        else:
            click.echo(f"  time      {_time(part.seconds)} until a change is in the archive")
        each = f": {', '.join(f'{service} {_usd(cost)}' for service, cost in usd.items())}" if len(usd) > 1 else ""
        click.echo(f"  cost      {_usd(sum(usd.values()))}{each}")

    @property
    def assumptions(self) -> list[str]:
        facts, prices = self.facts, self.prices
        return list(assumptions(facts, prices, self.region, self.notes, by_hand=self.by_hand, deployed=self.deployed))


def _usd(amount: float) -> str:
    return f"${amount:,.2f}" if amount >= 0.005 or not amount else "less than $0.01"


def _bytes(count: float) -> str:
    for unit, size in (("GB", GB), ("MB", MB), ("KB", 1024)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,.0f} bytes"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:,.0f} s" if seconds >= 1 else "about 1 s"
    return f"{seconds / 60:,.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"
