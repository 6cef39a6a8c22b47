"""The simulation behind docs/scale.md: its laws, and where its numbers come from."""

import random
import re
from dataclasses import replace
from itertools import pairwise
from math import inf
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bench.scale import bills
from bench.scale.chart import digest, is_current
from bench.scale.fleets import COLD, EVENTS, Fleet, distributed, machine
from bench.scale.jobs import BACKFILL, JOBS, MEASURED, RESTORE, SIZES, VERSIONS, Job
from bench.scale.prices import OTHERS, prices
from bench.scale.quotas import CHECKED, COPY, UNKNOWN, Quotas, sources
from bench.scale.services import (
    GETS,
    PARTITION,
    PUTS,
    READ,
    READ_WARM,
    WRITE,
    WRITE_WARM,
    OnDemand,
    Prefix,
    Start,
)
from bench.scale.simulation import (
    PAUSING,
    STARTING,
    TAIL,
    WAITING,
    simulate,
)
from bench.scale.slices import CLASSES, sizes
from stream_backup.estimate import model
from stream_backup.estimate.facts import Facts, Function, TableCapacity

ROOT = Path(__file__).parent.parent
DEFAULT = Quotas()
FLEETS = (
    machine(1, 2),
    machine(8, 8),
    machine(32, 32),
    distributed(DEFAULT, 25),
    distributed(DEFAULT, 1000),
)
LIMITS = {
    "s3_puts": {PUTS},
    "s3_gets": {GETS},
    "s3_split": {PUTS, GETS},
    "table_read": {READ},
    "table_write": {WRITE},
    "new_read": {READ_WARM},
    "new_write": {WRITE_WARM},
    "growth": {READ_WARM, WRITE_WARM},
    "partition_read": {PARTITION},
}
"""The quotas of services, and the names under which each may bind."""

jobs, fleets = st.sampled_from(JOBS), st.sampled_from(FLEETS)
numbers = st.floats(1e3, 1e9)
quick = settings(max_examples=20, phases=[Phase.generate])  # nothing is learned from shrinking


@quick
@given(jobs, numbers, fleets)
def test_each_row_is_processed_once(job: Job, rows: float, fleet: Fleet) -> None:
    """Whatever the rounds, the slices, and the limits are, each row is done once, and pays for its
    requests once."""
    found = simulate(job, rows, fleet)
    assert found.written == pytest.approx(rows)
    for name, each in job.priced.items():
        assert found.counts.get(name, 0.0) == pytest.approx(rows * each)


@quick
@given(jobs, numbers, fleets)
def test_dollars_are_counts_times_prices(job: Job, rows: float, fleet: Fleet) -> None:
    """Everything that is counted has a price, and nothing else is paid for."""
    found, price = simulate(job, rows, fleet), prices()
    assert found.usd(price) == pytest.approx(
        sum(count * price[name] for name, count in found.counts.items())
    )
    free = found.usd(dict.fromkeys(price, 0.0))
    assert free == 0.0
    doubled = {name: 2 * usd for name, usd in price.items()}
    assert found.usd(doubled) == pytest.approx(2 * found.usd(price))


@quick
@given(jobs, numbers, fleets)
def test_time_is_the_sum_of_what_bound(job: Job, rows: float, fleet: Fleet) -> None:
    """One limit binds at any time. Workers are paid for as long as they run, and no more run than
    the fleet has."""
    found = simulate(job, rows, fleet)
    assert sum(found.bound.values()) == pytest.approx(found.seconds)
    assert found.busy <= found.seconds * fleet.workers * (1 + 1e-9)
    assert found.calls >= fleet.slices(rows)


@pytest.mark.parametrize("quota", LIMITS)
@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_only_a_limit_that_binds_matters(job: Job, quota: str) -> None:
    """Twice a limit that never binds changes nothing, twice one that binds makes nothing slower,
    and half of one that binds makes the job slower. For a time, half of it is better."""
    times = ("s3_split", "growth")
    for rows in (1e7, 1e9):
        for fleet in FLEETS:
            found = simulate(job, rows, fleet)
            value = getattr(DEFAULT, quota)
            better, worse = (value / 2, value * 2) if quota in times else (value * 2, value / 2)
            raised = simulate(job, rows, fleet, replace(DEFAULT, **{quota: better}))
            binds = sum(found.bound.get(name, 0.0) for name in LIMITS[quota])
            if not binds:
                assert raised.seconds == pytest.approx(found.seconds, rel=1e-9)
                assert raised.counts == pytest.approx(found.counts, rel=1e-9)
                continue
            assert raised.seconds <= found.seconds * 1.001
            lowered = simulate(job, rows, fleet, replace(DEFAULT, **{quota: worse}))
            if quota in times:  # the job may end before anything grows
                assert lowered.seconds >= found.seconds * (1 - 1e-9)
            else:
                assert lowered.seconds > found.seconds


@quick
@given(jobs, numbers, st.integers(1, 64))
def test_more_processes_are_never_slower(job: Job, rows: float, workers: int) -> None:
    """Twice the workers on twice the cores are not slower: the slices are even, or smaller."""
    even = replace(job, uneven=False)
    few, many = (simulate(even, rows, machine(each, each)) for each in (workers, 2 * workers))
    assert many.seconds <= few.seconds * (1 + 1e-6)


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_more_functions_are_hardly_slower(job: Job) -> None:
    """More functions are at most 2% slower, because more of them end their calls before a round is
    over, and cost more."""
    found = [simulate(job, 1e9, distributed(DEFAULT, each)) for each in (10, 25, 100, 400, 1000)]
    for few, many in pairwise(found):
        assert many.seconds <= few.seconds * 1.02
        assert many.usd(prices()) > few.usd(prices())


def test_a_job_that_nothing_limits() -> None:
    """One process takes as long as its measured rate says."""
    found = simulate(BACKFILL, 1e6, machine(1, 2))
    assert found.seconds == pytest.approx(1e6 / BACKFILL.rate)
    assert found.bound == {WAITING: pytest.approx(found.seconds)}
    assert found.limit == WAITING


def test_the_prefix_divides_while_it_is_busy() -> None:
    """Partitions divide after an hour at their limit, however often it was interrupted, and do not
    divide below it."""
    prefix = Prefix(1, 3600)
    prefix.spend(10_000, full=False)
    assert (prefix.partitions, prefix.until_growth(full=False)) == (1, inf)
    prefix.spend(3500, full=True)
    prefix.spend(50, full=False)
    assert (prefix.partitions, prefix.until_growth(full=True)) == (1, 100)
    prefix.spend(100, full=True)
    assert (prefix.partitions, prefix.until_growth(full=True)) == (2, 3600)


def test_a_table_grows_to_twice_its_peak() -> None:
    """In half an hour to twice the peak, at most to the quota, and not while it is half used."""
    table = OnDemand(4000, 40_000, 1800)
    assert table.until_growth(2000) == inf
    assert table.until_growth(2001) == 1800
    table.spend(600, 3000)
    assert table.until_growth(100) == 1200
    table.spend(1200, 100)
    assert table.capacity == 6000
    for _ in range(5):
        table.spend(1800, table.capacity)
    assert (table.capacity, table.warm, table.until_growth(40_000)) == (40_000, True, inf)


def test_a_backfill_waits_for_s3() -> None:
    """With workers enough, a backfill writes what one partition takes in the first hour, twice that
    in the second, and so on."""
    puts = 3600 * DEFAULT.s3_puts
    rows = (puts + 2 * puts + 4 * puts / 2) / BACKFILL.puts
    found = simulate(replace(BACKFILL, uneven=False), rows, machine(100, 100))
    assert found.seconds == pytest.approx(2.5 * 3600, rel=0.01)
    assert found.limit == PUTS


def test_a_warm_table_and_a_divided_prefix_help_at_once() -> None:
    """What is ready at the start needs no time to grow, and warm throughput is paid for."""
    fleet = machine(64, 64)
    cold = simulate(RESTORE, 1e8, fleet)
    ready = simulate(RESTORE, 1e8, fleet, start=Start(64, 40_000, 40_000))
    assert ready.seconds == pytest.approx(1e8 / 40_000, rel=0.01)
    assert ready.limit == WRITE
    assert ready.seconds < cold.seconds / 2
    assert ready.counts["dynamodb-write-hours"] == 36_000
    assert "dynamodb-write-hours" not in cold.counts


def test_functions_start_one_after_another() -> None:
    """A map starts 100 functions per second, each needs time until it works, and a call ends before
    Lambda ends it."""
    # 1,600 slices of 100,000 rows, and enough of everything else
    every = replace(DEFAULT, s3_puts=1e9, new_read=1e9, table_read=1e9, partition_read=1e9)
    even = replace(BACKFILL, uneven=False)
    found = simulate(even, 100_000 * 1000, distributed(every, 1000), every)
    slice_seconds = 100_000 / BACKFILL.rate
    assert found.seconds == pytest.approx(9 + COLD + slice_seconds, abs=0.01)
    assert found.calls == 1000
    assert found.busy == pytest.approx(1000 * (COLD + slice_seconds))
    assert STARTING in found.bound


def test_what_a_call_does_not_finish_is_done_in_the_next_round() -> None:
    """Slices that take two calls and a half take three rounds, with a pause between them. Where the
    rest is split for idle workers, it takes two."""
    every = replace(DEFAULT, s3_puts=1e9, new_read=1e9, table_read=1e9, partition_read=1e9)
    even, slice_seconds = replace(BACKFILL, uneven=False), 90_000 / BACKFILL.rate
    fleet = replace(distributed(every, 32), starts=inf, cold=0.0, warm=0.0)
    fleet = replace(fleet, call=slice_seconds / 2.5)
    found, split = (
        simulate(even, 16 * 90_000, replace(fleet, parts=parts), every) for parts in (0, 32)
    )
    assert (found.rounds, found.calls) == (3, 3 * 16)
    assert found.seconds == pytest.approx(slice_seconds + 2 * fleet.pause)
    assert found.bound[PAUSING] == pytest.approx(2 * fleet.pause)
    assert found.events == 3 * EVENTS
    assert (split.rounds, split.calls) == (2, 16 + 32)
    assert split.seconds == pytest.approx(slice_seconds * (0.4 + 0.6 / 2) + fleet.pause)


def test_uneven_slices_have_a_tail() -> None:
    """The last slices of a scan leave workers idle, which costs time. Even ones do not."""
    uneven, even = (
        simulate(replace(BACKFILL, uneven=each), 1e9, machine(8, 8)) for each in (True, False)
    )
    assert uneven.bound[TAIL] > 0
    assert TAIL not in even.bound
    assert uneven.seconds > even.seconds


@pytest.mark.parametrize("slices", [1, 3, CLASSES, 32, 10_000])
def test_slices_hold_all_rows(slices: int) -> None:
    """Even or not, the slices are as many as they should be, and hold all rows."""
    for uneven in (True, False):
        found = list(sizes(1e6, slices, uneven=uneven))
        assert sum(group.count for group in found) == slices
        assert sum(group.count * group.rows for group in found) == pytest.approx(1e6)
        assert len({group.rows for group in found}) == (min(slices, CLASSES) if uneven else 1)


def estimated(rows: int) -> Facts:
    return Facts(
        rows,
        SIZES,
        None,
        TableCapacity(True, None, None),
        Function(1000, 1, 1, 512),
        shards=4,
        overhead=200,
        versions_per_item=VERSIONS,
    )


def test_the_simulation_counts_what_estimate_counts() -> None:
    """Requests and units of a backfill and of a restore are those of `estimate`, within 1%."""
    rows = 10_000_000
    parts = {
        BACKFILL: model.backfill(estimated(rows)),
        RESTORE: model.restore(estimated(rows), to_file=False),
    }
    for job, part in parts.items():
        found = simulate(job, rows, machine(1, 2))
        for name, count in found.counts.items():
            if name != "ec2-vcpu-hours":
                assert count == pytest.approx(part.priced[name], rel=0.01), name
        assert found.seconds == pytest.approx(part.seconds, rel=0.01)


def test_the_costs_of_a_row_are_the_measured_ones() -> None:
    """Rates and CPU times are numbers of docs/performance.md."""
    text = (ROOT / "docs/performance.md").read_text()
    for job, rates in MEASURED.items():
        for rate in rates.values():
            assert f"{rate:,}" in text, (job.name, rate)
        assert re.search(rf"\| ours \| [\d,]+ \| {job.cpu * 1e6:.0f} \|", text), job.name
    assert "| verify | 1,001,000 | 1,008 | 0 | 0 | 200 | 0 | 17.7 |" in text
    assert VERSIONS * 200_200 == 1_001_000


def test_every_number_has_a_source() -> None:
    """Each limit and each price names the page that states it, and says how far it was checked."""
    for source in sources().values():
        assert source.checked in (CHECKED, COPY, UNKNOWN)
        assert ('"' in source.page) == (source.checked != UNKNOWN)
    for price in OTHERS.values():
        assert "https://aws.amazon.com/" in price.page
        assert price.usd > 0


def test_an_old_chart_is_found(tmp_path: Path) -> None:
    """The picture contains the digest of what it shows."""
    found = [simulate(job, 1e6, machine(1, 2)) for job in JOBS]
    path = tmp_path / "chart.png"
    assert not is_current(path, found)
    path.write_bytes(b"\x89PNG Description " + digest(found).encode() + b" \x00")
    assert is_current(path, found)
    assert not is_current(path, [replace(found[0], seconds=1.0), *found[1:]])


def test_bills_add_up() -> None:
    """The sums of bills, and since when one is cheaper, are those of adding day by day."""
    table, price = bills.TABLES[1], prices()
    mine, theirs = bills.ours(table, price), bills.daily(table, price)
    found = bills.cheaper(mine, theirs)
    assert found is not None
    first, last = found
    assert last == bills.HORIZON
    assert bills.total(mine, first) < bills.total(theirs, first)
    assert bills.total(mine, first - 1) >= bills.total(theirs, first - 1)
    assert bills.cheaper(theirs, theirs) is None
    flat = bills.pitr(table, price)
    assert bills.total(flat, 30) == pytest.approx(table.gigabytes * price["pitr"])
    copies = 30 * 31 / 2  # one more each day
    daily = table.gigabytes * price["native-backup"] / 30
    assert bills.total(theirs, 30) == pytest.approx(copies * daily)
    assert theirs(1000) == pytest.approx(35 * daily)


def test_a_shorter_history_costs_less() -> None:
    """It differs from the day on which the first change is removed."""
    table, price = bills.TABLES[0], prices()
    every, some = bills.ours(table, price), bills.ours(table, price, kept=35)
    assert [every(day) for day in range(35)] == [some(day) for day in range(35)]
    assert every(35) > some(35) == pytest.approx(some(3000))


@pytest.mark.parametrize("rate", [0.2, 2.0, 20.0])
def test_what_one_version_per_second_saves(rate: float) -> None:
    """The share of changes that `KeepEveryChange=false` writes is that of random changes, of which
    one is left in each second of each batch."""
    chance, at, seconds, kept, count = random.Random(7), 0.0, 1000, set(), 0
    while (at := at + chance.expovariate(rate)) < seconds:
        kept.add((int(at), int(at / bills.BATCH_SECONDS)))
        count += 1
    assert bills.written(rate) == pytest.approx(len(kept) / count, rel=0.1)


def test_rare_changes_are_all_written() -> None:
    """An item that changes once an hour loses nothing; one that changes always is written once in
    each second of each batch."""
    assert bills.written(1 / 3600) == pytest.approx(1, abs=1e-3)
    assert bills.written(1000, batch=1.0) == pytest.approx(1 / 1000)
    shares = [bills.written(rate) for rate in (0.1, 1, 10, 100)]
    assert shares == sorted(shares, reverse=True)
