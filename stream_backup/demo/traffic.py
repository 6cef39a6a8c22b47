"""A day's work at the airports: flights, weather, openings and closures, and one release that went wrong.

Writes come in bursts, one a second, each within its second: so the record of the truth knows for certain what every second
held at its end.
"""

import time
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from math import asin, cos, radians, sin, sqrt
from random import Random
from threading import Event

from stream_backup.demo.live import Table
from stream_backup.demo.rows import number, text
from stream_backup.item import Item, Value
from stream_backup.moment import iso

BURST = 130
"""Changes a second, or fewer where the machine is slow."""

_PART = 0.75
"""Part of a second that a burst may take."""

_WATCHED_EVERY = 8
"""Seconds."""

HUBS = ("ATL", "CDG", "DXB", "FRA", "GRU", "HND", "IST", "JFK", "LHR", "MEX", "SIN", "SYD")


@dataclass(slots=True)
class Traffic:
    """`closed` are the airports that may open; `watched` is one that stays open and is flown to now and then. It writes
    until `stop` is set."""

    table: Table
    closed: dict[str, Item]
    watched: str
    stop: Event = field(default_factory=Event)
    kinds: Counter[str] = field(default_factory=Counter)
    seconds: int = 0
    _random: Random = field(default_factory=lambda: Random(1903))  # noqa: S311 - the same day every time, not a secret
    _names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._names = sorted({*self.table.truth.rows, *self.closed})

    @property
    def changes(self) -> int:
        return self.kinds.total()

    def flow(self) -> None:
        while not self.stop.is_set():
            time.sleep(1 - time.time() % 1)
            self._burst()

    def _burst(self) -> None:
        self.table.look()
        before = self.changes
        until = time.monotonic() + _PART
        if self.seconds % _WATCHED_EVERY == _WATCHED_EVERY - 1:
            self._fly(self.watched, self._airport())
        while self.changes < before + BURST and time.monotonic() < until:
            self._happen()
        self.seconds += self.changes > before

    def _happen(self) -> None:
        luck = self._random.random()
        if luck < 0.12 and self.closed:
            self._open()
        elif luck < 0.18:
            self._close()
        elif luck < 0.35:
            self._observe()
        else:
            self._fly(self._airport(), self._airport())

    def _open(self) -> None:
        name = self._random.choice(list(self.closed))
        item = self.closed.pop(name)
        self.table.put(item | {"opened": {"S": iso(self.table.second)}})
        self.kinds["insert"] += 1

    def _close(self) -> None:
        name = self._small()
        self.closed[name] = self.table.truth.rows[name]
        self.table.delete(name)
        self.kinds["remove"] += 1

    def _observe(self) -> None:
        """Weather, as exact as the station sends it."""
        draw = self._random.randint
        weather = {
            "temperature_c": number(Decimal(draw(-350, 420)).scaleb(-1)),
            "pressure_hpa": number(Decimal(draw(96000, 105000)).scaleb(-2)),
            "wind": {"L": [number(Decimal(10 * draw(0, 35))), number(Decimal(draw(0, 45)))]},
            "gusts": {"NULL": True},
        }
        self._modify(self._airport(), {"weather": {"M": weather}})

    def _fly(self, start: str, end: str) -> None:
        rows = self.table.truth.rows
        km = distance(rows[start], rows[end])
        flight = {"from": {"S": start}, "to": {"S": end}, "km": number(km)}
        fuel = number(_number(rows[start], "fuel_kg") + km * Decimal("2.7183"))
        last: Item = {"last_flight": {"M": flight}}
        self._modify(start, last | {"departures": _one_more(rows[start], "departures"), "fuel_kg": fuel})
        self._modify(end, last | {"arrivals": _one_more(rows[end], "arrivals")})

    def _modify(self, name: str, change: Item) -> None:
        self.table.put(self.table.truth.rows[name] | change)
        self.kinds["modify"] += 1

    def _airport(self) -> str:
        """Every other time a hub, so that some airports have a long history."""
        hub = self._random.choice(HUBS)
        return hub if hub in self.table.truth.rows and self._random.random() < 0.5 else self._small()

    def _small(self) -> str:
        while (name := self._random.choice(self._names)) not in self.table.truth.rows or name in (*HUBS, self.watched):
            pass
        return name


def release(table: Table, victim: str, countries: set[str]) -> Counter[str]:
    """The release that goes wrong: it swaps latitude and longitude, then deletes what now lies beyond the poles.

    `victim` is the first airport it touches. What it did to how many.
    """
    done: Counter[str] = Counter()
    touched = [name for name, item in table.truth.rows.items() if text(item["country"]) in countries]
    for name in sorted(touched, key=lambda name: (name != victim, name)):
        item = table.truth.rows[name]
        geo = item["geo"]["M"]
        if abs(Decimal(geo["lon"]["N"])) > 90:
            table.delete(name)
            done["deleted"] += 1
        else:
            table.put(item | {"geo": {"M": geo | {"lat": geo["lon"], "lon": geo["lat"]}}})
            done["overwritten"] += 1
    return done


def distance(start: Item, end: Item) -> Decimal:
    """The great circle in kilometres, to the metre."""
    ((lat, lon), (lat2, lon2)) = (
        (radians(float(geo["lat"]["N"])), radians(float(geo["lon"]["N"]))) for geo in (start["geo"]["M"], end["geo"]["M"])
    )
    half = sin((lat2 - lat) / 2) ** 2 + cos(lat) * cos(lat2) * sin((lon2 - lon) / 2) ** 2
    return Decimal(2 * 6371 * asin(sqrt(min(1, half)))).quantize(Decimal("0.001"))


def _number(item: Item, name: str) -> Decimal:
    return Decimal(item[name]["N"]) if name in item else Decimal(0)


def _one_more(item: Item, name: str) -> Value:
    return number(_number(item, name) + 1)
