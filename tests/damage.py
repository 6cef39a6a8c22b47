"""The night of a bad deployment, as an archive in memory that commands are run on: orders, good
traffic, and a job that wrote `undefined` for six minutes."""

import sys
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

import stream_backup.cli.check
import stream_backup.cli.diff
import stream_backup.cli.main
import stream_backup.cli.options
import stream_backup.cli.timeline
from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.archive.status import status_of
from stream_backup.aws.lifecycle import Lifecycle
from stream_backup.capture.state import State
from stream_backup.core.change import Change
from stream_backup.core.checkpoints import FollowCheckpoint
from stream_backup.core.item import Item, digest, encode
from stream_backup.core.key import KeySchema
from stream_backup.core.moment import from_iso, iso
from stream_backup.core.records import Run, Stream, TableDescription
from stream_backup.core.stamp import Kind, Stamp
from tests.cli import Said

LABEL = "2026-11-20T00:00:00.000"
ARN = f"arn:aws:dynamodb:eu-central-1:123456789012:table/orders/stream/{LABEL}"
SCHEMA = KeySchema((("id", "S"),))
START = from_iso("2026-11-20T00:10:00Z")
"""The first exact moment."""

CAUSE = from_iso("2026-11-21T02:14:07Z")
"""The first damage."""

END = from_iso("2026-11-21T02:19:55Z")
"""The last damage."""

NOW = from_iso("2026-11-21T03:00:00Z")


def order(number: int, state: str | None, **more: Any) -> Item:
    item: Item = {"id": {"S": f"order-{number}"}}
    if state is not None:
        item["state"] = {"S": state}
    return item | more


class Night:
    """A table's archive, and the commands that are run on it. Nothing is asked of AWS. Without
    `capsys`, what a command says is not kept."""

    def __init__(self, capsys: pytest.CaptureFixture[str] | None = None) -> None:
        self._capsys = capsys
        self.unseen: tuple[str, ...] = ()
        self.lifecycle: Lifecycle | None = None
        self.now = START
        self._sequence = 10**21
        self.rows: dict[str, Item] = {}
        self.store = MemoryStore(lambda: self.now)
        self.store.bucket = "backups"  # type: ignore[attr-defined]
        self.meta = Catalog(self.archive())
        self.meta.write_stream(
            Stream(LABEL, ARN, "1", START - 60, True, "follow", START - 60, announces=True)
        )
        self.meta.write_run(Run("r", LABEL, START - 20, START - 5, START, True, {}))
        table = {
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        }
        self.meta.write_description(LABEL, TableDescription.of({"Table": table}))
        self.caught_up(NOW - 1)

    def caught_up(self, moment: int) -> None:
        kept = FollowCheckpoint(moment, moment, running=False, drained=False, shards={})
        self.meta.write_follow_checkpoint(LABEL, kept)

    def archive(self, _: str = "", schema: KeySchema | None = None) -> Archive:
        return Archive(self.store, "", "orders", schema, lambda: self.now)

    def scan(self, *items: Item) -> None:
        """The backfill finds these rows."""
        for item in items:
            key = SCHEMA.key_of(item)
            stamp = Stamp(START - 15, 0, START, "scan")
            self._put(Change(key, stamp, encode(item)), START - 4)
            self.rows[key["id"]["S"]] = item

    def write(self, at: int | str, item: Item, *, late: int = 1) -> None:
        at = from_iso(at) if isinstance(at, str) else at
        name = item["id"]["S"]
        self._change(at, item, "modify" if name in self.rows else "insert", late)
        self.rows[name] = item

    def remove(self, at: int | str, number: int, by: str | None = None) -> None:
        at = from_iso(at) if isinstance(at, str) else at
        item = order(number, None)
        self._change(at, item, "remove", 1, by)
        del self.rows[item["id"]["S"]]

    def _change(self, at: int, item: Item, kind: Kind, late: int, by: str | None = None) -> None:
        self._sequence += 1
        body = None if kind == "remove" else encode(item)
        old = self.rows.get(item["id"]["S"])
        before = digest(encode(old)) if old else None
        stamp = Stamp(at, self._sequence, at, kind, by=by, before=before)
        self._put(Change(SCHEMA.key_of(item), stamp, body), at + late)

    def _put(self, change: Change, written: int) -> None:
        self.now = written
        self.store.put(*self.archive().object_of(change))

    # The commands

    def state(self) -> State:
        found = status_of(self.archive(), NOW)
        return State("orders", found, None, (), (), self.unseen, True, {}, self.lifecycle)

    def run(self, *words: str) -> Said:
        """Runs a command in this process, on this archive."""
        here = SimpleNamespace(
            archive=self.archive,
            store=self.store,
            location="s3://backups",
            archive_url=None,
            clock=lambda: NOW,
            now=lambda: NOW,
        )
        if self._capsys:
            self._capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stream_backup.cli.options, "Connection", lambda *_: here)
            for module in (
                stream_backup.cli.check,
                stream_backup.cli.diff,
                stream_backup.cli.timeline,
            ):
                patch.setattr(module, "state_of", lambda *_: self.state())
            patch.setattr(sys, "argv", ["stream-backup", *words])
            code: Any = 0
            try:
                stream_backup.cli.main.main()
            except SystemExit as end:
                code = end.code
        said = self._capsys.readouterr() if self._capsys else None
        return Said(int(code or 0), said.out if said else "", said.err if said else "")

    def done(self, *words: str) -> Said:
        said = self.run(*words)
        assert said.code == 0, said
        return said


def incident(capsys: pytest.CaptureFixture[str] | None = None, orders: int = 60) -> Night:
    """Every order goes from new to paid during the day. At night a job writes `undefined` into all
    of them, while other orders come in, ship, are removed, and expire."""
    night = Night(capsys)
    night.scan(*(order(number, "new") for number in range(orders)))
    for number in range(0, orders, 2):
        night.write(START + 3600 + number, order(number, "paid"))
    for number in range(1000, 1010):
        night.write(CAUSE - 7200 + number, order(number, "new", total={"N": f"{number}.10"}))
    span = END - CAUSE
    damage = [(CAUSE + span * number // (orders - 1), number) for number in range(orders)]
    good = [(CAUSE + 20 * number, 1000 + number) for number in range(5)]
    for at, number in sorted([*damage, *good]):
        if number < 1000:
            night.write(at, order(number, "undefined"))
        else:
            row = order(number, "shipped", total={"N": f"{number}.10"}, box={"N": str(number)})
            night.write(at, row)
    for number in range(2000, 2003):
        night.write(CAUSE + number - 1900, order(number, "new"))
    night.remove(END - 20, 1008)
    night.remove(END - 10, 1009, by="ttl")
    night.write(END - 2, order(3000, "new"))
    night.remove(END - 1, 3000)
    for number in range(10):
        night.write(END + 300 + number, order(number, "fixed"))
    return night


FROM, TO = iso(CAUSE - 7), iso(END + 5)


def long_night(orders: int = 5000) -> Night:
    """A day of ordinary traffic, and the same bad deployment among it, on more orders: what the
    pictures in the documents show."""
    random = Random(1)
    night = Night()
    night.scan(*(order(number, "new") for number in range(orders)))
    events: list[tuple[int, int, str]] = []
    for minute in range((NOW - START) // 60):
        at = START + 60 + 60 * minute
        hour = at // 3600 % 24
        busy = 0 if 3 <= hour <= 4 else 2 if hour < 7 else 9 - abs(hour - 14) // 2
        for _ in range(random.randrange(2 * busy + 1)):
            events.append((at + random.randrange(60), 10_000 + len(events), "new"))
    span = END - CAUSE
    damaged = range(orders * 4812 // 5000)
    events += [
        (CAUSE + span * number // (len(damaged) - 1), number, "undefined") for number in damaged
    ]
    for at, number, state in sorted(events):
        if at >= NOW - 60:
            break
        night.write(at, order(number, state))
        kept = 10_000 + random.randrange(1, 1 + max(1, len(night.rows) - orders))
        name = f"order-{kept}"
        if number >= 10_000 and name in night.rows:
            match random.randrange(8):
                case 0:
                    night.remove(at + 1, kept)
                case 1:
                    night.remove(at + 1, kept, by="ttl")
                case _:
                    night.write(
                        at + 1, order(kept, "paid", total={"N": str(random.randrange(999))})
                    )
    return night
