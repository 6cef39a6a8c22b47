"""`make bench`: every hot path beside plain boto3 and beside the bare client, in interleaved rounds against null servers.

    python -m bench                     the whole bench
    python -m bench --quick             one short round: does it run?
    python -m bench table --rounds 9    one part: servers, table, delay, memory, growth or profile

Prints Markdown, which `docs/performance.md` keeps, on stdout; what it is at, on stderr.
"""

import argparse
import json
import platform
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from bench.clients import Endpoints
from bench.money import check_estimate
from bench.workers import check_workers

PATHS = {"capture": 1000, "backfill": 4000, "restore": 4000, "export": 4000}
"""Each path, and the items of one piece of work."""

NAMES = {
    "capture": "stream batch → S3",
    "backfill": "table → S3",
    "restore": "S3 → table",
    "export": "S3 → file",
}
SIDES = ("boto3", "ours", "bare")
WARM = 500
SECONDS = 2.0

Round = dict[str, Any]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def servers(delay: float = 0) -> Iterator[Endpoints]:
    """A null S3 and a null DynamoDB, each a process of its own; `delay` in ms."""
    ports = free_port(), free_port()
    started = [subprocess.Popen([sys.executable, "-m", "bench.server", str(port), str(delay)]) for port in ports]
    try:
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        for url in urls:
            _await(url)
        yield Endpoints(*urls)
    finally:
        for process in started:
            process.kill()
            process.wait()


def _await(url: str) -> None:
    for _ in range(100):
        try:
            urllib.request.urlopen(f"{url}/_stats").close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"The null server at {url} did not start.")


def play(path: str, side: str, items: int, endpoints: Endpoints, warm: int = WARM, seconds: float = SECONDS) -> Round:
    arguments = [path, side, str(items), str(warm), str(seconds), endpoints.s3, endpoints.dynamodb]
    done = subprocess.run([sys.executable, "-m", "bench.round", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"The round {path} {side} ended with {done.returncode}.\n{done.stderr}")
    found: Round = json.loads(done.stdout)
    say(f"{path:9} {side:6} {found['rate']:8,.0f} items/s {found['cpu']:7,.0f} µs  server {found['server']:.0%}")
    return found


def interleaved(endpoints: Endpoints, rounds: int, seconds: float, paths: list[str]) -> dict[str, dict[str, list[Round]]]:
    """Each round plays every side of every path; the side that begins changes."""
    found: dict[str, dict[str, list[Round]]] = {path: {side: [] for side in SIDES} for path in paths}
    for number in range(rounds):
        for path in paths:
            for side in SIDES[number % 3 :] + SIDES[: number % 3]:
                found[path][side].append(play(path, side, PATHS[path], endpoints, seconds=seconds))
    return found


def table(found: dict[str, dict[str, list[Round]]]) -> Iterator[str]:
    yield "| path | side | items/s | CPU µs/item | peak MB | requests/item | client cores | server cores |"
    yield "|---|---|--:|--:|--:|--:|--:|--:|"
    for path, sides in found.items():
        for side, rounds in sides.items():
            mid = {name: median(each[name] for each in rounds) for name in rounds[0] if name not in ("items", "kinds")}
            yield (
                f"| {NAMES[path]} | {side} | {mid['rate']:,.0f} | {mid['cpu']:,.0f} | {mid['peak'] / 2**20:,.0f} | "
                f"{mid['requests']:.3f} | {mid['cores']:.2f} | {mid['server']:.2f} |"
            )
    yield ""
    yield "| path | items/s, ours : boto3 | items/s, ours : bare | CPU, ours : bare | CPU, boto3 : ours |"
    yield "|---|--:|--:|--:|--:|"
    for path, sides in found.items():
        ratios = (
            _ratio(sides["ours"], sides["boto3"], "rate"),
            _ratio(sides["ours"], sides["bare"], "rate"),
            _ratio(sides["ours"], sides["bare"], "cpu"),
            _ratio(sides["boto3"], sides["ours"], "cpu"),
        )
        yield f"| {NAMES[path]} | {' | '.join(ratios)} |"


def _ratio(over: list[Round], under: list[Round], name: str) -> str:
    """Of the two sides of the same round: median (min – max)."""
    each = [a[name] / b[name] for a, b in zip(over, under, strict=True)]
    return f"**{median(each):.2f}** ({min(each):.2f} – {max(each):.2f})"


def check_servers() -> Iterator[str]:
    with servers() as endpoints:
        port = endpoints.s3.rpartition(":")[2]
        found = json.loads(subprocess.check_output([sys.executable, "-m", "bench.load", port, "2"]))
    yield "| request | answers/s of one null server |"
    yield "|---|--:|"
    for kind, rate in found.items():
        yield f"| {kind} | {rate:,.0f} |"


def check_memory(items: tuple[int, int]) -> Iterator[str]:
    """A restore into a file and one into a table, of few and of many versions."""
    yield "| path | versions | items/s | peak MB |"
    yield "|---|--:|--:|--:|"
    with servers() as endpoints:
        for path in ("export", "restore"):
            peaks = []
            for count in items:
                found = play(path, "ours", count, endpoints, warm=0, seconds=0)
                peaks.append(found["peak"])
                yield f"| {NAMES[path]} | {count * 5:,} | {found['rate']:,.0f} | {found['peak'] / 2**20:,.0f} |"
            yield f"| | | growth | **{peaks[1] / peaks[0] - 1:+.0%}** |"


def check_change(counts: tuple[int, ...]) -> Iterator[str]:
    """What a rewind of 1,000 changed rows asks for, and a verification that finds nothing, however large the archive is."""
    yield "| | versions | LIST | GET | HEAD | Scan | row reads and puts | seconds | peak MB |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    with servers() as endpoints:
        for path in ("rewind", "verify"):
            for count in counts:
                found = play(path, "ours", count, endpoints, warm=0, seconds=0)
                asked = {kind: round(each * count) for kind, each in found["kinds"].items()}
                one, rows = (asked.get(kind, 0) for kind in ("read", "put")), count * 5 + 1000
                yield (
                    f"| {path} | {rows:,} | {asked.get('list', 0):,} | {asked.get('get', 0):,} | {asked.get('head', 0):,} | "
                    f"{asked.get('scan', 0):,} | {sum(one):,} | {count / found['rate']:.1f} | {found['peak'] / 2**20:,.0f} |"
                )


def check_growth(counts: tuple[int, ...], chart: Path | None) -> Iterator[str]:
    """Our rate at each size, warm; a batch of the stream stays at 1,000 changes however many there are."""
    found: dict[str, list[float]] = {path: [] for path in PATHS}
    with servers() as endpoints:
        for count in counts:
            for path, rates in found.items():
                tries = 3 if count < 100_000 else 1
                size = 1000 if path == "capture" else count
                seconds = count / 8000 if path == "capture" else 0
                rates.append(median(play(path, "ours", size, endpoints, seconds=seconds)["rate"] for _ in range(tries)))
    yield "| items/s at | " + " | ".join(f"{count:,} items" for count in counts) + " | last : first |"
    yield "|---|" + "--:|" * (len(counts) + 1)
    for path, rates in found.items():
        yield f"| {NAMES[path]} | " + " | ".join(f"{rate:,.0f}" for rate in rates) + f" | {rates[-1] / rates[0]:.2f} |"
    if chart:
        from bench.chart import draw

        draw(chart, counts, {NAMES[path]: rates for path, rates in found.items()})


def profile(path: str) -> None:
    """Where our process's CPU goes in its own Python code, thread by thread, on stdout."""
    import pstats
    import tempfile

    with servers() as endpoints, tempfile.NamedTemporaryFile() as into:
        items = PATHS[path]
        arguments = [path, "ours", str(items), "0", "0", endpoints.s3, endpoints.dynamodb, into.name]
        subprocess.run([sys.executable, "-m", "bench.round", *arguments], check=True, stdout=subprocess.DEVNULL)
        found = pstats.Stats(into.name)
        raw: dict[tuple[str, int, str], Any] = found.stats  # type: ignore[attr-defined]
        for name in [name for name in raw if "SimpleQueue" in name[2]]:
            del raw[name]  # a thread that waits for work, clocked when the round ends
        found.strip_dirs().sort_stats("tottime").print_stats(35)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.split("\n")[0] if __doc__ else "")
    parts = ["servers", "table", "delay", "workers", "change", "memory", "estimate"]
    parser.add_argument("part", nargs="?", choices=["all", *parts, "growth", "profile"], default="all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--delay", type=float, default=10, help="ms each answer waits in the part `delay`")
    parser.add_argument("--path", action="append", choices=[*PATHS])
    parser.add_argument("--chart", type=Path, help="where the part `growth` draws its PNG")
    parser.add_argument("--quick", action="store_true", help="one short round, small sizes")
    given = parser.parse_args()
    rounds, seconds = (1, 0.0) if given.quick else (given.rounds, SECONDS)
    paths = given.path or [*PATHS]
    print(f"{platform.machine()}, {len(_cores())} cores, Python {platform.python_version()}, {platform.system()}")
    for part in parts if given.part == "all" else [given.part]:
        print(f"\n### {part}\n")
        lines: Iterator[str] = iter(())
        if part == "servers":
            lines = check_servers()
        elif part in ("table", "delay"):
            with servers(given.delay if part == "delay" else 0) as endpoints:
                lines = table(interleaved(endpoints, rounds if part == "table" else min(rounds, 3), seconds, paths))
        elif part == "memory":
            lines = check_memory((500, 2000) if given.quick else (20_000, 200_000))
        elif part == "change":
            lines = check_change((2000,) if given.quick else (20_000, 200_000))
        elif part == "workers":
            lines = check_workers(*((1, (2000, 2000)) if given.quick else (3, (100_000, 40_000))))
        elif part == "estimate":
            lines = check_estimate()
        elif part == "growth":
            lines = check_growth((1000, 2000) if given.quick else (10_000, 100_000, 1_000_000), given.chart)
        else:
            profile(paths[0])
        for line in lines:
            print(line, flush=True)


def _cores() -> set[int]:
    import os

    return os.sched_getaffinity(0)


if __name__ == "__main__":
    main()
