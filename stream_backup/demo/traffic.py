"""A day at the airports: flights, weather, openings and closures.

Changes are written in bursts, one per second. A burst does not extend into the next second, so the
record of the truth knows what the table contained at the end of every second.
"""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from threading import Event

from stream_backup.core.item import Item, Value
from stream_backup.core.moment import iso
from stream_backup.demo.live import DemoTable
from stream_backup.demo.rows import distance, number, text

BURST = 40
"""Changes per second, or fewer on a slow computer."""

_PART = 0.75
"""The part of a second that a burst may take."""

HUBS = ("ATL", "CDG", "DXB", "FRA", "GRU", "HND", "IST", "JFK", "LHR", "MEX", "SIN", "SYD")
"""The airports of every other flight."""


@dataclass(slots=True)
class Traffic:
    """Writes changes to a table until `stop` is set.

    `closed` are the airports that can open. Those in the countries `steady` neither open nor close.
    `kinds` counts the changes, `seconds` those in which rows changed.
    """

    table: DemoTable
    closed: dict[str, Item]
    steady: set[str]
    stop: Event = field(default_factory=Event)
    kinds: Counter[str] = field(default_factory=Counter)
    seconds: int = 0
    _random: Random = field(default_factory=lambda: Random(1903))  # noqa: S311 - no secret, and reproducible
    _names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.closed = {n: item for n, item in self.closed.items() if not self._is_steady(item)}
        self._names = sorted({*self.table.truth.rows, *self.closed})

    @property
    def changes(self) -> int:
        """The number of changes so far."""
        return self.kinds.total()

    @contextmanager
    def flowing(self) -> Iterator[Future[None]]:
        """Writes changes in a thread while the block runs; yields its future.

        Raises what ended the thread.
        """
        with ThreadPoolExecutor(1) as pool:
            writer = pool.submit(self.flow)
            try:
                yield writer
            finally:
                self.stop.set()
        writer.result()

    def flow(self) -> None:
        """Writes a burst of changes at the start of every second, until `stop` is set."""
        while not self.stop.is_set():
            time.sleep(1 - time.time() % 1)
            self._burst()

    def _burst(self) -> None:
        self.table.look()
        before = self.changes
        until = time.monotonic() + _PART
        while self.changes < before + BURST and time.monotonic() < until:
            self._change()
        self.seconds += self.changes > before

    def _change(self) -> None:
        kind = self._random.random()
        if kind < 0.12 and self.closed:
            self._open()
        elif kind < 0.18:
            self._close()
        elif kind < 0.35:
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
        if self._is_steady(self.table.truth.rows[name]):
            return
        self.closed[name] = self.table.truth.rows[name]
        self.table.delete(name)
        self.kinds["remove"] += 1

    def _observe(self) -> None:
        """Writes a weather report with exact numbers."""
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
        self._modify(
            start, last | {"departures": _one_more(rows[start], "departures"), "fuel_kg": fuel}
        )
        self._modify(end, last | {"arrivals": _one_more(rows[end], "arrivals")})

    def _modify(self, name: str, change: Item) -> None:
        self.table.update(name, change)
        self.kinds["modify"] += 1

    def _airport(self) -> str:
        """Returns a hub every other time, so that some airports have a long history."""
        hub = self._random.choice(HUBS)
        if hub in self.table.truth.rows and self._random.random() < 0.5:
            return hub
        return self._small()

    def _small(self) -> str:
        """Returns an open airport that is not a hub."""
        while True:
            name = self._random.choice(self._names)
            if name in self.table.truth.rows and name not in HUBS:
                return name

    def _is_steady(self, item: Item) -> bool:
        return text(item["country"]) in self.steady


def _number(item: Item, name: str) -> Decimal:
    return Decimal(item[name]["N"]) if name in item else Decimal(0)


def _one_more(item: Item, name: str) -> Value:
    return number(_number(item, name) + 1)
