"""The parts of the bench that compare numbers of requests in flight."""

from collections.abc import Iterator
from statistics import median

from bench.rounds import LONG, NAMES, Round, items_of, play
from bench.servers import servers

DELAYS = (0.0, 10.0, 25.0)
"""In ms. S3 in the same Region takes 10 to 25."""

NUMBERS = (16, 32, 64, 128, 256, 512)


def check_flight(rounds: int, seconds: float, paths: list[str], long: int = LONG) -> Iterator[str]:
    """Reports items a second and CPU time with fixed numbers of threads, and as adapted."""
    sides = (*map(str, NUMBERS), "ours")
    heads = [*(f"{number}" for number in NUMBERS), "adapted"]
    yield f"| latency | path | | {' | '.join(heads)} |"
    yield "|--:|---|---|" + "--:|" * len(heads)
    for delay in DELAYS:
        for path in paths:
            mids = [
                medians(each)
                for each in _rounds(delay, path, sides, rounds, seconds, long).values()
            ]
            start = f"| {delay:g} ms | {NAMES[path]} |"
            yield f"{start} items/s | {' | '.join(f'{rate:,.0f}' for rate, _ in mids)} |"
            yield f"{start} CPU µs/item | {' | '.join(f'{cpu:,.0f}' for _, cpu in mids)} |"


def _rounds(
    delay: float, path: str, sides: tuple[str, ...], rounds: int, seconds: float, long: int
) -> dict[str, list[Round]]:
    """Plays the sides in turn, another one first each time."""
    found: dict[str, list[Round]] = {side: [] for side in sides}
    with servers(delay) as endpoints:
        for number in range(rounds):
            first = number % len(sides)
            for side in sides[first:] + sides[:first]:
                items = items_of(path, side, delayed=delay > 0, long=long)
                found[side].append(play(path, side, items, endpoints, seconds=seconds))
    return found


def medians(rounds: list[Round]) -> tuple[float, float]:
    """Returns the medians of items a second and of CPU µs for each."""
    return median(each["rate"] for each in rounds), median(each["cpu"] for each in rounds)
