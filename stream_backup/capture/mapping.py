"""A Lambda event source mapping: what reads a table's stream and calls the function.

Its settings make sure that no record is lost without notice (AWS Lambda Developer Guide, "Using AWS
Lambda with Amazon DynamoDB" and "Retain discarded records for a DynamoDB event source in Lambda"):
it begins at the oldest record, accepts partial-batch responses, splits a batch that fails, retries
until the record is too old, and then writes the batch with its records to the failures bucket.
"""

import json
import time
from collections.abc import Iterator
from collections.abc import Mapping as Object
from contextlib import contextmanager
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from stream_backup.aws.errors import may_have_been_written
from stream_backup.aws.stack import Stack
from stream_backup.capture.batch import ANNOUNCES
from stream_backup.core.records import Mapping, Stream
from stream_backup.errors import IncompleteError, UsageError

BATCH = 1000
"""Records a call. One record has at most 800 KB of images, and Lambda limits a batch to 6 MB of
payload anyway."""

WINDOW = 1
"""Seconds for which records are gathered: Lambda requires at least one for batches of more than ten
records."""

RECORD_AGE = 6 * 3600
"""Seconds after which a batch that fails goes to the failures bucket, where nothing else is set."""

OLDEST_RECORD = 20 * 3600
"""Seconds that may be set at most: Lambda must still find the records in the stream."""

PATIENCE = 300
"""Seconds to wait for a mapping to be enabled: AWS takes up to a minute or two."""


class LambdaState(NamedTuple):
    """What Lambda reports of a mapping: `Enabled`, `Creating`, …, and the result of its last
    call."""

    state: str
    last_result: str


def find(client: Any, function: str, arn: str) -> dict[str, Any] | None:
    """Returns the mapping from a stream to the function as Lambda describes it, None when there is
    none. Raises UsageError when the function does not exist."""
    with _function_named(function):
        found = client.list_event_source_mappings(EventSourceArn=arn, FunctionName=function)
    return next(iter(found["EventSourceMappings"]), None)


def has_filter(found: dict[str, Any] | None) -> bool:
    """Whether a mapping that `find` returned skips records."""
    return bool(((found or {}).get("FilterCriteria") or {}).get("Filters"))


def attach(
    client: Any,
    function: str,
    stream: Stream,
    found: dict[str, Any] | None,
    stack: Stack | None,
    now: int,
) -> Mapping:
    """Returns the mapping from a stream to the function: `found`, updated where it differs from the
    settings of the stack or would lose records, or a new one.

    Raises UsageError when the function does not exist.
    """
    made = found
    if made is None:
        made = _create(client, function, stream.arn, stack)
    elif change := _change(made, stack):
        change = {"FunctionName": function, "Enabled": True, **change}
        try:
            made = client.update_event_source_mapping(UUID=made["UUID"], **change)
        except ClientError as error:
            if not _is_under_way(error):
                raise
    failures = _bucket(made) or (stack.failures if stack else None)
    return Mapping(str(made["UUID"]), stream.label, function, failures, now)


def _create(client: Any, function: str, arn: str, stack: Stack | None) -> Any:
    source = {"EventSourceArn": arn, "StartingPosition": "TRIM_HORIZON"}
    with _function_named(function):
        try:
            return client.create_event_source_mapping(
                FunctionName=function, **source, **_settings(stack)
            )
        except ClientError as error:
            # It exists, perhaps because the answer to the first attempt was lost.
            exists = error.response["Error"]["Code"] == "ResourceConflictException"
            if exists and (made := find(client, function, arn)):
                return made
            raise


@contextmanager
def _function_named(function: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            raise _no_function(function) from error
        raise


def require_announcing(client: Any, function: str) -> None:
    """Asks the function with an event without records whether it announces what it writes late.

    Raises UsageError when it does not exist or does not say so: readers would rely on it.
    """
    try:
        answer = client.invoke(FunctionName=function, Payload=b'{"Records": []}')
        told = json.loads(answer["Payload"].read() or b"null")
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            raise _no_function(function) from error
        raise
    except ValueError:
        told = None
    if not isinstance(told, dict) or told.get(ANNOUNCES) is not True:
        raise UsageError(
            f"Function {function} does not announce late changes, which readers of the archive rely"
            " on: it is of another release, or cannot be started.",
            "Deploy the function of this release, then run the same command again.",
        )


def wait(client: Any, mapping: Mapping, table: str) -> None:
    """Returns when the mapping is enabled; raises IncompleteError when that takes longer than
    PATIENCE."""
    give_up = time.monotonic() + PATIENCE
    while (found := look(client, mapping.uuid)) is None or found.state != "Enabled":
        if time.monotonic() > give_up:
            state = found.state if found else "it does not exist"
            raise IncompleteError(
                f"The event source mapping of {table} is not enabled yet: {state}.",
                f"To see its state later, run: stream-backup status {table}",
            )
        time.sleep(0.5)


def look(client: Any, uuid: str) -> LambdaState | None:
    """Returns what Lambda reports of a mapping, None when the mapping does not exist."""
    try:
        found = client.get_event_source_mapping(UUID=uuid)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            return None
        raise
    return LambdaState(found["State"], found.get("LastProcessingResult") or "")


def remove(client: Any, uuid: str) -> bool:
    """Deletes the mapping and returns whether it existed."""
    try:
        client.delete_event_source_mapping(UUID=uuid)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            return False
        if not _is_under_way(error):
            raise
    return True


def _is_under_way(error: ClientError) -> bool:
    """Whether Lambda refuses a change because an attempt whose answer was lost is making it (AWS
    Lambda API Reference, "UpdateEventSourceMapping", ResourceInUseException)."""
    in_use = error.response["Error"]["Code"] == "ResourceInUseException"
    return in_use and may_have_been_written(error)


def _no_function(function: str) -> UsageError:
    return UsageError(
        f"There is no function {function!r} in this account and Region.",
        "Check its name, --region and --profile.",
    )


def _settings(stack: Stack | None) -> dict[str, Any]:
    """Without a stack, failed records are retried for as long as the stream keeps them: nothing
    else would keep them."""
    settings: dict[str, Any] = {
        "BatchSize": BATCH,
        "MaximumBatchingWindowInSeconds": WINDOW,
        "BisectBatchOnFunctionError": True,
        "MaximumRetryAttempts": -1,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
    }
    if stack and stack.destination:
        settings |= stack.settings
        settings["MaximumRecordAgeInSeconds"] = _capped(stack.settings)
        settings["DestinationConfig"] = {"OnFailure": {"Destination": stack.destination}}
    return settings


def _capped(settings: Object[str, Any]) -> int:
    """The record age of these settings, so that a batch that fails reaches its destination in
    time."""
    age = settings.get("MaximumRecordAgeInSeconds")
    return min(age, OLDEST_RECORD) if age and age > 0 else RECORD_AGE


def _change(found: dict[str, Any], stack: Stack | None) -> dict[str, Any]:
    """The settings of an existing mapping that must change; `Enabled` alone when it is off. Without
    a stack a mapping keeps the settings that lose no record."""
    settings = _settings(stack)
    if not (stack and stack.destination):
        age = _capped(found) if _bucket(found) else -1
        attempts = found.get("MaximumRetryAttempts", -1) if _bucket(found) else -1
        settings = {
            "FunctionResponseTypes": settings["FunctionResponseTypes"],
            "MaximumRecordAgeInSeconds": age,
            "MaximumRetryAttempts": attempts,
        }
    defaults = {"MaximumRecordAgeInSeconds": -1, "MaximumRetryAttempts": -1}
    change = {
        name: value
        for name, value in settings.items()
        if _comparable(found.get(name, defaults.get(name))) != _comparable(value)
    }
    if has_filter(found):
        change["FilterCriteria"] = {}
    if found.get("State") in ("Disabled", "Disabling"):
        change["Enabled"] = True
    return change


def _comparable(value: Any) -> Any:
    """A setting without what Lambda adds to it in its answers."""
    if isinstance(value, dict):
        return (value.get("OnFailure") or {}).get("Destination")
    return sorted(value) if isinstance(value, list) else value


def _bucket(found: dict[str, Any]) -> str | None:
    destination = ((found.get("DestinationConfig") or {}).get("OnFailure") or {}).get(
        "Destination"
    ) or ""
    _, is_bucket, bucket = destination.partition(":s3:::")
    return bucket if is_bucket else None
