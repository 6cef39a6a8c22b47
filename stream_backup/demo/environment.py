"""Environment variables with which every AWS client uses the embedded AWS and nothing else."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

_REMOVED = ("AWS_", "MINISTACK_", "LOCALSTACK_", "LAMBDA_", "STREAM_BACKUP_")
"""Prefixes of variables with which a client or the server would use something else."""

MISLEADING = (
    "AWS_DEFAULT_PROFILE",
    "AWS_ENDPOINT_URL_",
    "AWS_IGNORE_",
    "AWS_PROFILE",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    "AWS_USE_",
    "STREAM_BACKUP_",
)
"""Prefixes of variables that must not be set in a shell that uses the embedded AWS."""


def settings(url: str) -> dict[str, str]:
    """Returns the variables that a shell must export to use the server at `url`."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "demo",
        "AWS_SECRET_ACCESS_KEY": "demo",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCOUNT_ID_ENDPOINT_MODE": "disabled",
    }


@contextmanager
def environment(own: dict[str, str]) -> Iterator[None]:
    """Replaces all AWS variables of this process, and of its children, by `own` in the block."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(_REMOVED):
            del os.environ[name]
    os.environ.update(own)
    os.environ.update(
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        AWS_EC2_METADATA_DISABLED="true",
    )
    os.environ.update(NO_PROXY="127.0.0.1", no_proxy="127.0.0.1")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
