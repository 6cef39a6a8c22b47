"""Several tables restored to one moment, and one window undone in several tables: one plan, one
question, and nothing written when one of them must be refused."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.capture.batch import write_batch
from stream_backup.core.item import encode
from stream_backup.core.key import key_hash
from stream_backup.core.moment import iso
from stream_backup.core.spans import Span, common
from stream_backup.core.time_rule import NEVER
from tests import laws
from tests.account import SCHEMA, Reply, said
from tests.fake_dynamodb import refusal
from tests.process import Inline
from tests.servers import REGION
from tests.shop import Rows, Shop, account, account_of

__all__ = ["account", "said"]

Run = Callable[..., Reply]

WRITES = ("put_item", "delete_item", "update_item", "batch_write_item", "create_table")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, in which receipts are left."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The questions; each is answered with yes while `no` is not among them."""
    questions: list[str] = []

    def confirm(question: str) -> bool:
        questions.append(question)
        return "no" not in questions

    for module in ("restore_together", "undo_together"):
        monkeypatch.setattr(f"stream_backup.cli.{module}.confirm", confirm)
    return questions


def names(count: int) -> list[str]:
    return [f"shop-{number:02}" for number in range(count)]


def opened(account: Shop, said: Run, *tables: str) -> int:
    """Creates tables whose every moment from now on is exact; returns the second."""
    for table in tables:
        account.create(table)
    assert said("enable", "--match", "shop-*").code == 0
    assert said("backfill", "--match", "shop-*").code == 0
    account.pass_time(60)
    return int(account.second)


def later(account: Shop) -> None:
    """Lets the function's metrics show that everything so far was read."""
    account.pass_time(120)


def writes(account: Shop) -> int:
    return sum(account.calls[each] for each in WRITES)


def trade(account: Shop, tables: list[str], rounds: int) -> list[int]:
    """Transfers money between accounts of several tables, and lets other rows change too. Returns
    the seconds of the transactions."""
    seconds, random = [], account.random
    for _ in range(rounds):
        several = random.sample(tables, random.randrange(2, min(len(tables), 4) + 1))
        amounts = [random.randrange(1, 50) for _ in several[1:]]
        parts = [
            (table, f"{table}-{random.randrange(5)}", amount)
            for table, amount in zip(several, [-sum(amounts), *amounts], strict=True)
        ]
        seconds.append(account.transfer(*parts))
        account.pass_time(random.choice([0, 0.2, 1, 7]))
    return seconds


# ------------------------------------------------------------
# restore


def test_ten_tables_at_one_moment(account: Shop, said: Run) -> None:
    """Ten tables, with transactions over several of them, are restored to one second by one
    command: each is byte for byte what it was at the end of that second, and where all records of a
    transaction are stamped in one second, no transaction is cut: the sum of all money is right."""
    tables = names(10)
    opened(account, said, *tables)
    total = account.money(*tables)
    seconds = trade(account, tables, 40)
    later(account)
    for number, moment in enumerate((seconds[0] - 1, seconds[7], seconds[25], seconds[-1])):
        into = f"{{table}}-v{number}"
        done = said("restore", "--match", "shop-??", "--at", iso(moment), "--into", into, "--json")
        assert done.code == 0, done.err
        assert done.tables("done") == tables
        restored = [f"{table}-v{number}" for table in tables]
        for table, copy in zip(tables, restored, strict=True):
            assert account.rows(copy) == account.at(table, moment)
        assert account.money(*restored) == total
        assert {each["report"]["moment"] for each in done.json["tables"]} == {iso(moment)}
        assert done.json["totals"]["put"] == 50


def test_transactions_as_boto3_sends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten tables with streams in moto, which boto3 writes by TransactWriteItems, some of them
    cancelled: from the records of their streams, each table is at every second what a scan showed
    at the end of it, and no money is lost or made in any second."""
    monkeypatch.setenv("AWS_ACCOUNT_ID_ENDPOINT_MODE", "disabled")  # moto knows no such endpoint
    random, tables = Random(7), names(10)
    truth: dict[int, dict[str, Rows]] = {}
    now = 1_795_262_400.0
    monkeypatch.setattr(
        "moto.dynamodb.models.table.utcnow",
        lambda: datetime.fromtimestamp(now, UTC).replace(tzinfo=None),
    )
    with mock_aws():
        settings = {"region_name": REGION, "aws_access_key_id": "a", "aws_secret_access_key": "b"}
        client = boto3.client("dynamodb", **settings)
        for table in tables:
            client.create_table(
                TableName=table,
                AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                BillingMode="PAY_PER_REQUEST",
                StreamSpecification={
                    "StreamEnabled": True,
                    "StreamViewType": "NEW_AND_OLD_IMAGES",
                },
            )
            for number in range(3):
                client.put_item(TableName=table, Item=account_of(str(number), 100))

        def rows(table: str) -> Rows:
            items = client.scan(TableName=table)["Items"]
            return {key_hash(SCHEMA.key_of(item)): encode(item) for item in items}

        present = {table: rows(table) for table in tables}
        for number in range(24):
            truth[int(now)] = dict(present)
            now = round(now + random.choice([0.1, 0.4, 1.3]), 1)
            parts = random.sample(tables, 3)
            puts = []
            for table, amount in zip(parts, (-9, 4, 5), strict=True):
                key = {"id": {"S": str(random.randrange(3))}}
                found = client.get_item(TableName=table, Key=key)["Item"]
                item = account_of(key["id"]["S"], int(found["amount"]["N"]) + amount)
                puts.append({"Put": {"TableName": table, "Item": item}})
            if number % 7 == 3:
                # The first: moto takes back the rows of a cancelled transaction, not the records.
                puts[0]["Put"]["ConditionExpression"] = "attribute_not_exists(id)"
                with pytest.raises(client.exceptions.TransactionCanceledException):
                    client.transact_write_items(TransactItems=puts)
            else:
                client.transact_write_items(TransactItems=puts)
            present |= {table: rows(table) for table in parts}
            truth[int(now)] = dict(present)
        streams = boto3.client("dynamodbstreams", **settings)
        records = {table: records_of(client, streams, table) for table in tables}
    archives: dict[str, Archive] = {}
    for table in tables:
        archives[table] = Archive(MemoryStore(lambda: now), "", table, SCHEMA, lambda: now)
        done = write_batch(records[table], archives.__getitem__, Inline(random), lambda: False)
        assert done.first_failed is None
    assert len(truth) > 10
    for moment, expected in truth.items():
        found = {table: laws.rebuilt(archives[table], moment, NEVER) for table in tables}
        assert found == expected
        bodies = [json.loads(body) for rows in found.values() for body in rows.values()]
        assert sum(int(body["amount"]["N"]) for body in bodies) == 3000


def records_of(client: Any, streams: Any, table: str) -> list[dict[str, Any]]:
    """The records of a table's stream, as Lambda delivers them."""
    arn = client.describe_table(TableName=table)["Table"]["LatestStreamArn"]
    found: list[dict[str, Any]] = []
    for shard in streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
        position = streams.get_shard_iterator(
            StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        for record in streams.get_records(ShardIterator=position)["Records"]:
            data = record["dynamodb"]
            data["ApproximateCreationDateTime"] = data["ApproximateCreationDateTime"].timestamp()
            found.append(record | {"eventSourceARN": arn})
    return found


def test_a_transaction_whose_stamps_differ(account: Shop, said: Run) -> None:
    """AWS documents no common time for the records of a transaction. Where their stamps are in two
    seconds, each table is exact by its own stream's clock, and the second between them shows a part
    of the transaction; the next one shows all of it. The README says so."""
    tables = names(2)
    opened(account, said, *tables)
    account.at_of = lambda table, second: int(second) + (table == tables[1])
    second = account.transfer((tables[0], "shop-00-1", -30), (tables[1], "shop-01-1", 30))
    later(account)
    for moment, money in ((second - 1, 1000), (second, 970), (second + 1, 1000)):
        into = f"{{table}}-{moment}"
        done = said("restore", *tables, "--at", str(moment), "--into", into)
        assert done.code == 0, done.err
        copies = [f"{table}-{moment}" for table in tables]
        for table, copy in zip(tables, copies, strict=True):
            assert account.rows(copy) == account.at(table, moment)
        assert account.money(*copies) == money


def test_all_tables_are_rewound_together(
    account: Shop, said: Run, asked: list[str], folder: Path
) -> None:
    """One plan shows all counts, one question is asked, and each table that changed is as it was,
    with a receipt of its own. Doing it again changes nothing."""
    tables = names(3)
    opened(account, said, *tables)
    moment = trade(account, tables, 5)[-1]
    account.pass_time(2)
    account.write("shop-00", account_of("new", 1))
    account.remove("shop-01", "shop-01-1")
    account.write("shop-01", account_of("shop-01-2", 7))
    later(account)
    words = ("restore", *tables, "--at", iso(moment), "--in-place")

    plan = said(*words, "--plan", "--json")
    assert plan.code == 0, plan.err
    assert [each["report"]["put"] for each in plan.json["tables"]] == [0, 2, 0]
    assert [each["report"]["delete"] for each in plan.json["tables"]] == [1, 0, 0]
    assert {name: plan.json["totals"][name] for name in ("put", "delete")} == {
        "put": 2,
        "delete": 1,
    }
    before = writes(account)
    text = said(*words, "--plan")
    assert f"Plan: 3 tables at {iso(moment)}:\n" in text.err
    assert "shop-01       2          0" in text.err
    assert "total         2          1" in text.err
    assert (asked, writes(account)) == ([], before)

    asked.append("no")
    refused = said(*words)
    assert refused.code == 2, refused.err
    assert "Not confirmed; nothing was written." in refused.err
    assert writes(account) == before

    asked.clear()
    done = said(*words, "--json")
    assert done.code == 0, done.err
    assert asked == ["Rewind these 3 live tables?"]
    assert "total         2          1" in done.err
    for table in tables:
        assert account.rows(table) == account.at(table, moment)
    receipts = [each["report"]["receipt"] for each in done.json["tables"]]
    assert receipts[2] is None
    assert sorted(each.name for each in folder.iterdir()) == sorted(filter(None, receipts))
    assert len(receipts) == 3

    before = writes(account)
    later(account)
    again = said(*words, "--yes", "--json")
    assert again.code == 0, again.err
    assert writes(account) == before


@pytest.mark.parametrize("how", [("--into", "{table}-then"), ("--in-place", "--yes")])
def test_all_are_refused_when_one_is_not_exact(account: Shop, said: Run, how: Any) -> None:
    """If the moment is not exact for two of four tables, both are named with their bounds, the exit
    code is 4, and nothing is written to any table. The hint names what is exact for all."""
    first = opened(account, said, "shop-a", "shop-b")
    opened(account, said, "shop-c")
    account.create("shop-d")
    assert said("enable", "shop-d").code == 0
    account.write("shop-a", account_of("new", 1))
    later(account)
    before, live = writes(account), set(account.live)
    refused = said("restore", "--match", "shop-*", "--at", str(first), *how)
    assert refused.code == 4, refused.err
    assert f"shop-c: {iso(first)} is outside the coverage of shop-c: the archive is exact from" in (
        refused.err
    )
    assert "shop-d: The archive of shop-d covers no moment yet" in refused.err
    assert "shop-a:" not in refused.err
    assert "2 of 4 tables cannot be restored exactly to" in refused.err
    assert "No moment is exact for all of these tables." in refused.err
    assert "--incomplete-ok" not in refused.err
    assert (writes(account), set(account.live)) == (before, live)

    refused = said("restore", "shop-c", "shop-a", "--at", str(first), *how)
    assert refused.code == 4, refused.err
    hint = refused.err.rstrip().splitlines()[-1]
    assert hint.startswith("hint: All of these tables are exact from ")
    start = hint.split(" from ")[1].split(" to ")[0]
    assert said("restore", "shop-c", "shop-a", "--at", start, *how).code == 0


def test_all_are_refused_when_one_target_cannot_be_used(account: Shop, said: Run) -> None:
    """A target that has rows, a table that nobody knows, and a version that cannot be read refuse
    all tables before the first is created or written."""
    moment = opened(account, said, "shop-a", "shop-b")
    account.create("shop-b-then")
    account.write("shop-b", account_of("new", 1))
    later(account)
    before, live = writes(account), set(account.live)
    to = ("--at", str(moment), "--into", "{table}-then")
    refused = said("restore", "shop-a", "shop-b", *to)
    assert refused.code == 2, refused.err
    assert "shop-b: Table shop-b-then exists and is not empty." in refused.err
    assert "1 of 2 tables cannot be restored" in refused.err
    refused = said("restore", "shop-a", "shop-x", *to)
    assert refused.code == 2, refused.err
    assert "shop-x: The archive s3://backups contains nothing of table 'shop-x'." in refused.err
    name = account.archive("shop-b").history({"id": {"S": "new"}}).name
    account.store.put(f"shop-b/{name}", b"{}", {"format": "9"})
    refused = said("restore", "shop-a", "shop-b", "--at", str(moment), "--in-place", "--yes")
    assert refused.code == 5, refused.err
    assert "shop-b: shop-b/" in refused.err
    assert (writes(account), set(account.live)) == (before, live)


def test_what_failed_is_resumed(account: Shop, said: Run) -> None:
    """The failure of one table stops no other, and shows in the exit code. The same command does
    the rest: it leaves tables that an earlier run restored, and resumes the one that was
    interrupted."""
    tables = names(3)
    moment = opened(account, said, *tables)
    trade(account, tables, 3)
    later(account)

    def deny(operation: str, request: dict[str, Any]) -> None:
        if operation == "batch_write_item" and "shop-01-then" in request["RequestItems"]:
            raise refusal("AccessDeniedException")

    account.on_call = deny
    words = ("restore", *tables, "--at", str(moment), "--into", "{table}-then", "--json")
    failed = said(*words)
    assert failed.code == 3, failed.err
    assert (failed.tables("failed"), failed.tables("done")) == (["shop-01"], ["shop-00", "shop-02"])
    assert "3 tables: 2 done, 1 failed." in failed.err
    account.on_call = lambda *_: None
    again = said(*words)
    assert again.code == 0, again.err
    assert (again.tables("done"), again.tables("skipped")) == (["shop-01"], ["shop-00", "shop-02"])
    assert "an earlier run restored it to this moment, into table shop-00-then" in again.err
    for table in tables:
        assert account.rows(f"{table}-then") == account.at(table, moment)
    assert again.json["tables"][1]["report"]["resumed"] is True


def test_a_table_with_some_of_the_items_is_not_taken_for_complete(account: Shop, said: Run) -> None:
    """A table that an earlier restore filled with chosen items has the same moment and name on its
    tag, but is not what is asked for: nothing is restored, and it is named."""
    opened(account, said, "shop-a", "shop-b")
    account.write("shop-a", account_of("one", 1))
    account.write("shop-a", account_of("two", 1))
    moment = int(account.second)
    later(account)
    words = ("--at", str(moment), "--into")
    some = said("restore", "shop-a", *words, "shop-a-then", "--key", '{"id": "one"}')
    assert some.code == 0, some.err
    refused = said("restore", "shop-a", "shop-b", *words, "{table}-then")
    assert refused.code == 2, refused.err
    assert "shop-a-then exists and is not empty" in refused.err
    assert "shop-b-then" not in account.live


def test_a_time_before_now_is_one_second_for_all(account: Shop, said: Run) -> None:
    """A relative WHEN means the same second for every table, though the command takes a while."""
    tables = names(4)
    opened(account, said, *tables)
    later(account)
    plan = said("restore", *tables, "--at", "60s ago", "--plan", "--json")
    assert plan.code == 0, plan.err
    moments = {each["report"]["moment"] for each in plan.json["tables"]}
    assert moments == {plan.json["moment"]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--into", "copy"), "--into copy is one name, and there are several tables."),
        (("--into", "{tables}-then"), "--into {tables}-then is one name"),
        (("--into", "{table}/then"), "'shop-a/then' is not the name of a table."),
        (("--to", "rows.json"), "--to is about one table, and there are several."),
        (("--like", "shop-b"), "--like is about one table, and there are several."),
        (("--key", '{"id": "1"}'), "--key and --keys-from are about items of one table"),
    ],
)
def test_options_of_one_table(account: Shop, said: Run, words: Any, message: str) -> None:
    """What names something of one table is refused where there are several."""
    moment = opened(account, said, "shop-a", "shop-b")
    later(account)
    before = writes(account)
    refused = said("restore", "--match", "shop-*", "--at", str(moment), *words)
    assert (refused.code, writes(account)) == (2, before), refused.err
    assert message in refused.err
    assert "hint: " in refused.err


@pytest.mark.parametrize("command", ["restore", "undo"])
def test_which_tables(said: Run, command: str) -> None:
    """A command takes tables or a pattern, names each table once, and a pattern must match."""
    window = ("--from", "5m", "--to", "4m") if command == "undo" else ("--at", "5m")
    for words, message in (
        ((), "Name one table or several, or a pattern."),
        (("a", "--match", "a*"), "Name one table or several, or a pattern."),
        (("a", "b", "a"), "Table a is named twice."),
        (("a/b", "c"), "'a/b' is not the name of a table."),
        (("--match", ""), "The pattern is empty."),
        (("--match", "none-*"), "No table in the archive s3://backups matches 'none-*'."),
    ):
        refused = said(command, *words, *window)
        assert refused.code == 2, refused.err
        assert message in refused.err


def test_one_table_may_have_a_pattern_for_its_target(account: Shop, said: Run) -> None:
    """{table} stands for the name of a single table too, and a single plan is printed as ever."""
    moment = opened(account, said, "shop-a")
    later(account)
    done = said("restore", "shop-a", "--at", str(moment), "--into", "{table}-then", "--json")
    assert done.code == 0, done.err
    assert (done.json["table"], done.json["into"]) == ("shop-a", "shop-a-then")
    matched = said("restore", "--match", "shop-a", "--at", str(moment), "--plan", "--json")
    assert [each["table"] for each in matched.json["tables"]] == ["shop-a"]


# ------------------------------------------------------------
# undo


def test_one_window_is_undone_in_several_tables(
    account: Shop, said: Run, asked: list[str], folder: Path
) -> None:
    """What a bad job wrote into several tables is taken back by one command with one question. What
    came later is kept, a conflict is left, and each table has a receipt of its own."""
    tables = names(3)
    since = opened(account, said, *tables)
    account.pass_time(5)
    for table in tables[:2]:
        account.write(table, account_of(f"{table}-1", 0))
        account.write(table, account_of("bad", 9))
    until = int(account.second)
    account.pass_time(5)
    account.write("shop-00", account_of("shop-00-1", 55))  # since then, so a conflict
    account.write("shop-01", account_of("good", 3))
    later(account)
    words = ("undo", "--match", "shop-*", "--from", iso(since), "--to", iso(until))
    before = writes(account)
    plan = said(*words, "--plan", "--json")
    assert plan.code == 0, plan.err
    assert plan.json["totals"] == {
        "update": 1,
        "delete": 2,
        "put": 0,
        "unchanged": 1,
        "conflicts": 1,
    }
    assert "in 3 tables:" in plan.err
    asked.append("no")
    assert said(*words).code == 2
    assert writes(account) == before

    asked.clear()
    done = said(*words, "--json")
    assert done.code == 3, done.err  # the conflict
    assert asked == ["Undo this in these 3 live tables?"]
    assert done.tables("failed") == ["shop-00"]
    assert done.tables("done") == ["shop-01", "shop-02"]
    assert account.rows("shop-02") == account.at("shop-02", since)
    expected = account.at("shop-01", since)
    assert {name: row for name, row in account.rows("shop-01").items() if name != "good"} == (
        expected
    )
    assert "bad" not in account.rows("shop-00")
    assert "good" in account.rows("shop-01")
    receipts = {each["table"]: each["report"]["receipt"] for each in done.json["tables"]}
    assert {each.name for each in folder.iterdir()} == {*filter(None, receipts.values())}
    assert sorted(table for table, receipt in receipts.items() if receipt) == tables[:2]
    later(account)
    back = said("undo", "shop-01", "--receipt", str(receipts["shop-01"]), "--yes")
    assert back.code == 0, back.err
    assert "bad" in account.rows("shop-01")


def test_an_undo_is_refused_as_a_whole(account: Shop, said: Run) -> None:
    """If the window is not exact for one table, nothing is written to any, and the exit code is 4.
    Options that name something of one table are refused."""
    since = opened(account, said, "shop-a")
    account.write("shop-a", account_of("bad", 9))
    until = int(account.second)
    opened(account, said, "shop-b")
    later(account)
    before = writes(account)
    window = ("--from", str(since), "--to", str(until))
    refused = said("undo", "shop-a", "shop-b", *window, "--yes")
    assert refused.code == 4, refused.err
    assert "is outside the coverage of shop-b" in refused.err
    assert "1 of 2 tables cannot be undone exactly from" in refused.err
    for option in (
        ("--canary", "2"),
        ("--conflicts", "conflicts.jsonl"),
        ("--resolve", "decided.jsonl"),
        ("--key", '{"id": "1"}'),
    ):
        found = said("undo", "shop-a", "shop-b", *window, *option)
        assert (found.code, "there are several" in found.err) == (2, True), found.err
    receipt = said("undo", "shop-a", "shop-b", "--receipt", "receipt.jsonl.gz")
    assert receipt.code == 2
    assert writes(account) == before


# ------------------------------------------------------------
# moments that are exact for all

EDGES = st.integers(0, 12)
SPANS = st.lists(st.tuples(EDGES, EDGES).map(lambda pair: Span(*sorted(pair))), max_size=3)


@given(st.lists(SPANS, min_size=1, max_size=4))
def test_common_moments(every: list[list[Span]]) -> None:
    """A moment is common if, and only if, each has it in one of its spans."""
    found = {moment for span in common(every) for moment in range(span.first, span.last + 1)}
    for moment in range(14):
        in_all = all(any(span.first <= moment <= span.last for span in spans) for spans in every)
        assert (moment in found) == in_all


def test_no_tables_have_no_moments() -> None:
    """Of nothing, no moment is common."""
    assert common([]) == ()
    assert json.dumps([span.record() for span in common([[Span(1, 5)]])]) == (
        '[{"from": "1970-01-01T00:00:01Z", "to": "1970-01-01T00:00:05Z"}]'
    )
