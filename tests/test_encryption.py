"""Tables encrypted with a customer managed key, and the key of the archive's bucket.

No emulator asks KMS for permission, so these tests have a DynamoDB that does, as AWS documents
(Amazon DynamoDB Developer Guide, "DynamoDB encryption at rest usage notes"): whoever reads, writes
or creates an encrypted table needs permissions on its key, and DynamoDB asks KMS in the caller's
name. The caller has exactly the statements of one policy of the template.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from backfill.run import Backfill
from restore.target import prepare
from stream_backup.aws.bucket_key import require_key
from stream_backup.aws.connection import Connection
from stream_backup.aws.creation import create
from stream_backup.aws.dynamodb import Answer, DynamoDB
from stream_backup.aws.encryption import manager_of
from stream_backup.aws.errors import translate
from stream_backup.aws.stack import Stack
from stream_backup.aws.table import describe, look_up
from stream_backup.capture.enabler import Enabler
from stream_backup.capture.follow import Follower
from stream_backup.capture.stream import switch_on
from stream_backup.core.records import TableDescription
from stream_backup.errors import StreamBackupError, UsageError
from stream_backup.progress import Silent
from tests.fake_dynamodb import FakeDynamoDB
from tests.model import NAME
from tests.policies import ACCOUNT, PLACE, Rendered, Statement, allows, without
from tests.process import Stop
from tests.servers import ACCESS_KEY, REGION, SECRET_KEY
from tests.test_mapping import STACK, Case
from tests.world import World, patched

KEY = f"arn:aws:kms:{PLACE}:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
OTHER = KEY.replace("1234abcd", "ffffffff")
VIA = f"dynamodb.{PLACE}.amazonaws.com"
STREAMS = ("describe_stream", "get_shard_iterator", "get_records")
ROWS = ("scan", "get_item", "put_item", "delete_item", "update_item", "batch_write_item")
TO_CREATE = (
    "Encrypt",
    "Decrypt",
    "ReEncryptFrom",
    "ReEncryptTo",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "DescribeKey",
    "CreateGrant",
)
"""What DynamoDB requires at least of whoever selects a customer managed key for a table (there,
"Key policy for a customer managed key"), without the asterisks."""

EVERYTHING = [{"Sid": "All", "Effect": "Allow", "Action": "*", "Resource": "*"}]


def refusal(code: str, message: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


@dataclass
class Kms:
    """Two keys: one of the account, and AWS's own for DynamoDB. The key policy leaves permissions
    to IAM. `statements` are those of the caller."""

    statements: list[Statement]
    manager: str = "CUSTOMER"
    state: str = "Enabled"
    missing: bool = False

    def require(self, action: str, via: str = "") -> None:
        context = {"kms_ViaService": via} if via else {}
        if not allows(self.statements, f"kms:{action}", KEY, **context):
            message = f"not authorized to perform: kms:{action} on resource: {KEY}"
            raise refusal("AccessDeniedException", message, action)

    def describe(self) -> dict[str, Any]:
        self.require("DescribeKey")
        if self.missing:
            raise refusal("NotFoundException", f"Key '{KEY}' does not exist", "DescribeKey")
        return {"Arn": KEY, "KeyManager": self.manager, "KeyState": self.state}


class Encrypted(FakeDynamoDB):
    """The model's table, encrypted with the key of `kms`."""

    def __init__(self, world: World, kms: Kms) -> None:
        plain = world.dynamodb
        super().__init__(plain.model, plain.date, plain.pause)
        self.kms = kms
        self.creations = list[dict[str, Any]]()

    def call(self, operation: str, request: dict[str, Any] | bytes) -> Answer:
        if operation in STREAMS or operation in ROWS:
            self._ask("Decrypt", operation)
        return super().call(operation, request)

    def _ask(self, action: str, operation: str) -> None:
        if self.kms.manager == "AWS":
            return  # its key policy allows everybody who may use DynamoDB
        try:
            self.kms.require(action, VIA)
        except ClientError as error:
            message = f"KMS key access denied error: {error.response['Error']['Message']}"
            raise refusal("AccessDeniedException", message, operation) from error

    def _describe_key(self, request: dict[str, Any]) -> Any:
        assert request == {"KeyId": KEY}
        return {"KeyMetadata": self.kms.describe()}

    def _describe_table(self, request: dict[str, Any]) -> Any:
        found = super()._describe_table(request)
        found["Table"]["SSEDescription"] = {
            "Status": "ENABLED",
            "SSEType": "KMS",
            "KMSMasterKeyArn": KEY,
        }
        return found

    def _create_table(self, request: dict[str, Any]) -> Any:
        sse = request.get("SSESpecification", {})
        if "KMSMasterKeyId" in sse:
            if self.kms.manager == "AWS":
                message = "KMSMasterKeyId must differ from the default key"
                raise refusal("ValidationException", message, "CreateTable")
            for action in TO_CREATE:
                self._ask(action, "CreateTable")
        self.creations.append(request)
        return super()._create_table(request)


@dataclass
class Here:
    """A table with a stream that is on, whose callers have the statements of one policy."""

    world: World
    kms: Kms

    @property
    def dynamodb(self) -> Encrypted:
        assert isinstance(self.world.dynamodb, Encrypted)
        return self.world.dynamodb

    @property
    def description(self) -> TableDescription:
        live, _ = look_up(self.dynamodb, NAME)
        assert live
        return describe(self.dynamodb, live.description)

    def create(self, name: str = "orders-restored-1") -> dict[str, Any]:
        """Creates a table like this one, and returns its SSESpecification."""
        create(self.dynamodb, name, self.description, {}, stream=False)
        found: dict[str, Any] = self.dynamodb.creations[-1].get("SSESpecification", {})
        return found


@pytest.fixture
def here() -> Here:
    world = World(1)
    kms = Kms(EVERYTHING)
    world.dynamodb = Encrypted(world, kms)
    return Here(world, kms)


def read_stream(here: Here) -> None:
    """What `follow` does, and Lambda with the role of the function."""
    statements, here.kms.statements = here.kms.statements, EVERYTHING
    stream, _ = switch_on(here.dynamodb, here.world.archive, "follow")
    here.kms.statements = statements
    follower = Follower(
        here.dynamodb, here.world.meta, stream, lambda event, _: {"batchItemFailures": []}, Silent()
    )
    follower.start()
    follower.round()


def scan(here: Here) -> None:
    work = Backfill(here.dynamodb, here.world.archive, 1, None, lambda _: None, Stop())
    run, _ = work.begin(without_stream=True)
    outcome = work.execute(run)
    if failed := getattr(outcome, "failed", None):
        raise AssertionError(failed)


def fill(here: Here) -> None:
    """A restore into a table that exists reads whether it is empty, and writes."""
    here.dynamodb.others["orders-restored-1"] = {}
    prepare(
        here.dynamodb,
        "orders-restored-1",
        here.description,
        "this restore",
        overwrite=False,
        stream=False,
    )


def enable(here: Here) -> None:
    switch_on(here.dynamodb, here.world.archive, "function")


ROLES: list[tuple[str, str, Callable[[Here], object]]] = [
    ("WriterPolicy", "DecryptTables", read_stream),
    ("BackfillPolicy", "DecryptTables", scan),
    ("RestorerPolicy", "EncryptTables", fill),
    ("RestorerPolicy", "EncryptTables", Here.create),
    ("EnablerPolicy", "DecryptTables", enable),
    ("EnrollerPolicy", "DecryptTables", enable),
    ("EnrollerPolicy", "DecryptTables", scan),
    ("DrillerPolicy", "EncryptTables", fill),
    ("DrillerPolicy", "EncryptTables", Here.create),
]


@pytest.mark.parametrize(
    ("policy", "sid", "act"), ROLES, ids=lambda each: getattr(each, "__name__", each)
)
def test_a_role_may_use_the_key_of_a_table(
    here: Here, policy: str, sid: str, act: Callable[[Here], object]
) -> None:
    """With `TableKeyArns` each role can do its work on an encrypted table. Without the statement
    for these keys, KMS refuses, and the error names the key's action."""
    statements = Rendered(TableKeyArns=f"{OTHER},{KEY}").policy(policy)
    with patched(lambda: here.world):
        here.kms.statements = statements
        act(here)
    again = World(1)
    kms = Kms(without(statements, sid) + without_keys(policy))
    again.dynamodb = Encrypted(again, kms)
    with patched(lambda: again), pytest.raises((ClientError, StreamBackupError)) as raised:
        act(Here(again, kms))
    error = translate(raised.value)
    assert error is not None
    assert error.exit_code == 2
    assert "kms:" in str(error)


def without_keys(policy: str) -> list[Statement]:
    """What a policy says about keys where no table has one of its own: nothing else allows the
    use of such a key."""
    return [each for each in Rendered().policy(policy) if "kms:" in str(each["Action"])]


@pytest.mark.parametrize("policy", ["RestorerPolicy", "DrillerPolicy"])
@pytest.mark.parametrize("action", TO_CREATE)
def test_creating_a_table_with_a_key_needs_each_action(
    here: Here, action: str, policy: str
) -> None:
    """Of the actions that DynamoDB requires of whoever creates a table with such a key, none can be
    left out."""
    statements = without(Rendered(TableKeyArns=KEY).policy(policy), "DescribeKeys")
    (keys,) = (each for each in statements if each["Sid"] == "EncryptTables")
    assert {each.removeprefix("kms:") for each in keys["Action"]} == set(TO_CREATE)
    keys["Action"] = [each for each in keys["Action"] if each != f"kms:{action}"]
    here.kms.statements = statements
    description = replace(here.description, key_manager="CUSTOMER")
    with pytest.raises(ClientError, match=f"kms:{action} "):
        create(here.dynamodb, "orders-restored-1", description, {}, stream=False)


@pytest.mark.parametrize(
    "policy",
    ["WriterPolicy", "BackfillPolicy", "RestorerPolicy", "DrillerPolicy", "EnrollerPolicy"],
)
def test_a_key_is_used_only_through_dynamodb(policy: str) -> None:
    """Nobody can decrypt with the key of a table except through DynamoDB, in any Region and
    partition, and no other key can be used."""
    statements = Rendered(TableKeyArns=KEY).policy(policy)
    china = Rendered(TableKeyArns=KEY)
    china.values["AWS::URLSuffix"] = "amazonaws.com.cn"
    assert allows(statements, "kms:Decrypt", KEY, kms_ViaService=VIA)
    via = "dynamodb.cn-north-1.amazonaws.com.cn"
    assert allows(china.policy(policy), "kms:Decrypt", KEY, kms_ViaService=via)
    assert not allows(statements, "kms:Decrypt", KEY)
    assert not allows(statements, "kms:Decrypt", KEY, kms_ViaService=f"s3.{PLACE}.amazonaws.com")
    assert not allows(statements, "kms:Decrypt", OTHER, kms_ViaService=VIA)


def test_the_watcher_needs_no_key() -> None:
    """The watcher and the redriver read no row and no stream, so they may use no key of a table."""
    for policy in ("WatcherPolicy", "RedriverPolicy"):
        statements = Rendered(TableKeyArns=KEY).policy(policy)
        assert not allows(statements, "kms:Decrypt", KEY, kms_ViaService=VIA)


def test_a_key_of_the_account_is_given_back(here: Here) -> None:
    """A table that was encrypted with a key of the account is created with this key again."""
    assert here.create() == {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": KEY}


def test_the_key_of_aws_is_not_given_back(here: Here) -> None:
    """DescribeTable names the ARN of AWS's own key too, but CreateTable is not given it."""
    here.kms.manager = "AWS"
    assert here.create() == {"Enabled": True, "SSEType": "KMS"}


def test_an_alias_of_aws_says_it_all(here: Here) -> None:
    """A key named by an alias of AWS is AWS's own, and KMS need not be asked. Emulators name it so
    in answers of DescribeTable."""
    here.kms.statements = []
    alias = KEY.replace("key/1234abcd-12ab-34cd-56ef-1234567890ab", "alias/aws/dynamodb")
    sse = {"Status": "ENABLED", "SSEType": "KMS", "KMSMasterKeyArn": alias}
    found = replace(here.description, table={**here.description.table, "SSEDescription": sse})
    assert manager_of(here.dynamodb, found.table) == "AWS"
    create(here.dynamodb, "orders-restored-1", found, {}, stream=False)
    assert here.dynamodb.creations[-1]["SSESpecification"] == {"Enabled": True, "SSEType": "KMS"}


@pytest.mark.parametrize("policy", ["RestorerPolicy", "DrillerPolicy"])
def test_the_restorer_may_look_keys_up(here: Here, policy: str) -> None:
    """With its policy a restorer, and the driller, learn who manages a key; without this statement
    a restore is refused, because it might create the table with a weaker key. The hint says what to
    do."""
    here.kms.manager = "AWS"
    description = replace(here.description, key_manager="")
    here.kms.statements = Rendered().policy(policy)
    create(here.dynamodb, "orders-restored-1", description, {}, stream=False)
    assert here.dynamodb.creations[-1]["SSESpecification"] == {"Enabled": True, "SSEType": "KMS"}
    here.kms.statements = without(here.kms.statements, "DescribeKeys")
    with pytest.raises(UsageError, match="No permission to look up key") as raised:
        create(here.dynamodb, "orders-restored-2", description, {}, stream=False)
    assert "kms:DescribeKey" in raised.value.hint
    assert "--into" in raised.value.hint
    assert len(here.dynamodb.creations) == 1


@pytest.mark.parametrize("manager", ["AWS", "CUSTOMER"])
def test_who_manages_a_key_is_on_record(here: Here, manager: str) -> None:
    """The description keeps who manages the key, so that whoever may not ask KMS, for example in
    another account, still creates the table right."""
    here.kms.manager = manager
    kept = TableDescription.of(here.description.record())
    assert kept.key_manager == manager
    here.kms.statements = without(
        Rendered(TableKeyArns=KEY).policy("RestorerPolicy"), "DescribeKeys"
    )
    create(here.dynamodb, "orders-restored-1", kept, {}, stream=False)
    assert ("KMSMasterKeyId" in here.dynamodb.creations[-1]["SSESpecification"]) == (
        manager == "CUSTOMER"
    )


def test_the_enabler_learns_who_manages_a_key(here: Here) -> None:
    """Whoever enables a table may ask KMS, so that the description says it. Without this statement
    nobody knows later, and nothing else fails."""
    here.kms.statements = Rendered().policy("EnablerPolicy")
    assert here.description.key_manager == "CUSTOMER"
    here.kms.statements = without(here.kms.statements, "DescribeKeys")
    assert here.description.key_manager == ""


@pytest.mark.parametrize("trouble", ["denied", "unreachable"])
def test_a_description_is_kept_without_kms(
    here: Here, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever cannot ask KMS can enable and back up a table all the same; nobody then knows who
    manages its key."""
    if trouble == "denied":
        here.kms.statements = []
    else:
        monkeypatch.setattr(Encrypted, "_describe_key", unreachable)
    assert "KeyManager" not in here.description.record()


def unreachable(self: object, request: object) -> None:
    raise EndpointConnectionError(endpoint_url="https://kms.example")


def test_a_network_without_kms_uses_the_record(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where KMS cannot be reached, the record decides. Without a record the restore ends, and no
    table is created."""
    known = here.description
    monkeypatch.setattr(Encrypted, "_describe_key", unreachable)
    with pytest.raises(EndpointConnectionError):
        create(here.dynamodb, "orders-1", replace(known, key_manager=""), {}, stream=False)
    assert not here.dynamodb.creations
    create(here.dynamodb, "orders-1", known, {}, stream=False)
    assert here.dynamodb.creations[-1]["SSESpecification"]["KMSMasterKeyId"] == KEY


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"missing": True}, "does not exist any more"),
        ({"state": "PendingDeletion"}, r"is not enabled \(PendingDeletion\)"),
        ({"state": "Disabled"}, r"is not enabled \(Disabled\)"),
    ],
)
def test_a_key_that_cannot_be_used(here: Here, settings: dict[str, Any], said: str) -> None:
    """A restore with a key that is gone ends with one sentence and a way out, before any table is
    created."""
    description = here.description
    for name, value in settings.items():
        setattr(here.kms, name, value)
    with pytest.raises(UsageError, match=said) as raised:
        create(here.dynamodb, "orders-restored-1", description, {}, stream=False)
    assert "create an empty table" in raised.value.hint
    assert not here.dynamodb.creations


def test_a_description_of_before(here: Here) -> None:
    """A description that an older release kept says nothing about the key's manager, and a table
    without a key in KMS has none."""
    record = here.description.record()
    del record["KeyManager"]
    assert TableDescription.of(record).key_manager == ""
    plain = World(1).dynamodb
    live, _ = look_up(plain, NAME)
    assert live
    found = describe(plain, live.description)
    assert "KeyManager" not in found.record()
    create(here.dynamodb, "orders-restored-1", found, {}, stream=False)
    assert "SSESpecification" not in here.dynamodb.creations[-1]


def test_kms_is_asked_in_wire_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real client asks KMS with the body of the request, and returns its answer."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    with mock_aws():
        session = boto3.Session(region_name=REGION)
        arn = session.client("kms").create_key()["KeyMetadata"]["Arn"]
        dynamodb = DynamoDB(session)
        for _ in range(2):
            found = dynamodb.call("describe_key", {"KeyId": arn}).data["KeyMetadata"]
            assert (found["Arn"], found["KeyManager"]) == (arn, "CUSTOMER")


class Bucket:
    """S3's answer about the default encryption of a bucket."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def get_bucket_encryption(self, **_: Any) -> Any:
        if isinstance(self.answer, str):
            raise refusal(self.answer, self.answer, "GetBucketEncryption")
        rule = {"ApplyServerSideEncryptionByDefault": self.answer}
        return {"ServerSideEncryptionConfiguration": {"Rules": [rule]}}


BY_KMS = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}


@pytest.mark.parametrize(
    ("answer", "allowed"),
    [
        ({"SSEAlgorithm": "AES256"}, None),
        ({"SSEAlgorithm": "AES256"}, KEY),
        ("ServerSideEncryptionConfigurationNotFoundError", None),
        ("NotImplemented", None),
        (BY_KMS, KEY),
        ({**BY_KMS, "KMSMasterKeyID": KEY.rpartition("/")[2]}, KEY),
        ({**BY_KMS, "KMSMasterKeyID": "alias/backups"}, KEY),
        ({"SSEAlgorithm": "aws:kms"}, KEY),
        ({"SSEAlgorithm": "aws:kms:dsse", "KMSMasterKeyID": KEY}, KEY),
    ],
)
def test_a_bucket_that_the_function_can_write_to(answer: Any, allowed: str | None) -> None:
    """A bucket without a KMS key, or with the key that the function may use."""
    require_key(Bucket(answer), "backups", allowed)


@pytest.mark.parametrize(
    ("answer", "allowed"),
    [
        (BY_KMS, None),
        ({"SSEAlgorithm": "aws:kms"}, None),
        ({**BY_KMS, "KMSMasterKeyID": "alias/backups"}, None),
        ({"SSEAlgorithm": "aws:kms:dsse", "KMSMasterKeyID": KEY}, None),
        (BY_KMS, OTHER),
    ],
)
def test_a_bucket_that_the_function_cannot_write_to(answer: Any, allowed: str | None) -> None:
    """Each put would fail for lack of kms:GenerateDataKey. The hint names the parameter."""
    with pytest.raises(UsageError, match="encrypts with KMS key") as raised:
        require_key(Bucket(answer), "backups", allowed)
    assert "KmsKeyArn=" in raised.value.hint


@pytest.mark.parametrize("answer", [{}, {"Status": "Suspended"}])
def test_enable_refuses_a_bucket_that_keeps_no_versions(answer: dict[str, str]) -> None:
    """An existing bucket whose versioning was never enabled, or is suspended, cannot store history.
    `enable` refuses it before it looks at the table, and the hint says how to enable versioning."""

    class Unversioned:
        def get_bucket_versioning(self, **_: Any) -> Any:
            return answer

    connection = Connection(None, PLACE, "s3://backups")
    connection.__dict__ |= {"s3": Unversioned(), "stack": STACK}
    with pytest.raises(UsageError, match="does not keep object versions") as raised:
        Enabler(connection, None, stream_only=False).enable(NAME)
    assert "put-bucket-versioning --bucket backups" in raised.value.hint


def test_a_setting_that_may_not_be_read() -> None:
    """Whoever may not read the setting does not know, so the table is not enabled."""
    with pytest.raises(ClientError):
        require_key(Bucket("AccessDenied"), "backups", None)


@pytest.mark.parametrize("key", [None, KEY])
def test_enable_refuses_the_bucket_before_the_stream_is_on(
    key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`enable` compares the bucket's key with the stack's before it changes the table."""
    outputs = {"ArchiveUrl": "s3://backups", "FunctionName": "f", "FunctionArn": "a:b:c"}
    assert Stack.of("s", outputs | ({"KmsKeyArn": key} if key else {})).key == key
    case = Case(replace(STACK, key=key))
    with patched(lambda: case.world):
        monkeypatch.setattr("tests.world.PlainBucket.get_bucket_encryption", _by_kms)
        if key:
            assert case.enable().table == NAME
        else:
            with pytest.raises(UsageError, match="without a key"):
                case.enable()
            assert case.world.model.stream is None
            assert not case.lambdas.mappings


def _by_kms(self: object, **_: Any) -> Any:
    return Bucket(BY_KMS).get_bucket_encryption()
