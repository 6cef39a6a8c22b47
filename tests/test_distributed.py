"""A distributed run on the emulator that executes Distributed Map, with the packaged worker and the
template's own state machine: it gives what a run on one machine gives."""

import json
from typing import Any
from uuid import uuid4

import pytest

from stream_backup.archive.layout import Archive
from stream_backup.aws.connection import Connection
from stream_backup.core.drill import DrillRecord
from tests.cli import SIMPLE, Shell, Table
from tests.drill_archive import with_history
from tests.fleet import Fleet
from tests.journal import SCHEMA
from tests.servers import Aws, environment
from tests.stack import Deployed

ROWS = 300


FEW = """
from stream_backup.distributed import verify
from stream_backup.worker import handler

verify.FEWEST_SLICES = 2
"""
"""A worker with few slices, each of which is a process of the emulator."""


def versions(archive: Archive) -> list[tuple[str, tuple[str, ...]]]:
    """Returns the name of every item and the contents of its versions."""
    return [
        (history.name, tuple(version.etag for version in history.versions))
        for history in archive.histories()
    ]


def table_of(aws: Aws, rows: int) -> Table:
    table = Table.create(aws, f"t-{uuid4().hex[:6]}", SIMPLE)
    table.put_many([{"id": {"S": f"row-{number}"}, "n": {"N": "1"}} for number in range(rows)])
    return table


@pytest.mark.once
@pytest.mark.server
def test_a_distributed_backfill_equals_a_local_one(aws: Aws) -> None:
    """The packaged workers of the stack write every row once, and the run's record gives coverage,
    as that of a local backfill does. It is started, left, returned to, and reported in the end with
    the same summary. So is a restore of it by workers of the same stack, which makes the table that
    a local restore makes."""
    fleet = Fleet.make(aws, "backfill", "restore", workers=2, at_once=2)
    shell, table = fleet.deployed.shell, table_of(aws, ROWS)
    local = Shell(aws, f"s3://{fleet.deployed.archive_bucket}/local", shell.more)
    for each in (shell, local):
        each.done("enable", table.name, "--stream-only")
    words = ("backfill", table.name, "--segments", "3", "--json")
    expected = local.done(*words, "--workers", "1").json
    started = shell.done(*words, "--distributed", "--detach")
    assert started.json["table"] == table.name
    assert f"stream-backup backfill {table.name} --attach" in started.err
    said = shell.done("backfill", table.name, "--attach", "--json")
    assert said.json["counts"] == expected["counts"]
    assert said.json["counts"]["written"] == ROWS
    assert said.json["complete"]
    assert said.json["witness"] >= said.json["answered"]
    assert f"{ROWS} items read: {ROWS} written, 0 already in the archive, 0 failed." in said.err
    assert "are exact from" in said.err
    store = aws.store(fleet.deployed.archive_bucket)
    found = versions(Archive(store, "production/", table.name, SCHEMA))
    assert found == versions(Archive(store, "local/", table.name, SCHEMA))
    assert len(found) == ROWS
    again = shell.done("backfill", table.name, "--attach", "--json")  # it has ended long ago
    assert again.json == said.json
    shell.done("follow", table.name, "--once")
    copy, other = (Table(aws, f"{table.name}-restored-{number}") for number in (1, 2))
    restore = ("restore", table.name, "--at", said.json["witness"], "--json", "--into")
    expected = shell.done(*restore, other.name).json
    started = shell.done(*restore, copy.name, "--distributed", "--detach")
    assert f"stream-backup restore {table.name} --attach" in started.err
    found = shell.done("restore", table.name, "--attach", "--json").json
    assert {**found, "requests": None} == {**expected, "requests": None, "into": copy.name}
    assert copy.rows() == other.rows() == table.rows()
    assert copy.tags().keys() == other.tags().keys()


@pytest.mark.once
@pytest.mark.server
def test_a_distributed_drill_passes(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """The packaged workers of the stack go through all six stages, and the last step records the
    drill and removes the scratch table. The live table stays as it is."""
    for name, value in environment(aws.url).items():
        monkeypatch.setenv(name, value)
    fleet = Fleet.make(aws, "drill", workers=1)
    stream = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    table = Table.create(aws, f"t-{uuid4().hex[:6]}", SIMPLE, StreamSpecification=stream)
    archive = f"s3://{fleet.deployed.archive_bucket}/production"
    catalog = with_history(Connection(None, None, archive), table)
    told = fleet.deployed.shell.done("drill", table.name, "--distributed", "--json").json
    assert (told["result"], told["reason"], told["compared_items"]) == ("passed", "", 16)
    assert told["rewound_to"] != told["moment"]
    assert catalog.drills() == [DrillRecord.of(told)]
    assert not Table(aws, told["scratch"]).exists()
    assert len(table.rows()) == 8


@pytest.mark.once
@pytest.mark.server
def test_what_a_stack_cannot_do_is_said(aws: Aws) -> None:
    """Without workers in the stack, without a run to return to, or for an archive that is not the
    stack's, a sentence says so, and how it can be done."""
    name = table_of(aws, 1).name
    words = ("backfill", name, "--distributed")
    plain = Deployed.make(aws).shell
    plain.run(*words).refused(
        2, "has no workers for a distributed backfill", "DistributedWorkers=100"
    )
    plain.run("backfill", name, "--attach").refused(2, "has no workers")
    plain.run("backfill", name, "--detach").refused(2, "Pass it together with --distributed")
    plain.run(*words, "--attach").refused(2, "Pass only one of them")
    given: dict[str, Any] = {"DistributedWorkers": "4", "WorkBucket": aws.bucket()}
    machine = "arn:aws:states:us-east-1:000000000000:stateMachine:none"
    aws.client("stepfunctions").create_state_machine(
        name="none", definition=json.dumps({}), roleArn="arn:aws:iam::000000000000:role/machine"
    )
    able = Deployed.make(aws, BackfillMachineArn=machine, **given).shell
    able.run("backfill", name, "--attach").refused(2, "No distributed backfill of", "--distributed")
    other = ("--archive", f"s3://{aws.bucket()}")
    able.run(*words, *other).refused(2, "use the archive s3://", "Leave out --archive")
    absent = Shell(aws, f"s3://{aws.bucket()}", {"STREAM_BACKUP_STACK": "absent"})
    absent.run(*words).refused(2, "There is no stack 'absent'", "DistributedWorkers")


@pytest.mark.once
@pytest.mark.server
def test_a_distributed_verification_equals_a_local_one(aws: Aws) -> None:
    """The packaged workers of the stack go through both stages, read ranges of each other's
    objects, and this machine compares again what they have left open: the report and the exit code
    are those of a local verification."""
    fleet = Fleet.make(aws, "verify", unlucky=FEW)
    shell, table = fleet.deployed.shell, table_of(aws, 40)
    shell.done("backfill", table.name, "--without-stream")
    table.put_many([{"id": {"S": f"row-{number}"}, "n": {"N": "2"}} for number in (1, 99)])
    table.delete({"id": {"S": "row-2"}})
    words = ("verify", table.name, "--json")
    expected = shell.run(*words)
    started = shell.done(*words, "--distributed", "--segments", "2", "--detach")
    assert f"stream-backup verify {table.name} --attach" in started.err
    said = shell.run(*words, "--attach")
    assert said.code == expected.code == 5
    found, local = ({**each.json, "requests": None} for each in (said, expected))
    assert found == local
    assert (found["equal"], found["differs"], found["missing"], found["extra"]) == (38, 1, 1, 1)
    stages = {len(each["kept"]) for each in fleet.reports() if "segment" in each["slice"]}
    assert stages == {1}, "each segment has put its rows into one object"
