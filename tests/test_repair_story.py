"""`verify --repair` against real servers: what was lost is found, repaired, and reported, and the
coverage before and after tells the truth about it.

The commands run in this process. All servers here have the same clock, so the margins between
clocks are small, and nobody waits for minutes.
"""

import json
from typing import Any

import pytest

import stream_backup.capture.shards
import stream_backup.verify.repair
import stream_backup.verify.rounds
from stream_backup.capture.catch_up import catch_up
from stream_backup.capture.state import state_of
from stream_backup.cli.main import cli
from stream_backup.core import time_rule
from stream_backup.core.item import Item
from stream_backup.core.key import key_hash
from stream_backup.errors import ArchiveError, CoverageError, UsageError
from tests.cli import Table, next_second
from tests.servers import Aws, environment

pytestmark = pytest.mark.server


def row(number: int, note: str) -> Item:
    return {"id": {"S": f"row-{number}"}, "note": {"S": note}}


def key(number: int) -> Item:
    return {"id": {"S": f"row-{number}"}}


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("SKEW", "MARGIN", "QUIET"):
        monkeypatch.setattr(time_rule, name, 1)
    monkeypatch.setattr(time_rule, "SETTLE", 0)
    for module in (time_rule, stream_backup.capture.shards):
        monkeypatch.setattr(module, "QUIET_READS", 3)
    monkeypatch.setattr(stream_backup.verify.repair, "written_by", lambda moment: moment)
    waits = iter([lambda connection, state, _: state_of(connection, state.table)] * 2 + [catch_up])
    monkeypatch.setattr(
        stream_backup.verify.repair, "catch_up", lambda *given: next(waits)(*given)
    )  # only after the scan is there anything to read
    monkeypatch.setattr(stream_backup.verify.repair, "PAUSE", 0.2)
    monkeypatch.setattr(stream_backup.verify.rounds, "PAUSE", 0.1)
    return monkeypatch


def test_what_was_lost_is_found_repaired_and_reported(
    ministack_url: str, hurried: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of three changes the versions are gone. `verify` finds the rows and names `--repair`, which
    asks, writes, and reports; afterwards `verify` finds nothing, `history` shows what was found
    missing, and `restore` refuses the moments in the gap and gives the present."""
    aws = Aws(ministack_url)
    bucket = aws.bucket()
    for name, value in environment(aws.url).items():
        hurried.setenv(name, value)
    hurried.setenv("STREAM_BACKUP_ARCHIVE", f"s3://{bucket}")
    table = Table.create(aws, "repaired")
    table.put_many([row(number, "good") for number in range(6)])

    def run(*words: str) -> Any:
        capsys.readouterr()
        cli.main([*words], standalone_mode=False)
        return capsys.readouterr()

    run("enable", "repaired", "--stream-only")
    run("backfill", "repaired")
    good = next_second()
    table.put(row(1, "lost"))
    table.delete(key(2))
    run("follow", "repaired", "--once")
    s3 = aws.client("s3")
    for number in (1, 2):
        path = f"repaired/{key_hash(key(number))}"
        found = s3.list_object_versions(Bucket=bucket, Prefix=path)["Versions"]
        newest = next(each for each in found if each["IsLatest"])
        s3.delete_object(Bucket=bucket, Key=path, VersionId=newest["VersionId"])
    in_gap = next_second()
    with pytest.raises(ArchiveError, match="2 rows of repaired do not match") as told:
        run("verify", "repaired")
    assert "verify repaired --repair" in told.value.hint
    with pytest.raises(UsageError, match="need --repair"):
        run("verify", "repaired", "--yes")
    printed = run("verify", "repaired", "--repair", "--lost-since", good, "--yes", "--json")
    assert "2 rows are to be written." in printed.err
    assert "Still exact: from " in printed.err
    repair = json.loads(printed.out)["repair"]
    assert repair["counts"] == {"scan": 1, "missing": 1, "changed": 0, "failed": 0}
    assert repair["complete"]
    assert repair["gap"]["lost"]
    assert "found missing" in run("history", "repaired", json.dumps(key(2))).out
    while next_second() <= repair["exact_from"]:
        pass  # it is a second or two ahead, and `follow` reads up to when it was called
    run("follow", "repaired", "--once")
    status = json.loads(run("status", "repaired", "--json").out)
    assert repair["exact_from"] in json.dumps(status)
    assert "verification found 2 rows" in json.dumps(status)
    with pytest.raises(CoverageError):
        run("restore", "repaired", "--at", in_gap, "--to", "-", "--plan")
    restored = run("restore", "repaired", "--at", repair["exact_from"], "--to", "-").out
    assert sorted(json.loads(line)["Item"]["note"]["S"] for line in restored.splitlines()) == [
        "good",
        "good",
        "good",
        "good",
        "lost",
    ]
