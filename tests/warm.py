"""What the fork server of tests/preloaded.py has in memory for every command: the command line, and
botocore's descriptions of the services.

Parsing these descriptions takes a process most of the time of a short command. Botocore reads them
again for each session; here they are read once, before the fork.
"""

import gc
from functools import cache
from typing import Any

import boto3
from botocore.loaders import JSONFileLoader

import tests.preloaded  # noqa: F401 - what is run

SERVICES = ("cloudformation", "cloudwatch", "dynamodb", "dynamodbstreams", "lambda", "s3")

_plain = JSONFileLoader.load_file


@cache
def _read(path: str) -> Any:
    return _plain(JSONFileLoader(), path)


def load() -> None:
    """Reads what clients of the usual services need, for every session of this process and of
    those that are forked from it."""
    setattr(JSONFileLoader, "load_file", lambda _, path: _read(path))  # noqa: B010 - typed
    session = boto3.Session("none", "none", region_name="us-east-1")
    for service in SERVICES:
        session.client(service)
    gc.freeze()


load()
