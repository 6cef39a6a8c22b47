"""What more workers give a backfill: the same table by one process and by two, in interleaved rounds against null servers.

    python -m bench.workers                                     the part
    python -m bench.workers WORKERS ITEMS S3_URL DYNAMODB_URL   one round, in a process of its own; prints one JSON object

A round is a whole scan with its start: what a worker takes to come up is in its rate, and said beside it.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from threading import Event, Lock
from typing import Any

from backfill.capacity import Capacity
from backfill.credentials import Lent
from backfill.run import SEGMENTS
from backfill.segment import Counts
from backfill.share import Share
from backfill.workers import Workers
from bench import rows
from bench.clients import Endpoints, archive, dynamodb
from stream_backup.archive import Archive
from stream_backup.coverage import Run
from stream_backup.dynamodb import DynamoDB

SIDES = (1, 2)
DELAYS = (0.0, 10.0)
"""In ms: with none the client's own work is what takes the time, with one the waiting."""


def check_workers(rounds: int = 3, items: tuple[int, int] = (100_000, 40_000)) -> Iterator[str]:
    """`items` of the table without and with a delay."""
    from bench.__main__ import servers

    yield "| each answer waits | workers | items/s | first page after s | CPU µs/item | client cores | items/s, workers : one |"
    yield "|--:|--:|--:|--:|--:|--:|--:|"
    for delay, count in zip(DELAYS, items, strict=True):
        found: dict[int, list[dict[str, float]]] = {side: [] for side in SIDES}
        with servers(delay) as endpoints:
            for number in range(rounds):
                for side in SIDES if number % 2 else reversed(SIDES):
                    found[side].append(_play(side, count, endpoints))
        for side, each in found.items():
            mid = {name: median(one[name] for one in each) for name in each[0]}
            ratios = [one["rate"] / alone["rate"] for one, alone in zip(each, found[1], strict=True)]
            ratio = f"**{median(ratios):.2f}** ({min(ratios):.2f} – {max(ratios):.2f})" if side > 1 else ""
            yield (
                f"| {delay:g} ms | {side} | {mid['rate']:,.0f} | {mid['first']:.1f} | {mid['cpu']:,.0f} | {mid['cores']:.2f} "
                f"| {ratio} |"
            )


def _play(workers: int, items: int, endpoints: Endpoints) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.workers", str(workers), str(items), endpoints.s3, endpoints.dynamodb]
    found: dict[str, float] = json.loads(subprocess.check_output(command))
    print(f"{workers} workers {found['rate']:8,.0f} items/s", file=sys.stderr, flush=True)
    return found


def _round(workers: int, items: int, endpoints: Endpoints) -> dict[str, float]:
    segments = SEGMENTS * workers
    run = Run("bench", "label", rows.BASE, rows.BASE, rows.BASE, complete=False, counts={"segments": segments})
    share = Share(run, empty=True, asked=int(time.time()), kept=dict.fromkeys(range(segments)))
    clients = partial(_clients, endpoints, rows.table_name(items))
    firsts, lock, started = list[float](), Lock(), time.perf_counter()

    def tell(counts: Counts) -> None:
        with lock:
            if counts.read and not firsts:
                firsts.append(time.perf_counter() - started)

    if workers > 1:
        done = Workers(workers, clients, _no_credentials).scan(share, Capacity(None), tell)
    else:
        done = share.scan(*clients(_no_credentials), Capacity(None), Event(), tell)
    taken = time.perf_counter() - started
    assert done.written == items
    cpu = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {"rate": items / taken, "first": firsts[0], "cpu": cpu / items * 1e6, "cores": cpu / taken}


def _clients(endpoints: Endpoints, table: str, _: Callable[[], Lent]) -> tuple[DynamoDB, Archive]:
    return dynamodb(endpoints), archive(endpoints, table)


def _no_credentials() -> Any:
    raise AssertionError("the clients of a round have their own")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        for line in check_workers():
            print(line, flush=True)
    else:
        workers, items, s3, dynamo = sys.argv[1:]
        os.write(1, json.dumps(_round(int(workers), int(items), Endpoints(s3, dynamo))).encode())
