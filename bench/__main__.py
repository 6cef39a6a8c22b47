"""Compares every hot path with plain boto3 and with the bare client.

    python -m bench                     the parts that make up most of docs/performance.md
    python -m bench --quick             one short round, to check that the bench runs
    python -m bench table --rounds 9    one part

The sides take turns in each round and use null servers. Reports are Markdown on stdout, for
`docs/performance.md`; progress is on stderr.
"""

import argparse
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.calls import check_calls
from bench.estimate import check_estimate
from bench.flight import check_flight
from bench.profile import profile
from bench.rates import check_rates
from bench.report import (
    check_change,
    check_damage,
    check_growth,
    check_memory,
    check_paths,
    check_servers,
)
from bench.rounds import LONG, PATHS, SECONDS
from bench.workers import check_workers

PARTS = ("servers", "table", "delay", "workers", "change", "damage", "memory", "estimate")
"""The parts that run by default."""

OTHERS = ("rates", "flight", "calls", "growth", "profile")
"""The parts that run when they are named, because they take long or print something else."""


def main() -> None:
    """Runs the parts that the command line names."""
    given = _arguments()
    reports = _reports(given)
    print(
        f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, "
        f"Python {platform.python_version()}, {platform.system()}"
    )
    for part in PARTS if given.part == "all" else [given.part]:
        print(f"\n### {part}\n")
        if part == "profile":
            profile(_paths(given)[0])
            continue
        for line in reports[part]():
            print(line, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__.split("\n")[0] if __doc__ else ""
    )
    parser.add_argument("part", nargs="?", choices=["all", *PARTS, *OTHERS], default="all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--delay", type=float, default=10, help="ms until an answer, in the part `delay`"
    )
    parser.add_argument("--path", action="append", choices=[*PATHS])
    parser.add_argument("--chart", type=Path, help="PNG file to write in the part `growth`")
    parser.add_argument("--quick", action="store_true", help="one short round, small sizes")
    return parser.parse_args()


def _reports(given: argparse.Namespace) -> dict[str, Callable[[], Iterator[str]]]:
    """Returns the reports by part, with the sizes of a quick or of a complete run."""
    quick, paths = given.quick, _paths(given)
    rounds, seconds = (1, 0.0) if quick else (given.rounds, SECONDS)
    workers = (1, (2000, 2000, 2000)) if quick else (3, (100_000, 40_000, 20_000))
    long, changed = (4000 if quick else LONG), given.path or ["backfill", "restore", "export"]
    counts = (1000, 2000) if quick else (10_000, 100_000, 1_000_000)
    return {
        "servers": check_servers,
        "table": lambda: check_paths(0, rounds, seconds, paths),
        "delay": lambda: check_paths(given.delay, min(rounds, 3), seconds, paths),
        "workers": lambda: check_workers(*workers),
        "change": lambda: check_change((2000,) if quick else (20_000, 200_000)),
        "damage": lambda: check_damage((0, 10, 25), 2000 if quick else 20_000),
        "memory": lambda: check_memory((500, 2000) if quick else (20_000, 200_000)),
        "estimate": check_estimate,
        "rates": lambda: check_rates(min(rounds, 3), seconds, paths, long),
        "flight": lambda: check_flight(min(rounds, 2), seconds, changed, long),
        "calls": lambda: check_calls(min(rounds, 3), max(0.3, seconds / 2)),
        "growth": lambda: check_growth(counts, given.chart),
    }


def _paths(given: argparse.Namespace) -> list[str]:
    return given.path or [*PATHS]


if __name__ == "__main__":
    main()
