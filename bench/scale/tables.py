"""The tables of docs/scale.md, in Markdown."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

from bench.scale import bills
from bench.scale.fleets import Fleet, distributed, machine
from bench.scale.jobs import BACKFILL, EXPORT, JOBS, MEASURED, RESTORE, SIZES, Job, at_latency
from bench.scale.outcome import Outcome
from bench.scale.prices import OTHERS, prices
from bench.scale.quotas import Quotas, sources
from bench.scale.services import Start
from bench.scale.simulation import simulate
from stream_backup.estimate.rates import GB

ROWS = {1e7: "10 million rows", 1e9: "1 billion", 1e11: "100 billion"}
DEFAULT = Quotas()
FLEETS = (
    machine(1, 2),
    machine(2, 2),
    machine(8, 8),
    machine(32, 32),
    distributed(DEFAULT, 25),
    distributed(DEFAULT, 100),
    distributed(DEFAULT, 1000),
)
CHARTED = (1e6, 1e7, 1e8, 1e9, 1e10, 1e11)
_ONE, _MACHINE, _MAP = FLEETS[0], FLEETS[2], FLEETS[5]


@cache
def outcome(job: Job, rows: float, fleet: Fleet) -> Outcome:
    """Returns what a job comes to with default quotas."""
    return simulate(job, rows, fleet)


def charted() -> list[Outcome]:
    """Returns what the chart shows."""
    fleets = [*FLEETS[:4], FLEETS[4], FLEETS[6]]
    return [outcome(job, rows, fleet) for job in JOBS for fleet in fleets for rows in CHARTED]


def durations() -> Iterator[str]:
    """Yields the time, the dollars, and the binding limit of each job with each fleet."""
    for job in JOBS:
        yield f"**{job.name.capitalize()}**"
        yield ""
        yield f"| | {' | '.join(ROWS.values())} |"
        yield "|---|---|---|---|"
        for fleet in FLEETS:
            cells = [_cell(outcome(job, rows, fleet)) for rows in ROWS]
            yield f"| {fleet.name} | {' | '.join(cells)} |"
        yield ""


def _cell(found: Outcome) -> str:
    more = f" ({found.rounds:,} map runs)" if found.events > DEFAULT.events else ""
    return f"{duration(found.seconds)}{more}, {usd(found.usd(prices()))}; {found.limit}"


def latencies() -> Iterator[str]:
    """Yields how the latency of each answer changes the duration."""
    fleets = (_ONE, _MACHINE, _MAP)
    yield f"| latency of every answer | | {' | '.join(fleet.name for fleet in fleets)} |"
    yield "|--:|---|---|---|---|"
    for job, rates in MEASURED.items():
        for latency in rates:
            found = [simulate(at_latency(job, latency), 1e9, fleet) for fleet in fleets]
            cells = " | ".join(f"{duration(each.seconds)}; {each.limit}" for each in found)
            yield f"| {latency} ms | {job.name} | {cells} |"


def raised() -> Iterator[str]:
    """Yields what it changes to raise one limit, or all of them, before a map of 250 functions does
    a job on a billion rows."""
    ten = replace(DEFAULT, table_read=400_000, table_write=400_000)
    cases: dict[str, tuple[Quotas, Start]] = {
        "as it is": (DEFAULT, Start()),
        "warm throughput of 40,000 units, read and write": (DEFAULT, Start(1, 40_000, 40_000)),
        "S3 has divided the prefix into 64 partitions": (DEFAULT, Start(64)),
        "both": (DEFAULT, Start(64, 40_000, 40_000)),
        "both, and table quotas of 400,000 units, warm": (ten, Start(64, 400_000, 400_000)),
    }
    yield "| before the job starts | backfill | restore |"
    yield "|---|---|---|"
    for name, (quotas, start) in cases.items():
        fleet = distributed(quotas, 250)
        cells = []
        for job in (BACKFILL, RESTORE):
            found = simulate(job, 1e9, fleet, quotas, start)
            cells.append(f"{duration(found.seconds)}, {usd(found.usd(prices()))}; {found.limit}")
        yield f"| {name} | {' | '.join(cells)} |"


def native() -> Iterator[str]:
    """Yields what a native export and import cost next to a backfill and a restore."""
    price = prices()
    yield "| | backfill | native export | restore by writing | restore to a file, and ImportTable |"
    yield "|---|--:|--:|--:|--:|"
    for rows, name in ROWS.items():
        backfill, restore = (outcome(job, rows, _MACHINE) for job in (BACKFILL, RESTORE))
        file = outcome(EXPORT, rows, _ONE)
        imported = file.usd(price) + rows * SIZES.body / GB * price["import"]
        exported = rows * SIZES.mean / GB * price["export"]
        yield (
            f"| {name} | {usd(backfill.usd(price))} | {usd(exported)} "
            f"| {usd(restore.usd(price))}, {duration(restore.seconds)} | {usd(imported)}, "
            f"{duration(file.seconds)} for the file |"
        )


def compared() -> Iterator[str]:
    """Yields the bills of stream-backup and of AWS's own backups for each kind of table."""
    price = prices()
    ours: dict[str, Callable[[bills.Table, dict[str, float]], bills.Bill]] = {
        f"stream-backup, history of {bills.KEPT} days": lambda table, price: bills.ours(
            table, price, bills.KEPT
        ),
        "stream-backup, all history": bills.ours,
    }
    yield "| table | | first month | first year | ten years | all history costs less in sum |"
    yield "|---|---|--:|--:|--:|---|"
    for table in bills.TABLES:
        every = bills.ours(table, price)
        for name, bill in (ours | bills.OTHERS).items():
            found = bill(table, price)
            sums = [bills.total(found, days) for days in (30, bills.YEAR, bills.HORIZON)]
            less = "" if name in ours else _less(bills.cheaper(every, found))
            yield f"| {table.name} | {name} | {' | '.join(map(usd, sums))} | {less} |"


def _less(days: tuple[int, int] | None) -> str:
    if days is None:
        return "never in ten years"
    until = "" if days[1] == bills.HORIZON else f" until day {days[1]:,}"
    return f"from day {days[0]:,}{until}"


def breakdown() -> Iterator[str]:
    """Yields what stream-backup costs in the first month and in the twelfth, by part."""
    price = prices()
    names = (bills.BACKFILLED, bills.PUTS, bills.FUNCTION, bills.STORED, bills.WATCHED)
    yield f"| table | month | {' | '.join(names)} | sum |"
    yield f"|---|--:|{'--:|' * len(names)}--:|"
    for table in bills.TABLES:
        day = bills.parts(table, price)
        for month in (1, 12):
            days = range((month - 1) * bills.MONTH, month * bills.MONTH)
            sums = [sum(day(number)[name] for number in days) for name in names]
            yield f"| {table.name} | {month} | {' | '.join(map(usd, [*sums, sum(sums)]))} |"


def hot() -> Iterator[str]:
    """Yields what `KeepEveryChange=false` saves, by how often an item changes."""
    put, table = prices()["s3-put"], bills.TABLES[0]
    yield (
        "| changes of one item per second | PUT requests left out | saved per million changes "
        f"| {table.name}, per month |"
    )
    yield "|--:|--:|--:|--:|"
    for rate in (0.01, 0.1, 1, 10, 100):
        saved = (1 - bills.written(rate)) * put
        yield (
            f"| {rate:g} | {saved / put:.0%} | ${saved * 1e6:.2f} | {usd(saved * table.changes)} |"
        )


def limits() -> Iterator[str]:
    """Yields every limit of AWS with its source."""
    yield "| limit | value | source | |"
    yield "|---|--:|---|---|"
    for name, source in sources().items():
        value = getattr(DEFAULT, name)
        yield f"| {source.what} | {value:,.0f} | {source.page} | {source.checked} |"


def other_prices() -> Iterator[str]:
    """Yields the prices that the price list of `estimate` does not have."""
    yield "| what | US dollars | source | |"
    yield "|---|--:|---|---|"
    for price in OTHERS.values():
        yield f"| {price.unit} | {price.usd:g} | {price.page} | {price.checked} |"


def duration(seconds: float) -> str:
    """Returns a duration in words, with two digits."""
    for unit, size in (("years", 365 * 86400), ("days", 86400), ("hours", 3600)):
        if seconds >= 2 * size:
            return f"{_two(seconds / size)} {unit}"
    return f"{max(1, round(seconds / 60))} min"


def usd(amount: float) -> str:
    """Returns an amount in US dollars, with three digits at most."""
    if amount < 100:
        return f"${amount:.2f}" if amount < 10 else f"${amount:.0f}"
    places = len(str(int(amount))) - 3
    return f"${round(amount, -places):,.0f}"


def _two(number: float) -> str:
    return f"{number:.1f}" if number < 10 else f"{number:,.0f}"


BLOCKS: dict[str, Callable[[], Iterator[str]]] = {
    "durations": durations,
    "latencies": latencies,
    "raised": raised,
    "native": native,
    "compared": compared,
    "breakdown": breakdown,
    "hot": hot,
    "limits": limits,
    "prices": other_prices,
}
"""The generated parts of the page, by name."""
