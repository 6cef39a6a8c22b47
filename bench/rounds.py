"""Runs rounds, each in a process of its own (`bench.round`)."""

import json
import subprocess
import sys
from typing import Any

from bench.clients import Endpoints

PATHS = {"capture": 1000, "backfill": 4000, "restore": 4000, "export": 4000}
"""Each path, with the number of items in one unit of work."""

LONG = 40_000
"""The number of items instead, where answers are delayed and our code has to find out how many
requests help: it begins with few, and adapts them for seconds."""

NAMES = {
    "capture": "stream batch → S3",
    "backfill": "table → S3",
    "restore": "S3 → table",
    "export": "S3 → file",
}
"""Each path, as reports name it."""

SIDES = ("boto3", "ours", "bare")
"""The implementations that are compared."""

WARM = 500
"""Items of the work before the measurement."""

SECONDS = 2.0
"""The duration of a round, at least."""

Round = dict[str, Any]
"""The result of a round; see `bench.round.run`."""


def play(
    path: str,
    side: str,
    items: int,
    endpoints: Endpoints,
    warm: int = WARM,
    seconds: float = SECONDS,
) -> Round:
    """Runs one round and reports its rate on stderr. Raises SystemExit if it fails."""
    arguments = [path, side, str(items), str(warm), str(seconds), endpoints.s3, endpoints.dynamodb]
    done = subprocess.run(
        [sys.executable, "-m", "bench.round", *arguments], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"The round {path} {side} ended with {done.returncode}.\n{done.stderr}")
    found: Round = json.loads(done.stdout)
    line = (
        f"{path:9} {side:6} {found['rate']:8,.0f} items/s {found['cpu']:7,.0f} µs  "
        f"server {found['server']:.0%}"
    )
    print(line, file=sys.stderr, flush=True)
    return found


def items_of(path: str, side: str, *, delayed: bool, long: int = LONG) -> int:
    """Returns the number of items in one unit of work."""
    return long if delayed and side == "ours" and path != "capture" else PATHS[path]


def interleaved(
    endpoints: Endpoints, rounds: int, seconds: float, paths: list[str], *, delayed: bool
) -> dict[str, dict[str, list[Round]]]:
    """Runs every side of every path in each round. A different side begins each time.

    Returns the results by path and side.
    """
    found: dict[str, dict[str, list[Round]]] = {
        path: {side: [] for side in SIDES} for path in paths
    }
    for number in range(rounds):
        for path in paths:
            for side in SIDES[number % 3 :] + SIDES[: number % 3]:
                items = items_of(path, side, delayed=delayed and seconds > 0)
                found[path][side].append(play(path, side, items, endpoints, seconds=seconds))
    return found
