"""What must hold of template.yaml, checked without deploying it."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from stream_backup import driller, errors, settings
from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.capture.batch import make_handler
from stream_backup.capture.mapping import OLDEST_RECORD
from stream_backup.core.key import key_hash
from stream_backup.handler import report
from stream_backup.worker import HARD, LAST, RESERVE
from tests import sam
from tests.policies import ACCOUNT, DISTRIBUTED, PLACE, POLICIES, Rendered, allows, without
from tests.servers import REGION

TEMPLATE = sam.template()
PARAMETERS = sam.parameters(TEMPLATE)
MACHINES = ("BackfillMachine", "RestoreMachine", "VerifyMachine", "DrillMachine")
RESOURCES = TEMPLATE["Resources"]
ARCHIVE_BUCKET = RESOURCES["ArchiveBucket"]["Properties"]


def statements(policy: str) -> list[dict[str, Any]]:
    found = RESOURCES[policy]["Properties"]["PolicyDocument"]["Statement"]
    return [statement["Fn::If"][1] if "Fn::If" in statement else statement for statement in found]


def many(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [found]


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_a_parameter_is_typed_bounded_and_explained(name: str) -> None:
    """A parameter has a type, a default, bounds, and a description of one sentence. The default is
    within the bounds."""
    parameter = PARAMETERS[name]
    default, sentence = parameter["Default"], parameter["Description"].strip()
    assert sentence.endswith("."), sentence
    assert ". " not in sentence, sentence
    if "AllowedValues" in parameter:
        assert default in parameter["AllowedValues"]
    elif parameter["Type"] == "Number":
        assert parameter["MinValue"] <= default <= parameter["MaxValue"]
    else:
        assert re.fullmatch(parameter["AllowedPattern"], default)


def test_every_parameter_is_in_a_group() -> None:
    """Every parameter is in a group, so that the console shows it under a heading."""
    groups = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]
    assert sorted(grouped) == sorted(PARAMETERS)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("Prefix", "backups/production", "/production"),
        ("Prefix", "a", "production/"),
        ("ExistingBucket", "my-backups.eu", "s3://my-backups"),
        ("ExistingBucketRegion", "us-gov-west-1", "Frankfurt"),
        ("TablePattern", "prod-*", "prod/*"),
        (
            "StreamArns",
            "arn:aws:dynamodb:eu-central-1:123456789012:table/orders/stream/2026-11-20T10:15:22.105",
            "orders",
        ),
        ("BreakGlassRoleArn", "arn:aws:iam::123456789012:role/path/break-glass", "break-glass"),
        (
            "KmsKeyArn",
            "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "alias/backups",
        ),
        (
            "TableKeyArns",
            "arn:aws-cn:kms:cn-north-1:123456789012:key/mrk-1234abcd12ab34cd56ef1234567890ab",
            "alias/tables",
        ),
        ("ExistingBucketAccount", "123456789012", "1234-5678-9012"),
        ("DeployerArn", "arn:aws:iam::123456789012:role/ci/deploy", "deploy"),
        ("DeployerArn", "arn:aws-cn:iam::123456789012:user/ci", "arn:aws:iam::123456789012:root"),
        ("AlarmEmail", "on-call@example.com", "on-call"),
        ("DrillSchedule", "rate(7 days)", "weekly"),
        ("DrillSchedule", "rate(1 day)", "rate(1 days)"),
        ("DrillSchedule", "cron(0 3 ? * SUN *)", "0 3 * * 0"),
        ("DrillSchedule", "rate(12 hours)", "rate(5 minutes)"),
        ("DrillTables", "orders,users", "orders users"),
        ("DrillTables", "*", "prod-*"),
    ],
)
def test_a_parameter_takes_what_it_should(name: str, good: str, bad: str) -> None:
    """A valid value is accepted, and a malformed value is refused before anything is created."""
    pattern = PARAMETERS[name]["AllowedPattern"]
    assert re.fullmatch(pattern, good)
    assert not re.fullmatch(pattern, bad)


def test_no_action_is_a_wildcard() -> None:
    """No policy allows `*` or a family of actions, and only actions that take no resource are
    allowed on all resources. A statement that denies is about buckets of another account."""
    on_all = (
        "dynamodb:ListTables",
        "cloudwatch:GetMetricStatistics",
        "lambda:ListEventSourceMappings",
        "lambda:CreateEventSourceMapping",
    )
    denials = ("NoOtherRecords", "NoRows", "OnlyThisArchive", "OnlyTheseFailures", "OnlyThisWork")
    for policy in (*POLICIES, *DISTRIBUTED):
        for statement in statements(policy):
            if statement["Sid"] in denials:
                assert statement["Effect"] == "Deny"
                continue
            assert statement["Effect"] == "Allow"
            assert not [action for action in many(statement["Action"]) if "*" in action], statement[
                "Sid"
            ]
            assert "*" not in many(statement["Resource"]) or statement["Action"] in on_all, (
                statement["Sid"]
            )


def test_the_function_only_ever_puts() -> None:
    """On the archive, the writer has s3:PutObject under the prefix, and no other action of S3 or
    KMS that reads or deletes."""
    found = {statement["Sid"]: statement for statement in statements("WriterPolicy")}
    on_archive = [
        sid
        for sid, statement in found.items()
        if "ArchiveBucket" in json.dumps(statement) and statement["Effect"] == "Allow"
    ]
    assert on_archive == ["WriteVersions"]
    assert found["WriteVersions"]["Action"] == "s3:PutObject"
    assert found["WriteVersions"]["Resource"]["Fn::Sub"][0].endswith(
        "${Bucket}/${Path}${TablePattern}/*"
    )
    assert found["Encrypt"]["Action"] == "kms:GenerateDataKey"


def test_a_restorer_cannot_write_to_the_archive() -> None:
    """A restorer can read versions of the archive and can change nothing in S3."""
    actions = {
        action
        for statement in statements("RestorerPolicy")
        for action in many(statement["Action"])
        if statement["Effect"] == "Allow"
    }
    assert {action for action in actions if action.startswith("s3:")} == {
        "s3:GetBucketVersioning",
        "s3:GetLifecycleConfiguration",
        "s3:ListBucketVersions",
        "s3:GetObjectVersion",
        "s3:ListBucket",
        "s3:GetObject",
    }


def test_the_watcher_cannot_forge_records() -> None:
    """In the archive, the watcher writes items and six kinds of records, and is denied every other
    kind, so that it cannot claim more than it saw."""
    found = {statement["Sid"]: statement for statement in statements("WatcherPolicy")}
    on_objects = {
        sid: statement
        for sid, statement in found.items()
        if "Object" in json.dumps(statement["Action"]) and "${Path}" in json.dumps(statement)
    }
    assert set(on_objects) == {"ReadVersions", "WriteRecords", "PutInOrder"}
    written = {
        resource["Fn::Sub"][0].partition("/${Path}*/meta/")[2].removesuffix("/*")
        for resource in on_objects["WriteRecords"]["Resource"]
    }
    assert written == {"witness", "retention", "outages", "ordered", "walks", "late"}
    denied = {
        resource["Fn::Sub"].partition("*/meta/")[2].removesuffix("/*")
        for resource in found["NoOtherRecords"]["Resource"]
    }
    assert found["NoOtherRecords"]["Effect"] == "Deny"
    archive = sam.ROOT / "stream_backup/archive"
    source = "".join((archive / name).read_text() for name in ("catalog.py", "checkpoints.py"))
    kinds = set(re.findall(r'meta\.write\(f?"([a-z-]+)/', source)) | {"late", "mappings"}
    assert written | denied == kinds
    assert not written & denied
    items = on_objects["PutInOrder"]["Resource"]["Fn::Sub"][0].rpartition("/")[2]
    assert items == "?" * len(key_hash({"id": {"S": "a"}}))


def test_nothing_that_holds_history_goes_with_the_stack() -> None:
    """Both buckets and their policies are retained when the stack is deleted, or when a change
    would replace them."""
    for name in ("ArchiveBucket", "ArchiveBucketPolicy", "FailuresBucket", "FailuresBucketPolicy"):
        assert (
            RESOURCES[name]["DeletionPolicy"] == RESOURCES[name]["UpdateReplacePolicy"] == "Retain"
        )


@pytest.mark.parametrize("bucket", ["ArchiveBucket", "FailuresBucket"])
def test_a_bucket_is_private_and_takes_tls_alone(bucket: str) -> None:
    """Each bucket is versioned, owner-enforced, without public access, and refuses requests without
    TLS. The emulator supports only TLS, so the policy is checked here."""
    properties = RESOURCES[bucket]["Properties"]
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert properties["OwnershipControls"] == {
        "Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]
    }
    assert all(properties["PublicAccessBlockConfiguration"].values())
    assert len(properties["PublicAccessBlockConfiguration"]) == 4
    policy = RESOURCES[f"{bucket}Policy"]["Properties"]["PolicyDocument"]["Statement"]
    (tls,) = (each for each in policy if each.get("Sid") == "OnlyOverTls")
    assert (tls["Effect"], tls["Principal"], tls["Action"]) == ("Deny", "*", "s3:*")
    assert tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_lifecycle_is_what_the_parameters_say() -> None:
    """The lifecycle rules for superseded versions, for tombstones, which have zero bytes, and for
    incomplete uploads follow the parameters. No emulator runs lifecycle rules, so the rules are
    read here. Law 11 shows for the same rules that restores within NoncurrentDays do not change."""
    rules = {}
    for rule in ARCHIVE_BUCKET["LifecycleConfiguration"]["Rules"]:
        condition, found, otherwise = rule.get("Fn::If", (None, rule, None))
        assert condition is None or otherwise == {"Ref": "AWS::NoValue"}
        rules[found["Id"]] = (condition, found)
    assert {name: condition for name, (condition, _) in rules.items()} == {
        "incomplete-uploads": None,
        "superseded-versions": "AgesVersions",
        "tombstones": "AgesTombstones",
        "markers-of-tombstones": "AgesTombstones",
    }
    _, versions = rules["superseded-versions"]
    assert versions["NoncurrentVersionExpiration"] == {"NoncurrentDays": {"Ref": "NoncurrentDays"}}
    assert "ExpirationInDays" not in versions, "current versions are never aged out"
    _, tombstones = rules["tombstones"]
    assert tombstones["ObjectSizeLessThan"] == "1"
    assert all(found["Status"] == "Enabled" for _, found in rules.values())


def test_a_batch_that_fails_is_never_dropped() -> None:
    """Every mapping splits a failing batch, accepts partial responses, and sends failed batches to
    the failures bucket."""
    variable, collection, body = RESOURCES["Fn::ForEach::Mappings"]
    (mapping,) = body.values()
    properties = mapping["Properties"]
    assert (variable, collection) == ("StreamArn", {"Ref": "StreamArns"})
    assert properties["StartingPosition"] == "TRIM_HORIZON"
    assert properties["BisectBatchOnFunctionError"] is True
    assert properties["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert properties["DestinationConfig"] == {
        "OnFailure": {"Destination": {"Fn::GetAtt": ["FailuresBucket", "Arn"]}}
    }
    # Lambda must still find the records of the batch, which a stream keeps for a day.
    assert PARAMETERS["MaximumRecordAge"]["MaxValue"] == OLDEST_RECORD


def test_lambda_accepts_the_settings_of_a_mapping() -> None:
    """By default the record age decides when a batch is given up, not a number of retries, which a
    short outage can use up. Lambda requires a window of a second at least for large batches, and
    refuses the deployment otherwise."""
    attempts = PARAMETERS["MaximumRetryAttempts"]
    assert (attempts["Default"], attempts["MinValue"]) == (-1, -1)
    assert PARAMETERS["BatchingWindow"]["MinValue"] == 1


def test_the_endpoint_of_the_function_follows_the_partition() -> None:
    """The function is given the endpoint of S3 in the bucket's Region, with the URL suffix of the
    partition: obstore would use amazonaws.com everywhere."""
    variables = RESOURCES["Function"]["Properties"]["Environment"]["Variables"]
    china = Rendered(ExistingBucket="backups", ExistingBucketRegion="cn-northwest-1")
    china.values["AWS::URLSuffix"] = "amazonaws.com.cn"
    for rendered, endpoint in (
        (Rendered(), f"https://s3.{PLACE}.amazonaws.com"),
        (china, "https://s3.cn-northwest-1.amazonaws.com.cn"),
    ):
        assert rendered.resolve(variables)["STREAM_BACKUP_S3_ENDPOINT"] == endpoint


def test_a_policy_fits_into_its_quota() -> None:
    """With the longest values that the parameters accept, and the keys of ten tables, each policy
    has at most the 6,144 characters that IAM allows for a managed policy."""
    key = f"arn:aws-us-gov:kms:us-gov-west-1:{ACCOUNT}:key/mrk-{'1' * 32}"
    longest = Rendered(
        StackName="s" * 56,  # the name of the watcher has at most 64 characters
        Prefix="p" * PARAMETERS["Prefix"]["MaxLength"],
        TablePattern="t" * 128,
        RestorePattern="t" * 128,
        KmsKeyArn=key,
        TableKeyArns=",".join([key] * 10),
    )
    assert PARAMETERS["TablePattern"]["AllowedPattern"].endswith("{1,128}")
    for policy in (*POLICIES, *DISTRIBUTED):
        assert longest.size(policy) <= 6144, policy


ARCHIVE = {"new": {}, "existing": {"ExistingBucket": "backups"}}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", ARCHIVE)
def test_a_bucket_of_another_account_is_refused(policy: str, kind: str) -> None:
    """If a bucket is deleted, anybody can create one with its name: nothing is written to it or
    read from it. Without the statement it would be."""
    rendered = Rendered(**ARCHIVE[kind])
    statements = rendered.policy(policy)
    archive = rendered.values["ExistingBucket"] or rendered.values["ArchiveBucket"]
    put, get = "s3:PutObject", "s3:GetObjectVersion"
    action = put if policy in ("WriterPolicy", "WatcherPolicy", "EnablerPolicy") else get
    where = f"arn:aws:s3:::{archive}/orders/meta/witness/label.json"
    assert allows(statements, action, where)
    assert not allows(statements, action, where, owner="999999999999")
    assert allows(without(statements, "OnlyThisArchive"), action, where, owner="999999999999")
    if policy == "BackfillPolicy":
        return  # it does not see failed batches
    failures = f"arn:aws:s3:::{rendered.values['FailuresBucket']}"
    action = put if policy == "WriterPolicy" else "s3:GetObject"
    where = f"{failures}/aws/lambda/batch"
    assert allows(statements, action, where)
    assert not allows(statements, action, where, owner="999999999999")
    assert allows(without(statements, "OnlyTheseFailures"), action, where, owner="999999999999")


def test_an_existing_bucket_of_a_known_account_is_used() -> None:
    """The account of an existing bucket can be named; then no other account's is used, not even a
    bucket of this account."""
    statements = Rendered(ExistingBucket="backups", ExistingBucketAccount="999999999999").policy(
        "WriterPolicy"
    )
    where = "arn:aws:s3:::backups/orders/ee2bdf43ab8f10ad6c66546714da218b"
    assert allows(statements, "s3:PutObject", where, owner="999999999999")
    assert not allows(statements, "s3:PutObject", where)


CONFIGURATION = [
    "s3:PutLifecycleConfiguration",
    "s3:PutBucketVersioning",
    "s3:PutBucketPolicy",
    "s3:DeleteBucketPolicy",
    "s3:PutBucketObjectLockConfiguration",
]


def denied(rendered: Rendered, principal: str, action: str, resource: str) -> bool:
    """Whether the policy of the archive bucket denies this to whoever has every permission."""
    document = RESOURCES["ArchiveBucketPolicy"]["Properties"]["PolicyDocument"]
    everything = {"Sid": "All", "Effect": "Allow", "Action": "*", "Resource": "*"}
    found = [
        {name: value for name, value in statement.items() if name != "Principal"}
        for statement in rendered.resolve(document)["Statement"]
    ]
    return not allows([everything, *found], action, resource, principal=principal)


@pytest.mark.parametrize("action", CONFIGURATION)
@pytest.mark.parametrize("glass", [True, False])
def test_only_the_deployer_configures_the_archive(action: str, glass: bool) -> None:
    """With DeployerArn, only the deployer and the break-glass role may change what protects the
    history: lifecycle rules, versioning, Object Lock, and the policy itself. An administrator may
    not. Without DeployerArn, IAM alone decides."""
    who = f"arn:aws:iam::{ACCOUNT}:role"
    deployer, breaker, other = f"{who}/ci/deploy", f"{who}/break-glass", f"{who}/administrator"
    given = {"DeployerArn": deployer} | ({"BreakGlassRoleArn": breaker} if glass else {})
    guarded, open_to_all = Rendered(**given), Rendered()
    bucket = f"arn:aws:s3:::{guarded.values['ArchiveBucket']}"
    assert not denied(guarded, deployer, action, bucket)
    assert denied(guarded, other, action, bucket)
    assert denied(guarded, breaker, action, bucket) != glass
    assert not denied(open_to_all, other, action, bucket)


def test_the_deployer_deletes_no_version() -> None:
    """Whoever deploys may not delete a version. Only the break-glass role may."""
    who = f"arn:aws:iam::{ACCOUNT}:role"
    rendered = Rendered(DeployerArn=f"{who}/deploy", BreakGlassRoleArn=f"{who}/break-glass")
    item = f"arn:aws:s3:::{rendered.values['ArchiveBucket']}/orders/item"
    assert denied(rendered, f"{who}/deploy", "s3:DeleteObjectVersion", item)
    assert not denied(rendered, f"{who}/break-glass", "s3:DeleteObjectVersion", item)


def test_eventbridge_may_publish_without_a_condition() -> None:
    """EventBridge cannot publish to a topic whose policy has a condition for it (Amazon EventBridge
    User Guide, "Using resource-based policies for Amazon EventBridge"). CloudWatch can, and its
    statement is limited to this account."""
    found = RESOURCES["TopicPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    conditions = {each["Principal"]["Service"]: each.get("Condition") for each in found}
    assert conditions == {
        "events.amazonaws.com": None,
        "cloudwatch.amazonaws.com": {
            "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
        },
    }


def test_a_message_that_was_not_delivered_raises_an_alarm() -> None:
    """The rule that reports a failed batch has an alarm on what EventBridge could not deliver."""
    alarm = RESOURCES["UndeliveredAlarm"]["Properties"]
    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/Events", "FailedInvocations")
    assert alarm["Dimensions"] == [{"Name": "RuleName", "Value": {"Ref": "FailuresRule"}}]
    assert (alarm["Statistic"], alarm["Threshold"]) == ("Sum", 0)


def dashboard(**parameters: str) -> str:
    rendered = Rendered(**parameters)
    rendered.values |= {"Watcher": "watcher", "FailuresRule": "rule"}
    body: str = rendered.resolve(RESOURCES["Dashboard"]["Properties"]["DashboardBody"])
    return body


def test_alarms_and_the_dashboard_name_the_metrics_the_handler_writes() -> None:
    """The alarms and the dashboard use only metrics that the handler writes, so a renamed metric
    cannot leave one of them empty."""
    source = (sam.ROOT / "stream_backup" / "handler.py").read_text()
    watcher = (sam.ROOT / "stream_backup" / "watcher.py").read_text()
    drills = (sam.ROOT / "stream_backup" / "driller.py").read_text()
    called = r'(?:add_metric|_publish)\(\s*"(\w+)"'
    written = set(re.findall(called, source + watcher + drills))
    bodies = {dashboard(), dashboard(DrillSchedule="rate(7 days)")}
    body = max(bodies, key=len)
    for each in bodies:
        json.loads(each)
    found = r'\{StreamBackup,service,table\} MetricName=\\"(\w+)\\"'
    searched = set(re.findall(found, body))
    shown = {"changes", "lag", "failures", "bytes", "tombstones", "exact_age"}
    assert set(re.findall(found, dashboard())) == shown
    shown |= {"drill_age_days", "drill_seconds"}
    assert searched == shown <= written
    assert 'Metrics(namespace="StreamBackup", service="stream-backup")' in source
    assert 'add_dimension("table", table)' in source
    (silence,) = RESOURCES["Fn::ForEach::Silences"][2].values()
    *_, changes = silence["Properties"]["Metrics"]
    assert changes["MetricStat"]["Metric"]["MetricName"] in written
    assert [dimension["Name"] for dimension in changes["MetricStat"]["Metric"]["Dimensions"]] == [
        "service",
        "table",
    ]


def test_a_poison_record_moves_the_metric_of_its_alarm(capsys: pytest.CaptureFixture[str]) -> None:
    """The line that the handler prints for a batch with a poison record is counted by the alarm's
    filter. The line for a good batch is not."""
    pattern = RESOURCES["FailuresFilter"]["Properties"]["FilterPattern"]
    (name,) = re.findall(r"\{ \$\.(\w+)\[0\] > 0 \}", pattern)
    handle = make_handler(lambda table: Archive(MemoryStore(lambda: 0), "", table), report)
    (good,) = json.loads((sam.ROOT / "tests/events/insert.json").read_text())["Records"]
    counted = []
    for record in (good, good | {"eventName": "?"}):
        handle({"Records": [record]}, None)
        counted.append(json.loads(capsys.readouterr().out)[name][0] > 0)
    assert counted == [False, True]


def test_every_alarm_tells_the_topic() -> None:
    """No alarm is silent, and none is raised by the mere absence of traffic. The metrics of the
    watcher have a value without any traffic, so their absence raises the alarm. That of the driller
    has a value once in a run, so the alarm keeps its state between two runs."""
    loops = [
        fragment
        for name, loop in RESOURCES.items()
        if name.startswith("Fn::ForEach")
        for fragment in loop[2].values()
    ]
    every = [each for each in [*RESOURCES.values(), *loops] if isinstance(each, dict)]
    alarms = [each["Properties"] for each in every if each.get("Type") == "AWS::CloudWatch::Alarm"]
    assert len(alarms) == 11
    for alarm in alarms:
        assert alarm["AlarmActions"] == [{"Ref": "Topic"}]
        missing = {
            "exact_age": "breaching",
            "drill_age_days": "breaching",
            "enrol_failed": "breaching",
            "drill_failed": "ignore",
        }
        metric = str(alarm.get("MetricName"))
        assert alarm["TreatMissingData"] == missing.get(metric, "notBreaching")


DISTRIBUTED_DRILLS = ("DrillWorker", "DrillMachine")
"""How the names of what a distributed drill needs begin: it depends on DistributedWorkers."""


def is_scheduled(name: str) -> bool:
    return "Drill" in name and not name.startswith(DISTRIBUTED_DRILLS)


def test_without_a_schedule_nothing_is_created_for_drills() -> None:
    """A stack without DrillSchedule has no resource or output for drills, the same environment of
    the watcher, and the same dashboard. With it, it has all of them."""
    drills = {name: each for name, each in RESOURCES.items() if is_scheduled(name)}
    assert len(drills) == 6
    found = drills | {
        name: each for name, each in TEMPLATE["Outputs"].items() if is_scheduled(name)
    }
    assert {name: each.get("Condition") for name, each in found.items()} == dict.fromkeys(
        found, "HasDrills"
    )
    for schedule in ("", "rate(7 days)"):
        rendered = Rendered(DrillSchedule=schedule)
        assert rendered.holds({"Condition": "HasDrills"}) is bool(schedule)
        assert ("drill" in dashboard(DrillSchedule=schedule)) is bool(schedule)
        watcher = RESOURCES["Watcher"]["Properties"]["Environment"]["Variables"]
        assert ("STREAM_BACKUP_DRILL_TABLES" in rendered.resolve(watcher)) is bool(schedule)
    # Nothing else refers to them, but for what the watcher may never write. Whoever starts
    # distributed runs may start drills.
    others = {name: each for name, each in RESOURCES.items() if "Drill" not in name}
    for name in ("Watcher", "Dashboard", "DistributorPolicy"):
        others.pop(name)
    policy = json.dumps(others.pop("WatcherPolicy"))
    assert policy.lower().count("drill") == 1
    assert "drill" not in json.dumps(others).lower()


def test_the_driller_is_deployed_as_its_code_expects() -> None:
    """The environment has the names that the code reads, and Lambda lets a run take longer than one
    drill and what comes after it."""
    properties = RESOURCES["Driller"]["Properties"]
    expected = {settings.ARCHIVE, settings.STACK, settings.DRILL_TABLES, settings.DRILL_ROWS}
    assert set(properties["Environment"]["Variables"]) == expected
    assert properties["Handler"] == f"{driller.__name__}.handler"
    assert properties["Timeout"] > driller.SHORTEST + driller.RESERVE
    assert driller.REMOVAL < driller.RESERVE
    assert PARAMETERS["DrillRows"]["Default"] == driller.ROWS
    schedule = properties["Events"]["OnSchedule"]
    assert schedule == {"Type": "Schedule", "Properties": {"Schedule": {"Ref": "DrillSchedule"}}}


def test_every_period_of_the_alarm_includes_a_run_of_the_watcher() -> None:
    """However often the watcher runs, a period of its alarm has a value, also if one run fails or
    is late."""
    schedule = RESOURCES["Watcher"]["Properties"]["Events"]["EveryFewMinutes"]["Properties"]
    assert schedule["Schedule"] == {"Fn::Sub": "cron(0/${WatchMinutes} * * * ? *)"}
    period = RESOURCES["ExactAgeAlarm"]["Properties"]["Period"]
    assert RESOURCES["DrillAgeAlarm"]["Properties"]["Period"] == period
    assert PARAMETERS["WatchMinutes"]["MaxValue"] * 60 < period
    assert PARAMETERS["WatchMinutes"]["Default"] * 60 * 3 <= period
    assert RESOURCES["Watcher"]["Properties"]["Timeout"] < period


def test_the_command_line_finds_its_outputs() -> None:
    """The stack has every output that the commands read."""
    named = {
        "ArchiveUrl",
        "FunctionName",
        "FunctionArn",
        "FailuresBucket",
        "TablePattern",
        "MaximumRecordAge",
        "TopicArn",
    }
    named |= {"DashboardName", "WriterPolicyArn", "BackfillPolicyArn", "RestorerPolicyArn"}
    named |= {"WatcherName", "WatcherPolicyArn", "EnablerPolicyArn", "RedriverPolicyArn"}
    named |= {"KmsKeyArn", "MaximumRetryAttempts"}
    assert named <= set(TEMPLATE["Outputs"])


def test_an_exception_from_a_lint_gives_its_reason() -> None:
    """Every skipped check has a reason next to it."""
    for name, resource in RESOURCES.items():
        skipped = (
            resource.get("Metadata", {}).get("checkov", {}).get("skip", [])
            if isinstance(resource, dict)
            else []
        )
        for each in skipped:
            assert len(each["comment"]) > 30, (name, each["id"])


FUNCTION = sam.ROOT / "function"


def pins(file: str) -> dict[str, str]:
    lines = (FUNCTION / file).read_text().replace("\\\n", "").splitlines()
    words = (line.split()[0] for line in lines if line.strip() and line[0] not in "#- ")
    return dict(word.split("==") for word in words)


@pytest.mark.parametrize(
    ("file", "needed"),
    [
        ("requirements.in", {"aws-lambda-powertools", "obstore"}),
        ("watcher-requirements.in", {"boto3", "botocore"}),
        ("driller-requirements.in", {"tenacity"}),
    ],
)
def test_the_function_runs_on_the_versions_the_tests_run_on(file: str, needed: set[str]) -> None:
    """The package pins what the tests' own constraints pin, and holds all that the project says it
    needs."""
    pinned = pins(file)
    constraints = (sam.ROOT / "constraints.txt").read_text().lower().replace("_", "-").splitlines()
    for name, version in pinned.items():
        assert f"{name.lower().replace('_', '-')}=={version}" in constraints
    assert needed <= set(pinned)


@pytest.mark.parametrize("file", ["requirements", "watcher-requirements", "driller-requirements"])
def test_every_wheel_of_a_function_has_a_hash(file: str) -> None:
    """The files that the build installs have the pins of their source, each with a hash, and name
    no index."""
    text = (FUNCTION / f"{file}.txt").read_text()
    assert pins(f"{file}.txt") == pins(f"{file}.in")
    entries = re.split(r"\n(?=\S)", re.sub(r"(?m)^#.*\n", "", text).strip())
    for entry in entries:
        if not entry.startswith("--requirement"):
            assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry), entry
    assert "://" not in text


@pytest.mark.parametrize("name", ["handler", "watcher", "driller", "enroller"])
def test_a_package_contains_what_its_function_imports(tmp_path: Path, name: str) -> None:
    """The package of a function has its module and every module of this project that it imports,
    of any package, and no other. It says which version of the project it is, because the record of
    a drill does."""
    command = [sys.executable, str(FUNCTION / "copy_modules.py"), str(tmp_path)]
    subprocess.run([*command, f"stream_backup.{name}"], check=True)
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import importlib.metadata\n"
        "print(importlib.metadata.version('stream-backup'))\n"
        f"import stream_backup.{name}\n"
        "ours = ('stream_backup', 'restore', 'backfill')\n"
        "found = [each for name, each in sys.modules.items() if name.split('.')[0] in ours]\n"
        "print(*{each.__file__ for each in found})\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    version, files = done.stdout.splitlines()
    project = tomllib.loads((sam.ROOT / "pyproject.toml").read_text())["project"]
    assert version == project["version"]
    assert {Path(file) for file in files.split()} <= {*tmp_path.rglob("*.py")}
    assert not [*tmp_path.rglob("cli")]


@pytest.mark.parametrize("genuine", [True, False])
def test_the_build_installs_no_other_wheel(tmp_path: Path, genuine: bool) -> None:
    """A wheel with another content than the one whose hash is on record is not packaged, even if it
    has the right name and version. The build asks only the index that pip is configured to use,
    here a folder."""
    wheel = tmp_path / "index" / "orjson-3.13.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as content:
        content.writestr("orjson.py", "")
        info = "orjson-3.13.0.dist-info"
        content.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: orjson\nVersion: 3.13.0\n"
        )
        content.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        content.writestr(f"{info}/RECORD", "")
    for folder in ("function", "stream_backup"):
        shutil.copytree(sam.ROOT / folder, tmp_path / folder)
    shutil.copy(sam.ROOT / "pyproject.toml", tmp_path)
    known = hashlib.sha256(wheel.read_bytes()).hexdigest() if genuine else "0" * 64
    (tmp_path / "function" / "requirements.txt").write_text(
        f"orjson==3.13.0 --hash=sha256:{known}\n"
    )
    command = ["make", "build-Function", f"ARTIFACTS_DIR={tmp_path / 'built'}"]
    index = {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheel.parent),
        "PIP_CONFIG_FILE": os.devnull,
    }
    done = subprocess.run(
        [*command, f"PYTHON={sys.executable}"],
        cwd=tmp_path / "function",
        env=os.environ | index,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) is genuine, done.stderr
    assert (tmp_path / "built" / "orjson.py").exists() is genuine
    assert genuine or "DO NOT MATCH THE HASHES" in done.stderr


def test_a_slip_inside_a_loop_is_caught(tmp_path: Path) -> None:
    """The linter of the transformed template finds an invalid property of an event source
    mapping."""
    wrong = tmp_path / "template.yaml"
    wrong.write_text(
        sam.TEMPLATE.read_text().replace("StartingPosition: TRIM_HORIZON", "StartingPosition: NOPE")
    )
    transform = [
        str(sam.BIN / "python"),
        str(sam.ROOT / "tests" / "deploy_transform.py"),
        str(wrong),
    ]
    (tmp_path / "wrong.json").write_bytes(
        subprocess.run(transform, capture_output=True, check=True).stdout
    )
    command = [str(sam.BIN / "cfn-lint"), "--regions", REGION, "--", str(tmp_path / "wrong.json")]
    said = subprocess.run(command, capture_output=True, check=False)
    assert said.returncode != 0
    assert b"NOPE" in said.stdout


def test_a_wrong_state_machine_is_caught(tmp_path: Path) -> None:
    """`make check` validates the state machines against the Amazon States Language: cfn-lint (rule
    E3601) finds everything that is wrong in this definition. The emulator accepts any."""
    text = sam.TEMPLATE.read_text()
    for right, wrong in (
        ("Next: Left", "Nxt: Left"),
        ("StartAt: Slice", "StartAt: Slise"),
        ("BackoffRate: 2", "BackoffRate: two"),
        ("Type: Choice", "Type: Chois"),
    ):
        assert right in text
        text = text.replace(right, wrong)
    (tmp_path / "template.yaml").write_text(text)
    command = [
        str(sam.BIN / "cfn-lint"),
        "--regions",
        REGION,
        "--",
        str(tmp_path / "template.yaml"),
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    found = " ".join(line for line in said.stdout.splitlines() if line.startswith("E3601"))
    for wrong in ("Nxt", "Slise", "two", "Chois"):
        assert f"{wrong!r}" in found, said.stdout


@pytest.mark.parametrize("machine_name", MACHINES)
def test_every_state_is_reached(machine_name: str) -> None:
    """Every state that a state names exists, and every state is named. cfn-lint does not look at
    the default of a choice."""
    machine = RESOURCES[machine_name]["Properties"]["Definition"]
    assert not {*machine["States"]} ^ targets(machine)


def targets(node: Any) -> set[str]:
    """Returns the states that a definition names, except for those within a map."""
    if isinstance(node, list):
        return set().union(*map(targets, node))
    if not isinstance(node, dict):
        return set()
    inner = [value for name, value in node.items() if name != "ItemProcessor"]
    named = {node[name] for name in ("StartAt", "Next", "Default") if name in node}
    return named.union(*map(targets, inner))


def test_the_work_bucket_is_private_and_ages_out() -> None:
    """The work bucket is encrypted, owner-enforced, without public access, refuses requests without
    TLS, and keeps nothing for longer than WorkDays. It is another bucket than the archive."""
    properties = RESOURCES["WorkBucket"]["Properties"]
    assert properties["OwnershipControls"] == {
        "Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]
    }
    assert list(properties["PublicAccessBlockConfiguration"].values()) == [True] * 4
    assert properties["BucketEncryption"] == ARCHIVE_BUCKET["BucketEncryption"]
    (rule,) = properties["LifecycleConfiguration"]["Rules"]
    assert (rule["Status"], rule["ExpirationInDays"]) == ("Enabled", {"Ref": "WorkDays"})
    policy = RESOURCES["WorkBucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    (tls,) = policy
    assert (tls["Effect"], tls["Principal"], tls["Action"]) == ("Deny", "*", "s3:*")
    assert tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_nothing_is_made_for_distributed_runs_by_default() -> None:
    """Every resource and output of distributed runs is made only with DistributedWorkers, which is
    0 by default."""
    parts = ("Work", "Backfill", "RestoreW", "RestoreM", "VerifyW", "VerifyM", "Distribut")
    found = [name for name in RESOURCES if name.startswith(parts) and name != "BackfillPolicy"]
    assert len(found) == 24
    assert all(RESOURCES[name]["Condition"] == "HasWorkers" for name in found)
    outputs = TEMPLATE["Outputs"]
    named = [name for name in outputs if name.startswith(parts) and name != "BackfillPolicyArn"]
    assert len(named) == 9
    assert all(outputs[name]["Condition"] == "HasWorkers" for name in named)
    assert not Rendered().holds({"Condition": "HasWorkers"})
    assert Rendered(DistributedWorkers="1").holds({"Condition": "HasWorkers"})


def test_every_machine_runs_the_same_rounds() -> None:
    """The state machine of each other task is that of a backfill, with another worker."""
    first, *others = (json.dumps(RESOURCES[name]["Properties"]) for name in MACHINES)
    names = {"restore": "restore", "verify": "verification", "drill": "drill"}
    for (task, noun), other in zip(names.items(), others, strict=True):
        found = first.replace("A distributed backfill", f"A distributed {noun}")
        assert found.replace("Backfill", task.title()).replace("backfill", task) == other


@pytest.mark.parametrize("task", ["Backfill", "Restore", "Verify", "Drill"])
def test_a_worker_outlives_no_state(task: str) -> None:
    """A worker ends by itself before Lambda ends it, and Lambda before its state times out. What
    Step Functions repeats are errors that may pass; those of this project that would come again are
    not repeated, and their names are those of its classes."""
    worker = RESOURCES[f"{task}Worker"]["Properties"]
    states = RESOURCES[f"{task}Machine"]["Properties"]["Definition"]["States"]
    piece = states["Round"]["ItemProcessor"]["States"]["Slice"]
    assert LAST < HARD < RESERVE < worker["Timeout"] / 2
    assert worker["Timeout"] < piece["TimeoutSeconds"]
    final, *repeated = piece["Retry"]
    assert final["MaxAttempts"] == 0
    kinds = [getattr(errors, name) for name in final["ErrorEquals"]]
    assert not [kind for kind in kinds if issubclass(kind, errors.IncompleteError)]
    tried = [*repeated, *states["Collect"]["Retry"], *states["Collect failed round"]["Retry"]]
    for each in tried:
        assert each["JitterStrategy"] == "FULL"
        assert each["BackoffRate"] > 1
        assert each["MaxAttempts"] > 2


def test_the_reference_of_parameters_is_up_to_date() -> None:
    """docs/parameters.md matches the template."""
    command = [sys.executable, str(sam.ROOT / "docs" / "make_parameters.py"), "--check"]
    assert subprocess.run(command, check=False).returncode == 0
