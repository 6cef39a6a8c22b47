"""A Lambda event source mapping: what reads a table's stream and calls the function.

Its settings make sure that no record is lost without notice (AWS Lambda Developer Guide, "Using AWS
Lambda with Amazon DynamoDB" and "Retain discarded records for a DynamoDB event source in Lambda"):
it begins at the oldest record, accepts partial-batch responses, splits a batch that fails, retries
until the record is too old, and then writes the batch with its records to the failures bucket.
"""

import time
from math import ceil
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from stream_backup.aws.stack import Stack
from stream_backup.core.records import Mapping
from stream_backup.errors import IncompleteError, UsageError

BATCH = 1000
"""Records a call. One record has at most 800 KB of images, and Lambda limits a batch to 6 MB of
payload anyway."""

WINDOW = 1
"""Seconds for which records are gathered: Lambda requires at least one for batches of more than ten
records."""

PATIENCE = 300
"""Seconds to wait for a mapping to be enabled: AWS takes up to a minute or two."""

AGED = 300
"""Seconds of `IteratorAge` that are read: CloudWatch reports with a delay of a minute or two."""


class LambdaState(NamedTuple):
    """What Lambda reports of a mapping: `Enabled`, `Creating`, …, and the result of its last
    call."""

    state: str
    last_result: str


def attach(
    client: Any, function: str, arn: str, label: str, stack: Stack | None, now: int
) -> Mapping:
    """Returns the mapping from a stream to the function: the existing one, updated to these
    settings, or a new one.

    Raises UsageError when the function does not exist.
    """
    settings = _settings(stack)
    try:
        found = client.list_event_source_mappings(EventSourceArn=arn, FunctionName=function)
        if existing := found["EventSourceMappings"]:
            made = existing[0]
            if _differs(made, settings):
                change = {"FunctionName": function, "Enabled": True, **settings}
                made = client.update_event_source_mapping(UUID=made["UUID"], **change)
        else:
            source = {"EventSourceArn": arn, "StartingPosition": "TRIM_HORIZON"}
            made = client.create_event_source_mapping(FunctionName=function, **source, **settings)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            raise UsageError(
                f"There is no function {function!r} in this account and Region.",
                "Check its name, --region and --profile.",
            ) from error
        raise
    failures = _bucket(made) or (stack.failures if stack else None)
    return Mapping(str(made["UUID"]), label, function, failures, now)


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


def iterator_age(cloudwatch: Any, function: str, now: int) -> int | None:
    """Returns by how many seconds the function is behind in the stream that it is furthest behind
    in, as CloudWatch's `IteratorAge` had it in the last minutes; None where CloudWatch has no
    datapoint or may not be read."""
    try:
        found = cloudwatch.get_metric_statistics(
            Namespace="AWS/Lambda",
            MetricName="IteratorAge",
            Dimensions=[{"Name": "FunctionName", "Value": function}],
            StartTime=now - AGED,
            EndTime=now + 60,  # the current minute too: the end is exclusive
            Period=60,
            Statistics=["Maximum"],
        )
    except (ClientError, BotoCoreError):
        return None
    newest = max(found.get("Datapoints", []), key=lambda point: point["Timestamp"], default=None)
    return ceil(newest["Maximum"] / 1000) if newest else None


def remove(client: Any, uuid: str) -> bool:
    """Deletes the mapping and returns whether it existed."""
    try:
        client.delete_event_source_mapping(UUID=uuid)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            return False
        raise
    return True


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
        settings["DestinationConfig"] = {"OnFailure": {"Destination": stack.destination}}
    return settings


def _differs(found: dict[str, Any], settings: dict[str, Any]) -> bool:
    """Whether an existing mapping would lose records: it is off, skips failures, or has no place
    for failed batches."""
    off = found.get("State") in ("Disabled", "Disabling")
    skips = "ReportBatchItemFailures" not in (found.get("FunctionResponseTypes") or [])
    return off or skips or ("DestinationConfig" in settings and not _bucket(found))


def _bucket(found: dict[str, Any]) -> str | None:
    destination = ((found.get("DestinationConfig") or {}).get("OnFailure") or {}).get(
        "Destination"
    ) or ""
    _, is_bucket, bucket = destination.partition(":s3:::")
    return bucket if is_bucket else None
