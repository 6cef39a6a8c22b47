"""Long commands survive minutes in which AWS accepts nothing, and long times in which it refuses
most requests: they say so once, and end as if nothing had happened.

The commands run in this process against ministack, behind a proxy that answers as AWS documents
it. Nobody waits: the time that a thread would wait is added to a clock of its own. All servers here
have the same clock, so the margins between clocks are small.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

import stream_backup.aws.connection
from stream_backup.aws.patience import PATIENCE
from stream_backup.aws.table import RESTORED
from stream_backup.cli.main import cli
from stream_backup.core.item import Item
from tests import hurried
from tests.cli import Answer, Between, Request, Table, lines, next_second, proxy
from tests.hurried import Waiting
from tests.servers import Aws, environment

pytestmark = pytest.mark.server

MINUTES = 5 * 60
ROWS = 60
SAID = "busy or out of reach"


def row(number: int, note: str) -> Item:
    return {"id": {"S": f"row-{number}"}, "note": {"S": note}}


def refusal(request: Request) -> Answer:
    """Returns what AWS answers when it is busy: S3 with 503, DynamoDB with an error of its own for
    data, for streams, and for tables."""
    if request.path != "/":
        return 503, b"<Error><Code>SlowDown</Code><Message>Reduce your rate.</Message></Error>"
    code = {
        "DescribeStream": "LimitExceededException",
        "DescribeTable": "ThrottlingException",
        "GetRecords": "ProvisionedThroughputExceededException",
        "Scan": "ProvisionedThroughputExceededException",
        "BatchWriteItem": "ProvisionedThroughputExceededException",
        "PutItem": "ThrottlingException",
    }.get(request.operation)
    if code is None:
        return 503, b'{"__type":"com.amazon.coral.availability#ServiceUnavailableException"}'
    return 400, json.dumps({"__type": f"com.amazonaws#{code}", "message": "busy"}).encode()


@dataclass
class Outage:
    """From the request number `after` of this operation on, every request of every service is
    refused for MINUTES."""

    clock: Waiting
    operation: str
    after: int
    began: float | None = None
    refused: Counter[str] = field(default_factory=Counter)
    _seen: int = 0

    def __call__(self, request: Request) -> Answer | None:
        self._seen += request.operation == self.operation
        if self.began is None and self._seen >= self.after:
            self.began = self.clock.latest
        if self.began is None or self.clock.latest >= self.began + MINUTES:
            return None
        self.refused[request.operation] += 1
        return refusal(request)


@dataclass
class Unlucky:
    """Six of ten requests are refused, all the time."""

    clock: Waiting
    random: Random = field(default_factory=lambda: Random(9))
    refused: Counter[str] = field(default_factory=Counter)

    def __call__(self, request: Request) -> Answer | None:
        if self.random.random() >= 0.6:
            return None
        self.refused[request.operation] += 1
        return refusal(request)


Fault = Callable[[Waiting], Outage | Unlucky]


@dataclass(frozen=True)
class Busy:
    between: Between
    clock: Waiting
    table: Table
    good: str
    truth: list[bytes]
    capsys: pytest.CaptureFixture[str]

    def run(self, *words: str) -> tuple[str, str]:
        """Runs a command in this process; returns what it printed."""
        self.capsys.readouterr()
        cli.main([*words], standalone_mode=False)
        found = self.capsys.readouterr()
        return found.out, found.err


@dataclass(frozen=True)
class Kept:
    between: Between
    table: Table
    good: str
    truth: list[bytes]


@pytest.fixture(scope="module")
def patched() -> Iterator[pytest.MonkeyPatch]:
    """Small margins, and AWS clients that wait for nothing."""
    with pytest.MonkeyPatch.context() as patch:
        hurried.margins(patch.setattr, 1)
        hurried.clients(patch.setattr)
        none = {"max_retries": 0, "retry_timeout": timedelta(seconds=1)}
        patch.setattr(stream_backup.aws.connection, "FEW_RETRIES", none)
        yield patch


@pytest.fixture(scope="module")
def kept(ministack_url: str, patched: pytest.MonkeyPatch) -> Iterator[Kept]:
    """A table that is read by `follow`; since `good`, every third row was changed and some
    deleted."""
    aws = Aws(ministack_url)
    table = Table.create(aws, "busy")
    table.put_many([row(number, "good") for number in range(ROWS)])
    with proxy(aws.url) as between:
        for name, value in environment(between.url).items():
            patched.setenv(name, value)
        patched.setenv("STREAM_BACKUP_ARCHIVE", f"s3://{aws.bucket()}")
        for words in ("enable busy --stream-only", "backfill busy"):
            cli.main(words.split(), standalone_mode=False)
        good = next_second()
        truth = table.rows()
        table.put(*(row(number, "BAD") for number in range(0, ROWS, 3)))
        table.delete(*({"id": {"S": f"row-{number}"}} for number in range(1, ROWS, 10)))
        cli.main(["follow", "busy", "--once"], standalone_mode=False)
        yield Kept(between, table, good, truth)


@pytest.fixture
def busy(
    kept: Kept,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Iterator[Busy]:
    monkeypatch.chdir(tmp_path)  # receipts are written there
    clock = Waiting()
    hurried.patience(monkeypatch.setattr, clock)
    yield Busy(kept.between, clock, kept.table, kept.good, kept.truth, capsys)
    kept.between.rule = lambda _: None


def faults(**operations: int) -> pytest.MarkDecorator:
    """Parametrizes a test with an outage from the given request of each operation on, and with bad
    luck."""
    outages: list[Any] = [
        partial(Outage, operation=name, after=n) for name, n in operations.items()
    ]
    names = [f"{name}-{number}" for name, number in operations.items()]
    return pytest.mark.parametrize("fault", [*outages, Unlucky], ids=[*names, "unlucky"])


def check(busy: Busy, rule: Outage | Unlucky, err: str) -> None:
    """Checks that requests were refused, and that this was said once; bad luck may be over before
    there is anything to say."""
    assert sum(rule.refused.values()) > 10, rule.refused
    assert err.count(SAID) <= 1, err
    if isinstance(rule, Outage):
        assert err.count(SAID) == 1
        assert rule.began is not None
        assert MINUTES <= busy.clock.latest - rule.began < PATIENCE


_NUMBERS = count(1)


@faults(DescribeTable=1, PutObject=20)
def test_backfill(busy: Busy, fault: Fault) -> None:
    """A backfill of a new table ends with every row, written once."""
    name = f"backfilled-{next(_NUMBERS)}"
    table = Table.create(busy.table.aws, name)
    table.put_many([row(number, "good") for number in range(ROWS)])
    busy.run("enable", name, "--stream-only")
    busy.between.rule = rule = fault(busy.clock)
    out, err = busy.run("backfill", name, "--json")
    check(busy, rule, err)
    counts = json.loads(out)["counts"]
    assert (counts["read"], counts["written"], counts["failed"]) == (ROWS, ROWS, 0)
    assert json.loads(out)["complete"]


@faults(GetObject=20, BatchWriteItem=1)
def test_restore(busy: Busy, fault: Fault) -> None:
    """A restore into a new table ends with every row, and without the tags of a restore."""
    into = f"restored-{next(_NUMBERS)}"
    busy.between.rule = rule = fault(busy.clock)
    _, err = busy.run("restore", "busy", "--at", busy.good, "--into", into)
    check(busy, rule, err)
    assert Table(busy.table.aws, into).rows() == busy.truth
    assert Table(busy.table.aws, into).tags().keys() == {RESTORED}


@faults(ListObjectVersions=15)
def test_restore_to_a_file(busy: Busy, fault: Fault, tmp_path: Path) -> None:
    """A file contains each row once, however often it had to be read."""
    busy.between.rule = rule = fault(busy.clock)
    _, err = busy.run("restore", "busy", "--at", busy.good, "--to", str(tmp_path / "rows"))
    check(busy, rule, err)
    assert lines(tmp_path / "rows") == busy.truth


@faults(PutItem=5)
def test_rewind(busy: Busy, fault: Fault) -> None:
    """A rewind gives the rows of the moment, and reports none of them as left."""
    bad = [row(number, "BAD") for number in range(0, ROWS, 3)]
    busy.table.put(*bad)
    busy.run("follow", "busy", "--once")
    busy.between.rule = rule = fault(busy.clock)
    out, err = busy.run("restore", "busy", "--at", busy.good, "--in-place", "--yes", "--json")
    check(busy, rule, err)
    assert busy.table.rows() == busy.truth
    report = json.loads(out)
    assert report["left"] == []
    assert report["rewound"] == report["put"] + report["delete"] >= len(bad)


@faults(Scan=1)
def test_verify(busy: Busy, fault: Fault) -> None:
    """A verification finds what it finds undisturbed."""
    busy.run("follow", "busy", "--once")
    undisturbed = json.loads(busy.run("verify", "busy", "--json")[0])
    busy.between.rule = rule = fault(busy.clock)
    out, err = busy.run("verify", "busy", "--json")
    check(busy, rule, err)
    assert json.loads(out) | {"requests": {}} == undisturbed | {"requests": {}}


@faults(GetRecords=2, PutObject=3)
def test_follow(busy: Busy, fault: Fault) -> None:
    """`follow` writes every change once, in order."""
    busy.run("follow", "busy", "--once")
    key = {"id": {"S": f"followed-{next(_NUMBERS)}"}}
    busy.table.put(*(key | {"note": {"S": str(number)}} for number in range(12)))
    busy.between.rule = rule = fault(busy.clock)
    out, err = busy.run("follow", "busy", "--once", "--json")
    check(busy, rule, err)
    assert json.loads(out)["changes"] == 12
    busy.between.rule = lambda _: None
    shown = json.loads(busy.run("history", "busy", json.dumps(key), "--json")[0])
    assert [each["item"]["note"]["S"] for each in shown["versions"]] == [*map(str, range(12))]
    busy.table.delete(key)


COMMANDS: list[tuple[str, ...]] = [
    ("backfill", "busy"),
    ("verify", "busy"),
    ("follow", "busy", "--once"),
    ("status", "busy"),
    ("history", "busy", '{"id": "row-1"}'),
    ("restore", "busy", "--at", "GOOD", "--into", "never"),
    ("restore", "busy", "--at", "GOOD", "--in-place", "--yes"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("service", ["DynamoDB", "S3"])
def test_an_outage_that_does_not_end(busy: Busy, words: tuple[str, ...], service: str) -> None:
    """Every command gives up after a quarter of an hour, with the same error and exit code,
    whichever service is out."""

    if words[0] == "history" and service == "DynamoDB":
        return  # It asks only the archive.

    def rule(request: Request) -> Answer | None:
        return refusal(request) if (request.path == "/") == (service == "DynamoDB") else None

    busy.between.rule = rule
    given: list[Any] = [word.replace("GOOD", busy.good) for word in words]
    with pytest.raises(Exception, match="was busy or out of reach for 15 minutes") as found:
        busy.run(*given)
    assert getattr(found.value, "exit_code", None) == 3
    assert "resume" in getattr(found.value, "hint", "")
    assert PATIENCE < busy.clock.latest < PATIENCE + 60
