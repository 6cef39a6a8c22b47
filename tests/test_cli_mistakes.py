"""What users get wrong, and what can be wrong around them: each has its sentence, its hint, and its
exit code."""

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from socket import socket

import pytest

from stream_backup.core.item import Item
from stream_backup.core.key import key_hash
from stream_backup.core.moment import from_iso
from tests.cli import BIN, Between, Shell, Table, denied, lines, next_second, proxy
from tests.servers import Aws

pytestmark = pytest.mark.server

_COPIES = count(1)


def row(number: int, note: str) -> Item:
    return {"id": {"S": f"row-{number}"}, "note": {"S": note}}


def name_of(number: int) -> str:
    return key_hash({"id": {"S": f"row-{number}"}})


@dataclass(frozen=True)
class Kept:
    """A table of 30 rows with an archive that is exact at `good`. Since then, rows 0–4 were changed
    and 5–7 deleted."""

    shell: Shell
    table: Table
    bucket: str
    good: str
    truth: list[bytes]

    def copy(self) -> "Kept":
        """Copies the archive to another prefix, for a test to damage."""
        client, prefix = self.shell.aws.client("s3"), f"copy-{next(_COPIES)}"
        pages = client.get_paginator("list_object_versions").paginate(
            Bucket=self.bucket, Prefix="night/"
        )
        for found in reversed([version for page in pages for version in page["Versions"]]):
            old = client.get_object(
                Bucket=self.bucket, Key=found["Key"], VersionId=found["VersionId"]
            )
            key = f"{prefix}/{found['Key']}"
            client.put_object(
                Bucket=self.bucket, Key=key, Body=old["Body"].read(), Metadata=old["Metadata"]
            )
        return replace(self, shell=replace(self.shell, archive=f"s3://{self.bucket}/{prefix}"))

    def heal(self, name: str) -> None:
        """Removes the newest version of an object, which `spoil` wrote."""
        assert self.shell.archive
        path = f"{self.shell.archive.removeprefix(f's3://{self.bucket}/')}/night/{name}"
        client = self.shell.aws.client("s3")
        found = client.list_object_versions(Bucket=self.bucket, Prefix=path)["Versions"]
        (newest,) = [version["VersionId"] for version in found if version["IsLatest"]]
        client.delete_object(Bucket=self.bucket, Key=path, VersionId=newest)

    def spoil(self, name: str, body: bytes, metadata: dict[str, str] | None = None) -> None:
        """Writes to the archive what this project never writes."""
        assert self.shell.archive
        path = f"{self.shell.archive.removeprefix(f's3://{self.bucket}/')}/night/{name}"
        self.shell.aws.client("s3").put_object(
            Bucket=self.bucket, Key=path, Body=body, Metadata=metadata or {}
        )


@pytest.fixture(scope="module")
def kept(ministack_url: str) -> Kept:
    aws = Aws(ministack_url)
    bucket = aws.bucket()
    shell, table = Shell(aws, f"s3://{bucket}"), Table.create(aws, "night")
    table.put_many([row(number, "good") for number in range(30)])
    shell.done("enable", "night", "--stream-only")
    shell.done("backfill", "night")
    good = next_second()
    truth = table.rows()
    table.put(*(row(number, "BAD") for number in range(5)))
    table.delete(*({"id": {"S": f"row-{number}"}} for number in range(5, 8)))
    shell.done("follow", "night", "--once")
    return Kept(shell, table, bucket, good, truth)


@pytest.fixture(scope="module")
def between(ministack_url: str) -> Iterator[Between]:
    with proxy(ministack_url) as found:
        yield found


AT = ("--at", "2026-01-01")

TYPED: list[tuple[str, tuple[str, ...], str, str]] = [
    ("no command of that name", ("recover", "night"), "recover", "--help"),
    ("no table named", ("restore", *AT), "Name one table or several", "--match"),
    ("no moment", ("restore", "night"), "--at", "2h ago"),
    ("an option mistyped", ("restore", "night", *AT, "--inplace"), "--inplace", "--help"),
    ("an option of another command", ("backfill", "night", "--once"), "--once", "--help"),
    (
        "two targets",
        ("restore", "night", *AT, "--in-place", "--into", "other"),
        "exclude",
        "Choose",
    ),
    ("a rate that is none", ("restore", "night", *AT, "--rate", "fast"), "fast", "--help"),
    (
        "warm throughput of the live table",
        ("restore", "night", *AT, "--in-place", "--warm-throughput", "9000"),
        "--warm-throughput has no meaning with --in-place",
        "Leave it out",
    ),
    (
        "warm throughput of a file",
        ("restore", "night", *AT, "--to", "-", "--warm-throughput", "9000"),
        "--warm-throughput is a setting of a new table",
        "Leave it out",
    ),
    (
        "less than a new table takes anyway",
        ("restore", "night", *AT, "--warm-throughput", "4000"),
        "4000",
        "--help",
    ),
    ("no segments", ("backfill", "night", "--segments", "0"), "0", "--help"),
    (
        "a file of keys that is not there",
        ("restore", "night", *AT, "--keys-from", "/nowhere"),
        "/nowhere",
        "--help",
    ),
    ("nobody to read the stream", ("enable", "night"), "No reader is known", "--function"),
    ("a day without a date", ("restore", "night", "--at", "yesterday"), "'yesterday'", "2h ago"),
    ("a time without a day", ("restore", "night", "--at", "03:20"), "'03:20'", "2h ago"),
    ("no moment at all", ("restore", "night", "--at", ""), "''", "2h ago"),
    ("a date that is none", ("restore", "night", "--at", "2026-02-30"), "2026-02-30", "2h ago"),
    ("months ago", ("restore", "night", "--at", "2 months ago"), "months", "2h ago"),
    (
        "milliseconds",
        ("restore", "night", "--at", "1795231959000"),
        "1795231959000",
        "seconds since",
    ),
    ("a year to come", ("restore", "night", "--at", "99999-01-01"), "99999", "2h ago"),
    ("an archive without a scheme", ("status", "--archive", "backups"), "'backups'", "s3://"),
    (
        "an archive of another scheme",
        ("status", "--archive", "http://backups/x"),
        "http://",
        "s3://",
    ),
    ("an archive without a bucket", ("status", "--archive", "s3://"), "'s3://'", "s3://my-backups"),
    (
        "a bucket that is not there",
        ("status", "--archive", "s3://no-such-bucket-here"),
        "no-such-bucket-here",
        "--archive",
    ),
    (
        "a bucket that cannot be",
        ("status", "--archive", "s3://No_Bucket!"),
        "No_Bucket!",
        "--archive",
    ),
    (
        "another prefix",
        ("restore", "night", *AT, "--archive", "{archive}/elsewhere"),
        "contains nothing",
        "--archive",
    ),
    ("a profile that is not there", ("status", "--profile", "nobody"), "nobody", "--profile"),
    ("a key that is no JSON", ("history", "night", "row-1"), "'row-1'", "Write it like"),
    (
        "a key half quoted",
        ("restore", "night", "--at", "{good}", "--key", "{id: row-1}"),
        "{id: row-1}",
        "Write it like",
    ),
    (
        "a key of another table",
        ("restore", "night", "--at", "{good}", "--key", '{"pk": "a"}'),
        "pk",
        "Write it like",
    ),
    (
        "a key of another type",
        ("restore", "night", "--at", "{good}", "--key", '{"id": 1}'),
        "type S",
        "Write it like",
    ),
    (
        "an item for a key",
        ("history", "night", '{"id": "row-1", "note": "good"}'),
        "note",
        "Write it like",
    ),
    ("an item that never was", ("history", "night", '{"id": "row-99"}'), "row-99", "Check the key"),
    (
        "a folder that is not there",
        ("restore", "night", "--at", "{good}", "--to", "/no/where.json"),
        "/no",
        "Create it first",
    ),
    (
        "a folder for a file",
        ("restore", "night", "--at", "{good}", "--to", "/", "--overwrite"),
        "'/'",
        "--to",
    ),
    (
        "no file",
        ("restore", "night", "--at", "{good}", "--to", "/dev/null", "--overwrite"),
        "'/dev/null'",
        "--to -",
    ),
    (
        "a model that is not there",
        ("restore", "night", "--at", "{good}", "--like", "nothing"),
        "nothing",
        "--region",
    ),
    (
        "no name for the new table",
        ("restore", "night", "--at", "{good}", "--into", ""),
        "--into",
        "variable",
    ),
    (
        "no name for the file",
        ("restore", "night", "--at", "{good}", "--to", ""),
        "--to",
        "variable",
    ),
]


@pytest.mark.parametrize(
    ("words", "sentence", "hint"), [each[1:] for each in TYPED], ids=[each[0] for each in TYPED]
)
def test_mistyped(kept: Kept, words: tuple[str, ...], sentence: str, hint: str) -> None:
    """Each mistake has its own message with a hint at the correct input, and nothing is done."""
    given = [
        word.replace("{good}", kept.good).replace("{archive}", str(kept.shell.archive))
        for word in words
    ]
    said = kept.shell.run(*given).refused(2, sentence)
    assert hint in said.err.split("hint: ")[1]


@pytest.mark.parametrize(
    "words",
    [
        ("enable", "nights", "--stream-only"),
        ("disable", "nights"),
        ("follow", "nights", "--once"),
        ("backfill", "nights"),
        ("restore", "nights", *AT),
        ("history", "nights", '{"id": "row-1"}'),
        ("status", "nights"),
    ],
    ids=lambda words: words[0],
)
def test_no_such_table(kept: Kept, words: tuple[str, ...]) -> None:
    """Every command reports that the table does not exist, by name."""
    kept.shell.run(*words).refused(2, "nights")


def test_no_archive_named(kept: Kept) -> None:
    """Without an archive, no archive is assumed."""
    said = replace(kept.shell, archive=None).run("status", "night").refused(2, "No archive")
    assert "STREAM_BACKUP_ARCHIVE" in said.err
    replace(kept.shell, archive="").run("status", "night").refused(2, "No archive")


def test_no_credentials(kept: Kept) -> None:
    """Without credentials, the hint says how to provide them."""
    nothing = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    said = replace(kept.shell, more=nothing).run("restore", "night", *AT).refused(2, "credentials")
    assert "AWS_PROFILE" in said.err


def test_expired_sign_on(kept: Kept, tmp_path: Path) -> None:
    """An expired sign-on is reported as missing credentials, with the option --profile in the
    hint."""
    config = tmp_path / "config"
    session = "sso_session = s\nsso_account_id = 111122223333\nsso_role_name = r\n"
    config.write_text(
        f"[profile night]\n{session}[sso-session s]\nsso_start_url = https://x.test\nsso_region ="
        " us-east-1\n"
    )
    settings = {
        "AWS_CONFIG_FILE": str(config),
        "AWS_ACCESS_KEY_ID": None,
        "AWS_SECRET_ACCESS_KEY": None,
    }
    home = {"HOME": str(tmp_path), "AWS_PROFILE": "night"}
    said = (
        replace(kept.shell, more={**settings, **home})
        .run("status", "night")
        .refused(2, "credentials")
    )
    assert "--profile" in said.err


def test_no_region(kept: Kept) -> None:
    """Without a Region, the hint names the option that specifies one."""
    nowhere = replace(kept.shell, more={"AWS_REGION": None, "AWS_DEFAULT_REGION": None})
    for words in (
        ("restore", "night", *AT),
        ("backfill", "night"),
        ("enable", "night", "--stream-only"),
    ):
        said = nowhere.run(*words).refused(2, "Region")
        assert "--region" in said.err


def test_endpoint_down(kept: Kept) -> None:
    """If the endpoint never responded, nobody waits for it: the error names its address, and the
    exit code is that of any service that cannot be reached."""
    with closing(socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    down = replace(kept.shell, aws=Aws(url), more={"AWS_MAX_ATTEMPTS": "1"})
    said = down.run("restore", "night", *AT).refused(3, url)
    assert "AWS_ENDPOINT_URL" in said.err


def test_endpoint_that_is_none(kept: Kept) -> None:
    """An endpoint that is not a URL is a usage error."""
    replace(kept.shell, more={"AWS_ENDPOINT_URL": "localhost:4566"}).run("status").refused(
        2, "localhost:4566"
    )


def test_bucket_without_versions(kept: Kept) -> None:
    """A bucket without versioning is refused, with the command that enables it."""
    client = kept.shell.aws.client("s3")
    client.create_bucket(Bucket="flat")
    for words in (
        ("enable", "night", "--stream-only"),
        ("backfill", "night"),
        ("restore", "night", *AT),
        ("status",),
    ):
        said = kept.shell.run(*words, "--archive", "s3://flat").refused(2, "flat", "versions")
        assert "put-bucket-versioning --bucket flat" in said.err


def test_stream_off(kept: Kept) -> None:
    """Without a stream nothing is read, and a backfill is refused unless --without-stream is
    passed."""
    table = Table.create(kept.shell.aws, "off")
    table.put(row(1, "x"))
    said = kept.shell.run("backfill", "off").refused(2, "stream of off is off")
    assert "enable off" in said.err
    kept.shell.run("follow", "off").refused(2, "not enabled")
    kept.shell.run("disable", "off").refused(2, "is off")
    kept.shell.run("restore", "off", *AT).refused(2, "contains nothing")
    kept.shell.done("backfill", "off", "--without-stream")
    kept.shell.run("restore", "off", "--at", next_second()).refused(4, "covers no moment")


@pytest.mark.parametrize("view", ["KEYS_ONLY", "OLD_IMAGE"])
def test_wrong_view(kept: Kept, view: str) -> None:
    """A stream without new images is refused, and the error names its view type. A backfill of its
    table is refused too."""
    name = f"view-{view}"
    Table.create(
        kept.shell.aws, name, StreamSpecification={"StreamEnabled": True, "StreamViewType": view}
    )
    said = kept.shell.run("enable", name, "--stream-only").refused(2, view)
    assert "StreamEnabled=false" in said.err
    kept.shell.run("backfill", name).refused(2, "not known to this archive")


def test_no_such_function(kept: Kept) -> None:
    """A function that does not exist is named in the error."""
    Table.create(kept.shell.aws, "unread")
    kept.shell.run("enable", "unread", "--function", "nobody").refused(2, "nobody")


FORBIDDEN = [
    (("enable", "night", "--stream-only"), "DescribeTable"),
    (("backfill", "night"), "Scan"),
    (("backfill", "night"), "PutObject"),
    (("backfill", "night"), "ListObjectVersions"),
    (("follow", "night", "--once"), "DescribeStream"),
    (("follow", "night", "--once"), "GetRecords"),
    (("follow", "night", "--once"), "GetObject"),
    (("restore", "night", "--at", "{good}", "--to", "-"), "GetBucketVersioning"),
    (("restore", "night", "--at", "{good}", "--to", "-"), "ListObjectVersions"),
    (("restore", "night", "--at", "{good}", "--to", "-"), "GetObject"),
    (("restore", "night", "--at", "{good}", "--plan"), "HeadObject"),
    (("restore", "night", "--at", "{good}", "--into", "forbidden"), "CreateTable"),
    (("history", "night", '{"id": "row-1"}'), "GetObject"),
    (("status",), "ListObjectVersions"),
]


@pytest.mark.parametrize(
    ("words", "operation"), FORBIDDEN, ids=[f"{words[0]}-{what}" for words, what in FORBIDDEN]
)
def test_no_permission(
    kept: Kept, between: Between, words: tuple[str, ...], operation: str
) -> None:
    """What AWS denies is reported as missing permission, not as damage or as a bug."""
    between.rule = denied(operation)
    through = replace(kept.shell, aws=between.aws)
    through.run(*(word.replace("{good}", kept.good) for word in words)).refused(2, "permit")


def test_rows_that_may_not_be_written(kept: Kept, between: Between) -> None:
    """If rows of the new table may not be written, the restore is incomplete and reports the
    reason. Running it again with permission completes it."""
    between.rule = denied("BatchWriteItem")
    through = replace(kept.shell, aws=between.aws)
    words = ("restore", "night", "--at", kept.good, "--into", "read-only")
    said = through.run(*words).refused(3, "30 items", "not authorized")
    assert "same command again" in said.err
    between.rule = lambda request: None
    through.done(*words)
    assert Table(kept.shell.aws, "read-only").rows() == kept.truth


def test_rows_that_may_not_be_rewound(kept: Kept, between: Between) -> None:
    """A live table that may not be written stays unchanged, and every row that was to be rewound is
    listed."""
    between.rule = denied("PutItem", "DeleteItem")
    before = kept.table.rows()
    through = replace(kept.shell, aws=between.aws)
    through.run("restore", "night", "--at", kept.good, "--in-place", "--yes").refused(
        3, "8 items", "not authorized", "row-7"
    )
    assert kept.table.rows() == before


def test_a_restorer_need_not_see_the_table(kept: Kept, between: Between) -> None:
    """A restore to a file needs no permission for DynamoDB."""
    between.rule = denied("DescribeTable", "ListTables")
    through = replace(kept.shell, aws=between.aws)
    assert lines(through.done("restore", "night", "--at", kept.good, "--to", "-").out) == kept.truth


GARBAGE: list[tuple[str, bytes, dict[str, str]]] = [
    ("no metadata", b"garbage", {}),
    ("nothing at all", b"", {}),
    (
        "another format",
        b"{}",
        {"format": "2", "kind": "insert", "at": "{at}", "sequence": "9", "seen": "{at}"},
    ),
    (
        "no item",
        b"[1]",
        {"format": "1", "kind": "insert", "at": "{at}", "sequence": "9", "seen": "{at}"},
    ),
    (
        "not UTF-8",
        b"\xff\xfe",
        {"format": "1", "kind": "insert", "at": "{at}", "sequence": "9", "seen": "{at}"},
    ),
    (
        "the item of another key",
        b'{"id":{"S":"row-3"}}',
        {"format": "1", "kind": "insert", "at": "{at}", "sequence": "9", "seen": "{at}"},
    ),
    (
        "no time",
        b'{"id":{"S":"row-9"}}',
        {"format": "1", "kind": "insert", "at": "noon", "sequence": "9", "seen": "noon"},
    ),
]


@pytest.mark.parametrize(
    ("body", "metadata"), [each[1:] for each in GARBAGE], ids=[each[0] for each in GARBAGE]
)
def test_unreadable_version(kept: Kept, body: bytes, metadata: dict[str, str]) -> None:
    """With an unreadable version in the archive, all other items are restored, the item is named,
    and the exit code is 5."""
    damaged, number = kept.copy(), 9
    at = str(from_iso(kept.good))
    damaged.spoil(
        name_of(number), body, {name: value.replace("{at}", at) for name, value in metadata.items()}
    )
    said = damaged.shell.run("restore", "night", "--at", kept.good, "--to", "-")
    assert said.code == 5, said
    assert name_of(number) in said.err
    assert "hint: " in said.err
    assert lines(said.out) == [line for line in kept.truth if b"row-9" not in line]
    everything = damaged.shell.done(
        "restore", "night", "--at", kept.good, "--to", "-", "--incomplete-ok"
    )
    assert lines(everything.out) == lines(said.out)


def test_unreadable_version_into_a_table(kept: Kept) -> None:
    """A new table without the unreadable item stays tagged as partly filled, and the same command
    resumes after the archive is fixed. A restore in place writes nothing."""
    damaged = kept.copy()
    damaged.spoil(name_of(9), b"garbage")
    words = ("restore", "night", "--at", kept.good, "--into", "unreadable")
    damaged.shell.run(*words).refused(5, name_of(9))
    target = Table(kept.shell.aws, "unreadable")
    assert len(target.rows()) == 29
    assert "stream-backup:restoring" in target.tags()
    before = kept.table.rows()
    damaged.shell.run("restore", "night", "--at", kept.good, "--in-place", "--yes").refused(
        5, name_of(9), "Nothing was"
    )
    assert kept.table.rows() == before
    damaged.heal(name_of(9))
    damaged.shell.done(*words)
    assert target.rows() == kept.truth
    assert [*target.tags()] == ["stream-backup:restored"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("streams/x", b"garbage"),
        ("runs/x", b"[]"),
        ("outages/x", b"{}"),
        ("ends/x", b'{"end": "x"}'),
        ("streams/y", b'{"label": 1}'),
    ],
)
def test_unreadable_record_about_the_archive(kept: Kept, name: str, content: bytes) -> None:
    """An invalid record under meta/ stops a restore, because coverage can no longer be computed."""
    damaged = kept.copy()
    damaged.spoil(f"meta/{name}.json", content)
    damaged.shell.run("restore", "night", "--at", kept.good, "--to", "-").refused(
        5, f"meta/{name}.json"
    )


def test_foreign_objects(kept: Kept) -> None:
    """Objects with other names under the archive's prefix are ignored."""
    damaged = kept.copy()
    names = [
        "README",
        "0",
        "0/x",
        name_of(9) + ".bak",
        name_of(9)[:31],
        name_of(9).upper(),
        "zz",
        "meta.json",
        ".DS_Store",
        "f" * 33,
    ]
    for name in names:
        damaged.spoil(name, b"foreign")
    assert (
        lines(damaged.shell.done("restore", "night", "--at", kept.good, "--to", "-").out)
        == kept.truth
    )
    damaged.shell.done("history", "night", '{"id": "row-9"}')


def test_stray_delete_markers(kept: Kept) -> None:
    """`aws s3 rm --recursive` on the whole archive, including meta/, affects no restore, because it
    only adds delete markers."""
    damaged = kept.copy()
    client, prefix = kept.shell.aws.client("s3"), str(damaged.shell.archive).rpartition("/")[2]
    for page in client.get_paginator("list_objects_v2").paginate(
        Bucket=kept.bucket, Prefix=f"{prefix}/"
    ):
        for found in page["Contents"]:
            client.delete_object(Bucket=kept.bucket, Key=found["Key"])
    assert client.list_objects_v2(Bucket=kept.bucket, Prefix=f"{prefix}/").get("KeyCount") == 0
    assert (
        lines(damaged.shell.done("restore", "night", "--at", kept.good, "--to", "-").out)
        == kept.truth
    )
    assert (
        damaged.shell.done(
            "restore", "night", "--at", kept.good, "--in-place", "--plan", "--json"
        ).json["put"]
        == 8
    )
    assert damaged.shell.done("status", "night", "--json").json["earliest"] <= kept.good
    damaged.shell.done("history", "night", '{"id": "row-9"}')
    every = damaged.shell.done("status", "--json").json["tables"]
    assert [each["table"] for each in every] == ["night"]


@pytest.mark.parametrize(
    "when", ["2001-01-01", "1000000000", "{started}", "9999-12-31", "in the future"]
)
def test_outside_coverage(kept: Kept, when: str) -> None:
    """A moment outside coverage is refused with both bounds, and --incomplete-ok restores it as far
    as possible."""
    report = kept.shell.done("status", "night", "--json").json
    asked = {
        "{started}": report["epochs"][0]["floor"],
        "in the future": "2500-01-01T00:00:00+02:00",
    }.get(when, when)
    said = kept.shell.run("restore", "night", "--at", asked, "--to", "-").refused(
        4, report["earliest"]
    )
    assert report["latest"] in said.err
    kept.shell.done("restore", "night", "--at", asked, "--to", "-", "--incomplete-ok")


def test_not_read_that_far(kept: Kept) -> None:
    """A moment up to which the stream has not been read is refused, and the hint names the command
    that reads it."""
    said = kept.shell.run("restore", "night", "--at", next_second(), "--to", "-").refused(4)
    assert "stream-backup follow night" in said.err


def test_into_a_table_with_rows(kept: Kept) -> None:
    """A table with rows is refused and not changed. With --overwrite it becomes equal to the
    moment, and other rows are deleted."""
    other = Table.create(kept.shell.aws, "other")
    other.put(row(1, "other"), row(77, "other"))
    before = other.rows()
    words = ("restore", "night", "--at", kept.good, "--into", "other")
    said = kept.shell.run(*words).refused(2, "not empty")
    assert "--overwrite" in said.err
    assert other.rows() == before
    kept.shell.done(*words, "--overwrite")
    assert other.rows() == kept.truth
    assert other.tags() == {}
    kept.shell.run("restore", "night", "--at", kept.good, "--into", "night").refused(
        2, "not empty", "--in-place"
    )


def test_into_a_table_with_another_key(kept: Kept) -> None:
    """A table with another key schema is refused, even with --overwrite."""
    Table.create(kept.shell.aws, "other-key", (("id", "N"),))
    kept.shell.run(
        "restore", "night", "--at", kept.good, "--into", "other-key", "--overwrite"
    ).refused(2, "another key")


def test_over_a_file(kept: Kept, tmp_path: Path) -> None:
    """An existing file is not changed without --overwrite."""
    path = tmp_path / "rows"
    path.write_text("precious")
    kept.shell.run("restore", "night", "--at", kept.good, "--to", str(path)).refused(2, "exists")
    assert path.read_text() == "precious"
    kept.shell.done("restore", "night", "--at", kept.good, "--to", str(path), "--overwrite")
    assert lines(path) == kept.truth


@pytest.mark.parametrize(
    "content",
    [b"", b"\n \n", b"not a key\n", b'{"id": "\xff"}', b'\xef\xbb\xbf{"id": "row-1"}\n{"id": 2}'],
)
def test_file_of_keys_that_are_none(kept: Kept, tmp_path: Path, content: bytes) -> None:
    """A file without valid keys is refused and never means every item."""
    path = tmp_path / "keys"
    path.write_bytes(content)
    kept.shell.run(
        "restore", "night", "--at", kept.good, "--keys-from", str(path), "--to", "-"
    ).refused(2)


@pytest.mark.parametrize("typed", ["n\n", ""])
def test_not_confirmed(kept: Kept, typed: str) -> None:
    """Any answer but yes, including an empty stdin, rewinds nothing, and the hint names --yes."""
    before = kept.table.rows()
    said = kept.shell.run("restore", "night", "--at", kept.good, "--in-place", typed=typed)
    said.refused(2, "8 to put", "Not confirmed")
    assert "--yes" in said.err
    assert kept.table.rows() == before


def test_reader_hangs_up(kept: Kept) -> None:
    """`restore --to - | head` ends without a traceback."""
    command = (
        "bash",
        "-c",
        (
            f"stream-backup restore night --at {kept.good} --to - | head -c 10; exit"
            " ${PIPESTATUS[0]}"
        ),
    )
    said = replace(kept.shell, more={"PATH": f"{BIN}:{os.environ['PATH']}"}).run(command=command)
    assert "Traceback" not in said.err
    assert said.code in (0, 3)  # 0 when all of it was in the pipe before `head` ended


def test_debug_shows_the_traceback(kept: Kept) -> None:
    """--debug shows the traceback above the sentence and its hint, with the same exit code."""
    said = kept.shell.run("status", "nights", "--debug")
    assert said.code == 2
    assert said.err.startswith("Traceback")
    assert said.err.splitlines()[-1].startswith("hint: Did you mean 'night'?")
