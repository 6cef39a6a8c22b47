"""The parts of the bench that report a table in Markdown, line by line."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench.clients import Endpoints
from bench.rounds import NAMES, PATHS, Round, interleaved, play
from bench.servers import servers


def check_servers() -> Iterator[str]:
    """Measures how many requests a null server answers per second."""
    with servers() as endpoints:
        port = endpoints.s3.rpartition(":")[2]
        found = json.loads(subprocess.check_output([sys.executable, "-m", "bench.load", port, "2"]))
    yield "| request | answers/s of one null server |"
    yield "|---|--:|"
    for kind, rate in found.items():
        yield f"| {kind} | {rate:,.0f} |"


def check_paths(delay: float, rounds: int, seconds: float, paths: list[str]) -> Iterator[str]:
    """Compares the sides of each path. Every answer is delayed by `delay` ms."""
    with servers(delay) as endpoints:
        found = interleaved(endpoints, rounds, seconds, paths, delayed=delay > 0)
    yield from _medians(found)
    yield ""
    yield from _ratios(found)


def _medians(found: dict[str, dict[str, list[Round]]]) -> Iterator[str]:
    yield (
        "| path | side | items/s | CPU µs/item | peak MB | requests/item | client cores "
        "| server cores |"
    )
    yield "|---|---|--:|--:|--:|--:|--:|--:|"
    for path, sides in found.items():
        for side, rounds in sides.items():
            mid = {
                name: median(each[name] for each in rounds)
                for name in rounds[0]
                if name not in ("items", "kinds")
            }
            yield (
                f"| {NAMES[path]} | {side} | {mid['rate']:,.0f} | {mid['cpu']:,.0f} "
                f"| {_megabytes(mid['peak'])} | {mid['requests']:.3f} | {mid['cores']:.2f} "
                f"| {mid['server']:.2f} |"
            )


def _ratios(found: dict[str, dict[str, list[Round]]]) -> Iterator[str]:
    yield (
        "| path | items/s, ours : boto3 | items/s, ours : bare | CPU, ours : bare "
        "| CPU, boto3 : ours |"
    )
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
    """Returns the ratio of the two sides in the same round: median (min – max)."""
    each = [a[name] / b[name] for a, b in zip(over, under, strict=True)]
    return f"**{median(each):.2f}** ({min(each):.2f} – {max(each):.2f})"


def check_memory(items: tuple[int, int]) -> Iterator[str]:
    """Compares the memory of restores of few and of many versions, to a file and into a table."""
    yield "| path | versions | items/s | peak MB |"
    yield "|---|--:|--:|--:|"
    with servers() as endpoints:
        for path in ("export", "restore"):
            peaks = []
            for count in items:
                found = play(path, "ours", count, endpoints, warm=0, seconds=0)
                peaks.append(found["peak"])
                yield (
                    f"| {NAMES[path]} | {count * 5:,} | {found['rate']:,.0f} "
                    f"| {_megabytes(found['peak'])} |"
                )
            yield f"| | | growth | **{peaks[1] / peaks[0] - 1:+.0%}** |"


def check_change(counts: tuple[int, ...]) -> Iterator[str]:
    """Counts the requests of a rewind of 1,000 changed rows, and of a verification.

    The verification finds no difference. `counts` are the sizes of the archive, in rows.
    """
    yield "| | versions | LIST | GET | HEAD | Scan | row reads and puts | seconds | peak MB |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    with servers() as endpoints:
        for path in ("rewind", "verify"):
            for count in counts:
                found = play(path, "ours", count, endpoints, warm=0, seconds=0)
                yield f"| {path} | {count * 5 + 1000:,} | {_requests(found, count)} |"


def check_damage(delays: tuple[float, ...], count: int) -> Iterator[str]:
    """Measures how fast `diff` and `timeline` find the changes of every fourth of `count` rows."""
    yield (
        "| latency | command | changes | changes/s | CPU µs/change | LIST | GET | HEAD | seconds "
        "| peak MB |"
    )
    yield "|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    for delay in delays:
        with servers(delay) as endpoints:
            for path in ("diff", "timeline"):
                found = play(path, "ours", count, endpoints, warm=400, seconds=0)
                done = found["items"]
                sent = {kind: round(each * done) for kind, each in found["kinds"].items()}
                listed = " | ".join(f"{sent.get(kind, 0):,}" for kind in ("list", "get", "head"))
                yield (
                    f"| {delay:g} ms | `{path}` | {done:,} | {found['rate']:,.0f} "
                    f"| {found['cpu']:,.0f} | {listed} | {done / found['rate']:.1f} "
                    f"| {_megabytes(found['peak'])} |"
                )


def _requests(found: Round, count: int) -> str:
    sent = {kind: round(each * count) for kind, each in found["kinds"].items()}
    listed = " | ".join(f"{sent.get(kind, 0):,}" for kind in ("list", "get", "head", "scan"))
    of_rows = sent.get("read", 0) + sent.get("put", 0)
    return f"{listed} | {of_rows:,} | {count / found['rate']:.1f} | {_megabytes(found['peak'])}"


def check_growth(counts: tuple[int, ...], chart: Path | None) -> Iterator[str]:
    """Measures our rate for each number of items, and draws it if `chart` is given.

    A batch of the stream always has 1,000 changes.
    """
    found: dict[str, list[float]] = {path: [] for path in PATHS}
    with servers() as endpoints:
        for count in counts:
            for path, rates in found.items():
                rates.append(_rate(path, count, endpoints))
    yield f"| items/s at | {' | '.join(f'{count:,} items' for count in counts)} | last : first |"
    yield "|---|" + "--:|" * (len(counts) + 1)
    for path, rates in found.items():
        listed = " | ".join(f"{rate:,.0f}" for rate in rates)
        yield f"| {NAMES[path]} | {listed} | {rates[-1] / rates[0]:.2f} |"
    if chart:
        from bench.chart import draw  # needs matplotlib

        draw(chart, counts, {NAMES[path]: rates for path, rates in found.items()})


def _rate(path: str, count: int, endpoints: Endpoints) -> float:
    """Returns our rate in items per second: the median of 3 rounds, or one long round."""
    rounds = 3 if count < 100_000 else 1
    items, seconds = (1000, count / 8000) if path == "capture" else (count, 0)
    rates: list[float] = [
        play(path, "ours", items, endpoints, seconds=seconds)["rate"] for _ in range(rounds)
    ]
    return median(rates)


def _megabytes(size: float) -> str:
    return f"{size / 2**20:,.0f}"
