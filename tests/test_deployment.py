"""The template deployed as an operator deploys it: `sam build`, `sam deploy`, tables backed up and
restored, `sam delete`.

It is deployed through CloudFormation, on ministack with IAM enforced (AUTH=true) and over TLS. The
function is the package that `sam build` made, in its own process and with its own role. ministack
does not support lifecycle rules, alarms with metric math (SilenceSeconds=0 omits them),
partial-batch responses, and the on-failure destination. Those are only checked in the template
(test_template.py).
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.core.change import Change
from stream_backup.core.key import KeySchema
from stream_backup.core.moment import iso
from tests import sam
from tests.cli import SIMPLE, Shell, Table, next_second
from tests.test_deployer import statements as deployer

pytestmark = [pytest.mark.server, pytest.mark.once]

MEGABYTE = 1024**2
PATIENCE = 60
SCHEMA = KeySchema(SIMPLE)
OLD = [{"id": {"S": f"old-{index}"}, "n": {"N": str(index)}} for index in range(5)]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sam.Cloud]:
    with sam.cloud(tmp_path_factory.mktemp("cloud")) as found:
        yield found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The function for this machine. `test_the_package_…` builds it for Lambda."""
    return sam.build(tmp_path_factory.mktemp("built"), **sam.HERE)


@pytest.fixture(scope="module")
def orders(cloud: sam.Cloud) -> Table:
    """A table with rows from before its stream was on."""
    table = Table.create(cloud.aws, "orders")
    table.put(*OLD)
    specification = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    table.client.update_table(TableName="orders", StreamSpecification=specification)
    return table


@pytest.fixture(scope="module")
def stack(cloud: sam.Cloud, built: Path, orders: Table) -> sam.Stack:
    stream = orders.client.describe_table(TableName="orders")["Table"]["LatestStreamArn"]
    return sam.deploy(
        cloud,
        built,
        "stream-backup",
        StreamArns=stream,
        Prefix="production",
        SilenceSeconds="0",
        DistributedWorkers="1",
    )


@pytest.fixture
def shell(cloud: sam.Cloud) -> Shell:
    """A terminal without an archive: the commands find the stack."""
    return Shell(cloud.aws, None, cloud.trust)


def archived(stack: sam.Stack, table: str, key: str, number: int) -> list[Change]:
    """Returns the item's versions in order of stamp, once there are at least `number`."""
    archive = Archive(stack.cloud.aws.store(stack.bucket), "production/", table, SCHEMA)
    wait(lambda: len(archive.history({"id": {"S": key}}).versions) >= number)
    return sorted(
        map(archive.read, archive.history({"id": {"S": key}}).versions),
        key=lambda change: change.stamp.rank,
    )


def wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not until() and time.monotonic() < deadline:
        time.sleep(0.2)


def test_the_package_is_small_and_holds_the_handler_alone(tmp_path: Path) -> None:
    """The package that `sam build` makes for Lambda is smaller than 40 MB unzipped, is for arm64,
    and contains only the modules of this project that the handler imports."""
    package = sam.build(tmp_path / "built", "Function") / "Function"
    files = [path for path in package.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    print(f"\npackage: {size / MEGABYTE:.1f} MB unzipped, {len(files)} files")
    assert size < 40 * MEGABYTE
    assert {path.name for path in package.iterdir() if not path.name.endswith(".dist-info")} == {
        "aws_lambda_powertools",
        "jmespath",
        "obstore",
        "orjson",
        "stream_backup",
        "typing_extensions.py",
    }
    ours = {path.stem for path in (package / "stream_backup").rglob("*")}
    assert {"handler", "batch", "layout", "change", "s3"} <= ours
    assert not ours & {"aws", "cli", "demo", "estimate", "follow", "memory", "verify"}
    for library in (*package.glob("obstore/*.so"), *package.glob("orjson/*.so")):
        assert int.from_bytes(library.read_bytes()[18:20], "little") == 183, (
            "not an AArch64 library (ELF: e_machine)"
        )


ALONE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from stream_backup.handler import handler
print(json.dumps(handler({"Records": [json.loads(sys.argv[2])]}, None)))
library, package = sys.argv[3], sys.argv[1]
files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
print(json.dumps([each for each in files if each and not each.startswith((library, package))]))
"""


def alone(
    package: Path, key: str, stack: sam.Stack, folder: Path
) -> subprocess.CompletedProcess[bytes]:
    """The package handles one change in an interpreter that has nothing but it: no project, no
    installed packages, and no module of the folder it runs in."""
    (event,) = json.loads((sam.ROOT / "tests/events/insert.json").read_text())["Records"]
    event["eventSourceARN"] = (
        "arn:aws:dynamodb:us-east-1:000000000000:table/alone/stream/2026-11-20T10:15:22.105"
    )
    for image in (event["dynamodb"]["Keys"], event["dynamodb"]["NewImage"]):
        image["id"] = {"S": key}
    settings = Shell(stack.cloud.aws, stack.outputs["ArchiveUrl"], stack.cloud.trust).environment
    library = Path(sys.base_prefix, "lib").resolve()
    words = [ALONE, str(package), json.dumps(event), str(library)]
    return subprocess.run(
        [str(Path(sys.executable).resolve()), "-I", "-S", "-c", *words],
        env=settings,
        cwd=folder,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )


def test_the_package_needs_nothing_but_itself(
    built: Path, stack: sam.Stack, tmp_path: Path
) -> None:
    """What `sam build` packs, zipped as for Lambda and unpacked elsewhere, writes a change by
    itself: every module comes from it or from Python's own library. An unbuilt package does not."""
    archive = shutil.make_archive(str(tmp_path / "package"), "zip", built / "Function")
    shutil.unpack_archive(archive, tmp_path / "package")
    done = alone(tmp_path / "package", "a-key", stack, tmp_path)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    lines = [line for line in done.stdout.splitlines() if not line.startswith(b'{"_aws"')]
    answer, strangers = map(json.loads, lines)
    assert answer == {"batchItemFailures": []}
    assert strangers == []
    assert [change.stamp.kind for change in archived(stack, "alone", "a-key", 1)] == ["insert"]
    unbuilt = alone(sam.ROOT / "function", "another-key", stack, tmp_path)
    assert b"No module named 'stream_backup'" in unbuilt.stderr


@pytest.mark.parametrize("explicit", [False, True])
def test_an_unbuilt_deployment_fails(
    cloud: sam.Cloud, stack: sam.Stack, tmp_path: Path, explicit: bool
) -> None:
    """`sam deploy` in a checkout that was not built ends with a message, and the deployed function
    stays what it is; so it does when the template of the checkout is named."""
    for name in ("template.yaml", "samconfig.toml", "function", "stream_backup"):
        subprocess.run(["cp", "-r", str(sam.ROOT / name), str(tmp_path)], check=True)
    client, s3 = cloud.aws.client("lambda"), cloud.aws.client("s3")
    before = client.get_function(FunctionName=stack.name)["Configuration"]["CodeSha256"]
    words = ["--stack-name", stack.name, "--no-confirm-changeset"]
    if explicit:
        words += ["--template-file", "template.yaml"]
    said = cloud.refused("deploy", *words, cwd=tmp_path)
    if explicit:
        assert "run-sam-build-first" in said
    else:
        assert f"Template file not found at {tmp_path}/.aws-sam/build/template.yaml" in said
    after = client.get_function(FunctionName=stack.name)["Configuration"]["CodeSha256"]
    assert after == before
    assert s3.head_bucket(Bucket=stack.bucket)


def test_a_cold_start_is_measured(built: Path, stack: sam.Stack, cloud: sam.Cloud) -> None:
    """The packaged function starts and writes its first batch. The time that this takes is printed,
    not tested."""
    (event,) = json.loads((sam.ROOT / "tests/events/insert.json").read_text())["Records"]
    event["eventSourceARN"] = (
        "arn:aws:dynamodb:us-east-1:000000000000:table/cold/stream/2026-11-20T10:15:22.105"
    )
    script = """
import json, sys, time
from stream_backup.handler import handler
print(json.dumps([time.time(), time.process_time()]))
assert handler({"Records": [json.loads(sys.argv[1])]}, None) == {"batchItemFailures": []}
print(json.dumps([time.time(), time.process_time()]))
"""
    settings = Shell(
        cloud.aws,
        stack.outputs["ArchiveUrl"],
        cloud.trust | {"PYTHONPATH": str(built / "Function"), "PYTHONSAFEPATH": "1"},
    ).environment
    for what, option in (
        ("nothing compiled, as in Lambda", "-SB"),
        ("compiling", "-S"),
        ("all compiled", "-S"),
    ):
        begun = time.time()
        command = [sys.executable, option, "-c", script, json.dumps(event)]
        done = subprocess.run(
            command, env=settings, capture_output=True, check=True, timeout=PATIENCE
        )
        loaded, ended = (
            json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"[")
        )
        (metrics,) = (
            json.loads(line) for line in done.stdout.splitlines() if line.startswith(b'{"_aws"')
        )
        assert metrics["failures"] == [0], "the template's metric filter reads failures[0]"
        print(
            f"\ncold start, {what}: loaded after {loaded[0] - begun:.2f} s, first batch written"
            f" after {ended[0] - begun:.2f} s; CPU {ended[1]:.2f} s, which at the CPU share of 512"
            f" MB (0.29) would be {ended[1] / 0.29:.2f} s"
        )


def test_the_bucket_is_guarded(stack: sam.Stack, cloud: sam.Cloud) -> None:
    """The bucket is versioned, private, encrypted, and owned by the account, and not even an
    administrator can delete a version."""
    s3, bucket = cloud.aws.client("s3"), stack.bucket
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
    (rule,) = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    (owner,) = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
    assert owner["ObjectOwnership"] == "BucketOwnerEnforced"

    administrator = cloud.user(
        "administrator", [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
    )
    keys = {name.lower(): value for name, value in administrator.items()}
    as_administrator = type(cloud.aws.session)(**keys, region_name="us-east-1").client(
        "s3", endpoint_url=cloud.aws.url
    )
    version = as_administrator.put_object(Bucket=bucket, Key="scratch", Body=b"")["VersionId"]
    with pytest.raises(ClientError, match="AccessDenied"):
        as_administrator.delete_object(Bucket=bucket, Key="scratch", VersionId=version)
    as_administrator.delete_object(
        Bucket=bucket, Key="scratch"
    )  # adds a delete marker, which removes nothing


def test_a_table_is_backed_up_and_restored(stack: sam.Stack, orders: Table, shell: Shell) -> None:
    """Through the stack's own mapping, function, and role, existing rows are archived by a backfill
    and changes by the stream, and all are restored."""
    said = shell.done("enable", "orders", "--json").json
    mappings = stack.cloud.aws.client("lambda").list_event_source_mappings()["EventSourceMappings"]
    assert said["mapping"] in {mapping["UUID"] for mapping in mappings}
    assert (
        len([mapping for mapping in mappings if ":table/orders/" in mapping["EventSourceArn"]]) == 1
    ), "made twice"
    assert shell.done("backfill", "orders", "--json").json["counts"]["written"] == len(OLD)

    key = {"id": {"S": "order-1"}}
    orders.put(key, key | {"state": {"S": "paid"}})
    good = archived(stack, "orders", "order-1", 2)[-1].stamp.at
    next_second()
    rows, moment = orders.rows(), iso(good)
    orders.delete(key)
    orders.put(OLD[0] | {"n": {"S": "undefined"}})
    assert [change.stamp.kind for change in archived(stack, "orders", "order-1", 3)] == [
        "insert",
        "modify",
        "remove",
    ]
    assert archived(stack, "orders", "order-1", 3)[-1].body is None
    archived(stack, "orders", "old-0", 2)

    shell.done("restore", "orders", "--at", moment, "--into", "orders-restored-1")
    assert Table(stack.cloud.aws, "orders-restored-1").rows() == rows
    shell.done("restore", "orders", "--at", moment, "--in-place", "--yes")
    assert orders.rows() == rows


def test_the_workers_of_the_stack_back_up_and_restore(
    stack: sam.Stack, cloud: sam.Cloud, shell: Shell
) -> None:
    """The deployed state machines call the packages that `sam build` made, each under its own role:
    a distributed backfill and a distributed restore end well. ministack uses `*` as the resource of
    TagResource and UntagResource (test_permissions.py)."""
    stack.widen("RestoreWorkerRole", "dynamodb:TagResource", "dynamodb:UntagResource")
    table = Table.create(cloud.aws, f"wide-{uuid4().hex[:6]}")
    table.put(*OLD)
    shell.done("enable", table.name)
    found = shell.done("backfill", table.name, "--distributed", "--segments", "1", "--json").json
    assert (found["counts"]["written"], found["complete"]) == (len(OLD), True)
    shell.done("follow", table.name, "--once")
    copy = Table(cloud.aws, f"{table.name}-restored-1")
    words = ("--at", found["witness"], "--into", copy.name, "--distributed", "--json")
    assert shell.done("restore", table.name, *words).json["written"] == len(OLD)
    assert copy.rows() == table.rows()


def test_the_watcher_records_how_far_streams_are_read(
    stack: sam.Stack, orders: Table, shell: Shell
) -> None:
    """The deployed watcher, under its own role, records how far the stream has been read and for
    how long versions are kept, and reports the age of the newest exact second."""
    shell.done("enable", "orders")
    shell.done("backfill", "orders")
    catalog = Catalog(Archive(stack.cloud.aws.store(stack.bucket), "production/", "orders", SCHEMA))
    (stream,) = catalog.streams()
    stack.widen("WatcherRole", sam.INSTEAD_OF_GET)
    begun = int(time.time())
    answer = stack.cloud.aws.client("lambda").invoke(FunctionName=stack.outputs["WatcherName"])
    said = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, said
    assert said["tables"] >= 1
    witness = catalog.witness(stream.label)
    assert witness is not None
    assert stream.recorded <= witness.read <= begun <= witness.seen
    assert said["exact_age"] == pytest.approx(witness.seen - witness.read, abs=30)
    assert catalog.retentions() == []


@pytest.mark.parametrize(
    "function",
    [
        "Function",
        "Watcher",
        "Driller",
        "BackfillWorker",
        "RestoreWorker",
        "VerifyWorker",
        "DrillWorker",
        "Enroller",
    ],
)
def test_a_package_needs_nothing_else(built: Path, function: str) -> None:
    """Unpacked alone, a package contains everything that its function imports: an interpreter that
    has only the package and the standard library loads it."""
    package = built / function
    module = {
        "Function": "stream_backup.handler",
        "Watcher": "stream_backup.watcher",
        "Driller": "stream_backup.driller",
        "BackfillWorker": "stream_backup.worker",
        "RestoreWorker": "stream_backup.worker",
        "VerifyWorker": "stream_backup.worker",
        "DrillWorker": "stream_backup.worker",
        "Enroller": "stream_backup.enroller",
    }[function]
    script = f"""
import sys
sys.path.insert(0, {str(package)!r})
import {module}
print({module}.__file__)
print(*sys.modules)
print(*sys.path)
"""
    command = [sys.executable, "-I", "-S", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
    file, loaded, path = done.stdout.splitlines()
    assert Path(file).is_relative_to(package)
    assert not {"click", "rich"} & {*loaded.split()}
    assert "site-packages" not in path
    assert not (package / "stream_backup" / "cli").exists()


@pytest.mark.parametrize(
    "function",
    [
        *("Watcher", "Driller", "Enroller"),
        *("BackfillWorker", "RestoreWorker", "VerifyWorker", "DrillWorker"),
    ],
)
def test_a_package_with_boto3_is_small(built: Path, function: str) -> None:
    """With boto3 a package stays far below the 250 MB that Lambda allows."""
    size = sum(path.stat().st_size for path in (built / function).rglob("*") if path.is_file())
    print(f"\npackage of {function}: {size / MEGABYTE:.1f} MB unzipped")
    assert size < 80 * MEGABYTE


def test_an_expired_item_leaves_a_tombstone_by_ttl(stack: sam.Stack) -> None:
    """An expired item leaves a tombstone that is marked as removed by TTL. The deployed function is
    invoked with the event that Lambda sends, because ministack sends none."""
    event = json.loads((sam.ROOT / "tests/events/ttl_expiry.json").read_text())
    for record in event["Records"]:
        record["eventSourceARN"] = (
            "arn:aws:dynamodb:us-east-1:000000000000:table/sessions/stream/2026-11-20T10:15:22.105"
        )
    client = stack.cloud.aws.client("lambda")
    answer = client.invoke(FunctionName=stack.outputs["FunctionName"], Payload=json.dumps(event))
    assert json.loads(answer["Payload"].read()) == {"batchItemFailures": []}
    (found,) = archived(stack, "sessions", "session-9", 1)
    assert found.body is None
    assert found.stamp.by == "ttl"


def test_a_table_is_added_without_a_deployment(stack: sam.Stack, shell: Shell) -> None:
    """`enable` alone creates a mapping like the template's, and the function's role already covers
    the new stream."""
    added = Table.create(stack.cloud.aws, f"added-{uuid4().hex[:6]}")
    shell.done("enable", added.name)
    added.put({"id": {"S": "first"}})
    assert [change.stamp.kind for change in archived(stack, added.name, "first", 1)] == ["insert"]
    every = stack.cloud.aws.client("lambda").list_event_source_mappings()["EventSourceMappings"]
    own, made = (
        next(each for each in every if f":table/{name}/" in each["EventSourceArn"])
        for name in ("orders", added.name)
    )
    different = {
        "UUID",
        "EventSourceArn",
        "EventSourceMappingArn",
        "LastModified",
        "LastProcessingResult",
    }
    assert {name: own[name] for name in own if name not in different} == {
        name: made[name] for name in made if name not in different
    }


def test_the_archive_outlives_the_stack(cloud: sam.Cloud, built: Path) -> None:
    """`sam delete` removes the function and keeps both buckets, with their protection. Whoever has
    the documented policy of the deployer can deploy and delete the stack."""
    name = f"short-lived-{os.getpid()}"
    document = json.dumps(deployer("000000000000", "us-east-1")).replace("stream-backup", name)
    user = cloud.user("deployer", json.loads(document))
    stack = sam.deploy(cloud, built, name, user=user, SilenceSeconds="0")
    s3, bucket, failures = cloud.aws.client("s3"), stack.bucket, stack.outputs["FailuresBucket"]
    policy = s3.get_bucket_policy(Bucket=bucket)["Policy"]
    s3.put_object(Bucket=bucket, Key="orders/meta/streams/1.json", Body=b"{}")
    cloud.sam("delete", "--stack-name", stack.name, "--no-prompts", user=user)
    with pytest.raises(ClientError, match="ResourceNotFound"):
        cloud.aws.client("lambda").get_function(FunctionName=stack.outputs["FunctionName"])
    assert s3.list_object_versions(Bucket=bucket)["Versions"]
    assert json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"]) == json.loads(policy)
    s3.head_bucket(Bucket=failures)
