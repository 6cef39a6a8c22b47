"""What an enrolment asks AWS for, evaluated with the policy of the enroller: it is allowed all of
it, and with a statement taken away the table is not enrolled.

The engine is the real one, on the `Account`. Every request is evaluated by IAM's rules before it is
answered. What the account has no stand-in for is asked of the policy alone.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from stream_backup import enroller
from tests import sam
from tests.account import Account, account
from tests.fake_dynamodb import refusal
from tests.policies import ACCOUNT, PLACE, Rendered, Statement, allows, without

__all__ = ["account"]

KEY = f"arn:aws:kms:{PLACE}:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
TABLE_KEY = KEY.replace("1234abcd", "5678abcd")
RENDERED = Rendered(
    ExistingBucket="backups",
    TablePattern="shop-*",
    EnrolPattern="shop-*",
    KmsKeyArn=KEY,
    TableKeyArns=TABLE_KEY,
)
STATEMENTS = RENDERED.policy("EnrollerPolicy")
BUCKET, PLACED = "arn:aws:s3:::backups", f"{PLACE}:{ACCOUNT}"
FUNCTION = f"arn:aws:lambda:{PLACED}:function:stream-backup"
MAPPING = f"arn:aws:lambda:{PLACED}:event-source-mapping:1"
FAILURES = f"arn:aws:s3:::{RENDERED.values['FailuresBucket']}"

RUN = (
    "SwitchStreams",
    "ReadTables",
    "DescribeStreams",
    "ListTables",
    "AskFunction",
    "FindMappings",
    "CreateMappings",
    "SeeMappings",
    "SeeBucket",
    "ListVersions",
    "ReadAndWriteVersions",
)
"""Statements without which a table is not enrolled."""

ALONE: list[tuple[str, str, str, dict[str, str]]] = [
    (
        "ChangeMappings",
        "lambda:UpdateEventSourceMapping",
        MAPPING,
        {"lambda_FunctionArn": FUNCTION},
    ),
    ("ListFailures", "s3:ListBucket", FAILURES, {"s3_prefix": "aws/lambda/1/"}),
    ("ReadFailures", "s3:GetObject", f"{FAILURES}/aws/lambda/1/batch", {}),
    (
        "WriteLog",
        "logs:PutLogEvents",
        f"arn:aws:logs:{PLACED}:log-group:/aws/lambda/stream-backup-enroller:log-stream:1",
        {},
    ),
    (
        "FindStack",
        "cloudformation:DescribeStacks",
        f"arn:aws:cloudformation:{PLACED}:stack/stream-backup/1",
        {},
    ),
    ("DescribeKeys", "kms:DescribeKey", KEY.replace("1234abcd", "99999999"), {}),
    ("EncryptAndDecrypt", "kms:GenerateDataKey", KEY, {}),
    (
        "DecryptTables",
        "kms:Decrypt",
        TABLE_KEY,
        {"kms_ViaService": f"dynamodb.{PLACE}.amazonaws.com"},
    ),
]
"""Statements that the account does not ask for, with an action that they allow."""


class Guard:
    """Lets an account do only what these statements allow."""

    def __init__(self, account: Account, statements: list[Statement]) -> None:
        self.statements, self.asked = statements, set[str]()
        account.on_call = self.call
        store: Any = account.store
        for name, action in (
            ("put", "s3:PutObject"),
            ("create", "s3:PutObject"),
            ("replace", "s3:PutObject"),
            ("current", "s3:GetObject"),
            ("get", "s3:GetObjectVersion"),
            ("stat", "s3:GetObjectVersion"),
        ):
            setattr(store, name, self.on_object(action, getattr(store, name)))
        versions = store.versions

        def guarded_versions(prefix: str, **how: Any) -> Any:
            self.ask("s3:ListBucketVersions", BUCKET, s3_prefix=prefix)
            return versions(prefix, **how)

        store.versions = guarded_versions
        for name, action, where, context in (
            ("invoke", "lambda:InvokeFunction", FUNCTION, {}),
            ("list_event_source_mappings", "lambda:ListEventSourceMappings", "*", {}),
            (
                "create_event_source_mapping",
                "lambda:CreateEventSourceMapping",
                "*",
                {"lambda_FunctionArn": FUNCTION},
            ),
            ("get_event_source_mapping", "lambda:GetEventSourceMapping", MAPPING, {}),
            ("get_bucket_lifecycle_configuration", "s3:GetLifecycleConfiguration", BUCKET, {}),
            ("get_bucket_encryption", "s3:GetEncryptionConfiguration", BUCKET, {}),
        ):
            setattr(account, name, self.on(action, where, getattr(account, name), context))

    def ask(self, action: str, where: str, **context: str) -> None:
        self.asked.add(action)
        if not allows(self.statements, action, where, **context):
            raise refusal("AccessDeniedException")

    def call(self, operation: str, request: dict[str, Any]) -> None:
        name = request.get("TableName") or request.get("ResourceArn", "").rpartition("/")[2]
        where = f"arn:aws:dynamodb:{PLACED}:table/{name}" if name else "*"
        if operation == "describe_stream":
            where = f"arn:aws:dynamodb:{PLACED}:table/{request['StreamArn'].partition('/')[2]}"
        action = "".join(word.title() for word in operation.split("_"))
        self.ask(f"dynamodb:{action}", where)

    def on(
        self, action: str, where: str, work: Callable[..., Any], context: dict[str, str]
    ) -> Callable[..., Any]:
        def guarded(*words: Any, **more: Any) -> Any:
            self.ask(action, where, **context)
            return work(*words, **more)

        return guarded

    def on_object(self, action: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(path: str, *words: Any, **more: Any) -> Any:
            self.ask(action, f"{BUCKET}/{path}")
            return work(path, *words, **more)

        return guarded


@pytest.fixture
def run(account: Account, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, Any]]:
    monkeypatch.setenv("STREAM_BACKUP_ARCHIVE", "s3://backups")
    monkeypatch.setenv("STREAM_BACKUP_ENROL_PATTERN", "shop-*")
    monkeypatch.setenv("STREAM_BACKUP_ENROL_TAG", "backup")
    monkeypatch.setattr(enroller, "Connection", lambda *_: account)
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 810_000)
    account.create("shop-orders")
    return lambda: enroller.handler(None, context)


def test_the_enroller_may_enrol(account: Account, run: Callable[[], dict[str, Any]]) -> None:
    """With its policy alone, the enroller enables a table and backfills it, also one that was
    deleted and created again, and needs every action on tables and objects that the policy
    allows."""
    guard = Guard(account, STATEMENTS)
    for _ in range(2):
        found = run()
        assert (found["enabled"], found["failed"]) == (("shop-orders",), {})
        assert found["backfilled"] == ("shop-orders",)
        account.second += 900
        account.create("shop-orders")
    statements = {each["Sid"]: each for each in STATEMENTS}
    for sid in ("SwitchStreams", "ReadTables", "ReadAndWriteVersions"):
        assert set(statements[sid]["Action"]) <= guard.asked, sid


@pytest.mark.parametrize("sid", RUN)
def test_no_table_is_enrolled_without_a_statement(
    account: Account, run: Callable[[], dict[str, Any]], sid: str
) -> None:
    """Without one of these statements the run fails, or the table does, and is not backfilled."""
    Guard(account, without(STATEMENTS, sid))
    try:
        found = run()
    except ClientError:
        return
    assert list(found["failed"]) == ["shop-orders"]
    assert found["backfilled"] == ()


@pytest.mark.parametrize(("sid", "action", "where", "context"), ALONE)
def test_a_statement_is_the_only_one_of_its_kind(
    sid: str, action: str, where: str, context: dict[str, str]
) -> None:
    """What the enroller needs and the account does not ask for is allowed by one statement, and by
    no other."""
    assert allows(STATEMENTS, action, where, **context)
    assert not allows(without(STATEMENTS, sid), action, where, **context)


def test_the_enroller_has_no_other_statement() -> None:
    """Every statement of its policy is one of those above, or denies the use of a bucket of another
    account."""
    known = {*RUN, *(each[0] for each in ALONE), "OnlyThisArchive", "OnlyTheseFailures"}
    assert {each["Sid"] for each in STATEMENTS} == known


def test_the_enroller_stays_with_its_tables_and_its_function() -> None:
    """It enables and reads no table that TablePattern does not match, gives streams to no other
    function, deletes no mapping, and writes to the archive of no other table."""
    table = f"arn:aws:dynamodb:{PLACED}:table/payments"
    for action in ("UpdateTable", "Scan", "DescribeTable"):
        assert not allows(STATEMENTS, f"dynamodb:{action}", table), action
    other = {"lambda_FunctionArn": FUNCTION.replace("stream-backup", "other")}
    assert not allows(STATEMENTS, "lambda:CreateEventSourceMapping", "*", **other)
    own = {"lambda_FunctionArn": FUNCTION}
    assert not allows(STATEMENTS, "lambda:DeleteEventSourceMapping", MAPPING, **own)
    assert not allows(STATEMENTS, "s3:PutObject", f"{BUCKET}/payments/meta/runs/1.json")
    assert allows(STATEMENTS, "s3:PutObject", f"{BUCKET}/shop-orders/meta/runs/1.json")


def test_without_enrolment_nobody_has_its_rights() -> None:
    """A stack without EnrolPattern and EnrolTag has no enroller, and none of its resources and
    outputs; either of them creates all. The watcher has the same rights in both, and never records
    an enrolment."""
    template = sam.template()
    named = [("Enrol" in name, each) for name, each in template["Resources"].items()]
    found = [each["Condition"] for is_enrol, each in named if is_enrol]
    assert found == ["Enrols"] * 5
    outputs = [each for name, each in template["Outputs"].items() if "Enrol" in name]
    assert [each["Condition"] for each in outputs] == ["Enrols"] * 2
    assert not Rendered().holds({"Condition": "Enrols"})
    assert Rendered(EnrolPattern="a*").holds({"Condition": "Enrols"})
    assert Rendered(EnrolTag="backup").holds({"Condition": "Enrols"})
    watcher = Rendered(EnrolPattern="*").policy("WatcherPolicy")
    assert watcher == Rendered().policy("WatcherPolicy")
    name = f"{BUCKET}/orders/meta/enrolments/{'0' * 32}"
    allowed = Rendered(ExistingBucket="backups").policy("WatcherPolicy")
    assert not allows(allowed, "s3:PutObject", name)


def test_a_run_ends_before_the_next_begins() -> None:
    """Two runs never work on one table: the time that a run takes and that it may begin late is
    less than the time between two, and Lambda repeats none. The environment has the names that the
    code reads."""
    properties = sam.template()["Resources"]["Enroller"]["Properties"]
    late = properties["EventInvokeConfig"]
    assert late["MaximumRetryAttempts"] == 0
    (event,) = properties["Events"].values()
    assert event["Properties"]["Schedule"] == "cron(0/15 * * * ? *)"
    assert properties["Timeout"] + late["MaximumEventAgeInSeconds"] < 15 * 60
    assert properties["Timeout"] > enroller.RESERVE + 180
    assert properties["Handler"] == "stream_backup.enroller.handler"
    names = set(properties["Environment"]["Variables"])
    assert names == {
        "STREAM_BACKUP_ARCHIVE",
        "STREAM_BACKUP_STACK",
        "STREAM_BACKUP_ENROL_PATTERN",
        "STREAM_BACKUP_ENROL_TAG",
        "STREAM_BACKUP_ENROL_READ_SHARE",
    }
