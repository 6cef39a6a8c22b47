"""The prices: one data file with its date, Region and sources. Whoever pays others gives a file of the same shape."""

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from stream_backup.errors import UsageError

_OWN = files("stream_backup.estimate").joinpath("prices.json")
_HINT = "Copy the shape of the file that comes along, stream_backup/estimate/prices.json."


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars by name of price; `region` and `date` are those of the file."""

    region: str
    date: str
    each: dict[str, float]
    services: dict[str, str]

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """From the file at `path`, else from the one that comes along. Raises UsageError when it is none."""
        text = (path or _OWN).read_text(encoding="utf-8")
        try:
            return cls.of(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{path} is not a file of prices: {_why(error)}.", _HINT) from error

    @classmethod
    def of(cls, content: dict[str, Any]) -> Self:
        """Raises ValueError, KeyError, TypeError or AttributeError when `content` is of another shape."""
        found = content["prices"]
        wanted = json.loads(_OWN.read_text(encoding="utf-8"))["prices"]
        for name, given in wanted.items():
            price, per = found[name]["price"], found[name]["per"]
            if isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price < float("inf"):
                raise ValueError(f"the price {name!r} is not a number of dollars")
            if isinstance(per, bool) or not isinstance(per, int | float) or not 0 < per < float("inf"):
                raise ValueError(f"{name!r} is not priced per so many")
            if (unit := found[name]["unit"]) != given["unit"]:
                raise ValueError(f"{name!r} is priced in {unit!r}, not in {given['unit']!r}")
        if unknown := set(found) - set(wanted):
            raise ValueError(f"nothing is priced {min(unknown)!r}")
        return cls(
            region=str(content["region"]),
            date=str(content["date"]),
            each={name: found[name]["price"] / found[name]["per"] for name in wanted},
            services={name: str(given["service"]) for name, given in wanted.items()},
        )

    def cost(self, counts: dict[str, float]) -> dict[str, float]:
        """Dollars by service, of so many of each thing priced."""
        found: dict[str, float] = {}
        for name, count in counts.items():
            service = self.services[name]
            found[service] = found.get(service, 0.0) + count * self.each[name]
        return found


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"it is no JSON ({error.msg}, line {error.lineno})"
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]!r}"
    return str(error) if type(error) is ValueError else "it is of another shape"
