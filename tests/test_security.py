"""docs/security.md: what the holder of each role cannot do.

The policies of the template are evaluated by IAM's rules. test_permissions.py shows the same of the
deployed policies, where the emulator enforces IAM.
"""

import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests import sam
from tests.policies import ACCOUNT, PLACE, POLICIES, Rendered, allows, without

PAGE = sam.ROOT / "docs/security.md"
KEY = f"arn:aws:kms:{PLACE}:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
RENDERED = Rendered(TablePattern="prod-*", KmsKeyArn=KEY, TableKeyArns=KEY, NoncurrentDays="90")
TABLE = f"arn:aws:dynamodb:{PLACE}:{ACCOUNT}:table/prod-orders"
OTHER = f"arn:aws:dynamodb:{PLACE}:{ACCOUNT}:table/payments"
ITEM = f"arn:aws:s3:::{RENDERED.values['ArchiveBucket']}/prod-orders/ee2bdf43ab8f10ad6c66546714da"
FAILURES = f"arn:aws:s3:::{RENDERED.values['FailuresBucket']}"

READ = ("Scan", "Query", "GetItem", "BatchGetItem", "ExportTableToPointInTime", "PartiQLSelect")
WRITE = ("PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem")
CHANGE = ("UpdateTable", "UpdateTimeToLive", "UpdateContinuousBackups", "PutResourcePolicy")
DELETE = ("DeleteTable", "DeleteBackup")

CANNOT = {
    "WriterPolicy": (*READ, *WRITE, *CHANGE, *DELETE),
    "WatcherPolicy": (*READ, *WRITE, *CHANGE, *DELETE, "GetRecords"),
    "BackfillPolicy": (*WRITE, *CHANGE, *DELETE, "GetRecords"),
    "RestorerPolicy": ("UpdateTable", "PutResourcePolicy", *DELETE, "GetRecords"),
    "EnablerPolicy": (*READ, *WRITE, *DELETE, "GetRecords", "UpdateTimeToLive"),
    "RedriverPolicy": (*READ, *WRITE, *CHANGE, *DELETE, "GetRecords", "DescribeTable"),
    "DrillerPolicy": (*READ, *WRITE, *CHANGE, *DELETE, "CreateTable", "TagResource", "GetRecords"),
    "EnrollerPolicy": (*WRITE, *DELETE, "GetItem", "GetRecords", "UpdateTimeToLive"),
}


@pytest.mark.parametrize("policy", POLICIES)
def test_a_role_cannot(policy: str) -> None:
    """No role can do to the tables what its job does not need, and the backfill operator does not
    see failed batches."""
    statements = RENDERED.policy(policy)
    for action in CANNOT[policy]:
        stream = f"{TABLE}/stream/2026-11-21T04:02:01.000"
        where = stream if action == "GetRecords" else TABLE
        assert not allows(statements, f"dynamodb:{action}", where), action
    if policy == "BackfillPolicy":
        assert not allows(statements, "s3:GetObject", f"{FAILURES}/aws/lambda/batch")
        assert not allows(statements, "s3:ListBucket", FAILURES, s3_prefix="aws/lambda/")


@pytest.mark.parametrize("policy", POLICIES)
def test_a_role_stays_with_its_tables(policy: str) -> None:
    """Whatever a role can do to a table that TablePattern matches, it cannot do to another."""
    statements = RENDERED.policy(policy)
    for action in (*READ, *WRITE, *CHANGE, *DELETE, "CreateTable", "DescribeTable"):
        assert not allows(statements, f"dynamodb:{action}", OTHER), action


def test_the_function_stays_with_its_tables() -> None:
    """The function puts nothing of another table, and reads no stream of one."""
    statements, item = RENDERED.policy("WriterPolicy"), ITEM.replace("prod-orders", "payments")
    stream = "stream/2026-11-21T04:02:01.000"
    assert allows(statements, "s3:PutObject", ITEM)
    assert not allows(statements, "s3:PutObject", item)
    assert allows(statements, "dynamodb:GetRecords", f"{TABLE}/{stream}")
    assert not allows(statements, "dynamodb:GetRecords", f"{OTHER}/{stream}")


@pytest.mark.parametrize(
    ("sid", "action", "resource"),
    [
        ("SeeMappings", "GetEventSourceMapping", "event-source-mapping:*"),
        ("FindMappings", "ListEventSourceMappings", "*"),
        ("CreateMappings", "CreateEventSourceMapping", "*"),
        ("ChangeMappings", "UpdateEventSourceMapping", "event-source-mapping:*"),
        ("ChangeMappings", "DeleteEventSourceMapping", "event-source-mapping:*"),
    ],
)
def test_the_enabler_handles_mappings_of_the_function(sid: str, action: str, resource: str) -> None:
    """Each action on mappings is allowed by one statement. Those that change something are limited
    to the function of the stack: the mappings of other functions cannot be touched. ministack does
    not know that condition, so the policy itself is evaluated."""
    place = f"{PLACE}:{ACCOUNT}"
    where = f"arn:aws:lambda:{place}:{resource}".replace(":*", ":1") if ":" in resource else "*"
    own, other = (
        f"arn:aws:lambda:{place}:function:{name}" for name in ("stream-backup", "payments")
    )
    every, changes = Rendered().policy("EnablerPolicy"), sid in ("CreateMappings", "ChangeMappings")
    action = f"lambda:{action}"
    assert allows(every, action, where, lambda_FunctionArn=own)
    assert allows(every, action, where, lambda_FunctionArn=other) != changes
    assert not allows(without(every, sid), action, where, lambda_FunctionArn=own)


@pytest.mark.parametrize(
    "policy", ["WatcherPolicy", "RestorerPolicy", "EnablerPolicy", "DrillerPolicy"]
)
def test_these_roles_write_no_items(policy: str) -> None:
    """The watcher, the restorer, the driller and whoever enables tables put no version of an
    item."""
    assert not allows(RENDERED.policy(policy), "s3:PutObject", ITEM)


@pytest.mark.parametrize("policy", POLICIES)
def test_nobody_hides_items(policy: str) -> None:
    """No policy of the stack allows a delete marker in the archive, the deletion of a version, or a
    change of what protects the archive."""
    statements = RENDERED.policy(policy)
    bucket = ITEM.partition("/")[0]
    for action in ("DeleteObject", "DeleteObjectVersion", "PutObjectRetention", "PutObjectTagging"):
        assert not allows(statements, f"s3:{action}", ITEM), action
    assert not allows(statements, "s3:DeleteObjectVersion", f"{FAILURES}/aws/lambda/batch")
    for action in ("PutLifecycleConfiguration", "PutBucketVersioning", "PutBucketPolicy"):
        assert not allows(statements, f"s3:{action}", bucket), action


DRILL = f"arn:aws:dynamodb:{PLACE}:{ACCOUNT}:table/stream-backup-drill-"


def test_the_driller_touches_only_scratch_tables() -> None:
    """The driller may write to scratch tables, read their rows and delete them, and do none of that
    to any other table, whatever TablePattern matches. ScratchTables is the statement that lets
    it."""
    touch = ("CreateTable", "DeleteTable", "BatchWriteItem", "PutItem", "DeleteItem", "Scan")
    for pattern in ("prod-*", "*"):
        statements = Rendered(TablePattern=pattern).policy("DrillerPolicy")
        for action in touch:
            action = f"dynamodb:{action}"
            assert allows(statements, action, f"{DRILL}prod-orders-1"), action
            assert not allows(without(statements, "ScratchTables"), action, f"{DRILL}prod-orders-1")
            for other in (TABLE, OTHER, DRILL.removesuffix("-")):
                assert not allows(statements, action, other), action
    for action in ("UpdateTable", "ExportTableToPointInTime", "CreateBackup", "PutResourcePolicy"):
        assert not allows(statements, f"dynamodb:{action}", f"{DRILL}prod-orders-1"), action


def test_the_driller_writes_only_records_of_drills() -> None:
    """In the archive, the driller puts records of drills, of the tables that TablePattern matches,
    and nothing else: neither items nor records from which coverage is computed."""
    statements, root = RENDERED.policy("DrillerPolicy"), ITEM.rpartition("/")[0]
    drill = f"{root}/meta/drills/2026-11-21T04:02:01Z-abcdef.json"
    assert allows(statements, "s3:PutObject", drill)
    assert not allows(without(statements, "WriteRecords"), "s3:PutObject", drill)
    assert not allows(statements, "s3:PutObject", drill.replace("prod-orders", "payments"))
    assert not allows(statements, "s3:PutObject", ITEM)
    for kind in ("streams", "ends", "runs", "witness", "outages", "retention", "holes", "late"):
        assert not allows(statements, "s3:PutObject", f"{root}/meta/{kind}/drills/1.json"), kind
    for action in ("DeleteObject", "GetObject", "PutObjectTagging"):
        assert not allows(statements, f"s3:{action}", drill), action


PLACED = f"{PLACE}:{ACCOUNT}"
NEEDED = [
    ("SeeBucket", "s3:GetBucketVersioning s3:GetLifecycleConfiguration", "bucket", {}),
    ("FindTables", "s3:ListBucketVersions", "bucket", {"s3_prefix": "", "s3_delimiter": "/"}),
    ("ListVersions", "s3:ListBucketVersions", "bucket", {"s3_prefix": "prod-orders/meta/runs/"}),
    ("ReadVersions", "s3:GetObjectVersion", ITEM, {}),
    ("DescribeTables", "dynamodb:DescribeTable dynamodb:ListTagsOfResource", TABLE, {}),
    (
        "ScratchTables",
        "dynamodb:CreateTable dynamodb:TagResource dynamodb:DescribeTable dynamodb:GetItem"
        " dynamodb:ListTagsOfResource dynamodb:BatchWriteItem"
        " dynamodb:UntagResource dynamodb:Scan dynamodb:PutItem dynamodb:DeleteItem"
        " dynamodb:DeleteTable",
        f"{DRILL}prod-orders-1",
        {},
    ),
    ("ListTables", "dynamodb:ListTables", "*", {}),
    ("ListFailures", "s3:ListBucket", FAILURES, {"s3_prefix": "aws/lambda/1/"}),
    ("ReadFailures", "s3:GetObject", f"{FAILURES}/aws/lambda/1/batch", {}),
    (
        "SeeMappings",
        "lambda:GetEventSourceMapping",
        f"arn:aws:lambda:{PLACED}:event-source-mapping:1",
        {},
    ),
    ("SeeLag", "cloudwatch:GetMetricStatistics", "*", {}),
    (
        "WriteLog",
        "logs:CreateLogStream logs:PutLogEvents",
        f"arn:aws:logs:{PLACED}:log-group:/aws/lambda/stream-backup-driller:log-stream:1",
        {},
    ),
    ("EncryptAndDecrypt", "kms:GenerateDataKey", KEY, {}),
    ("DescribeKeys", "kms:DescribeKey", KEY.replace("1234abcd", "99999999"), {}),
    (
        "EncryptTables",
        "kms:CreateGrant kms:Encrypt",
        KEY,
        {"kms_ViaService": f"dynamodb.{PLACE}.amazonaws.com"},
    ),
]
"""Statement of the driller → the actions that a drill needs it for, and a resource of each."""


@pytest.mark.parametrize(
    ("sid", "actions", "where", "context"), NEEDED, ids=[each[0] for each in NEEDED]
)
def test_a_drill_needs_each_statement(
    sid: str, actions: str, where: str, context: dict[str, str]
) -> None:
    """What a drill calls is allowed by one statement of the driller's policy, and by no other."""
    every = RENDERED.policy("DrillerPolicy")
    resource = ITEM.partition("/")[0] if where == "bucket" else where
    for action in actions.split():
        assert allows(every, action, resource, **context), action
        assert not allows(without(every, sid), action, resource, **context), action


def test_the_driller_has_no_other_statement() -> None:
    """Every statement is in the list of what a drill needs, writes records, or denies the use of a
    bucket of another account; and every action of the scratch tables is in it."""
    statements = {each["Sid"]: each for each in RENDERED.policy("DrillerPolicy")}
    needed = {sid: set(actions.split()) for sid, actions, _, _ in NEEDED}
    assert set(statements) - set(needed) == {"WriteRecords", "OnlyThisArchive", "OnlyTheseFailures"}
    assert set(statements["ScratchTables"]["Action"]) == needed["ScratchTables"]


def test_only_the_driller_deletes_tables() -> None:
    """No other role of the stack may delete a table, and the driller may delete scratch tables."""
    able = {
        policy
        for policy in POLICIES
        for table in (TABLE, OTHER, f"{DRILL}prod-orders-1")
        if allows(RENDERED.policy(policy), "dynamodb:DeleteTable", table)
    }
    assert able == {"DrillerPolicy"}


def test_only_one_statement_lets_a_restorer_see_a_mapping() -> None:
    """Whoever may list event source mappings may not read one, so that SeeMappings is needed."""
    mapping = f"arn:aws:lambda:{PLACE}:{ACCOUNT}:event-source-mapping:{'0' * 8}"
    statements = RENDERED.policy("RestorerPolicy")
    assert allows(statements, "lambda:GetEventSourceMapping", mapping)
    assert not allows(without(statements, "SeeMappings"), "lambda:GetEventSourceMapping", mapping)


def test_every_named_test_exists() -> None:
    """Each test that the page names exists, so that no claim stands on a test that is gone."""
    named = re.findall(r"`(tests/\w+\.py)(?:::(\w+))?`", PAGE.read_text())
    assert len(named) > 20
    for file, test in named:
        text = Path(sam.ROOT / file).read_text()
        assert not test or f"def {test}(" in text, f"{file}::{test}"


def test_every_policy_has_a_section() -> None:
    """The page has a section about each managed policy of the stack."""
    outputs = [name for name in sam.template()["Outputs"] if fnmatchcase(name, "*PolicyArn")]
    assert len(outputs) == len(POLICIES) + 1  # DistributorPolicyArn
    for name in outputs:
        assert f"(`{name}`)" in PAGE.read_text(), name
