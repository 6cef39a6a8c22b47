"""Who makes a drill, and with which software."""

import platform
from importlib.metadata import PackageNotFoundError, version

from botocore.exceptions import BotoCoreError, ClientError

from stream_backup.aws.connection import SHORT_TIMEOUTS, Connection

UNKNOWN = "unknown"

SOFTWARE = ("stream-backup", "boto3", "botocore", "obstore", "orjson")


def caller(connection: Connection) -> str:
    """Returns the ARN of whoever makes the requests of this connection, `unknown` where AWS does
    not say. GetCallerIdentity needs no permission (AWS Security Token Service API Reference)."""
    try:
        client = connection.session.client("sts", config=SHORT_TIMEOUTS)
        return str(client.get_caller_identity()["Arn"])
    except (ClientError, BotoCoreError):
        return UNKNOWN


def software() -> dict[str, str]:
    """Returns the versions of Python and of the packages that a drill depends on."""
    return {"python": platform.python_version()} | {name: _version(name) for name in SOFTWARE}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return UNKNOWN  # a package that was copied into a function
