"""A new user can follow docs/operations.md word for word, from the first deployment to the deletion
of the last bucket.

The commands run in a fresh copy of a checkout, as a user of an account in which IAM is enforced,
over TLS. The test adds only what a user adds to the page: a table that is in use, a moment, and
what goes wrong between one section and the next.
"""

import gzip
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import run

import pytest

from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.capture.shards import ShardReader, describe_stream
from stream_backup.core.item import Item
from stream_backup.core.moment import from_iso, iso
from tests import sam, walk
from tests.cli import Table, lines, next_second, seconds_of
from tests.event_source_mapping import discarded
from tests.servers import environment

pytestmark = [pytest.mark.server, pytest.mark.once]

PAGE = sam.ROOT / "docs/operations.md"
PATIENCE = 900
EXAMPLE = "2026-11-21T03:19:59Z"
"""The moment in the page, which readers replace with their own."""

GAP = ("2026-11-21T04:00:00Z", "2026-11-21T04:10:00Z")
"""The known gap in the page."""

OLD = [{"id": {"S": f"order-{index}"}, "state": {"S": "new"}} for index in range(8)]
ROLES = ("backup-restorer", "backup-operator")
ITEM: Item = {"id": {"S": "order-1"}}


@dataclass
class Story:
    """The table during the walkthrough: what the application does to it, and its rows at the moment
    that is restored."""

    cloud: sam.Cloud
    terminal: walk.Terminal
    said: list[tuple[walk.Step, walk.Said]] = field(default_factory=list)
    moment: str = ""
    rows: list[bytes] = field(default_factory=list)
    gap: str = ""

    def __post_init__(self) -> None:
        self.table = Table.create(self.cloud.aws, "orders")
        self.table.put(*OLD)

    def follow(self, step: walk.Step) -> walk.Said:
        """Runs one command of the page, which must succeed, and returns its result."""
        command = step.command.replace(EXAMPLE, self.moment)
        for each in GAP:
            command = command.replace(each, self.gap)
        said = self.terminal.type(command)
        self.said.append((step, said))
        assert said.code == 0, f"{step.section}: $ {step.command}\n{said.text}"
        return said

    def texts(self, section: str, command: str) -> str:
        """Returns the output of the commands of a section that begin with these words."""
        found = [
            said.text
            for step, said in self.said
            if step.section == section and step.command.startswith(command)
        ]
        assert found, (section, command)
        return "\n".join(found)

    def arrived(self, key: Item, number: int) -> None:
        """Waits until the archive has this many versions of the item, with the page's own
        command."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            said = self.terminal.type(
                f"stream-backup history orders '{json.dumps(key)}' --json 2>/dev/null"
            )
            if said.code == 0 and len(json.loads(said.text)["versions"]) >= number:
                return
            time.sleep(0.2)
        raise AssertionError(f"{key} has not arrived")

    def application_runs(self) -> None:
        """Before the drill: orders are created and paid."""
        self.table.put(
            ITEM | {"state": {"S": "paid"}}, {"id": {"S": "order-100"}, "state": {"S": "new"}}
        )
        self.arrived(ITEM, 2)
        self.arrived({"id": {"S": "order-100"}}, 1)
        self.moment, self.rows = next_second(), self.table.rows()

    def bad_deployment(self) -> None:
        """Before the bad day: states become undefined, one row is deleted, and another is added."""
        assert not Table(self.cloud.aws, "orders-restored-drill").exists()
        self.table.put(ITEM | {"state": {"S": "undefined"}}, OLD[2] | {"state": {"S": "undefined"}})
        self.table.put({"id": {"S": "junk"}})
        self.table.delete({"id": OLD[3]["id"]})
        for key, number in (
            (ITEM, 3),
            ({"id": OLD[2]["id"]}, 2),
            ({"id": {"S": "junk"}}, 1),
            ({"id": OLD[3]["id"]}, 2),
        ):
            self.arrived(key, number)

    def one_item_is_back(self) -> None:
        """Between the restore of one item and of the whole table: only that item is restored."""
        state = self.table.client.get_item(TableName="orders", Key=ITEM)["Item"]["state"]
        assert state == {"S": "paid"}
        assert self.table.rows() != self.rows
        self.arrived(ITEM, 4)

    def new_table_is_right(self) -> None:
        """The restored table has the expected rows, and the live table is unchanged."""
        assert Table(self.cloud.aws, "orders-restored-today").rows() == self.rows
        assert self.table.rows() != self.rows

    def batch_fails(self) -> None:
        """After the rewind: Lambda gives up on a batch. ministack never does, so the test writes
        what Lambda would leave to the failures bucket: the records of the stream. It also deletes
        the version from the archive, as the account's root user."""
        assert self.table.rows() == self.rows
        self.arrived(ITEM, 4)
        key = {"id": {"S": "order-200"}}
        self.table.put(key | {"state": {"S": "new"}})
        self.arrived(key, 1)
        described = self.table.client.describe_table(TableName="orders")["Table"]
        dynamodb = DynamoDB(self.cloud.aws.session)
        (shard,) = describe_stream(dynamodb, described["LatestStreamArn"]).shards
        reader = ShardReader(dynamodb, described["LatestStreamArn"], shard, reached=0)
        while reader.read(0):
            pass
        record = reader.pending[-1] | {"eventSourceARN": described["LatestStreamArn"]}
        assert record["dynamodb"]["Keys"] == key
        stack = sam.Stack(self.cloud, "stream-backup")
        s3 = self.cloud.aws.client("s3")
        found = s3.list_object_versions(Bucket=stack.bucket, Prefix="orders/")["Versions"]
        newest = max(
            (each for each in found if "/meta/" not in each["Key"]),
            key=lambda each: each["LastModified"],
        )
        policy = s3.get_bucket_policy(Bucket=stack.bucket)["Policy"]
        s3.delete_bucket_policy(Bucket=stack.bucket)
        s3.delete_object(Bucket=stack.bucket, Key=newest["Key"], VersionId=newest["VersionId"])
        s3.put_bucket_policy(Bucket=stack.bucket, Policy=policy)
        (mapping,) = self.cloud.aws.client("lambda").list_event_source_mappings()[
            "EventSourceMappings"
        ]
        path = f"aws/lambda/{mapping['UUID']}/{shard}/2026/11/21/2026-11-21T03.20.00-batch"
        content = discarded([record], shard, "RetryAttemptsExhausted", 51, time.time())
        s3.put_object(Bucket=stack.outputs["FailuresBucket"], Key=path, Body=content)

    def gap_is_known(self) -> None:
        """Before the gap is recorded: it is the second after the one that is restored later."""
        self.gap = iso(from_iso(self.moment) + 1)

    def lost_is_back(self) -> None:
        """After the redrive: the lost change is in the archive again."""
        self.arrived({"id": {"S": "order-200"}}, 1)

    def roles_are_widened(self) -> None:
        """ministack uses `*` as the resource of this action, where AWS uses the table that the
        request names."""
        actions = ["dynamodb:ListTagsOfResource", sam.INSTEAD_OF_GET]
        statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        for role in ROLES:
            self.cloud.aws.client("iam").put_role_policy(
                RoleName=role, PolicyName="stand-in", PolicyDocument=document
            )

    def watcher_runs(self) -> None:
        """The schedule of the watcher. From then on, the archive itself says how far the stream was
        read, also when the stack is gone."""
        stack = sam.Stack(self.cloud, "stream-backup")
        stack.widen("WatcherRole", sam.INSTEAD_OF_GET)
        answer = self.cloud.aws.client("lambda").invoke(FunctionName=stack.outputs["WatcherName"])
        assert "FunctionError" not in answer, answer["Payload"].read()

    def roles_are_narrowed(self) -> None:
        """Removes the policies that only the emulator needs. The second deployment changed the
        parameters that it specified, and no others."""
        (stack,) = self.cloud.aws.client("cloudformation").describe_stacks(
            StackName="stream-backup"
        )["Stacks"]
        parameters = {each["ParameterKey"]: each["ParameterValue"] for each in stack["Parameters"]}
        assert parameters["AlarmEmail"] == "on-call@example.com"
        assert parameters["BreakGlassRoleArn"].endswith(":role/backup-break-glass")
        for role in ROLES:
            self.cloud.aws.client("iam").delete_role_policy(RoleName=role, PolicyName="stand-in")

    def glass_is_broken(self) -> None:
        """The stack and its function are deleted, and the archive and its policy remain. For a user
        who has assumed a role, ministack uses the session's ARN as aws:PrincipalArn, where AWS uses
        the role's ARN."""
        assert not self.cloud.aws.client("lambda").list_functions()["Functions"]
        s3, bucket = (
            self.cloud.aws.client("s3"),
            self.texts("1. Note where everything is", "echo").split()[1],
        )
        policy = s3.get_bucket_policy(Bucket=bucket)["Policy"]
        role, session = (
            ":iam::000000000000:role/backup-break-glass",
            ":sts::000000000000:assumed-role/backup-break-glass/*",
        )
        assert role in policy
        s3.put_bucket_policy(Bucket=bucket, Policy=policy.replace(role, session))


EVENTS: dict[str, Callable[[Story], None]] = {
    "Drill": Story.application_runs,
    "The bad day": Story.bad_deployment,
    "Into a new table": Story.one_item_is_back,
    "The live table, rewound": Story.new_table_is_right,
    "Redrive": Story.batch_fails,
    "Record a known gap": Story.gap_is_known,
    "Hand over": Story.lost_is_back,
    "Take a role on": Story.roles_are_widened,
    "Disable": Story.watcher_runs,
    "4. Take off what holds on to the stack": Story.roles_are_narrowed,
    "6. Delete the archive for good": Story.glass_is_broken,
}
"""What happens before a section of the page begins."""


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Story]:
    """Returns a terminal in a checkout. Only the user's identity and Region are set beyond what the
    page sets."""
    home, tools, checkout = tmp_path / "home", tmp_path / "tools", tmp_path / "checkout"
    for folder in (home, tools, checkout):
        folder.mkdir()
    packages = ("stream_backup", "restore", "backfill")
    for name in ("template.yaml", "samconfig.toml", "pyproject.toml", "function", *packages):
        run(["cp", "-r", str(sam.ROOT / name), str(checkout)], check=True)
    walk.install_aws(tools)
    with sam.cloud(tmp_path) as cloud:
        for name, value in environment(cloud.aws.url).items():
            monkeypatch.setenv(name, value)
        somebody = cloud.user("operations", [{"Effect": "Allow", "Action": "*", "Resource": "*"}])
        (home / "credentials").write_text(
            "[default]\n"
            + "".join(f"{name.lower()} = {value}\n" for name, value in somebody.items())
        )
        own = {
            name: value for name, value in environment(cloud.aws.url).items() if "KEY" not in name
        }
        places = [str(tools), str(Path(sys.executable).parent), str(sam.BIN), os.environ["PATH"]]
        settings: dict[str, str] = {
            "PATH": ":".join(places),
            "HOME": str(home),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            **own,
            **cloud.trust,
            **sam.HERE,
            "AWS_SHARED_CREDENTIALS_FILE": str(home / "credentials"),
            "AWS_CONFIG_FILE": str(home / "config"),
            "PYTHON": sys.executable,  # for function/Makefile; has pip
            "SAM_CLI_TELEMETRY": "0",
            "SAM_CLI_POLL_DELAY": "0.5",
        }
        with walk.terminal(checkout, settings, PATIENCE) as terminal:
            yield Story(cloud, terminal)


def test_the_page_is_followed_word_for_word(story: Story, tmp_path: Path) -> None:
    """Every command of the page exits with 0, restores give the expected rows, and at the end
    nothing is left."""
    section = ""
    for step in walk.steps(PAGE.read_text()):
        if step.section != section:
            section = step.section
            if section in EVENTS:
                EVENTS[section](story)
        if not step.skipped:
            begun = time.monotonic()
            story.follow(step)
            print(f"{time.monotonic() - begun:5.1f} s  {section}: $ {step.command[:90]}")

    assert EVENTS.keys() <= {step.section for step in walk.steps(PAGE.read_text())}, (
        "an event whose section is gone"
    )
    assert "8 read, 8 written" in story.texts("Watch", "stream-backup status")
    assert "Enabled" in story.texts("Watch", "stream-backup status")
    assert {
        name.split("-")[2]
        for name in re.findall(r"stream-backup-\w+-\w+", story.texts("Watch", "aws cloudwatch"))
    } > {
        "LagAlarm",
        "LostAlarm",
    }
    assert '"paid"' in story.texts("Drill", "aws dynamodb get-item")
    assert story.texts("Drill", "aws dynamodb scan").strip() == "9"
    history = story.texts("The bad day", "stream-backup history")
    assert "undefined" in history
    assert seconds_of(history)[-1] > story.moment
    assert "3 to put, 1 to delete" in story.texts("The bad day", "stream-backup restore")
    assert "1 rows rewound" in story.texts("One item", "stream-backup restore")
    assert "3 rows rewound" in story.texts("The live table, rewound", "stream-backup restore")
    assert "1 failed batches written to the archive (1 changes), 0 still fail" in story.texts(
        "Redrive", "stream-backup redrive"
    )
    assert "failed batches" not in story.texts("Redrive", "stream-backup status")
    gap = story.texts("Record a known gap", "stream-backup outage")
    assert "No longer exact: from " in gap
    assert "Still exact: from " in gap
    assert f"gap             after {iso(from_iso(story.gap) - 1)}" in story.texts(
        "Record a known gap", "stream-backup status"
    )
    assert "Restores of orders are exact from" in story.texts(
        "Record a known gap", "stream-backup backfill"
    )
    assert "1 tables enabled" in story.texts("Upgrade", "stream-backup enable")
    assert "is now on" in story.texts("A new stack on an existing archive", "stream-backup enable")
    assert "stream-backup-2" in story.texts(
        "A new stack on an existing archive", "stream-backup status"
    )
    assert "orders (stream off)" in story.texts("2. Disable each table", "stream-backup status")
    assert f"{len(story.rows):,} items written to table orders-restored-alone" in story.texts(
        "5. Delete the stack", "stream-backup restore"
    )
    assert "No permission" not in story.texts("Take a role on", "stream-backup status")
    assert lines(gzip.decompress((tmp_path / "checkout/last.json.gz").read_bytes())) == story.rows
    assert not [
        bucket
        for bucket in story.cloud.aws.client("s3").list_buckets()["Buckets"]
        if "sam-cli" not in bucket["Name"]
    ]


def test_what_is_skipped_is_said() -> None:
    """Only these commands of the page are not run: those that fetch this project, those that need a
    second Region or account, those of scheduled drills, enrolment, and distributed runs, which
    other tests deploy, and those for several tables."""
    found = [step for step in walk.steps(PAGE.read_text()) if step.skipped]
    assert {step.section: step.command for step in reversed(found)} == {
        "Before you start": "python3 -m pip install '.[cli]'",
        "Enrolment": "sam build && sam deploy --parameter-overrides 'EnrolPattern=prod-*,orders'"
        " EnrolTag=backup=yes",
        "Scheduled drills": "sam build && sam deploy --parameter-overrides"
        " 'DrillSchedule=rate(7 days)'",
        "Upgrade": "git pull",
        "Several Regions and accounts": "sam build && sam deploy --region eu-west-1"
        " --parameter-overrides AlarmEmail=on-call@example.com",
        "Restore into another account": "export STREAM_BACKUP_ARCHIVE=s3://BUCKET",
        "Large tables": "sam build && sam deploy --parameter-overrides DistributedWorkers=100",
        "Drill": 'stream-backup drill "$TABLE" --distributed --sample 5%',
        "Several tables that belong together": "stream-backup restore --match 'shop-*'"
        ' --at "$AT" --plan',
    }
    assert len(found) == 21


def test_every_alarm_has_a_section() -> None:
    """Every alarm has a section under its name in the template, and every section is about an
    existing alarm."""
    resources = sam.template()["Resources"]
    loops = [resources.pop(name) for name in [*resources] if name.startswith("Fn::ForEach::")]
    for _, _, body in loops:
        resources |= {name.partition("&")[0]: resource for name, resource in body.items()}
    named = {
        name for name, resource in resources.items() if resource["Type"] == "AWS::CloudWatch::Alarm"
    }
    _, _, after = PAGE.read_text().partition("\n## Alarms\n")
    alarms, _, _ = after.partition("\n## ")
    assert set(re.findall(r"^### (\w+)$", alarms, re.MULTILINE)) == named


def test_links_lead_somewhere() -> None:
    """Every link within the page is to one of its headings, and every link to a file is to an
    existing file."""
    page = PAGE.read_text()
    headings = {
        heading.lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    }
    for link in re.findall(r"\]\(([^)]+)\)", page):
        if link.startswith("#"):
            assert link[1:] in headings, link
        elif not link.startswith("https://"):
            assert (PAGE.parent / link.partition("#")[0]).exists(), link


def test_the_table_of_permissions_is_the_templates() -> None:
    """The table of permissions is what docs/make_operations.py writes."""
    done = run(
        [sys.executable, str(sam.ROOT / "docs/make_operations.py"), "--check"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
