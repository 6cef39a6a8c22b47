"""Prices: one data file with a date, a Region and sources.

Users with other prices pass a file in the same format.
"""

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from stream_backup.errors import UsageError

_OWN = files("stream_backup.estimate").joinpath("prices.json")
_HINT = "Use the format of stream_backup/estimate/prices.json."


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices in US dollars for one unit each, and the AWS service of each, by name of price.

    `region` and `date` (`YYYY-MM`) are those of the file.
    """

    region: str
    date: str
    each: dict[str, float]
    services: dict[str, str]

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Reads the file at `path`, by default the one in this package.

        Raises UsageError if it is not a price file.
        """
        text = (path or _OWN).read_text(encoding="utf-8")
        try:
            return cls.of(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{path} is not a price file: {_reason(error)}.", _HINT) from error

    @classmethod
    def of(cls, content: dict[str, Any]) -> Self:
        """Returns the prices in the content of a file.

        Raises ValueError, KeyError, TypeError or AttributeError if `content` has another format.
        """
        found = content["prices"]
        wanted = json.loads(_OWN.read_text(encoding="utf-8"))["prices"]
        for name, given in wanted.items():
            _check(name, found[name], given["unit"])
        if unknown := set(found) - set(wanted):
            raise ValueError(f"{min(unknown)!r} is not a known price")
        return cls(
            region=str(content["region"]),
            date=str(content["date"]),
            each={name: found[name]["price"] / found[name]["per"] for name in wanted},
            services={name: str(given["service"]) for name, given in wanted.items()},
        )

    def cost(self, counts: dict[str, float]) -> dict[str, float]:
        """Returns the cost in US dollars, by service, of `counts` by name of price."""
        found: dict[str, float] = {}
        for name, count in counts.items():
            service = self.services[name]
            found[service] = found.get(service, 0.0) + count * self.each[name]
        return found


def _check(name: str, found: dict[str, Any], unit: str) -> None:
    """Raises ValueError if `found` is not a price for `unit`, KeyError if a field is missing."""
    price, per = found["price"], found["per"]
    if not _is_number(price) or price < 0:
        raise ValueError(f"the price of {name!r} is not a number of dollars")
    if not _is_number(per) or per <= 0:
        raise ValueError(f"'per' of {name!r} is not a number greater than 0")
    if found["unit"] != unit:
        raise ValueError(f"the unit of {name!r} is {found['unit']!r}, not {unit!r}")


def _is_number(value: object) -> bool:
    """Whether `value` is a finite number; JSON's `true` is not."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and float("-inf") < value < float("inf")
    )


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"it is not JSON ({error.msg}, line {error.lineno})"
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]!r}"
    return str(error) if type(error) is ValueError else "it has another structure"
