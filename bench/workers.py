"""Compares `backfill`, `restore` and `verify` with one process and with two, in interleaved rounds
with null servers.

    python -m bench.workers                                          the complete part
    python -m bench.workers PATH WORKERS ITEMS S3_URL DYNAMODB_URL   one round, in its own process

A round prints one JSON object. It is a complete run, so its rate includes the time until the
workers have started; the time until the first report is also printed.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

from backfill.run import SEGMENTS
from backfill.segment import Counts
from backfill.share import Share, scan_with
from bench import rows
from bench.clients import Endpoints, archive, dynamodb
from bench.servers import servers
from restore.kept import grid
from restore.load import load_slices, load_with
from restore.order import RestoreOrder
from stream_backup.archive.layout import Archive
from stream_backup.archive.slices import SLICES
from stream_backup.aws.capacity import ReadBudget
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.core.records import Run
from stream_backup.core.slice import cut_names, cut_scan
from stream_backup.core.time_rule import Lateness
from stream_backup.verify.findings import Findings
from stream_backup.verify.rows import Rows
from stream_backup.verify.shares import (
    CompareJob,
    ScanRowsJob,
    SliceCompared,
    VerifyOrder,
    compare_slices,
    scan_slices,
)
from stream_backup.workers.credentials import Lent
from stream_backup.workers.crew import Workers, deal

DAMAGED = 1000
"""The rows of the table of `verify` that a rewind would restore."""

NAMES = {"backfill": "table → S3", "restore": "S3 → table", "verify": "table against S3"}
"""The paths that several processes can do, as reports name them."""

SIDES = (1, 2)
DELAYS = (0.0, 10.0, 25.0)
"""In ms. The rate is limited by the client's CPU without a delay, and by waiting with one."""


def check_workers(
    rounds: int = 3, items: tuple[int, ...] = (100_000, 40_000, 20_000)
) -> Iterator[str]:
    """Reports a Markdown table. `items` are the sizes of the table for each delay."""
    yield (
        "| path | each answer waits | workers | items/s | first report after s | CPU µs/item "
        "| client cores | items/s, workers : one |"
    )
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for delay, count in zip(DELAYS, items, strict=True):
        for path, found in play_sides(delay, count, [*NAMES], rounds).items():
            yield from _lines(f"{NAMES[path]} | {delay:g} ms", found)


def play_sides(
    delay: float, items: int, paths: list[str], rounds: int
) -> dict[str, dict[int, list[dict[str, float]]]]:
    """Returns the rounds of one process and of two, by path. `delay` is in ms."""
    whole: dict[str, dict[int, list[dict[str, float]]]] = {}
    with servers(delay) as endpoints:
        for path in paths:
            found = whole[path] = {side: [] for side in SIDES}
            for number in range(rounds):
                for side in SIDES if number % 2 else reversed(SIDES):
                    found[side].append(_play(path, side, items, endpoints))
    return whole


def _lines(what: str, found: dict[int, list[dict[str, float]]]) -> Iterator[str]:
    for side, each in found.items():
        mid = {name: median(one[name] for one in each) for name in each[0]}
        yield (
            f"| {what} | {side} | {mid['rate']:,.0f} | {mid['first']:.1f} "
            f"| {mid['cpu']:,.0f} | {mid['cores']:.2f} "
            f"| {_ratio(each, found[1]) if side > 1 else ''} |"
        )


def _ratio(over: list[dict[str, float]], under: list[dict[str, float]]) -> str:
    """Returns the ratio of the rates in the same round: median (min – max)."""
    each = [one["rate"] / other["rate"] for one, other in zip(over, under, strict=True)]
    return f"**{median(each):.2f}** ({min(each):.2f} – {max(each):.2f})"


def _play(path: str, workers: int, items: int, endpoints: Endpoints) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        "bench.workers",
        path,
        str(workers),
        str(items),
        endpoints.s3,
        endpoints.dynamodb,
    ]
    found: dict[str, float] = json.loads(subprocess.check_output(command))
    print(f"{path} {workers} workers {found['rate']:8,.0f} items/s", file=sys.stderr, flush=True)
    return found


@dataclass
class First:
    """When the first report of a round came. Thread-safe."""

    started: float = field(default_factory=time.perf_counter)
    seconds: float = 0.0

    def heard(self, _: Any) -> None:
        """Notes the time of the first report."""
        self.seconds = self.seconds or time.perf_counter() - self.started


def play_round(path: str, workers: int, items: int, endpoints: Endpoints) -> dict[str, float]:
    """Runs one path with so many processes."""
    first = First()
    done = {"backfill": _backfill, "restore": _restore, "verify": _verify}[path](
        workers, items, endpoints, first
    )
    taken = time.perf_counter() - first.started
    assert done == items
    cpu = sum(
        sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {
        "rate": items / taken,
        "first": first.seconds,
        "cpu": cpu / items * 1e6,
        "cores": cpu / taken,
    }


def _backfill(workers: int, items: int, endpoints: Endpoints, first: First) -> int:
    segments = SEGMENTS * workers
    counts = {"segments": segments}
    run = Run("bench", "label", rows.BASE, rows.BASE, rows.BASE, complete=False, counts=counts)
    share = Share(run, empty=True, asked=int(time.time()), kept=dict.fromkeys(range(segments)))
    clients = partial(_clients, endpoints, rows.table_name(items))

    def progress(counts: Counts) -> None:
        if counts.read:
            first.heard(counts)

    if workers > 1:
        crew = Workers(workers, clients, _no_credentials)
        return scan_with(crew, share, ReadBudget(None), progress).written
    work = *clients(_no_credentials), ReadBudget(None), Event(), progress
    return share.scan(*work).counts.written


def _restore(workers: int, items: int, endpoints: Endpoints, first: First) -> int:
    table = rows.table_name(items)
    clients = partial(_clients, endpoints, table)
    order = RestoreOrder(table, rows.MOMENT, rows.BASE, Lateness())
    parts = cut_names(grid(workers))
    if workers > 1:
        crew = Workers(workers, clients, _no_credentials)
        done = load_with(crew, order, parts, None, first.heard)
    else:
        done = load_slices(order, parts, *clients(_no_credentials), Event(), first.heard)
    return sum(each.written for each in done)


def _verify(workers: int, items: int, endpoints: Endpoints, first: First) -> int:
    table = rows.damaged_name(items, DAMAGED)
    clients = partial(_clients, endpoints, table)
    order, findings = VerifyOrder(rows.BASE, Lateness()), Findings()
    scans, parts = cut_scan(SEGMENTS * workers), cut_names(len(SLICES))

    def heard(found: Any) -> None:
        first.heard(found)
        if isinstance(found, SliceCompared):
            findings.add(found.found)

    if workers > 1:
        crew = Workers(workers, clients, _no_credentials)
        with TemporaryDirectory() as folder:
            folders = tuple(Path(folder) / str(number) for number in range(workers))
            budget = ReadBudget(None)
            hands = zip(deal(scans, workers), folders, strict=True)
            crew.run([ScanRowsJob(hand, rows.SCHEMA, budget, to) for hand, to in hands], heard)
            crew.run([CompareJob(order, hand, folders) for hand in deal(parts, workers)], heard)
        return findings.counts["equal"]
    dynamodb, archive = clients(_no_credentials)
    with closing(Rows()) as found:
        work = rows.SCHEMA, ReadBudget(None), Event(), found, heard
        scan_slices(scans, dynamodb, table, *work)
        for each in compare_slices(order, parts, dynamodb, archive, found, Event(), heard):
            heard(each)
    return findings.counts["equal"]


def _clients(endpoints: Endpoints, table: str, _: Callable[[], Lent]) -> tuple[DynamoDB, Archive]:
    return dynamodb(endpoints), archive(endpoints, table)


def _no_credentials() -> Any:
    raise AssertionError("the clients of a round have their own credentials")


def main() -> None:
    """Runs the complete part, or one round."""
    if len(sys.argv) == 1:
        for line in check_workers():
            print(line, flush=True)
    else:
        path, workers, items, s3, dynamo = sys.argv[1:]
        found = play_round(path, int(workers), int(items), Endpoints(s3, dynamo))
        os.write(1, json.dumps(found).encode())


if __name__ == "__main__":
    # By its own name, because a worker does not import the main module of its parent.
    import_module("bench.workers").main()
