"""Who reads the table's stream into the archive: the function, deployed by the project's own template; or, where the demo
does not run from a checkout and so has no template, `follow`.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from subprocess import run
from sys import executable
from tempfile import TemporaryDirectory

import boto3

from stream_backup.connection import Connection
from stream_backup.demo import terminal
from stream_backup.demo.live import Table
from stream_backup.errors import StreamBackupError
from stream_backup.handler import ARCHIVE
from stream_backup.item import digest, encode
from stream_backup.key import key_hash
from stream_backup.stack import NAME
from stream_backup.talk import say

_ROOT = Path(__file__).resolve().parent.parent.parent
_TEMPLATE = _ROOT / "template.yaml"
_PACK = _ROOT / "function" / "copy_modules.py"
_CODE = "my-code"

_BUCKET = "my-backups"
"""The archive of `follow`; the stack makes a bucket of its own."""

_PATIENCE = 60
"""Seconds for the stack, and for the function to catch up; here each takes a few."""


def is_function() -> bool:
    """Whether there is a template, and what the embedded AWS transforms it by."""
    return _TEMPLATE.exists() and _PACK.exists() and find_spec("samtranslator") is not None


def prepare() -> dict[str, str]:
    """An archive, and the function where there can be one; the settings by which commands find it, beside AWS's own."""
    if is_function():
        begun = time.monotonic()
        _deploy()
        say(
            f"The project's template is deployed, by CloudFormation, in {time.monotonic() - begun:.0f} s: stack {NAME}, with "
            f"the function, and a versioned bucket for the archive. Commands find both by the stack's name."
        )
        return {}
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=_BUCKET)
    s3.put_bucket_versioning(Bucket=_BUCKET, VersioningConfiguration={"Status": "Enabled"})
    say(f"Archive: {_BUCKET}, a versioned bucket. {ARCHIVE}=s3://{_BUCKET} names it to every command.")
    return {ARCHIVE: f"s3://{_BUCKET}"}


@contextmanager
def reading(table: str) -> Iterator[terminal.Background | None]:
    """The table's stream is on, and read into the archive for as long as the block runs: by the function, else by the `follow`
    that this yields."""
    if is_function():
        say("Its stream is switched on, and the function reads it into the archive, in a process of its own.")
        terminal.run("enable", table)
        yield None
        return
    say("Its stream is switched on. On AWS the deployed function reads it into the archive; here `follow` does.")
    terminal.run("enable", table, "--stream-only")
    with terminal.background("follow", table) as follow:
        yield follow


def catch_up(table: Table, follow: terminal.Background | None) -> float:
    """Returns when the newest version of every row in the archive is the row as it is now, while nobody writes; the seconds
    that took.

    Changes of a row are written in their order: with the last one all of them are there. Lines of a listing are enough, for
    the ETag is the MD5 of what was put.
    """
    begun = time.monotonic()
    archive = Connection(None, None, os.environ.get(ARCHIVE)).archive(table.name)
    rows = {key_hash({table.truth.key: item[table.truth.key]}): digest(encode(item)) for item in table.truth.rows.values()}
    while {found.name: found.versions[0].etag for found in archive.histories() if found.versions[0].size} != rows:
        if follow:
            follow.require()
        if time.monotonic() > begun + _PATIENCE:
            raise StreamBackupError(f"The archive has not caught up with table {table.name} in {_PATIENCE} seconds.")
        time.sleep(0.2)
    return time.monotonic() - begun


def _deploy() -> None:
    """The template, through CloudFormation, with the function's own modules. What they import, the embedded AWS finds in the
    interpreter it runs on. All that is changed is what `sam package` changes: CodeUri says where the code lies."""
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=_CODE)
    with TemporaryDirectory(prefix="stream-backup-demo-") as directory:
        run([executable, str(_PACK), f"{directory}/code"], check=True)  # noqa: S603 - as function/Makefile does
        s3.upload_file(shutil.make_archive(f"{directory}/function", "zip", f"{directory}/code"), _CODE, "function.zip")
    template = _TEMPLATE.read_text(encoding="utf-8").replace("CodeUri: function/", f"CodeUri: s3://{_CODE}/function.zip")
    cloudformation = boto3.client("cloudformation")
    capabilities = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
    cloudformation.create_stack(StackName=NAME, TemplateBody=template, Capabilities=capabilities)
    give_up = time.monotonic() + _PATIENCE
    while (found := cloudformation.describe_stacks(StackName=NAME)["Stacks"][0])["StackStatus"] == "CREATE_IN_PROGRESS":
        if time.monotonic() > give_up:
            break
        time.sleep(0.2)
    if found["StackStatus"] != "CREATE_COMPLETE":
        why = found.get("StackStatusReason", "it says no more")
        raise StreamBackupError(f"The stack {NAME} was not deployed: {found['StackStatus']}, {why}.")
