"""The function that reads the stream, deployed with the project's template by CloudFormation."""

import shutil
import time
from importlib.util import find_spec
from pathlib import Path
from subprocess import run
from sys import executable
from tempfile import TemporaryDirectory

import boto3

from stream_backup.aws.stack import NAME
from stream_backup.errors import StreamBackupError

_ROOT = Path(__file__).resolve().parent.parent.parent
_TEMPLATE = _ROOT / "template.yaml"
_PACK = _ROOT / "function" / "copy_modules.py"
_CODE = "my-code"
"""The bucket of the function's code."""

_PATIENCE = 60
"""Seconds until the stack must be deployed. Here it takes a few."""


def is_deployable() -> bool:
    """Whether the demo runs from a checkout, and the embedded AWS can transform the template."""
    return _TEMPLATE.exists() and _PACK.exists() and find_spec("samtranslator") is not None


def deploy() -> None:
    """Deploys the stack `NAME` with the function's own modules.

    The embedded AWS finds their dependencies in the interpreter that it runs with. As with `sam
    package`, only CodeUri is changed in the template. Raises StreamBackupError if the stack is not
    deployed.
    """
    _upload_code()
    template = _TEMPLATE.read_text(encoding="utf-8").replace(
        "CodeUri: run-sam-build-first/", f"CodeUri: s3://{_CODE}/function.zip"
    )
    s3, cloudformation = boto3.client("s3"), boto3.client("cloudformation")
    # From a bucket, as `sam deploy` does it: the template is too large for the request itself.
    s3.put_object(Bucket=_CODE, Key="template.yaml", Body=template.encode())
    cloudformation.create_stack(
        StackName=NAME,
        TemplateURL=f"{s3.meta.endpoint_url}/{_CODE}/template.yaml",
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    give_up = time.monotonic() + _PATIENCE
    while True:
        found = cloudformation.describe_stacks(StackName=NAME)["Stacks"][0]
        if found["StackStatus"] != "CREATE_IN_PROGRESS" or time.monotonic() > give_up:
            break
        time.sleep(0.2)
    if found["StackStatus"] != "CREATE_COMPLETE":
        reason = found.get("StackStatusReason", "no reason was reported")
        raise StreamBackupError(
            f"The stack {NAME} was not deployed: {found['StackStatus']}, {reason}."
        )


def _upload_code() -> None:
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=_CODE)
    with TemporaryDirectory(prefix="stream-backup-demo-") as directory:
        run([executable, str(_PACK), f"{directory}/code"], check=True)  # noqa: S603 - as function/Makefile does
        s3.upload_file(
            shutil.make_archive(f"{directory}/function", "zip", f"{directory}/code"),
            _CODE,
            "function.zip",
        )
