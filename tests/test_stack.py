"""The commands with a deployed stack: how they find it by name, how tables are enabled and
disabled, and what status reports."""

import json
import time
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from stream_backup.aws.stack import Stack
from stream_backup.capture import mapping, stream
from stream_backup.capture.mapping import wait
from stream_backup.core.records import Mapping
from stream_backup.errors import IncompleteError, UsageError
from tests.cli import Answer, Request, Table, denied, proxy
from tests.servers import Aws
from tests.stack import Deployed

OUTPUTS = {
    "ArchiveUrl": "s3://backups/production",
    "FunctionName": "stream-backup",
    "FunctionArn": "arn:aws-cn:lambda:cn-north-1:123456789012:function:stream-backup",
    "FailuresBucket": "failures",
    "TablePattern": "prod-*",
    "MaximumRecordAge": "21600",
    "BatchingWindow": "2",
}


def test_outputs() -> None:
    """A stack is described by its outputs, including the settings of a mapping. Unknown outputs are
    ignored."""
    found = Stack.of("s", OUTPUTS | {"Dashboard": "https://…"})
    assert found.archive == "s3://backups/production"
    assert found.destination == "arn:aws-cn:s3:::failures"
    assert found.settings == {
        "MaximumRecordAgeInSeconds": 21600,
        "MaximumBatchingWindowInSeconds": 2,
    }


@pytest.mark.parametrize("missing", ["ArchiveUrl", "FunctionName", "FunctionArn"])
def test_a_stack_that_is_none_of_ours(missing: str) -> None:
    """A stack that lacks an output of this template is refused, and the error names the output."""
    with pytest.raises(UsageError, match=missing):
        Stack.of("s", {name: value for name, value in OUTPUTS.items() if name != missing})


@pytest.mark.parametrize(
    ("table", "allowed"), [("prod-orders", True), ("orders", False), ("Prod-orders", False)]
)
def test_pattern(table: str, allowed: bool) -> None:
    """Only tables that match the stack's pattern are accepted. As in IAM, the pattern is
    case-sensitive."""
    stack = Stack.of("s", OUTPUTS)
    if allowed:
        stack.require(table)
    else:
        with pytest.raises(UsageError, match="prod-"):
            stack.require(table)


class Answers:
    """A client that returns one answer after another, and then the last one forever."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def __getattr__(self, operation: str) -> Any:
        def answer(**_: Any) -> Any:
            found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if isinstance(found, Exception):
                raise found
            return found

        return answer


MAPPING = Mapping("uuid", "label", "stream-backup", "failures", 0)


def test_waits_until_the_mapping_is_enabled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mapping takes time to become enabled on AWS. If it does not, it is reported as incomplete,
    with its state."""
    monkeypatch.setattr("stream_backup.capture.mapping.time.sleep", lambda seconds: None)
    wait(
        Answers({"State": "Creating"}, {"State": "Enabling"}, {"State": "Enabled"}),
        MAPPING,
        "orders",
    )
    monkeypatch.setattr(mapping, "PATIENCE", -1)
    with pytest.raises(IncompleteError, match="Creating") as raised:
        wait(Answers({"State": "Creating"}), MAPPING, "orders")
    assert "stream-backup status orders" in raised.value.hint


@pytest.fixture(scope="module")
def deployed(ministack_url: str) -> Deployed:
    return Deployed.make(Aws(ministack_url), pattern="prod-*")


def mapping_of(deployed: Deployed, uuid: str) -> dict[str, Any]:
    found: dict[str, Any] = deployed.aws.client("lambda").get_event_source_mapping(UUID=uuid)
    return found


@pytest.mark.server
def test_enable_by_the_stack(deployed: Deployed) -> None:
    """With only a table specified, the stack's function reads its stream into the stack's archive,
    through a mapping with the stack's settings and its failures bucket as destination. A second run
    changes nothing."""
    Table.create(deployed.aws, "prod-orders")
    said = deployed.shell.done("enable", "prod-orders", "--json").json
    made = mapping_of(deployed, said["mapping"])
    assert made["FunctionArn"].endswith(deployed.name)
    assert (
        made["DestinationConfig"]["OnFailure"]["Destination"] == f"arn:aws:s3:::{deployed.failures}"
    )
    assert (made["BatchSize"], made["MaximumRecordAgeInSeconds"], made["MaximumRetryAttempts"]) == (
        500,
        21600,
        -1,
    )
    assert made["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert made["BisectBatchOnFunctionError"]
    assert made["StartingPosition"] == "TRIM_HORIZON"
    assert made["State"] == "Enabled"
    again = deployed.shell.done("enable", "prod-orders", "--json").json
    assert (again["mapping"], again["was_off"]) == (said["mapping"], False)
    assert set(deployed.archive("prod-orders").meta.read("mappings")) == {said["mapping"]}

    report = deployed.shell.done("backfill", "prod-orders", "--json").json
    status = deployed.shell.done("status", "prod-orders", "--json").json
    assert status["earliest"] == report["answered"]
    assert status["failed_batches"] == []
    assert [(each["uuid"], each["state"]) for each in status["mappings"]] == [
        (said["mapping"], "Enabled")
    ]
    assert (
        f"mapping         {said['mapping']} of {deployed.name}: Enabled"
        in deployed.shell.done("status").out
    )


@pytest.mark.server
def test_a_mapping_that_is_off_is_put_on(deployed: Deployed) -> None:
    """A mapping that somebody disabled, or that has no destination for failures, is enabled and
    updated to the stack's settings."""
    table = Table.create(deployed.aws, "prod-off")
    arn = table.client.update_table(
        TableName="prod-off",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )["TableDescription"]["LatestStreamArn"]
    client = deployed.aws.client("lambda")
    made = client.create_event_source_mapping(
        EventSourceArn=arn, FunctionName=deployed.name, StartingPosition="LATEST", Enabled=False
    )
    said = deployed.shell.done("enable", "prod-off", "--json").json
    assert (said["mapping"], said["was_off"]) == (made["UUID"], False)
    found = mapping_of(deployed, made["UUID"])
    assert found["State"] == "Enabled"
    assert found["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert found["DestinationConfig"]["OnFailure"]["Destination"].endswith(deployed.failures)


@pytest.mark.server
def test_refusals(deployed: Deployed) -> None:
    """A table outside the pattern, an unknown table, two ways to name one, and a stack that does
    not exist or is not a stream-backup stack are each refused with one sentence and a hint."""
    Table.create(deployed.aws, "staging")
    deployed.shell.run("enable", "staging").refused(2, "prod-*", "staging")
    deployed.shell.run("enable", "prod-nowhere").refused(2, "no table")
    deployed.shell.run("enable").refused(2, "Name one table, or a pattern")
    deployed.shell.run("enable", "staging", "--match", "*").refused(
        2, "Name one table, or a pattern"
    )
    deployed.shell.run("enable", "--match", "nothing-*").refused(2, "matches")
    deployed.shell.run("enable", "staging", "--function", "f", "--stream-only").refused(
        2, "--stream-only exclude"
    )
    deployed.shell.run("status", "--stack", "nowhere").refused(
        2, "No archive was specified", "nowhere"
    )
    other = Deployed.make(deployed.aws, ArchiveUrl=None)
    other.shell.run("status").refused(2, "ArchiveUrl")


@pytest.mark.server
def test_an_archive_that_is_named_needs_no_stack(deployed: Deployed) -> None:
    """`--archive` takes precedence over the stack, which is then not looked up."""
    elsewhere = replace(
        deployed.shell,
        archive=f"s3://{deployed.aws.bucket()}",
        more={"STREAM_BACKUP_STACK": "nowhere"},
    )
    assert elsewhere.done("status", "--json").json["tables"] == []


@pytest.mark.server
def test_enable_many(deployed: Deployed) -> None:
    """Every matching table is enabled. A table that cannot be enabled is reported, stops no other
    table, and changes the exit code."""
    wrong = {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}
    Table.create(deployed.aws, "prod-many-wrong", StreamSpecification=wrong)
    for number in range(3):
        Table.create(deployed.aws, f"prod-many-{number}")
    said = deployed.shell.run("enable", "--match", "prod-many-*", "--json")
    assert said.code == 3, said
    results = {each["table"]: each["result"] for each in said.json["tables"]}
    assert results == {
        **{f"prod-many-{number}": "done" for number in range(3)},
        "prod-many-wrong": "failed",
    }
    assert "prod-many-wrong: The stream of prod-many-wrong has the view type KEYS_ONLY" in said.err
    assert "hint: " in said.err.splitlines()[-1]
    again = deployed.shell.done("enable", "--match", "prod-many-?", "--json").json
    assert {each["result"] for each in again["tables"]} == {"done"}


def gone(request: Request) -> Answer | None:
    """Answers as AWS does a day after a stream was switched off: the stream is unknown."""
    if request.operation != "DescribeStream":
        return None
    return 400, json.dumps(
        {"__type": "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException"}
    ).encode()


@pytest.mark.server
def test_disable_keeps_the_mapping_until_the_stream_is_gone(deployed: Deployed) -> None:
    """Disabling ends coverage and keeps the archive and the mapping, because the stream still has
    to be read to its end. Once the stream is gone, the same command deletes the mapping."""
    Table.create(deployed.aws, "prod-done")
    uuid = deployed.shell.done("enable", "prod-done", "--json").json["mapping"]
    deployed.shell.done("backfill", "prod-done")
    time.sleep(8)  # the last seconds before a stream goes off are not claimed
    first = deployed.shell.done("disable", "prod-done", "--json")
    assert (first.json["mappings"], first.json["deleted"]) == ([uuid], [])
    assert f"--uuid {uuid}" in first.err
    # A function counts as having read the stream only some seconds later.
    deadline = time.monotonic() + 60
    latest = ""
    while (latest or "") < first.json["end"] and time.monotonic() < deadline:
        latest = deployed.shell.done("status", "prod-done", "--json").json["latest"]
    assert latest == first.json["end"]
    assert deployed.shell.done("disable", "prod-done", "--json").json["mappings"] == [uuid]
    with proxy(deployed.aws.url) as between:  # ministack keeps a stream forever
        between.rule = gone
        last = replace(deployed.shell, aws=between.aws).done("disable", "prod-done", "--json").json
    assert (last["mappings"], last["deleted"]) == ([], [uuid])
    assert deployed.shell.done("status", "prod-done", "--json").json["mappings"] == []
    deployed.shell.run("disable", "prod-done").refused(2, "is off")


def test_a_limit_of_aws() -> None:
    """If AWS's limit on concurrent table changes is reached, the error says so."""

    class Busy:
        def call(self, *_: object) -> None:
            raise ClientError(
                {"Error": {"Code": "LimitExceededException", "Message": "busy"}}, "UpdateTable"
            )

    dynamodb: Any = Busy()
    with pytest.raises(UsageError, match="AWS has reached a limit"):
        stream._update(dynamodb, "prod", {})  # noqa: SLF001


@pytest.mark.server
def test_a_table_that_is_busy(deployed: Deployed) -> None:
    """A table that cannot be changed now is reported, with the hint to try again in a minute.
    Missing permission is reported as such."""
    name, words = "prod-busy", "changed"
    Table.create(deployed.aws, name)
    with proxy(deployed.aws.url) as between:
        body = json.dumps(
            {"__type": "com.amazonaws.dynamodb.v20120810#ResourceInUseException", "message": "busy"}
        ).encode()
        between.rule = lambda request: (400, body) if request.operation == "UpdateTable" else None
        shell = replace(deployed.shell, aws=between.aws)
        shell.run("enable", name).refused(2, words, "in a minute")
        between.rule = denied("UpdateTable")
        shell.run("enable", name).refused(2, "not permit UpdateTable")


@pytest.mark.server
def test_a_function_of_another_release_is_refused(aws: Aws) -> None:
    """A function that does not announce late changes is refused with one sentence, named or the
    stack's, before anything is recorded."""
    old = Deployed.make(aws, announces=False)
    Table.create(aws, "prod-older")
    for words in ((), ("--function", old.name, "--archive", f"s3://{old.archive_bucket}")):
        said = old.shell.run("enable", "prod-older", *words)
        said.refused(2, "does not announce late changes", "Deploy the function of this release")
    old.shell.run("enable", "prod-older", "--function", "nowhere").refused(2, "no function")
    assert old.shell.done("status", "--json").json["tables"] == []
