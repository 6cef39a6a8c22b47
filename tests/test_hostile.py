"""A hostile archive: keys, values, names, and records under meta/ with control characters,
bidirectional controls, and markup, and records that name other buckets. It cannot write to the
terminal, leave a folder, or make `redrive` touch a bucket that is not the stack's."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from stream_backup.archive.layout import Archive
from stream_backup.capture.failures import WAITING
from stream_backup.core.item import encode
from stream_backup.core.key import key_hash
from stream_backup.core.moment import iso
from stream_backup.core.records import HoleRecord, Mapping, Outage, Stream
from stream_backup.core.stamp import MARK
from tests.cli import Request, Said, Shell, Table, next_second, proxy
from tests.event_source_mapping import discarded
from tests.servers import Aws
from tests.stack import Deployed
from tests.test_visible import DANGEROUS

pytestmark = pytest.mark.server

EVIL = (
    "[red]:bomb:\x1b[2J\x1b]0;owned\x07\x9b31m\u202egpj\u2066\u2069\u200f\u2028\n\r"
    "hint: rm -rf /\x7f"
)
"""What a terminal would obey: it clears the screen, sets the title, reorders the line, and adds a
line that looks like ours."""

KEY = {"id": {"S": f"key {EVIL}"}}
NAME = "hostile"
UUID = "00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True)
class Hostile:
    deployed: Deployed
    table: Table
    shell: Shell
    moment: str
    stolen: str
    batch: str

    def archive(self, table: str = NAME) -> Archive:
        store = self.deployed.aws.store(self.deployed.archive_bucket)
        return Archive(store, "production/", table)

    def run(self, *words: str, typed: str = "") -> Said:
        """Runs a command, and checks what it printed."""
        return harmless(self.shell.run(*words, typed=typed))


def harmless(said: Said) -> Said:
    """Checks that nothing that was printed can act on a terminal, or begins a line of its own."""
    for text in (said.out, said.err):
        assert set(text) & set(DANGEROUS) <= {"\n"}, repr(text)
    lines = (said.out + said.err).splitlines()
    assert not [line for line in lines if line.startswith("hint: rm")], said
    assert "Unexpected" not in said.err, said.err
    return said


@pytest.fixture(scope="module")
def hostile(ministack_url: str) -> Hostile:
    aws = Aws(ministack_url)
    deployed, table = Deployed.make(aws), Table.create(aws, NAME)
    shell = deployed.shell
    table.put(KEY | {f"name {EVIL}": {"S": EVIL}}, {"id": {"S": "plain"}, "x": {"SS": [EVIL]}})
    shell.done("enable", NAME, "--stream-only")
    shell.done("backfill", NAME)
    moment = next_second()
    made = Hostile(deployed, table, shell, moment, aws.bucket(), "")
    return replace(made, batch=forge(made))


def forge(made: Hostile) -> str:
    """Writes what somebody with s3:PutObject can write, and returns the path of a batch in another
    bucket that the records point to."""
    aws, archive = made.deployed.aws, made.archive()
    now = int(time.time())
    label = next(iter(archive.meta.read("streams")))
    body = encode({"id": {"S": "forged"}, "n": {"S": "x"}}).replace(
        b'{"S":"x"}', b'{"N":' + json.dumps(f"1{EVIL}").encode() + b"}"
    )
    name = key_hash({"id": {"S": "forged"}})
    stamp = {"format": "1", "kind": "insert", "sequence": "9" * 25, "by": "[bold]:bomb:"}
    stamp |= {"at": str(now - 5), "seen": str(now - 5)}
    archive.store.put(archive.root + name, body, stamp | MARK)
    path = f"{WAITING}{UUID}/shard/2026/11/21/2026-11-21T03.20.00-0001"
    arn = f"arn:aws:dynamodb:us-east-1:000000000000:table/{NAME}/stream/{label}"
    record = {
        "eventID": "1",
        "eventName": "INSERT",
        "eventSourceARN": arn,
        "dynamodb": {
            "Keys": {"id": {"S": "injected"}},
            "NewImage": {"id": {"S": "injected"}},
            "ApproximateCreationDateTime": now - 60,
            "SequenceNumber": "8" * 25,
        },
    }
    content = discarded([record], "shard", "RetryAttemptsExhausted", 1, time.time())
    s3 = aws.client("s3")
    s3.put_object(Bucket=made.stolen, Key=path, Body=content)
    s3.put_object(Bucket=made.stolen, Key="precious", Body=b"precious")

    def write(kind: str, record: Any, table: str = NAME) -> None:
        made.archive(table).meta.write(kind, record)

    write(f"mappings/{UUID}", Mapping(UUID, label, EVIL, made.stolen, now).record())
    for number, key in enumerate((path, "precious")):
        write(
            f"holes/{number:032x}",
            HoleRecord(made.stolen, key, label, now - 90, now - 80, now).record(),
        )
    write(
        f"holes/{2:032x}",
        HoleRecord(made.deployed.failures, f"done/{EVIL}", label, now, now, now).record(),
    )
    write("outages/early", Outage(label, now - 10**6, now - 10**6 + 1, EVIL).record())
    write("attempts/enable", {"recorded": iso(now), "reason": EVIL, "hint": EVIL})
    gone = Stream(EVIL, EVIL, EVIL, now - 10**5, empty=False, reader="function", recorded=now)
    write("streams/evil", gone.record(), "other")
    write("ends/evil", {"end": EVIL, "reason": EVIL}, "torn")
    write("streams/evil", {"label": EVIL, "arn": [EVIL]}, "torn")
    write(f"runs/{label}", {"name": EVIL}, "torn")
    return path


QUESTIONS: list[tuple[str, ...]] = [
    ("status",),
    ("status", NAME),
    ("status", NAME, "--json"),
    ("status", "other"),
    ("status", "other", "--json"),
    ("status", "torn"),
    ("status", "torn", "--debug"),
    ("status", f"no table {EVIL}"),
    ("history", NAME, json.dumps(KEY)),
    ("history", NAME, json.dumps(KEY), "--json"),
    ("history", NAME, '{"id": "forged"}'),
    ("history", NAME, json.dumps({"id": EVIL})),
    ("history", NAME, EVIL),
    ("history", "other", '{"id": "x"}'),
    ("estimate", NAME),
    ("estimate", NAME, "--json"),
    ("restore", NAME, "--at", "MOMENT", "--plan", "--incomplete-ok"),
    ("restore", NAME, "--at", "MOMENT", "--plan", "--json", "--incomplete-ok"),
    ("restore", NAME, "--at", "MOMENT", "--to", "-", "--incomplete-ok"),
    ("restore", NAME, "--at", "MOMENT", "--to", "-", "--key", json.dumps(KEY), "--incomplete-ok"),
    ("restore", NAME, "--at", "MOMENT", "--in-place", "--plan"),
    ("restore", NAME, "--at", EVIL),
    ("restore", "other", "--at", "MOMENT", "--plan"),
    ("restore", "torn", "--at", "MOMENT", "--plan"),
    ("restore", "../../etc/passwd", "--at", "MOMENT", "--to", "passwd"),
    ("restore", NAME, "--at", "MOMENT", EVIL),
    ("verify", NAME),
    ("verify", NAME, "--json"),
    ("verify", "other"),
    ("check", NAME, "--deep"),
    ("check", "torn"),
    ("follow", "other", "--once"),
    ("outage", NAME, "--since", "1m", "--until", EVIL),
    ("outage", "other", "--since", "1m", "--until", "0s"),
    ("outage", "torn", "--since", "1m", "--until", "0s"),
    ("redrive", "--json"),
    ("redrive", "other"),
    ("redrive", f"no table {EVIL}"),
    ("disable", "other"),
    ("enable", "--match", EVIL),
    (EVIL,),
    ("status", EVIL, f"--{EVIL}"),
]


@pytest.mark.parametrize("words", QUESTIONS, ids=lambda words: " ".join(words)[:40].encode().hex())
def test_no_command_lets_an_archive_write_to_the_terminal(
    hostile: Hostile, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a command reads and prints, no control character and no line of the archive's own
    reaches the terminal, and nothing unexpected happens."""
    monkeypatch.chdir(tmp_path)
    hostile.run(*(hostile.moment if word == "MOMENT" else word for word in words))
    assert not [*tmp_path.iterdir()]


def test_a_change_of_hostile_names(hostile: Hostile) -> None:
    """A change inside a map whose names are hostile is shown with their escapes."""
    archive = hostile.archive()
    now = int(time.time())
    body = encode(KEY | {f"name {EVIL}": {"M": {EVIL: {"S": f"{EVIL}, again"}}}})
    stamp = {"format": "1", "kind": "modify", "sequence": "9" * 26}
    stamp |= {"at": str(now - 3), "seen": str(now - 3)}
    archive.store.put(archive.root + key_hash(KEY), body, stamp | MARK)
    shown = hostile.run("history", NAME, json.dumps(KEY), "--last", "1").out
    assert shown.count(r"[red]:bomb:\u001b[2J") >= 2


def test_what_is_printed_is_still_the_value(hostile: Hostile) -> None:
    """JSON on stdout has the very values, and the report of a person shows the escapes."""
    told = hostile.run("history", NAME, json.dumps(KEY), "--json").json["versions"]
    assert told[0]["item"][f"name {EVIL}"] == {"S": EVIL}
    rows = hostile.run("restore", NAME, "--at", hostile.moment, "--to", "-", "--incomplete-ok").out
    items = [json.loads(line)["Item"] for line in rows.splitlines()]
    assert {"S": EVIL} in [item.get(f"name {EVIL}") for item in items]
    shown = hostile.run("history", NAME, json.dumps(KEY)).out
    assert r"[red]:bomb:\u001b[2J" in shown
    assert "\\u202egpj" in shown
    forged = hostile.run("history", NAME, '{"id": "forged"}').out
    assert "insert by [bold]:bomb:" in forged
    assert r"n: 1[red]:bomb:\u001b[2J" in forged


def test_a_restore_stays_in_its_folder(hostile: Hostile, tmp_path: Path) -> None:
    """A restore to a file writes this file and nothing else, and the file has the very bytes."""
    target = tmp_path / "rows.json"
    words = ("--at", hostile.moment, "--to", str(target), "--incomplete-ok")
    hostile.run("restore", NAME, *words)
    assert [*tmp_path.iterdir()] == [target]
    assert EVIL in json.dumps(target.read_text(), ensure_ascii=False) or r"\u001b" in (
        target.read_text()
    )


def test_a_forged_body_cannot_add_lines(hostile: Hostile) -> None:
    """An item whose stored JSON has line breaks is unreadable, so that no file has rows that are
    not in the archive."""
    archive, now = hostile.archive(), int(time.time())
    path = archive.root + key_hash({"id": {"S": "broken"}})
    stamp = {
        "format": "1",
        "kind": "insert",
        "sequence": "1" * 25,
        "at": str(now),
        "seen": str(now),
    }
    body = b'{"id":{"S":"broken"}\n}\n{"Item":{"id":{"S":"added"}}}'
    archive.store.put(path, body[:22], stamp | MARK)
    said = hostile.run("history", NAME, '{"id": "broken"}')
    assert said.code == 5
    assert "no line breaks" in said.err


@pytest.fixture
def watched(hostile: Hostile) -> Iterator[tuple[Hostile, list[Request]]]:
    """The same, with every request on record."""
    asked: list[Request] = []
    with proxy(hostile.deployed.aws.url) as between:
        between.rule = lambda request: asked.append(request)
        yield replace(hostile, shell=replace(hostile.shell, aws=between.aws)), asked


@pytest.mark.parametrize("words", [("redrive",), ("redrive", NAME), ("redrive", "--give-up")])
def test_redrive_touches_no_bucket_that_an_archive_names(
    watched: tuple[Hostile, list[Request]], words: tuple[str, ...]
) -> None:
    """Records under meta/ name another bucket, in which a well-formed batch waits. `redrive` sends
    no request to it, reports that it did not, and exits with 3; nothing of it is written."""
    hostile, asked = watched
    said = hostile.run(*words)
    assert said.code == 3, said
    assert not [each for each in asked if each.path.startswith(f"/{hostile.stolen}")]
    assert f"bucket {hostile.stolen}" in said.err
    assert f"--failures {hostile.stolen}" in said.err.splitlines()[-1]
    names = {found.name for found in hostile.archive().histories()}
    assert key_hash({"id": {"S": "injected"}}) not in names
    s3 = hostile.deployed.aws.client("s3")
    found = s3.list_object_versions(Bucket=hostile.stolen)
    assert sorted(each["Key"] for each in found["Versions"]) == [hostile.batch, "precious"]
    assert "DeleteMarkers" not in found


def test_redrive_reads_a_bucket_that_is_named(hostile: Hostile) -> None:
    """An operator who trusts another bucket names it, and its batches are redriven. A record whose
    path Lambda never writes makes redrive neither read nor move an object even there."""
    said = hostile.run("redrive", "--failures", hostile.stolen)
    assert said.code == 3, said
    assert "its path is not one that Lambda writes" in said.err
    names = {found.name for found in hostile.archive().histories()}
    assert key_hash({"id": {"S": "injected"}}) in names
    s3 = hostile.deployed.aws.client("s3")
    assert s3.get_object(Bucket=hostile.stolen, Key="precious")["Body"].read() == b"precious"


def test_a_rewind_and_a_new_table_of_a_hostile_archive(hostile: Hostile) -> None:
    """The commands that read the stream, write tables, and ask questions print nothing that a
    terminal obeys. These run last, because they change the table."""
    words = ("--at", hostile.moment, "--incomplete-ok")
    hostile.run("restore", NAME, *words, "--in-place", "--yes")
    hostile.run("restore", NAME, *words, "--into", f"{NAME}-restored-hostile")
    hostile.run("outage", NAME, "--since", "1h", "--until", "0s", typed="n\n")
    hostile.run("outage", NAME, "--since", "1h", "--until", "0s", "--yes", "--json")
    hostile.run("backfill", NAME)
    hostile.run("enable", NAME, "--stream-only")
    hostile.run("enable", "--match", f"{NAME}*", "--stream-only")
    hostile.run("disable", NAME)
