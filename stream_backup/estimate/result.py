"""A complete estimate: every operation with its cost, and the assumptions."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from stream_backup.estimate.assumptions import assumptions
from stream_backup.estimate.facts import Facts
from stream_backup.estimate.model import (
    Part,
    backfill,
    capture,
    restore,
    storage,
    warm_restore,
    warm_throughput,
)
from stream_backup.estimate.prices import Prices
from stream_backup.estimate.rates import GB


@dataclass(frozen=True)
class Estimate:
    """The estimate for one table.

    `region` is the table's. `notes` name the sources of the item count and of the sizes.
    `changes_given` is True if the number of changes is the value of an option, `deployed` if a
    stack was found.
    """

    table: str
    region: str
    facts: Facts
    prices: Prices
    notes: tuple[str, ...]
    changes_given: bool
    deployed: bool

    @cached_property
    def parts(self) -> dict[str, Part]:
        """The operations by name. `capture` is missing if the number of changes is unknown, and
        `into_warm_table` if warm throughput would not make a restore faster."""
        facts = self.facts
        parts = {"backfill": backfill(facts)}
        if facts.changes is not None:
            parts["capture"] = capture(facts)
        parts["into_table"] = restore(facts, to_file=False)
        if self.warm:
            parts["into_warm_table"] = warm_restore(facts, self.warm)
        return parts | {"to_file": restore(facts, to_file=True)}

    @cached_property
    def warm(self) -> int | None:
        """The warm throughput with which a restore into a new table would be faster, in write units
        per second; None where it would not be."""
        return warm_throughput(self.facts)

    @property
    def assumptions(self) -> list[str]:
        """What the estimate assumes, as sentences."""
        return list(
            assumptions(
                self.facts,
                self.prices,
                self.region,
                self.notes,
                changes_given=self.changes_given,
                deployed=self.deployed,
            )
        )

    def usd(self, name: str) -> dict[str, float]:
        """Returns the cost of an operation in US dollars, by service, without free services."""
        costs = self.prices.cost(self.parts[name].priced)
        return {service: cost for service, cost in costs.items() if cost}

    def month(self, number: int) -> float | None:
        """Returns the cost in US dollars of a month of capture and of what S3 stores at its end.

        Months are counted from 1. Returns None if the number of changes is unknown.
        """
        if "capture" not in self.parts:
            return None
        kept = self.prices.cost({"s3-storage": storage(self.facts, number) / GB})
        return sum(self.usd("capture").values()) + sum(kept.values())

    def record(self) -> dict[str, Any]:
        """Returns the estimate as JSON values. Counts are not rounded."""
        facts, prices = self.facts, self.prices
        restores: dict[str, Any] = {name: self._record(name) for name in ("into_table", "to_file")}
        warm = self.warm
        restores["into_warm_table"] = (
            {"warm_throughput": warm} | self._record("into_warm_table") if warm else None
        )
        return {
            "table": self.table,
            "region": self.region,
            "items": facts.items,
            "item_bytes": facts.sizes.mean,
            "changes_per_month": facts.changes,
            "backfill": self._record("backfill"),
            "capture": self._record("capture") if "capture" in self.parts else None,
            "restore": {"versions": facts.versions, "months": facts.months} | restores,
            "month_usd": {"first": self.month(1), "last": self.month(facts.months)},
            "prices": {"region": prices.region, "date": prices.date},
            "assumptions": self.assumptions,
        }

    def _record(self, name: str) -> dict[str, Any]:
        part, usd = self.parts[name], self.usd(name)
        return {
            "requests": part.requests,
            "capacity": part.capacity,
            "seconds": part.seconds,
            "limited_by": part.limit or None,
            "stored_bytes": part.stored,
            "usd": usd | {"total": sum(usd.values())},
        }
