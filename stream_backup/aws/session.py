"""The boto3 session of a command: every client of it, of whatever service, makes its requests as
often as the command's `Attempts` say, whoever created the client."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import boto3
import botocore.session
from botocore.config import Config

from stream_backup.archive.store import Attempts, once

RETRIES, FEW_RETRIES = 8, 2
"""How often botocore sends a request again, and how often where it is made again anyway. Botocore
waits for seconds in between and cannot be interrupted meanwhile."""


def open_session(
    profile: str | None, region: str | None, attempts: Attempts = once, core: Any = None
) -> Any:
    """Returns a session for this profile and Region. Without a Region it is that of AWS_REGION,
    which boto3 does not read and other AWS tools prefer (AWS SDKs and Tools Reference Guide, "AWS
    Region"), or else that of boto3. `core` is the session of botocore to use, a new one by default.
    Raises ProfileNotFound."""
    core = core or botocore.session.Session(profile=profile)
    retries = RETRIES if attempts is once else FEW_RETRIES
    config = Config(retries={"mode": "standard", "total_max_attempts": 1 + retries})
    core.set_default_client_config(config)
    if attempts is not once:
        core.register("creating-client-class", partial(_add, attempts))
    region = region or os.environ.get("AWS_REGION") or None
    return boto3.Session(botocore_session=core, region_name=region)


def _add(attempts: Attempts, base_classes: list[type], **_: Any) -> None:
    """Makes each call of a client that is being created as often as `attempts` says (boto3
    Developer Guide, "Extensibility guide", "The creating-client-class event")."""
    base_classes.insert(0, _client_class(attempts))


def _client_class(attempts: Attempts) -> type:
    class Repeating:
        """A client whose calls are made again. Paginators and waiters use the same method."""

        meta: Any

        def _make_api_call(self, operation: str, arguments: dict[str, Any]) -> Any:
            call: Callable[..., Any] = super()._make_api_call  # type: ignore[misc]
            service = self.meta.service_model.service_id.replace(" ", "")
            return attempts(f"{service} {operation}", lambda: call(operation, arguments))

    return Repeating
