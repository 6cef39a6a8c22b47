"""The part of the bench that compares stream-backup with boto3, with the bare client, and with
itself with a fixed number of threads, at three latencies, and with itself in two processes.

It prints everything that docs/performance.md, README.md and `stream_backup/estimate/rates.py` take
from it. boto3 takes part in the first round only: it would need half of the time.
"""

import sys
from collections.abc import Iterator
from statistics import median

from bench.flight import DELAYS
from bench.rounds import LONG, NAMES, Round, items_of, play
from bench.servers import servers
from bench.workers import play_sides

BEFORE = "64"
"""The side of `bench.round` that has as many threads as the product had before it adapted them."""

SIDES = ("boto3", BEFORE, "ours", "bare")
OF_BATCHES = ("boto3", "ours", "bare")
"""The sides of a batch of the stream, which has a fixed number of threads."""

FAR = DELAYS[-1]
SHARES = {"capture": 1.5, "backfill": 1.8, "restore": 1.8, "export": 1.8}
"""How many times the CPU time of the bare client each path may take, without latency."""

Found = dict[tuple[float, str], dict[str, list[Round]]]
"""The rounds of each side, by latency and path."""


def check_rates(rounds: int, seconds: float, paths: list[str], long: int = LONG) -> Iterator[str]:
    """Reports the medians and the ratios of each path at each latency, two processes at the longest
    one, and what becomes of the goals and of the numbers of `estimate`."""
    found: Found = {}
    for delay in DELAYS:
        with servers(delay) as endpoints:
            for path in paths:
                sides = OF_BATCHES if path == "capture" else SIDES
                each = found[delay, path] = {side: [] for side in sides}
                for number in range(rounds):
                    first = number % len(sides)
                    for side in sides[first:] + sides[:first]:
                        if side == "boto3" and number:
                            continue
                        # Our code adapts the number of requests for seconds at each latency.
                        items = items_of(path, side, delayed=True, long=long)
                        each[side].append(play(path, side, items, endpoints, seconds=seconds))
    yield from _medians(found)
    yield from _ratios(found)
    shared = [path for path in paths if path in ("backfill", "restore")]
    two = play_sides(FAR, 2 * long, shared, min(rounds, 2)) if shared else {}
    yield from _processes(two)
    yield from _goals(found, two)
    yield from _summary(found)
    yield from _numbers(found)


def _medians(found: Found) -> Iterator[str]:
    yield (
        "| latency | path | side | items/s | CPU µs/item | peak MB | client cores | server cores |"
    )
    yield "|--:|---|---|--:|--:|--:|--:|--:|"
    for (delay, path), sides in found.items():
        for side, each in sides.items():
            yield (
                f"| {delay:g} ms | {NAMES[path]} | {_side(side)} | {_mid(each, 'rate'):,.0f} "
                f"| {_mid(each, 'cpu'):,.0f} | {_mid(each, 'peak') / 2**20:,.0f} "
                f"| {_mid(each, 'cores'):.2f} | {_mid(each, 'server'):.2f} |"
            )
    yield ""


def _ratios(found: Found) -> Iterator[str]:
    yield (
        "| latency | path | items/s, ours : 64 threads | items/s, ours : boto3 "
        "| items/s, ours : bare | CPU, ours : 64 threads | CPU, ours : bare |"
    )
    yield "|--:|---|--:|--:|--:|--:|--:|"
    for (delay, path), sides in found.items():
        ratios = (
            _ratio(sides, BEFORE, "rate"),
            f"{_mid(sides['ours'], 'rate') / _mid(sides['boto3'], 'rate'):.1f}",
            _ratio(sides, "bare", "rate"),
            _ratio(sides, BEFORE, "cpu"),
            _ratio(sides, "bare", "cpu"),
        )
        yield f"| {delay:g} ms | {NAMES[path]} | {' | '.join(ratios)} |"
    yield ""


def _processes(two: dict[str, dict[int, list[dict[str, float]]]]) -> Iterator[str]:
    yield f"| path at {FAR:g} ms | processes | items/s | CPU µs/item | client cores | times one |"
    yield "|---|--:|--:|--:|--:|--:|"
    for path, sides in two.items():
        for side, each in sides.items():
            against = _spread(_each(each, sides[1], "rate")) if side > 1 else ""
            yield (
                f"| {NAMES[path]} | {side} | {_mid(each, 'rate'):,.0f} | {_mid(each, 'cpu'):,.0f} "
                f"| {_mid(each, 'cores'):.2f} | {against} |"
            )
    yield ""


def _goals(found: Found, two: dict[str, dict[int, list[dict[str, float]]]]) -> Iterator[str]:
    yield "| goal | result |"
    yield "|---|---|"
    for (delay, path), sides in found.items():
        if BEFORE in sides and delay in (0.0, FAR):
            wanted = 3.0 if delay else 1.0
            goal = f"{NAMES[path]} at {delay:g} ms: at least {wanted:g} times 64 threads"
            yield _goal(goal, _each(sides["ours"], sides[BEFORE], "rate"), least=wanted)
    for path, each in two.items():
        goal = f"{NAMES[path]} at {FAR:g} ms: more with two processes"
        yield _goal(goal, _each(each[2], each[1], "rate"), least=1.0)
    for (delay, path), sides in found.items():
        if not delay:
            goal = f"{NAMES[path]}: at most {SHARES[path]} times the CPU time of the bare client"
            yield _goal(goal, _each(sides["ours"], sides["bare"], "cpu"), most=SHARES[path])
    yield ""


def _goal(goal: str, each: list[float], least: float = 0.0, most: float = float("inf")) -> str:
    met = "met" if least <= median(each) <= most else "**missed**"
    return f"| {goal} | {met}: {_spread(each)} |"


def _summary(found: Found) -> Iterator[str]:
    yield "| latency | what was measured | stream-backup, items/s | boto3, items/s | factor |"
    yield "|---|---|--:|--:|--:|"
    for delay in DELAYS[:0:-1]:
        for (at, path), sides in found.items():
            if at == delay:
                ours, boto3 = _mid(sides["ours"], "rate"), _mid(sides["boto3"], "rate")
                yield (
                    f"| {delay:g} ms | {NAMES[path]} | {ours:,.0f} | {boto3:,.0f} "
                    f"| {ours / boto3:.1f} |"
                )
    yield ""


def _numbers(found: Found) -> Iterator[str]:
    """Prints what `stream_backup/estimate/rates.py` holds, as Python."""
    yield "```"
    yield "RATES: dict[str, dict[int, int]] = {"
    for path in ("backfill", "restore", "export"):
        if (0.0, path) in found:
            rates = {
                int(delay): round(_mid(found[delay, path]["ours"], "rate")) for delay in DELAYS
            }
            yield f'    "{path}": {rates},'
    yield "}"
    cpu = {
        path: round(_mid(sides["ours"], "cpu"))
        for (delay, path), sides in found.items()
        if delay == 10 and path != "capture"
    }
    yield f"CPU = {cpu}".replace("'", '"')
    yield "```"
    print("Both belong into stream_backup/estimate/rates.py.", file=sys.stderr)


def _side(side: str) -> str:
    return f"{side} threads" if side.isdigit() else side


def _mid(each: list[Round], name: str) -> float:
    return float(median(one[name] for one in each))


def _each(over: list[Round], under: list[Round], name: str) -> list[float]:
    """Returns the ratio of two sides in each round."""
    return [a[name] / b[name] for a, b in zip(over, under, strict=True)]


def _ratio(sides: dict[str, list[Round]], under: str, name: str) -> str:
    return _spread(_each(sides["ours"], sides[under], name)) if under in sides else ""


def _spread(each: list[float]) -> str:
    """Returns median (least – greatest)."""
    return f"**{median(each):.2f}** ({min(each):.2f} – {max(each):.2f})"
