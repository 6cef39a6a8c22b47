"""The policies of the template are enough, and no statement of them is too many: with it
taken away, something fails, and says so.

ministack enforces IAM here (AUTH=true). Each user has exactly the statements of the deployed
policy, or all but one of them. What ministack does not enforce is checked in the policy instead:
KMS (test_encryption.py) and the owner of a bucket (test_template.py).
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from obstore.exceptions import PermissionDeniedError

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.cli.main import cli
from stream_backup.core.change import Change
from stream_backup.core.item import decode, encode
from stream_backup.core.key import KeySchema, key_hash
from stream_backup.core.records import Run, Stream
from stream_backup.core.stamp import Stamp
from stream_backup.core.witness import Witness
from stream_backup.settings import DRILL_TABLES, ENROL_PATTERN
from stream_backup.settings import STACK as STACK_NAME
from stream_backup.verify import repair
from tests import sam
from tests.cli import SIMPLE, Said, Shell, Table, next_second
from tests.event_source_mapping import discarded
from tests.servers import REGION
from tests.test_lambda import package

pytestmark = [pytest.mark.server, pytest.mark.once]

ROWS = [{"id": {"S": f"row-{index}"}, "n": {"N": "1"}} for index in range(8)]
STACK = "permissions"
PREFIX = "production"
PATIENCE = 60
DEPLOYER = "arn:aws:iam::000000000000:user/deployer"

WRITER = ("WriteVersions", "ReadStreams", "KeepFailures", "FindFailures", "WriteLog", "Encrypt")
WATCHER = {
    "SeeBucket": "GetBucketVersioning",
    "FindTables": "ListObjectVersions",
    "ListVersions": "does not permit ListObjectVersions",
    "ReadVersions": "permit this: GET",
    "WriteRecords": "permit this: PUT",
    "DescribeTables": "No permission to describe table orders",
    "SeeMappings": "No permission to read the event source mapping",
    "SeeLag": "No permission to read the function's metrics",
    "ListFailures": "No permission to read the failures bucket",
}
BACKFILL = {
    "ReadTables": "does not permit DescribeTable",
    "SeeBucket": "does not permit GetBucketVersioning",
    "ListVersions": "does not permit ListObjectVersions",
    "ReadVersions": "permit this: GET",
    "WriteVersions": "permit this: PUT",
    "FindStack": "cannot be described (AccessDenied)",
}
INTO = {
    "SeeBucket": "does not permit GetBucketVersioning",
    "ListVersions": "does not permit ListObjectVersions",
    "ReadVersions": "permit this: GET",
    "DescribeTables": "does not permit DescribeTable",
    "FillTables": "does not permit CreateTable",
    "ListTables": "does not permit ListTables",
    "FindStack": "cannot be described (AccessDenied)",
}
"""Statement → the error that the command reports without it."""

ENABLER = {
    "SwitchStreams": "does not permit DescribeTable",
    "DescribeTables": "does not permit DescribeTimeToLive",
    "DescribeStreams": "does not permit DescribeStream",
    "AskFunction": "does not permit Invoke",
    "FindMappings": "does not permit ListEventSourceMappings",
    "CreateMappings": "does not permit CreateEventSourceMapping",
    "SeeBucket": "does not permit GetBucketVersioning",
    "ListVersions": "does not permit ListObjectVersions",
    "WriteRecords": "permit this: PUT",
    "FindStack": "does not permit DescribeStacks",
}
REDRIVER = {
    "ListFailures": "does not permit ListObjectsV2",
    "ReadFailures": "does not permit GetObject",
    "KeepFailures": "does not permit CopyObject",
    "HideFailures": "does not permit DeleteObject",
    "SeeBucket": "does not permit GetBucketVersioning",
    "FindTables": "does not permit ListObjectVersions",
    "ListVersions": "does not permit ListObjectVersions",
    "ReadVersions": "permit this: GET",
    "WriteVersions": "permit this: PUT",
    "FindStack": "cannot be described (AccessDenied)",
}

OWNERS = {"OnlyThisArchive", "OnlyTheseFailures"}
"""Statements that deny the use of another account's bucket, which ministack cannot have."""

UNRESOLVED = {
    "dynamodb:DescribeStream",
    "dynamodb:GetRecords",
    "dynamodb:GetShardIterator",
    "dynamodb:ListTagsOfResource",
    "dynamodb:TagResource",
    "dynamodb:UntagResource",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
}
"""ministack enforces these actions, but uses `*` (for a log stream, its group) as their resource,
where AWS uses the resource that the request names. Users with the statement may therefore perform
them on everything; test_a_resource_is_named checks their resources."""

_users = count(1)


@dataclass(frozen=True)
class Deployed:
    """The stack with every option on, and a table that is enabled and backfilled. `moment` is
    exact."""

    stack: sam.Stack
    table: Table
    stream: str
    mapping: str
    moment: str
    break_glass: str

    @property
    def cloud(self) -> sam.Cloud:
        return self.stack.cloud

    def user(self, *policies: str, without: str = "") -> dict[str, str]:
        """Returns the settings of a new user with these policies, except one statement."""
        statements = [each for policy in policies for each in self.stack.statements(policy)]
        kept = [statement for statement in statements if statement["Sid"] != without]
        assert len(kept) == len(statements) - bool(without), without
        wider: list[dict[str, Any]] = [
            {"Effect": "Allow", "Action": [*unresolved], "Resource": "*"}
            for statement in kept
            if (unresolved := UNRESOLVED.intersection(actions_of(statement)))
        ]
        gets = any(statement["Action"] == "lambda:GetEventSourceMapping" for statement in kept)
        if gets and without != "FindMappings":
            instead = {"Effect": "Allow", "Action": sam.INSTEAD_OF_GET, "Resource": "*"}
            wider.append(instead)
        # ministack does not know the condition key lambda:FunctionArn.
        wider += [
            {name: value for name, value in statement.items() if name != "Condition"}
            for statement in kept
            if "lambda:FunctionArn" in str(statement.get("Condition"))
        ]
        return self.cloud.user(f"user-{next(_users)}", kept + wider)

    def shell(self, user: dict[str, str]) -> Shell:
        """A terminal of this user, with only the stack specified, not the archive."""
        more = self.cloud.trust | user | {"STREAM_BACKUP_STACK": STACK}
        return Shell(self.cloud.aws, None, more)

    def run(self, user: dict[str, str], *words: str) -> Said:
        """Runs a command as this user."""
        return self.shell(user).run(*words)

    def session(self, user: dict[str, str]) -> Any:
        keys = {name.lower(): value for name, value in user.items()}
        return boto3.Session(**keys, region_name=REGION)

    def client(self, user: dict[str, str], service: str) -> Any:
        return self.session(user).client(service, endpoint_url=self.cloud.aws.url)


def actions_of(statement: dict[str, Any]) -> list[str]:
    found = statement["Action"]
    return [found] if isinstance(found, str) else list(found)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with sam.cloud(tmp_path_factory.mktemp("cloud")) as cloud:
        yield deploy(cloud)


def deploy(cloud: sam.Cloud) -> Deployed:
    """Deploys the template with CloudFormation. The code is where `sam package` would have put
    it."""
    cloud.aws.client("s3").create_bucket(Bucket="code")
    cloud.aws.client("s3").put_object(Bucket="code", Key="function.zip", Body=package())
    trust = {
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::000000000000:root"},
        "Action": "sts:AssumeRole",
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = cloud.aws.client("iam").create_role(
        RoleName="break-glass", AssumeRolePolicyDocument=document
    )["Role"]
    stack = create(
        cloud,
        STACK,
        Prefix=PREFIX,
        TablePattern="orders*",
        KmsKeyArn=cloud.aws.client("kms").create_key()["KeyMetadata"]["Arn"],
        TableKeyArns=cloud.aws.client("kms").create_key()["KeyMetadata"]["Arn"],
        ObjectLockMode="GOVERNANCE",
        NoncurrentDays="90",
        TombstoneDays="90",
        BreakGlassRoleArn=role["Arn"],
        DeployerArn=DEPLOYER,
        ReservedConcurrency="5",
        AlarmEmail="on-call@example.com",
        DrillSchedule="rate(7 days)",
        DrillTables="orders",
        EnrolPattern="orders-new*",
    )
    table = Table.create(cloud.aws, "orders")
    table.put(*ROWS)
    shell = Shell(cloud.aws, None, cloud.trust | {"STREAM_BACKUP_STACK": STACK})
    enabled = shell.done("enable", "orders", "--json").json
    shell.done("backfill", "orders")
    stream = table.client.describe_table(TableName="orders")["Table"]["LatestStreamArn"]
    return Deployed(stack, table, stream, enabled["mapping"], next_second(), role["Arn"])


def create(cloud: sam.Cloud, name: str, **parameters: str) -> sam.Stack:
    client = cloud.aws.client("cloudformation")
    # From a bucket, as `sam deploy` does it: the template is too large for the request itself.
    template = sam.TEMPLATE.read_text().replace(
        "CodeUri: run-sam-build-first/", "CodeUri: s3://code/function.zip"
    )
    cloud.aws.client("s3").put_object(Bucket="code", Key="template.yaml", Body=template.encode())
    client.create_stack(
        StackName=name,
        TemplateURL=f"{cloud.aws.url}/code/template.yaml",
        Parameters=[
            {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
        ],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    while (
        status := client.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]
    ) != "CREATE_COMPLETE":
        events = client.describe_stack_events(StackName=name)["StackEvents"]
        assert "ROLLBACK" not in status, [
            each for each in events if each["ResourceStatus"].endswith("FAILED")
        ]
        time.sleep(0.2)
    return sam.Stack(cloud, name)


def allowed(act: Callable[[], object]) -> bool:
    """Returns whether IAM allows the call. Any other error is raised."""
    try:
        act()
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("AccessDenied", "AccessDeniedException"):
            raise
        return False
    return True


def called(deployed: Deployed, user: dict[str, str], key: str) -> tuple[Any, str]:
    """Returns the handler's answer to one record and what it logged, from a process that runs as
    this user."""
    (record,) = json.loads((sam.ROOT / "tests/events/insert.json").read_text())["Records"]
    record |= {"eventSourceARN": deployed.stream}
    record["dynamodb"] |= {"Keys": {"id": {"S": key}}, "NewImage": {"id": {"S": key}}}
    script = (
        "import json, sys; from stream_backup.handler import handler;"
        " print(json.dumps(handler(json.load(sys.stdin), None)))"
    )
    settings = Shell(
        deployed.cloud.aws, deployed.stack.outputs["ArchiveUrl"], deployed.cloud.trust | user
    ).environment
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps({"Records": [record]}).encode(),
        env=settings,
        capture_output=True,
        check=True,
        timeout=PATIENCE,
    )
    return json.loads(done.stdout.splitlines()[-1]), done.stderr.decode()


def acts_of_lambda(deployed: Deployed, user: dict[str, str]) -> dict[str, Callable[[], object]]:
    """Returns the calls that AWS Lambda makes on behalf of the function, by the statement that
    allows them. ministack's Lambda needs no permission for them, so a user with the function's
    policy makes the calls that AWS documents."""
    streams, s3, logs = (
        deployed.client(user, service) for service in ("dynamodbstreams", "s3", "logs")
    )
    failures, group = deployed.stack.outputs["FailuresBucket"], f"/aws/lambda/{STACK}"
    name = f"{user['AWS_ACCESS_KEY_ID']}"

    def read() -> None:
        shard = streams.describe_stream(StreamArn=deployed.stream)["StreamDescription"]["Shards"][
            0
        ]["ShardId"]
        which = {
            "StreamArn": deployed.stream,
            "ShardId": shard,
            "ShardIteratorType": "TRIM_HORIZON",
        }
        streams.get_records(ShardIterator=streams.get_shard_iterator(**which)["ShardIterator"])

    def log() -> None:
        logs.create_log_stream(logGroupName=group, logStreamName=name)
        event = {"timestamp": int(time.time() * 1000), "message": "{}"}
        logs.put_log_events(logGroupName=group, logStreamName=name, logEvents=[event])

    return {
        "ReadStreams": read,
        "KeepFailures": lambda: s3.put_object(Bucket=failures, Key=f"scratch/{name}", Body=b""),
        "FindFailures": lambda: s3.list_objects_v2(Bucket=failures),
        "WriteLog": log,
    }


def test_the_writer_policy_is_enough(deployed: Deployed) -> None:
    """With this policy, the handler writes, and Lambda can make all its calls on behalf of the
    function."""
    user = deployed.user("WriterPolicyArn")
    assert called(deployed, user, "enough")[0] == {"batchItemFailures": []}
    assert all(allowed(act) for act in acts_of_lambda(deployed, user).values())


def test_the_function_fails_clearly_when_it_may_not_write(deployed: Deployed) -> None:
    """Without s3:PutObject, every record is reported as not written, and the log gives the
    reason."""
    answer, log = called(
        deployed, deployed.user("WriterPolicyArn", without="WriteVersions"), "denied"
    )
    assert len(answer["batchItemFailures"]) == 1
    assert answer["batchItemFailures"][0]["itemIdentifier"]
    assert "PermissionDeniedError" in log
    assert "not authorized" in log or "AccessDenied" in log or "403" in log


@pytest.mark.parametrize("sid", ["ReadStreams", "KeepFailures", "FindFailures", "WriteLog"])
def test_lambda_needs_each_statement_of_the_writer(deployed: Deployed, sid: str) -> None:
    """Without one statement, exactly the calls that it allows are denied, and all others
    succeed."""
    acts = acts_of_lambda(deployed, deployed.user("WriterPolicyArn", without=sid))
    assert {name for name, act in acts.items() if not allowed(act)} == {sid}


def test_the_key_of_the_writer_is_asserted_on_the_policy(deployed: Deployed) -> None:
    """The writer has only kms:GenerateDataKey. ministack encrypts without requiring KMS
    permissions, so the test cannot show that writing fails without it."""
    (statement,) = (
        each for each in deployed.stack.statements("WriterPolicyArn") if each["Sid"] == "Encrypt"
    )
    assert statement["Action"] == "kms:GenerateDataKey"
    assert called(deployed, deployed.user("WriterPolicyArn", without="Encrypt"), "keyless")[0] == {
        "batchItemFailures": []
    }


@pytest.mark.parametrize(
    ("policy", "sid", "own", "other"),
    [
        (
            "WriterPolicyArn",
            "ReadStreams",
            "dynamodb:{}:table/orders/stream/1",
            "dynamodb:{}:table/other/stream/1",
        ),
        (
            "WriterPolicyArn",
            "WriteLog",
            "logs:{}:log-group:/aws/lambda/permissions:log-stream:a",
            "logs:{}:log-group:b",
        ),
        ("BackfillPolicyArn", "ReadTables", "dynamodb:{}:table/orders", "dynamodb:{}:table/other"),
        (
            "RestorerPolicyArn",
            "DescribeTables",
            "dynamodb:{}:table/orders",
            "dynamodb:{}:table/other",
        ),
        (
            "RestorerPolicyArn",
            "FillTables",
            "dynamodb:{}:table/any-restored-1",
            "dynamodb:{}:table/other",
        ),
    ],
)
def test_a_resource_is_named(
    deployed: Deployed, policy: str, sid: str, own: str, other: str
) -> None:
    """IAM's policy simulator, with the resources that AWS documents, allows these actions on the
    project's own resources, and denies them on other resources and without the statement."""
    iam, here = deployed.cloud.aws.client("iam"), f"{REGION}:000000000000"
    every = deployed.stack.statements(policy)
    (statement,) = (each for each in every if each["Sid"] == sid)

    def simulate(statements: list[dict[str, Any]], resource: str) -> set[str]:
        found = iam.simulate_custom_policy(
            PolicyInputList=[json.dumps({"Version": "2012-10-17", "Statement": statements})],
            ActionNames=statement["Action"],
            ResourceArns=[f"arn:aws:{resource.format(here)}"],
        )
        return {result["EvalDecision"] for result in found["EvaluationResults"]}

    assert simulate(every, own) == {"allowed"}
    assert simulate(every, other) == {"implicitDeny"}
    assert simulate([each for each in every if each["Sid"] != sid], own) == {"implicitDeny"}


@pytest.mark.parametrize(
    "action", ["get_object", "delete_object", "list_object_versions", "head_object"]
)
def test_the_writer_can_neither_read_nor_delete(deployed: Deployed, action: str) -> None:
    """The function can neither read nor delete what it wrote."""
    s3 = deployed.client(deployed.user("WriterPolicyArn"), "s3")
    archive = Archive(
        deployed.cloud.aws.store(deployed.stack.bucket), f"{PREFIX}/", "orders", KeySchema(SIMPLE)
    )
    path = archive.history({"id": ROWS[0]["id"]}).versions
    which = {"Prefix": f"{PREFIX}/orders/"} if action.startswith("list") else {"Key": path[0].path}
    with pytest.raises(ClientError, match=r"AccessDenied|403|Forbidden"):
        getattr(s3, action)(Bucket=deployed.stack.bucket, **which)


def watch(deployed: Deployed, user: dict[str, str]) -> tuple[int, str]:
    """Runs the watcher in a process that is this user, and returns its exit code and what it
    said."""
    script = "from stream_backup.watcher import handler; print(handler(None, None))"
    settings = Shell(
        deployed.cloud.aws, deployed.stack.outputs["ArchiveUrl"], deployed.cloud.trust | user
    ).environment
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=settings,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    return done.returncode, (done.stdout + done.stderr).decode()


def test_the_watcher_policy_is_enough(deployed: Deployed) -> None:
    """With it alone the watcher looks at every table completely."""
    code, said = watch(deployed, deployed.user("WatcherPolicyArn"))
    assert code == 0, said
    assert "exact_age" in said


@pytest.mark.parametrize("sid", WATCHER)
def test_the_watcher_needs_each_statement(deployed: Deployed, sid: str) -> None:
    """Without it the watcher fails, and the last line of its log says what AWS did not permit."""
    code, said = watch(deployed, deployed.user("WatcherPolicyArn", without=sid))
    assert code != 0, said
    assert WATCHER[sid] in said.splitlines()[-1]


def test_the_watcher_needs_to_read_failures(deployed: Deployed) -> None:
    """Without it the watcher does not know the changes in a batch that waits, and says so."""
    s3, bucket = deployed.cloud.aws.client("s3"), deployed.stack.outputs["FailuresBucket"]
    key = f"aws/lambda/{deployed.mapping}/shardId-1/2026/11/21/2026-11-21T04.02.01-2"
    s3.put_object(Bucket=bucket, Key=key, Body=b"not an object that Lambda wrote")
    try:
        code, said = watch(deployed, deployed.user("WatcherPolicyArn"))
        assert code == 0, said
        code, said = watch(deployed, deployed.user("WatcherPolicyArn", without="ReadFailures"))
        assert code != 0
        assert "No permission to read the failures bucket" in said.splitlines()[-1]
    finally:
        s3.delete_object(Bucket=bucket, Key=key)


def test_the_watcher_needs_to_list_tables(deployed: Deployed) -> None:
    """Without it the watcher does not learn the time at which a table did not exist, and fails."""
    archive = Archive(deployed.cloud.aws.store(deployed.stack.bucket), f"{PREFIX}/", "orders-gone")
    now = int(time.time())
    label = "2026-11-21T03:32:40.266"
    stream = Stream(label, "arn", "", now, empty=True, reader="function", recorded=now)
    Catalog(archive).write_stream(stream)
    code, said = watch(deployed, deployed.user("WatcherPolicyArn"))
    assert code == 0, said
    code, said = watch(deployed, deployed.user("WatcherPolicyArn", without="ListTables"))
    assert code != 0
    assert "No permission to describe table orders-gone" in said.splitlines()[-1]


def test_the_watcher_needs_its_deny(deployed: Deployed) -> None:
    """A record may have a name as long as that of an item. Only the deny keeps the watcher from
    writing it."""
    key = f"{PREFIX}/orders-forged/meta/{FORGED}.json"
    assert len(key.rpartition("/")[2]) == 32
    put = {"Bucket": deployed.stack.bucket, "Key": key, "Body": b""}
    s3 = deployed.client(deployed.user("WatcherPolicyArn", without="NoOtherRecords"), "s3")
    assert allowed(lambda: s3.put_object(**put))
    s3 = deployed.client(deployed.user("WatcherPolicyArn"), "s3")
    assert not allowed(lambda: s3.put_object(**put))


def test_the_watcher_needs_to_put_items_in_order(deployed: Deployed) -> None:
    """Where an old change lies on top of a newer one, the watcher puts the newer one on top again.
    Without the permission it fails, and says so."""
    store = deployed.cloud.aws.store(deployed.stack.bucket)
    archive = Archive(store, f"{PREFIX}/", "orders-covered", KeySchema(SIMPLE))
    catalog, key, now = Catalog(archive), {"id": {"S": "covered"}}, int(time.time())
    floor = now - 3 * 24 * 3600
    stream = Stream("2026-11-21T03:32:40.266", "arn", "", floor, False, "function", floor)
    catalog.write_stream(stream)
    catalog.write_run(Run("run", stream.label, floor, floor, floor + 9, True, {}))
    catalog.write_witness(Witness(stream.label, now, now))
    archive.put(Change(key, Stamp(floor + 5, 2, floor + 5, "modify"), encode(key)))
    archive.put(Change(key, Stamp(floor - 5, 1, floor - 5, "insert"), encode(key)))
    name = key_hash(key)
    code, said = watch(deployed, deployed.user("WatcherPolicyArn", without="PutInOrder"))
    assert code != 0
    assert "permit this: PUT" in said.splitlines()[-1]
    assert archive.current_stamp(name) == Stamp(floor - 5, 1, floor - 5, "insert", announced=True)
    watch(deployed, deployed.user("WatcherPolicyArn"))
    assert archive.current_stamp(name) == Stamp(floor + 5, 2, floor + 5, "modify", announced=True)
    assert catalog.passes()


def test_the_driller_policy_is_enough(deployed: Deployed) -> None:
    """With its policy alone, the driller restores a part of a table, compares it, removes the
    scratch table, and puts its record. Which statement it needs for what is in
    test_drill_rights.py."""
    script = (
        "from types import SimpleNamespace; from stream_backup.driller import handler;"
        " print(handler(None, SimpleNamespace(get_remaining_time_in_millis=lambda: 900_000)))"
    )
    user = deployed.user("DrillerPolicyArn")
    shell = Shell(deployed.cloud.aws, deployed.stack.outputs["ArchiveUrl"])
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=shell.environment | deployed.cloud.trust | user | {DRILL_TABLES: "orders"},
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    said = (done.stdout + done.stderr).decode()
    assert "{'passed': 1, 'failed': [], 'left': []}" in said, said
    store = deployed.cloud.aws.store(deployed.stack.bucket)
    record = next(Catalog(Archive(store, f"{PREFIX}/", "orders")).drills_back())
    assert record.passed
    assert record.rows
    tables = deployed.cloud.aws.client("dynamodb").list_tables()["TableNames"]
    assert not [name for name in tables if name.startswith("stream-backup-drill-")]


def test_the_enroller_policy_is_enough(deployed: Deployed) -> None:
    """With its policy alone, the enroller enables and backfills a table, and says so. Which
    statement it needs for what is in test_enrol_rights.py."""
    script = (
        "from types import SimpleNamespace; from stream_backup.enroller import handler;"
        " print(handler(None, SimpleNamespace(get_remaining_time_in_millis=lambda: 810_000)))"
    )
    table = Table.create(deployed.cloud.aws, "orders-new")
    table.put(*ROWS)
    shell = Shell(deployed.cloud.aws, deployed.stack.outputs["ArchiveUrl"])
    settings = {STACK_NAME: STACK, ENROL_PATTERN: "orders-new*"}
    user = deployed.user("EnrollerPolicyArn")
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=shell.environment | deployed.cloud.trust | user | settings,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    said = (done.stdout + done.stderr).decode()
    assert "{'enabled': ('orders-new',), 'backfilled': ('orders-new',), 'failed': {}" in said, said
    store = deployed.cloud.aws.store(deployed.stack.bucket)
    catalog = Catalog(Archive(store, f"{PREFIX}/", "orders-new"))
    (run,) = catalog.runs()
    assert (run.complete, run.counts["read"]) == (True, len(ROWS))
    enrolment = catalog.enrolment(catalog.streams()[-1].table_id)
    assert enrolment
    assert enrolment.enabled


def test_the_log_and_the_key_of_the_watcher(deployed: Deployed) -> None:
    """The watcher may write to its own log only. That its key is needed is not shown, because
    ministack encrypts without asking KMS."""
    found = {each["Sid"]: each for each in deployed.stack.statements("WatcherPolicyArn")}
    assert f":log-group:/aws/lambda/{STACK}-watcher:" in found["WriteLog"]["Resource"]
    assert found["EncryptAndDecrypt"]["Action"] == ["kms:GenerateDataKey", "kms:Decrypt"]


FORGED = "runs/2026-11-21T03:32:40Z-abcdef"
"""A record whose name has as many characters as that of an item."""


@pytest.mark.parametrize("record", ["runs/run", FORGED, "ends/label", "streams/label", "../item"])
def test_the_watcher_cannot_forge_records(deployed: Deployed, record: str) -> None:
    """It writes no other kind of record, and no object that is not an item, and deletes nothing."""
    s3 = deployed.client(deployed.user("WatcherPolicyArn"), "s3")
    bucket = {"Bucket": deployed.stack.bucket}
    forged = f"{PREFIX}/orders/meta/{record}.json".replace("meta/../", "")
    assert not allowed(lambda: s3.put_object(**bucket, Key=forged, Body=b""))
    witness = f"{PREFIX}/orders/meta/witness/label.json"
    assert not allowed(lambda: s3.delete_object(**bucket, Key=witness))


def test_the_backfill_policy_is_enough(deployed: Deployed) -> None:
    """With only this policy, an operator can backfill a table."""
    said = deployed.run(deployed.user("BackfillPolicyArn"), "backfill", "orders", "--json")
    assert said.code == 0, said
    assert said.json["counts"]["already_there"] + said.json["counts"]["written"] == len(ROWS)


@pytest.mark.parametrize("sid", BACKFILL)
def test_a_backfill_needs_each_statement(deployed: Deployed, sid: str) -> None:
    """Without one statement, the command ends with one sentence that says what AWS did not
    permit."""
    deployed.run(deployed.user("BackfillPolicyArn", without=sid), "backfill", "orders").refused(
        2, BACKFILL[sid]
    )


def test_the_restorer_policy_is_enough(deployed: Deployed) -> None:
    """With only this policy, a user can restore into a new table and rewind the live table."""
    user = deployed.user("RestorerPolicyArn")
    said = deployed.run(
        user, "restore", "orders", "--at", deployed.moment, "--into", "orders-restored-enough"
    )
    assert said.code == 0, said
    assert len(Table(deployed.cloud.aws, "orders-restored-enough").rows()) == len(ROWS)

    before = deployed.table.rows()
    damage(deployed)
    damaged = deployed.table.rows()
    words = ("restore", "orders", "--at", deployed.moment, "--in-place", "--yes", "--json")
    said = deployed.run(user, *words)
    assert said.code == 0, said
    assert deployed.table.rows() == before
    assert said.json["consumers_unseen"] == []
    said = deployed.run(user, "undo", "orders", "--receipt", said.json["receipt"], "--yes")
    assert said.code == 0, said
    assert deployed.table.rows() == damaged
    deployed.table.put(*map(decode, before))


def test_a_plan_that_may_not_see_other_consumers_says_so(deployed: Deployed) -> None:
    """Without the permission to see them, a plan says what it could not see. That SeeConsumers is
    needed is not shown, because ministack lists event source mappings to everybody."""
    user = deployed.user("RestorerPolicyArn", without="SeeKinesisDestinations")
    words = ("restore", "orders", "--at", deployed.moment, "--in-place", "--plan", "--json")
    said = deployed.run(user, *words)
    assert said.code == 0, said
    (unseen,) = said.json["consumers_unseen"]
    assert "Kinesis destinations" in unseen


@pytest.mark.parametrize("sid", INTO)
def test_a_restore_needs_each_statement(deployed: Deployed, sid: str) -> None:
    """Without one statement, a restore into a new table ends with one sentence that says what AWS
    did not permit."""
    user = deployed.user("RestorerPolicyArn", without=sid)
    said = deployed.run(
        user, "restore", "orders", "--at", deployed.moment, "--into", f"orders-restored-{sid}"
    )
    said.refused(2, INTO[sid])


def test_a_rewind_needs_its_statement(deployed: Deployed) -> None:
    """Without this statement, the rows are reported as not rewound, with the reason, and stay
    unchanged."""
    before = deployed.table.rows()
    damage(deployed)
    damaged = deployed.table.rows()
    user = deployed.user("RestorerPolicyArn", without="RewindTables")
    said = deployed.run(user, "restore", "orders", "--at", deployed.moment, "--in-place", "--yes")
    assert said.code == 3, said
    assert "AccessDenied" in said.err
    assert deployed.table.rows() == damaged != before
    deployed.table.put(ROWS[0])


def test_a_restore_that_may_not_see_failures_says_so(deployed: Deployed) -> None:
    """A failed batch that waits makes a restore inexact. The restore is refused if the user can see
    and read the batch. Otherwise, it reports that failed batches are unknown."""
    s3, bucket = deployed.cloud.aws.client("s3"), deployed.stack.outputs["FailuresBucket"]
    day, clock = deployed.moment.rstrip("Z").split("T")
    written = f"{day.replace('-', '/')}/{day}T{clock.replace(':', '.')}-1"
    key = f"aws/lambda/{deployed.mapping}/shardId-1/{written}"
    words = ("restore", "orders", "--at", deployed.moment, "--plan")
    unseen = deployed.run(deployed.user("RestorerPolicyArn", without="ListFailures"), *words)
    assert unseen.code == 0, unseen
    assert "No permission to read the failures bucket" in unseen.err
    s3.put_object(Bucket=bucket, Key=key, Body=b"not an object that Lambda wrote")
    try:
        assert deployed.run(deployed.user("RestorerPolicyArn"), *words).code == 4
        unread = deployed.run(deployed.user("RestorerPolicyArn", without="ReadFailures"), *words)
        assert unread.code == 0, unread
        assert "No permission to read the failures bucket" in unread.err
    finally:
        s3.delete_object(Bucket=bucket, Key=key)


def test_a_restorer_verifies(deployed: Deployed) -> None:
    """With the same policy, a user can verify a table. An item that only the archive has is read
    again from the table, which requires GetItem."""
    user, key = deployed.user("RestorerPolicyArn"), {"id": {"S": "never-was"}}
    said = deployed.run(user, "verify", "orders", "--json")
    assert said.code == 0, said
    assert said.json["equal"] == len(ROWS)
    archive = Archive(
        deployed.cloud.aws.store(deployed.stack.bucket), f"{PREFIX}/", "orders", KeySchema(SIMPLE)
    )
    now = int(time.time())
    archive.put(Change(key, Stamp(now, 1, now, "insert"), encode(key)))
    try:
        assert deployed.run(user, "verify", "orders", "--json").json["extra"] == 1
        denied = deployed.run(
            deployed.user("RestorerPolicyArn", without="RewindTables"), "verify", "orders"
        )
        denied.refused(2, "does not permit GetItem")
    finally:
        archive.put(Change(key, Stamp(now, 2, now, "remove"), None))


@pytest.fixture(scope="module")
def backed_up(deployed: Deployed) -> Archive:
    """The archive of a table that `follow` reads, with a row that the table does not have."""
    table, shell = fresh(deployed, *ROWS[:2]), deployed.shell({})
    shell.done("enable", table.name, "--stream-only")
    shell.done("backfill", table.name)
    key, now = {"id": {"S": "never-was"}}, int(time.time())
    archive = archive_of(deployed, table.name)
    archive.put(Change(key, Stamp(now, 1, now, "insert"), encode(key)))
    return archive


def test_who_records_how_far_a_check_came(deployed: Deployed, backed_up: Archive) -> None:
    """A restorer can check an archive. How far a check of a part came is recorded only by whoever
    may write to the archive; a restorer is told that it is not."""
    words = ("check", backed_up.table, "--max-duration", "1h", "--json")
    said = deployed.run(deployed.user("RestorerPolicyArn"), *words)
    assert said.code == 0, said
    assert "could not be recorded how far this check came" in said.err
    assert not backed_up.meta.names("checks")
    said = deployed.run(deployed.user("BackfillPolicyArn"), *words)
    assert said.code == 0, said
    assert "could not be recorded" not in said.err
    assert backed_up.meta.names("checks")


def test_a_backfill_operator_who_is_a_restorer_repairs(
    deployed: Deployed,
    backed_up: Archive,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With both policies, a user can repair an archive, and neither of them is enough. The command
    runs in this process: a test does not wait for minutes, and nobody reads this stream."""
    monkeypatch.setattr(repair, "written_by", lambda moment: moment)
    monkeypatch.setattr(repair, "catch_up", lambda connection, state, _: state)
    monkeypatch.setattr(repair, "require_read", lambda *_: None)
    words = ["verify", backed_up.table, "--repair", "--yes", "--json"]

    def run(*policies: str) -> str:
        settings = deployed.shell(deployed.user(*policies)).environment
        for name in [*os.environ]:
            if name.startswith(("AWS_", "STREAM_BACKUP")):
                monkeypatch.delenv(name)
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        cli.main(words, standalone_mode=False)
        return capsys.readouterr().out

    with pytest.raises(ClientError, match="GetItem"):
        run("BackfillPolicyArn")
    with pytest.raises(PermissionDeniedError, match="PUT"):
        run("RestorerPolicyArn")
    assert not backed_up.meta.names("repairs")
    found = json.loads(run("BackfillPolicyArn", "RestorerPolicyArn"))
    assert found["repair"]["counts"]["missing"] == 1
    assert found["repair"]["complete"]
    newest = [backed_up.stat(history.versions[0]) for history in backed_up.histories()]
    assert sorted(each.stamp.kind for each in newest) == ["missing", "scan", "scan"]


def test_a_restorer_cannot_write_to_the_archive(deployed: Deployed) -> None:
    """A restorer cannot write to the archive, and neither a backfill operator nor a restorer can
    delete from it."""
    for policy, may_put in (("RestorerPolicyArn", False), ("BackfillPolicyArn", True)):
        s3 = deployed.client(deployed.user(policy), "s3")
        which = {"Bucket": deployed.stack.bucket, "Key": f"{PREFIX}/orders/meta/scratch"}
        assert allowed(lambda s3=s3, which=which: s3.put_object(**which, Body=b"")) == may_put  # type: ignore[misc]
        assert not allowed(lambda s3=s3, which=which: s3.delete_object(**which))  # type: ignore[misc]


def test_nobody_but_the_break_glass_role_deletes_versions(deployed: Deployed) -> None:
    """The bucket policy denies the deletion of versions to everybody except one role, even to an
    administrator who bypasses Object Lock. The test cannot show that the role is allowed: ministack
    uses a session's ARN as aws:PrincipalArn, where AWS uses the ARN of its role."""
    everything = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
    s3 = deployed.client(deployed.cloud.user("administrator", everything), "s3")
    version = s3.put_object(Bucket=deployed.stack.bucket, Key="scratch", Body=b"")["VersionId"]
    which = {"Bucket": deployed.stack.bucket, "Key": "scratch", "VersionId": version}
    assert not allowed(lambda: s3.delete_object(**which))
    assert not allowed(lambda: s3.delete_object(**which, BypassGovernanceRetention=True))
    policy = json.loads(s3.get_bucket_policy(Bucket=deployed.stack.bucket)["Policy"])
    (kept,) = (
        statement for statement in policy["Statement"] if statement["Sid"] == "VersionsAreKept"
    )
    assert kept["Condition"] == {"ArnNotEquals": {"aws:PrincipalArn": deployed.break_glass}}


_tables = count(1)


def fresh(deployed: Deployed, *rows: dict[str, Any]) -> Table:
    """Creates a table whose stream is off."""
    table = Table.create(deployed.cloud.aws, f"orders-{next(_tables)}")
    table.put(*rows)
    return table


def archive_of(deployed: Deployed, table: str) -> Archive:
    store = deployed.cloud.aws.store(deployed.stack.bucket)
    return Archive(store, f"{PREFIX}/", table, KeySchema(SIMPLE))


def test_the_enabler_policy_is_enough(deployed: Deployed) -> None:
    """With only this policy, a user can enable a table, enable it again after somebody changed its
    mapping, enable tables by a pattern, and disable it."""
    user, table = deployed.user("EnablerPolicyArn"), fresh(deployed).name
    said = deployed.run(user, "enable", table, "--json")
    assert said.code == 0, said
    lambdas = deployed.cloud.aws.client("lambda")
    lambdas.update_event_source_mapping(UUID=said.json["mapping"], BatchSize=7)
    said = deployed.run(user, "enable", "--match", f"{table}*", "--json")
    assert said.code == 0, said
    mapping = said.json["tables"][0]["report"]["mapping"]
    assert lambdas.get_event_source_mapping(UUID=mapping)["BatchSize"] == 1000
    said = deployed.run(user, "disable", table)
    assert said.code == 0, said


@pytest.mark.parametrize("sid", ENABLER)
def test_enabling_needs_each_statement(deployed: Deployed, sid: str) -> None:
    """Without one statement, the command ends with one sentence that says what AWS did not
    permit."""
    user = deployed.user("EnablerPolicyArn", without=sid)
    deployed.run(user, "enable", fresh(deployed).name).refused(2, ENABLER[sid])


def test_enabling_again_reads_records(deployed: Deployed) -> None:
    """A table that is known is enabled again only by whoever may read its records."""
    user = deployed.user("EnablerPolicyArn", without="ReadVersions")
    deployed.run(user, "enable", "orders").refused(2, "permit this: GET")


def test_enabling_a_pattern_lists_tables(deployed: Deployed) -> None:
    """Only --match needs to list tables."""
    user = deployed.user("EnablerPolicyArn", without="ListTables")
    words = ("enable", "--match", "orders-none*")
    deployed.run(user, *words).refused(2, "does not permit ListTables")


def test_the_enabler_sees_failed_batches(deployed: Deployed) -> None:
    """A failed batch that waits is recorded when its table is enabled again. Without either
    statement it is not, because nobody can see it."""
    table = fresh(deployed)
    user = deployed.user("EnablerPolicyArn")
    mapping = deployed.run(user, "enable", table.name, "--json").json["mapping"]
    s3, bucket = deployed.cloud.aws.client("s3"), deployed.stack.outputs["FailuresBucket"]
    key = f"aws/lambda/{mapping}/shardId-1/2026/11/21/2026-11-21T04.02.01-3"
    s3.put_object(Bucket=bucket, Key=key, Body=b"not an object that Lambda wrote")
    try:
        for sid in ("ListFailures", "ReadFailures"):
            blind = deployed.user("EnablerPolicyArn", without=sid)
            assert deployed.run(blind, "enable", table.name).code == 0
            assert not archive_of(deployed, table.name).meta.names("holes")
        assert deployed.run(user, "enable", table.name).code == 0
        assert archive_of(deployed, table.name).meta.names("holes")
    finally:
        redriver = deployed.user("RedriverPolicyArn")
        assert deployed.run(redriver, "redrive", table.name, "--give-up").code == 0


@pytest.mark.parametrize("where", ["ee2bdf43ab8f10ad6c66546714da218b", "meta/../item"])
def test_the_enabler_writes_no_items(deployed: Deployed, where: str) -> None:
    """Whoever enables tables cannot write or delete an item of the archive."""
    s3 = deployed.client(deployed.user("EnablerPolicyArn"), "s3")
    which = {
        "Bucket": deployed.stack.bucket,
        "Key": f"{PREFIX}/orders/{where}".replace("meta/../", ""),
    }
    assert not allowed(lambda: s3.put_object(**which, Body=b""))
    assert not allowed(lambda: s3.delete_object(**which))


def failed_batch(deployed: Deployed, key: str) -> str:
    """Puts a batch that Lambda gave up on into the failures bucket, and returns its path."""
    (record,) = json.loads((sam.ROOT / "tests/events/insert.json").read_text())["Records"]
    record |= {"eventSourceARN": deployed.stream}
    record["dynamodb"] |= {"Keys": {"id": {"S": key}}, "NewImage": {"id": {"S": key}}}
    record["dynamodb"]["ApproximateCreationDateTime"] = int(time.time()) - 60
    path = f"aws/lambda/{deployed.mapping}/shardId-1/2026/11/21/2026-11-21T04.02.01-{key}"
    content = discarded([record], "shardId-1", "RecordAgeExceeded", 51, time.time())
    deployed.cloud.aws.client("s3").put_object(
        Bucket=deployed.stack.outputs["FailuresBucket"], Key=path, Body=content
    )
    return path


def test_the_redriver_policy_is_enough(deployed: Deployed) -> None:
    """With only this policy, a user can redrive failed batches of one table and of all, and give up
    what can never be written."""
    user = deployed.user("RedriverPolicyArn")
    for words in (("redrive", "orders"), ("redrive",)):
        failed_batch(deployed, f"redriven-{len(words)}")
        said = deployed.run(user, *words, "--json")
        assert said.code == 0, said
        assert [each["changes"] for each in said.json["tables"]] == [1]
    s3, bucket = deployed.cloud.aws.client("s3"), deployed.stack.outputs["FailuresBucket"]
    path = f"aws/lambda/{deployed.mapping}/shardId-1/2026/11/21/2026-11-21T04.02.01-unreadable"
    s3.put_object(Bucket=bucket, Key=path, Body=b"{}")
    said = deployed.run(user, "redrive", "orders", "--give-up")
    assert said.code == 0, said


def test_a_redrive_needs_each_statement(deployed: Deployed) -> None:
    """Without one statement, the command ends with one sentence that says what AWS did not permit,
    and the batch still waits. One batch serves for all of them."""
    path, redriver = failed_batch(deployed, "denied"), deployed.user("RedriverPolicyArn")
    s3, bucket = deployed.cloud.aws.client("s3"), deployed.stack.outputs["FailuresBucket"]
    try:
        for sid, message in REDRIVER.items():
            said = deployed.run(deployed.user("RedriverPolicyArn", without=sid), "redrive")
            assert said.code in (2, 3), (sid, said)
            assert message in said.err, sid
            assert s3.head_object(Bucket=bucket, Key=path), sid
    finally:
        assert deployed.run(redriver, "redrive", "orders").code == 0


def test_a_redriver_destroys_nothing(deployed: Deployed) -> None:
    """Whoever redrives hides a batch with a delete marker, but cannot delete the batch itself, and
    deletes nothing in the archive."""
    path = failed_batch(deployed, "kept")
    s3 = deployed.client(deployed.user("RedriverPolicyArn"), "s3")
    root, bucket = deployed.cloud.aws.client("s3"), deployed.stack.outputs["FailuresBucket"]
    version = root.head_object(Bucket=bucket, Key=path)["VersionId"]
    assert allowed(lambda: s3.delete_object(Bucket=bucket, Key=path))
    assert not allowed(lambda: s3.delete_object(Bucket=bucket, Key=path, VersionId=version))
    item = {"Bucket": deployed.stack.bucket, "Key": f"{PREFIX}/orders/item"}
    assert not allowed(lambda: s3.delete_object(**item))


@pytest.mark.parametrize("action", ["lifecycle", "versioning", "policy"])
def test_only_the_deployer_changes_the_configuration(deployed: Deployed, action: str) -> None:
    """The deployed bucket policy denies an administrator what it allows the deployer, who is a user
    here, because ministack does not see the role of a session."""
    everything = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
    root, name = deployed.cloud.aws.client("s3"), f"administrator-{action}"
    s3 = deployed.client(deployed.cloud.user(name, everything), "s3")
    bucket = {"Bucket": deployed.stack.bucket}
    policy = root.get_bucket_policy(**bucket)["Policy"]
    rule = {
        "ID": "everything",
        "Status": "Enabled",
        "Filter": {"Prefix": "elsewhere/"},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
    }
    act = {
        "lifecycle": lambda: s3.put_bucket_lifecycle_configuration(
            **bucket, LifecycleConfiguration={"Rules": [rule]}
        ),
        "versioning": lambda: s3.put_bucket_versioning(
            **bucket, VersioningConfiguration={"Status": "Enabled"}
        ),
        "policy": lambda: s3.put_bucket_policy(**bucket, Policy=policy),
    }[action]
    assert not allowed(act)
    own = f"arn:aws:iam::000000000000:user/{name}"
    root.put_bucket_policy(**bucket, Policy=policy.replace(DEPLOYER, own))
    try:
        assert allowed(act)
    finally:
        root.put_bucket_policy(**bucket, Policy=policy)


def test_a_bucket_in_another_region_is_written(deployed: Deployed) -> None:
    """With an existing bucket, the stack creates none, and its function writes to that bucket, even
    in another Region. S3 refuses a request that is signed for the wrong Region."""
    cloud, name = deployed.cloud, "there-already"
    elsewhere = cloud.aws.session.client("s3", region_name="eu-west-1", endpoint_url=cloud.aws.url)
    elsewhere.create_bucket(
        Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    elsewhere.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    stack = create(cloud, "elsewhere", ExistingBucket=name, ExistingBucketRegion="eu-west-1")
    assert stack.outputs["ArchiveUrl"] == f"s3://{name}"
    resources = cloud.aws.client("cloudformation").describe_stack_resources(StackName=stack.name)[
        "StackResources"
    ]
    assert "ArchiveBucket" not in {resource["LogicalResourceId"] for resource in resources}
    event = json.loads((sam.ROOT / "tests/events/insert.json").read_text())
    answer = cloud.aws.client("lambda").invoke(
        FunctionName=stack.outputs["FunctionName"], Payload=json.dumps(event)
    )
    assert json.loads(answer["Payload"].read()) == {"batchItemFailures": []}
    written = [each["Key"] for each in elsewhere.list_object_versions(Bucket=name)["Versions"]]
    late = [key for key in written if "/meta/late/" in key]
    assert len(written) - len(late) == len(event["Records"])
    assert late  # the event is of the past, and the function may announce that


def test_every_statement_was_taken_away_once(deployed: Deployed) -> None:
    """Every statement of every policy is covered by the tests above."""
    tested = {
        "WriterPolicyArn": {*WRITER, "DecryptTables"},
        "WatcherPolicyArn": {
            *WATCHER,
            "ReadFailures",
            "ListTables",
            "PutInOrder",
            "NoOtherRecords",
            "WriteLog",
            "EncryptAndDecrypt",
        },
        "BackfillPolicyArn": {*BACKFILL, "EncryptAndDecrypt", "DecryptTables"},
        "RestorerPolicyArn": {
            *INTO,
            "RewindTables",
            "SeeConsumers",
            "SeeKinesisDestinations",
            "ListFailures",
            "ReadFailures",
            "SeeMappings",
            "SeeLag",
            "Decrypt",
            "DescribeKeys",
            "EncryptTables",
        },
        "EnablerPolicyArn": {
            *ENABLER,
            "ReadVersions",
            "ListTables",
            "ChangeMappings",
            "SeeMappings",
            "ListFailures",
            "ReadFailures",
            "DescribeKeys",
            "EncryptAndDecrypt",
            "DecryptTables",
        },
        "RedriverPolicyArn": {*REDRIVER, "EncryptAndDecrypt"},
    }
    for policy, sids in tested.items():
        owners = OWNERS if policy != "BackfillPolicyArn" else {"OnlyThisArchive"}
        found = {statement["Sid"] for statement in deployed.stack.statements(policy)}
        assert found == sids | owners


def damage(deployed: Deployed) -> None:
    """Changes a row and waits until the change is in the archive."""
    archive = Archive(
        deployed.cloud.aws.store(deployed.stack.bucket), f"{PREFIX}/", "orders", KeySchema(SIMPLE)
    )
    key = {"id": ROWS[0]["id"]}
    known = len(archive.history(key).versions)
    deployed.table.put(key | {"n": {"S": f"undefined since {time.time()}"}})
    deadline = time.monotonic() + PATIENCE
    while len(archive.history(key).versions) == known and time.monotonic() < deadline:
        time.sleep(0.2)


def test_a_restore_that_may_not_see_the_reader_says_so(deployed: Deployed) -> None:
    """Whoever may not see whether the stream is being read is told so, and relies on the record of
    the watcher. Without SeeMappings it is not shown here, because ministack lets everybody read a
    mapping who may list them; `tests/test_security.py` shows that IAM would not."""
    code, watched = watch(deployed, deployed.user("WatcherPolicyArn"))
    assert code == 0, watched
    words = ("restore", "orders", "--at", deployed.moment, "--plan")
    unseen = deployed.run(deployed.user("RestorerPolicyArn", without="SeeLag"), *words)
    assert unseen.code == 0, unseen
    assert "No permission to read the function's metrics" in unseen.err


def test_a_restorer_sees_the_lag(deployed: Deployed) -> None:
    """Whoever may see that the function is an hour behind claims no second of this hour. Last,
    because what CloudWatch was told stays for minutes."""
    data = {
        "MetricName": "IteratorAge",
        "Value": 3_600_000.0,
        "Unit": "Milliseconds",
        "Timestamp": time.time() - 2,
    }
    data["Dimensions"] = [{"Name": "FunctionName", "Value": deployed.stack.outputs["FunctionName"]}]
    before = deployed.run(deployed.user("RestorerPolicyArn"), "status", "orders", "--json").json
    assert before["latest"] >= deployed.moment
    deployed.cloud.aws.client("cloudwatch").put_metric_data(
        Namespace="AWS/Lambda", MetricData=[data]
    )
    after = deployed.run(deployed.user("RestorerPolicyArn"), "status", "orders", "--json").json
    assert after["latest"] < deployed.moment
