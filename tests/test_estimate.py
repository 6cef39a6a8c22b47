"""An estimate is made before anything is written, and the real counts are within 10 % of it."""

import json
import random
import re
import time
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from ministack.services.dynamodb import _item_size_bytes

from bench.estimate import Compared, compare, rows
from function.copy_modules import closure
from stream_backup.aws.stack import Stack
from stream_backup.cli.estimate_report import lines
from stream_backup.core.item import Item
from stream_backup.estimate import model, rates
from stream_backup.estimate.assumptions import assumptions
from stream_backup.estimate.facts import Facts, Function, TableCapacity
from stream_backup.estimate.lookup import MEMORY, function_of
from stream_backup.estimate.prices import Prices
from stream_backup.estimate.result import Estimate
from stream_backup.estimate.sizes import KB, LARGEST, Sizes, item_size
from stream_backup.estimate.table import capacity_of, index_units, shards_of
from stream_backup.settings import KEEP_EVERY_CHANGE
from tests import strategies
from tests.cli import Shell, Table, denied, proxy
from tests.servers import REGION, Aws

ROOT = Path(__file__).parent.parent
PRICES = Prices.load()
ON_DEMAND = TableCapacity(True, 12_000, 4_000)
PROVISIONED = TableCapacity(False, 50, 100, 100, 100)
FUNCTION = Function(1000, 1, 1, 512)


def facts(
    items: int = 1_000_000, mean: float = 640, changes: float | None = 1_000_000, **given: Any
) -> Facts:
    wanted: dict[str, Any] = {
        "capacity": ON_DEMAND,
        "function": FUNCTION,
        "shards": 4,
        "overhead": 200,
    } | given
    return Facts(items, Sizes.of_mean(mean), changes, **wanted)


def every(found: Facts) -> dict[str, float]:
    """Returns every number of an estimate by name."""
    parts = {"backfill": model.backfill(found), "capture": model.capture(found)}
    parts |= {
        "into table": model.restore(found, to_file=False),
        "to file": model.restore(found, to_file=True),
    }
    numbers = {
        f"{part} {name}": n
        for part, each in parts.items()
        for name, n in (each.requests | each.capacity).items()
    }
    numbers |= {
        f"{part} dollars": sum(PRICES.cost(each.priced).values()) for part, each in parts.items()
    }
    numbers |= {f"{part} bytes": each.stored for part, each in parts.items()}
    return numbers | {f"{part} seconds": each.seconds for part, each in parts.items()}


counts = st.one_of(st.integers(0, 50), st.integers(0, 10**9))
means = st.floats(1, LARGEST)
capacities = st.sampled_from([ON_DEMAND, PROVISIONED])


@given(counts, counts, counts, means, capacities)
def test_more_items_never_cost_less(
    items: int, more: int, changes: int, mean: float, capacity: TableCapacity
) -> None:
    few = every(facts(items, mean, changes, capacity=capacity))
    many = every(facts(items + more, mean, changes, capacity=capacity))
    assert {
        name for name, number in few.items() if many[name] < number * (1 - 1e-6) - 1e-6
    } == set()


@given(counts, counts, counts, means, capacities)
def test_more_changes_never_cost_less(
    items: int, changes: int, more: int, mean: float, capacity: TableCapacity
) -> None:
    few = every(facts(items, mean, changes, capacity=capacity))
    many = every(facts(items, mean, changes + more, capacity=capacity))
    assert {
        name for name, number in few.items() if many[name] < number * (1 - 1e-6) - 1e-6
    } == set()


@given(counts, counts, means, capacities)
def test_numbers_are_plausible(
    items: int, changes: int, mean: float, capacity: TableCapacity
) -> None:
    """No number is negative, and every item and change needs at least its own requests."""
    found = every(facts(items, mean, changes, capacity=capacity))
    assert min(found.values()) >= 0
    assert found["into table WCU"] >= items
    assert found["backfill PUT"] >= items
    assert found["capture PUT"] == changes
    assert found["capture Lambda"] <= changes
    assert found["into table LIST"] >= 16


def test_capacity_has_the_units_of_the_price_list() -> None:
    """Read and write units of DynamoDB, and GB-seconds of Lambda."""
    found = facts()
    parts = (model.backfill(found), model.capture(found), model.restore(found, to_file=False))
    assert [list(part.capacity) for part in parts] == [["RCU"], ["GB-s"], ["WCU"]]


def test_an_empty_table_costs_next_to_nothing() -> None:
    found = every(facts(0, 1, 0))
    assert found["backfill dollars"] < 0.01
    assert (
        found["into table BatchWriteItem"] == found["into table WCU"] == found["to file bytes"] == 0
    )
    assert found["capture dollars"] == pytest.approx(rates.METRICS * 0.30)


def test_a_table_calculated_on_paper() -> None:
    """A million items of 1,000 bytes, and a million changes per month."""
    found = facts(1_000_000, 1000, 1_000_000, months=4, function=Function(100, 300, 1, 512))
    backfill, capture = model.backfill(found), model.capture(found)
    assert backfill.capacity["RCU"] == pytest.approx(1e9 / 4096, rel=0.01)
    assert backfill.requests["Scan"] == pytest.approx(1e9 / 2**20, rel=0.01)
    assert PRICES.cost(backfill.priced) == {
        "Amazon S3": pytest.approx(5.00, rel=0.01),
        "Amazon DynamoDB": pytest.approx(0.244 * 0.125, rel=0.01),
    }
    assert capture.requests["Lambda"] == pytest.approx(
        1_000_000 / (1 + 1_000_000 / rates.MONTH / 4 * 300)
    )
    table, file = model.restore(found, to_file=False), model.restore(found, to_file=True)
    assert found.versions == 5_000_000
    assert table.requests["LIST"] == pytest.approx(5000 + 8 + 17, abs=2)
    assert table.requests["GET"] == pytest.approx(1_000_000, abs=10)
    assert PRICES.cost(file.priced) == {"Amazon S3": pytest.approx(0.40 + 0.025, abs=0.001)}
    assert model.storage(found, 4) == 5_000_000 * (1300 + 200)


def test_the_duration_has_a_limit() -> None:
    """The slowest limits: this program, the table's capacity, the network, the listing."""
    assert model.backfill(facts(workers=1)).limit == "the speed of this program"
    assert model.backfill(facts(workers=1)).seconds == pytest.approx(
        1_000_000 / rates.BACKFILL_RATE
    )
    assert "3,500 PUT" in model.backfill(facts(workers=8)).limit
    slow = model.backfill(facts(capacity=PROVISIONED))
    assert slow.limit == "the table's read capacity"
    assert slow.seconds == pytest.approx(slow.capacity["RCU"] / 50)
    assert model.backfill(facts(mean=100_000)).limit == "the network"
    assert (
        model.restore(facts(versions_per_item=500), to_file=True).limit == "the listing of versions"
    )
    written = model.restore(facts(capacity=PROVISIONED), to_file=False)
    assert written.limit == "the new table's write capacity"
    hours = ceil(written.capacity["WCU"] / 100 / 3600)
    assert PRICES.cost(written.priced)["Amazon DynamoDB"] == pytest.approx(
        hours * 100 * (0.00013 + 0.00065)
    )


def test_a_provisioned_backfill_uses_capacity_that_is_paid_anyway() -> None:
    assert PRICES.cost(model.backfill(facts(capacity=PROVISIONED)).priced)["Amazon DynamoDB"] == 0


@given(strategies.items)
def test_an_item_has_the_bytes_dynamodb_charges(item: Item) -> None:
    """Another implementation of AWS's rules returns the same size."""
    assert item_size(item) == _item_size_bytes(item)


def mixture(count: int, seed: int = 1) -> list[Item]:
    return [dict(item) for item in rows(count, 0.02, seed)]


@pytest.mark.parametrize("seed", range(5))
def test_a_page_of_items_stands_for_the_table(seed: int) -> None:
    """Write units and bytes are right although the mean of the page is wrong by half.

    The table has small items and a few of 100 KB, of which a page contains one or two.
    """
    items = mixture(20_000, seed)
    mean = sum(map(item_size, items)) / len(items)
    units = sum(max(1, ceil(item_size(item) / KB)) for item in items) / len(items)
    sizes = Sizes.of_sample(items[:300], mean)
    assert sizes.units == pytest.approx(units, rel=0.02)
    assert sizes.body == pytest.approx(mean + 50, rel=0.05)
    assert ceil(mean / KB) / units == pytest.approx(1, abs=0.5)
    assert Sizes.of_mean(mean).units == pytest.approx(
        units, abs=0.5
    )  # without a sample: half a unit per item, as documented


@pytest.mark.parametrize("total", [500, 16_000, 30_000, 400_000])
def test_pages_of_random_slices(total: int) -> None:
    chance = random.Random(total)
    drawn = []
    for _ in range(20):
        shards = [0] * 16
        for shard in chance.choices(range(16), k=total):
            shards[shard] += 1
        drawn.append(sum(max(1, ceil(each / 1000)) for each in shards))
    assert model.pages(total, 16, 1000) == pytest.approx(sum(drawn) / len(drawn), rel=0.03)


@pytest.mark.parametrize(("a_second", "window"), [(0.1, 1), (3.0, 1), (3.0, 30), (200.0, 10)])
def test_calls_for_changes_at_random_times(a_second: float, window: int) -> None:
    """A batch holds what arrives in the window after its first record, up to its limit."""
    chance, at, calls, changes, until, held = random.Random(7), 0.0, 0, 20_000, -1.0, 0
    for _ in range(changes):
        at += chance.expovariate(a_second)
        if at > until or held == 1000:
            calls, until, held = calls + 1, at + window, 0
        held += 1
    month = changes / (a_second * rates.MONTH)  # the same rate as in a month
    found = facts(changes=changes / month, shards=1, function=Function(1000, window, 1, 512))
    assert model.capture(found).requests["Lambda"] * month == pytest.approx(calls, rel=0.1)


def test_the_memory_is_that_of_the_template() -> None:
    """Without a stack, the function has the template's default memory."""
    template = (ROOT / "template.yaml").read_text()
    memory = re.search(r"  MemorySize:\n    Type: Number\n    Default: (\d+)", template)
    assert memory
    assert memory[1] == str(MEMORY)


def test_the_function_does_not_contain_it() -> None:
    assert not [path for path in closure() if "estimate" in str(path)]


# ------------------------------------------------------------------------------------------- prices


def test_the_readme_has_the_prices_of_the_file() -> None:
    """The section on costs has the prices and the date of the file, and correct totals."""
    content = json.loads((ROOT / "stream_backup/estimate/prices.json").read_text())
    section = (
        (ROOT / "README.md").read_text().partition("## What it costs\n")[2].partition("\n## ")[0]
    )
    months = ["January", "February", "March", "April", "May", "June", "July"]
    year, month = content["date"].split("-")
    assert f"{months[int(month) - 1]} {year}" in section
    each = content["prices"]
    per = {1000: "per 1,000", 1_000_000: "per million"}
    for name in (
        "s3-put",
        "s3-list",
        "s3-get",
        "lambda-requests",
        "dynamodb-read",
        "dynamodb-write",
    ):
        assert re.search(rf"\${each[name]['price']:g}0* {per[each[name]['per']]}", section), name
    assert f"${each['lambda-seconds']['price']:.10f} per GB-s" in section
    assert f"${each['s3-storage']['price']} per GB-month" in section
    assert f"${each['cloudwatch-metrics']['price']:.2f} a month" in section
    assert f"${each['cloudwatch-logs']['price']:.2f} per GB" in section
    for calls, column in ((10_000, 1), (1_000_000, 2)):
        busy = calls * rates.CALL_SECONDS + 1e6 * rates.CHANGE_SECONDS
        counts = {"s3-put": 1e6, "lambda-requests": calls, "lambda-seconds": busy / 2}
        total = sum(
            PRICES.cost(counts | {"cloudwatch-logs": calls * rates.CALL_LOG / rates.GB}).values()
        )
        (line,) = [line for line in section.splitlines() if line.startswith("| **once**")]
        assert f"**${total:.2f}**" in line.split("|")[column + 1]


BROKEN = {
    "it is not JSON": "{",
    "it has no 'prices'": "{}",
    "it has another structure": "[]",
    "it has no 's3-get'": lambda content: content["prices"].pop("s3-get"),
    "the price of 's3-put' is not a number": (
        lambda content: content["prices"]["s3-put"].update(price="5")
    ),
    "'per' of 's3-list' is not a number": (
        lambda content: content["prices"]["s3-list"].update(per=0)
    ),
    "the unit of 's3-get' is 'EUR'": lambda content: content["prices"]["s3-get"].update(unit="EUR"),
    "'s4' is not a known price": (
        lambda content: content["prices"].update(s4=content["prices"]["s3-get"])
    ),
}


@pytest.fixture
def own(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    return tmp_path / "prices.json", json.loads(
        (ROOT / "stream_backup/estimate/prices.json").read_text()
    )


@pytest.mark.parametrize("why", BROKEN)
def test_a_file_that_is_not_a_price_file(why: str, own: tuple[Path, dict[str, Any]]) -> None:
    path, content = own
    broken = BROKEN[why]
    if callable(broken):
        broken(content)
    path.write_text(broken if isinstance(broken, str) else json.dumps(content))
    said = Shell(Aws("http://127.0.0.1:9"), None).run("estimate", "orders", "--prices", str(path))
    said.refused(2, "is not a price file", why)


# ------------------------------------------------------------------------------------ DescribeTable


def described(**more: Any) -> dict[str, Any]:
    table: dict[str, Any] = {
        "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
        "ItemCount": 1000,
    }
    return (
        table | {"ProvisionedThroughput": {"ReadCapacityUnits": 0, "WriteCapacityUnits": 0}} | more
    )


def test_capacity() -> None:
    units = {"ReadCapacityUnits": 400, "WriteCapacityUnits": 100}
    assert capacity_of(described()) == ON_DEMAND
    warm = described(WarmThroughput={"ReadUnitsPerSecond": 40_000})
    assert capacity_of(warm) == replace(ON_DEMAND, read=40_000)
    capped = {"MaxReadRequestUnits": 500, "MaxWriteRequestUnits": -1}
    assert capacity_of(described(OnDemandThroughput=capped)) == replace(ON_DEMAND, read=500)
    index = {
        "IndexName": "by",
        "ProvisionedThroughput": {"ReadCapacityUnits": 6, "WriteCapacityUnits": 5},
    }
    given = described(
        BillingModeSummary={}, ProvisionedThroughput=units, GlobalSecondaryIndexes=[index]
    )
    assert capacity_of(given) == TableCapacity(False, 200, 100, 406, 105)
    assert shards_of(described(), 1) == 4
    assert shards_of(described(), 95 * rates.GB) == 10
    assert shards_of(given, 1) == 1


def test_warm_throughput() -> None:
    """Items of several units make a new on-demand table the limit of a restore. As much warm
    throughput as the restore needs, within AWS's quota, shortens it, for a price that is paid once:
    that of the additional units for an hour, for the table and each index."""
    found = facts(10_000_000, mean=4_000)
    units = model.warm_throughput(found)
    cold = model.restore(found, to_file=False)
    assert cold.limit == "the new table's write capacity"
    assert units is not None
    assert 10_000 < units < 40_000
    warm = model.warm_restore(found, units)
    assert warm.limit != cold.limit
    assert warm.seconds < cold.seconds / 3
    price = sum(PRICES.cost(warm.priced).values()) - sum(PRICES.cost(cold.priced).values())
    assert price == pytest.approx((units - 4_000) * 0.00065)
    indexed = model.warm_restore(replace(found, indexes=2), units)
    assert indexed.priced["dynamodb-write-hours"] == 3 * (units - 4_000)
    assert warm.requests == cold.requests


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"mean": 200}, None),
        ({"capacity": PROVISIONED, "mean": 4_000}, None),
        ({"mean": 300_000}, 40_000),
        ({"mean": 300_000, "capacity": replace(ON_DEMAND, warmest=9_500)}, 9_500),
        ({"mean": 300_000, "capacity": replace(ON_DEMAND, warmest=3_000)}, None),
        ({"items": 0}, None),
    ],
)
def test_warm_throughput_where_it_makes_a_difference(
    more: dict[str, Any], expected: int | None
) -> None:
    """None is offered where a new table is no limit, or cannot be warm, and never more than AWS or
    the table's own limit allows."""
    assert model.warm_throughput(facts(**{"items": 10_000_000, **more})) == expected


def test_warm_throughput_is_limited_like_the_table() -> None:
    limited = {"OnDemandThroughput": {"MaxReadRequestUnits": -1, "MaxWriteRequestUnits": 9_500}}
    table = {"BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"}}
    assert capacity_of(table | limited).warmest == 9_500
    assert capacity_of(table).warmest == 40_000


def test_the_report_has_both_durations() -> None:
    """A restore into a new table is shown with and without warm throughput, with its price."""
    found = facts(10_000_000, mean=4_000)
    shown = Estimate("orders", "us-east-1", found, PRICES, (), changes_given=True, deployed=False)
    text = list(lines(shown))
    both = [number for number, line in enumerate(text) if line.startswith(" into a new table")]
    assert text[both[1]] == f" into a new table, with --warm-throughput {shown.warm}"
    assert [text[number + 3].split()[0] for number in both] == ["time", "time"]
    assert text[both[0] + 3] != text[both[1] + 3]
    record = shown.record()["restore"]
    assert record["into_warm_table"]["warm_throughput"] == shown.warm
    assert record["into_warm_table"]["seconds"] < record["into_table"]["seconds"]
    few = replace(found, items=10)
    small = Estimate("orders", "us-east-1", few, PRICES, (), changes_given=True, deployed=False)
    assert small.record()["restore"]["into_warm_table"] is None
    assert "--warm-throughput" not in "".join(list(lines(small))[:-20])


def test_indexes_are_written_too() -> None:
    sizes = replace(Sizes.of_mean(5000), units=5.4)
    whole = {
        "Projection": {"ProjectionType": "ALL"},
        "ItemCount": 1000,
        "IndexSizeBytes": 5_000_000,
    }
    sparse = {
        "Projection": {"ProjectionType": "KEYS_ONLY"},
        "ItemCount": 100,
        "IndexSizeBytes": 3000,
    }
    assert index_units(described(), sizes) == 0
    assert index_units(described(GlobalSecondaryIndexes=[whole]), sizes) == 5.4
    assert (
        index_units(
            described(LocalSecondaryIndexes=[sparse], GlobalSecondaryIndexes=[whole]), sizes
        )
        == 5.4 + 0.1
    )


class Account:
    """A connection with or without a stack, and with or without permission to read the function."""

    def __init__(
        self, settings: dict[str, int] | None, memory: int | None, keep: str | None = None
    ) -> None:
        named = Stack(
            "stream-backup",
            "s3://backups",
            "backup",
            "arn:aws:lambda:x:1:function:backup",
            None,
            "*",
            settings or {},
        )
        self.stack = named if settings is not None else None
        self.session = self
        self._memory = memory
        self._variables = {} if keep is None else {KEEP_EVERY_CHANGE: keep}

    def client(self, name: str, **settings: Any) -> "Account":
        return self

    def get_function_configuration(self, **asked: str) -> dict[str, Any]:
        if self._memory is None:
            raise ClientError(
                {"Error": {"Code": "AccessDeniedException"}}, "GetFunctionConfiguration"
            )
        return {"MemorySize": self._memory, "Environment": {"Variables": self._variables}}


@pytest.mark.parametrize(
    ("settings", "memory", "function"),
    [
        (None, 2048, FUNCTION),
        (
            {"BatchSize": 50, "MaximumBatchingWindowInSeconds": 5, "ParallelizationFactor": 2},
            1024,
            Function(50, 5, 2, 1024),
        ),
        ({"BatchSize": 50}, None, Function(50, 1, 1, 512)),
    ],
)
def test_the_function_is_as_deployed(
    settings: dict[str, int] | None, memory: int | None, function: Function
) -> None:
    """Without a stack, or without permission to read it, it is as in the template."""
    account: Any = Account(settings, memory)
    assert function_of(account) == (function, account.stack)


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        (None, "With KeepEveryChange=false, at most one version"),
        ("true", "what that saves is not estimated"),
        ("false", "the storage of capture are upper bounds: at most one version"),
    ],
)
def test_what_is_known_of_merged_changes(keep: str | None, said: str) -> None:
    """How many changes share an item and a second is not known, so the estimate states the bound,
    and that its figures are upper bounds where the function merges."""
    account: Any = Account({"MaximumBatchingWindowInSeconds": 5}, 512, keep)
    function, _ = function_of(account)
    assert function.keep_every_change is (keep != "false")
    found = facts(1000, 100, changes=10**6, function=function)
    lines = assumptions(found, Prices.load(None), "r", (), changes_given=True, deployed=True)
    (line,) = [each for each in lines if "KeepEveryChange" in each]
    assert said in line
    assert "about 1.2 versions per second" in line


@pytest.mark.once
@pytest.mark.server
def test_a_table_before_any_stack_or_archive(aws: Aws) -> None:
    """A table is sufficient. A small one is read completely, so the estimate is up to date."""
    items = mixture(100)[:20]
    Table.create(aws, "undecided").put_many(items)
    said = Shell(aws, None).done("estimate", "undecided")
    assert said.err == ""
    assert f"undecided: {len(items)} items" in said.out
    for block in (
        "backfill, once",
        "restore, of 20 versions",
        " into a new table",
        " to a file",
        "total",
        "  - Prices are",
    ):
        assert f"\n{block}" in said.out
    assert (
        "unknown: CloudWatch returned no write metrics of this table. Pass --changes-per-month N."
        in said.out
    )
    assert "was read completely" in said.out
    assert "six hours" not in said.out
    report = Shell(aws, None).done("estimate", "undecided", "--json").json
    assert report["items"] == 20
    assert report["item_bytes"] == sum(map(item_size, items)) / 20
    assert report["capture"] is report["changes_per_month"] is report["month_usd"]["first"] is None
    assert report["prices"] == {"region": REGION, "date": PRICES.date}
    assert any("items" in line for line in report["assumptions"])


@pytest.mark.once
@pytest.mark.server
def test_an_empty_table(aws: Aws) -> None:
    """An empty table has an estimate, and options show what it will cost when it has items."""
    Table.create(aws, "unfilled")
    shell = Shell(aws, None)
    assert "unfilled: 0 items" in shell.done("estimate", "unfilled").out
    shell.run("estimate", "unfilled", "--items", "1000").refused(
        2, "The size of the items in unfilled is unknown.", "--item-bytes"
    )
    given = ("--items", "1000000", "--item-bytes", "900", "--changes-per-month", "500000")
    report = shell.done("estimate", "unfilled", "--json", "--months", "6", *given).json
    assert report["restore"]["versions"] == 4_000_000
    assert report["backfill"]["usd"]["Amazon S3"] == pytest.approx(5.0, rel=0.01)
    assert report["capture"]["requests"]["PUT"] == 500_000
    assert (
        report["month_usd"]["last"]
        > report["month_usd"]["first"]
        > report["capture"]["usd"]["total"]
        > 2.5
    )
    assert (
        shell.done("estimate", "unfilled", "--json", *given, "--versions-per-item", "7").json[
            "restore"
        ]["versions"]
        == 7e6
    )


@pytest.mark.once
@pytest.mark.server
def test_changes_are_known_from_cloudwatch(aws: Aws) -> None:
    """The write units since the table was created are divided by those of the mean item."""
    Table.create(aws, "measured").put({"id": {"S": "1"}, "text": {"S": "x" * 2500}})
    points = [{"Timestamp": time.time() - 1800 - hour * 60, "Value": 90.0} for hour in range(10)]
    metric = {
        "MetricName": "ConsumedWriteCapacityUnits",
        "Dimensions": [{"Name": "TableName", "Value": "measured"}],
    }
    aws.client("cloudwatch").put_metric_data(
        Namespace="AWS/DynamoDB", MetricData=[metric | point for point in points]
    )
    said = Shell(aws, None).done("estimate", "measured", "--json").json
    assert said["changes_per_month"] == pytest.approx(
        900 / 3 * 30 * 24
    )  # in the first hour: three units per item
    assert any("CloudWatch" in line for line in said["assumptions"])
    given = Shell(aws, None).done("estimate", "measured", "--json", "--changes-per-month", "5").json
    assert given["changes_per_month"] == 5
    assert not any("CloudWatch" in line for line in given["assumptions"])


@pytest.mark.once
@pytest.mark.server
def test_without_a_sample(ministack_url: str) -> None:
    """Without permission to Scan, or with --no-sample, the mean of DescribeTable is used."""
    Table.create(Aws(ministack_url), "private").put_many(mixture(100)[:20])
    with proxy(ministack_url) as between:
        shell = Shell(between.aws, None)
        shell.done("estimate", "private", "--no-sample")
        assert between.requests["Scan"] == 0
        between.rule = denied("Scan")
        report = shell.done("estimate", "private", "--json").json
        assert report["items"] == 20
        assert any("No items were sampled" in line for line in report["assumptions"])
        assert any("six hours old" in line for line in report["assumptions"])
        between.rule = denied("DescribeTable")
        shell.run("estimate", "private").refused(2, "does not permit DescribeTable")


@pytest.mark.once
@pytest.mark.server
def test_another_region_and_own_prices(aws: Aws, own: tuple[Path, dict[str, Any]]) -> None:
    path, content = own
    shell = Shell(aws, None, {"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "eu-central-1"})
    shell.aws.session.client(
        "dynamodb", endpoint_url=aws.url, region_name="eu-central-1"
    ).create_table(
        TableName="far",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    given = ("--items", "1000000", "--item-bytes", "100")
    assert (
        "The table is in eu-central-1, where prices differ"
        in shell.done("estimate", "far", *given).out
    )
    content["region"] = "eu-central-1"
    content["prices"]["s3-put"]["price"] *= 2
    path.write_text(json.dumps(content))
    said = shell.done("estimate", "far", *given, "--prices", str(path), "--json").json
    assert said["backfill"]["usd"]["Amazon S3"] == pytest.approx(10.0, rel=0.01)
    assert not any("differ" in line for line in said["assumptions"])


@pytest.mark.once
@pytest.mark.server
def test_no_such_table(aws: Aws) -> None:
    Shell(aws, None).run("estimate", "nowhere").refused(
        2, "There is no table 'nowhere' in this account and Region."
    )
    Shell(aws, None).run("estimate", "nowhere", "--items", "-1").refused(2, "--items")


# ------------------------------------------------------------------------ compared with real counts


@pytest.fixture(scope="module")
def lived() -> Compared:
    """A table of small items and some of 100 KB: backfilled, changed, restored both ways."""
    return compare(rows(1200, 0.08), 300)


@pytest.mark.once
@pytest.mark.server
def test_the_real_counts_are_within_a_tenth(lived: Compared) -> None:
    """These are all requests and all consumed units, counted at the server."""
    off = {(step, name): estimated / counted - 1 for step, name, estimated, counted in lived}
    assert {found: by for found, by in off.items() if abs(by) > 0.10} == {}
    assert {name for _, name in off} == {
        "PUT",
        "LIST",
        "GET",
        "Scan",
        "RCU",
        "WCU",
        "BatchWriteItem",
    }


@pytest.mark.once
@pytest.mark.server
def test_requests_for_the_archives_records_are_exact(lived: Compared) -> None:
    """An estimate adds the requests that are sent for the objects under meta/."""
    counted = lived.counted
    assert {name: counted["backfill"][f"{name} meta"] for name in ("LIST", "GET")} == {
        name: rates.BACKFILL_META[name] for name in ("LIST", "GET")
    }
    assert {
        name: counted["to_file"][f"{name} meta"] for name in ("LIST", "GET")
    } == rates.RESTORE_META
    assert (
        counted["backfill"]["PUT meta"] == counted["backfill"]["Scan"] + rates.BACKFILL_META["PUT"]
    )
