"""Compares a backfill with one process and with two, in interleaved rounds with null servers.

    python -m bench.workers                                     the complete part
    python -m bench.workers WORKERS ITEMS S3_URL DYNAMODB_URL   one round, in its own process

A round prints one JSON object. It is a complete scan, so its rate includes the time until the
workers have started, which is also reported.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from statistics import median
from threading import Event, Lock
from typing import Any

from backfill.credentials import Lent
from backfill.run import SEGMENTS
from backfill.segment import Counts
from backfill.share import Share
from backfill.workers import Workers
from bench import rows
from bench.clients import Endpoints, archive, dynamodb
from bench.servers import servers
from stream_backup.archive.layout import Archive
from stream_backup.aws.capacity import ReadBudget
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.core.records import Run

SIDES = (1, 2)
DELAYS = (0.0, 10.0)
"""In ms. The rate is limited by the client's CPU without a delay, and by waiting with one."""


def check_workers(rounds: int = 3, items: tuple[int, int] = (100_000, 40_000)) -> Iterator[str]:
    """Reports a Markdown table. `items` are the sizes of the table without and with a delay."""
    yield (
        "| each answer waits | workers | items/s | first page after s | CPU µs/item "
        "| client cores | items/s, workers : one |"
    )
    yield "|--:|--:|--:|--:|--:|--:|--:|"
    for delay, count in zip(DELAYS, items, strict=True):
        found: dict[int, list[dict[str, float]]] = {side: [] for side in SIDES}
        with servers(delay) as endpoints:
            for number in range(rounds):
                for side in SIDES if number % 2 else reversed(SIDES):
                    found[side].append(_play(side, count, endpoints))
        for side, each in found.items():
            mid = {name: median(one[name] for one in each) for name in each[0]}
            yield (
                f"| {delay:g} ms | {side} | {mid['rate']:,.0f} | {mid['first']:.1f} "
                f"| {mid['cpu']:,.0f} | {mid['cores']:.2f} "
                f"| {_ratio(each, found[1]) if side > 1 else ''} |"
            )


def _ratio(over: list[dict[str, float]], under: list[dict[str, float]]) -> str:
    """Returns the ratio of the rates in the same round: median (min – max)."""
    each = [one["rate"] / other["rate"] for one, other in zip(over, under, strict=True)]
    return f"**{median(each):.2f}** ({min(each):.2f} – {max(each):.2f})"


def _play(workers: int, items: int, endpoints: Endpoints) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        "bench.workers",
        str(workers),
        str(items),
        endpoints.s3,
        endpoints.dynamodb,
    ]
    found: dict[str, float] = json.loads(subprocess.check_output(command))
    print(f"{workers} workers {found['rate']:8,.0f} items/s", file=sys.stderr, flush=True)
    return found


def play_round(workers: int, items: int, endpoints: Endpoints) -> dict[str, float]:
    segments = SEGMENTS * workers
    run = Run(
        "bench",
        "label",
        rows.BASE,
        rows.BASE,
        rows.BASE,
        complete=False,
        counts={"segments": segments},
    )
    share = Share(run, empty=True, asked=int(time.time()), kept=dict.fromkeys(range(segments)))
    clients = partial(_clients, endpoints, rows.table_name(items))
    firsts, lock, started = list[float](), Lock(), time.perf_counter()

    def progress(counts: Counts) -> None:
        with lock:
            if counts.read and not firsts:
                firsts.append(time.perf_counter() - started)

    if workers > 1:
        done = Workers(workers, clients, _no_credentials).scan(share, ReadBudget(None), progress)
    else:
        done = share.scan(*clients(_no_credentials), ReadBudget(None), Event(), progress)
    taken = time.perf_counter() - started
    assert done.written == items
    cpu = sum(
        sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {
        "rate": items / taken,
        "first": firsts[0],
        "cpu": cpu / items * 1e6,
        "cores": cpu / taken,
    }


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
        workers, items, s3, dynamo = sys.argv[1:]
        found = play_round(int(workers), int(items), Endpoints(s3, dynamo))
        os.write(1, json.dumps(found).encode())


if __name__ == "__main__":
    # By its own name, because a worker does not import the main module of its parent.
    import_module("bench.workers").main()
