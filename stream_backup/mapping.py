"""A Lambda event source mapping: what reads a table's stream and calls the function.

Its settings are those by which no record is lost in silence (AWS Lambda Developer Guide, "Using AWS Lambda with Amazon
DynamoDB" and "Retain discarded records for a DynamoDB event source in Lambda"): it begins at the oldest record there is,
takes partial-batch responses, halves a batch that fails, tries again until the record is too old, and then writes the
batch, records and all, to the failures bucket.
"""

import time
from collections.abc import Mapping as Object
from math import ceil
from typing import Any, NamedTuple, Self

from botocore.exceptions import BotoCoreError, ClientError

from stream_backup.errors import IncompleteError, UsageError
from stream_backup.moment import from_iso, iso
from stream_backup.stack import Stack

BATCH = 1000
"""Records a call. One record is at most 800 KB of images, and Lambda cuts a batch at 6 MB of payload anyway."""

WINDOW = 1
"""Seconds records are gathered: Lambda wants at least one where a batch holds more than ten."""

PATIENCE = 300
"""Seconds to wait for a mapping to be enabled: AWS takes up to a minute or two."""

AGED = 300
"""Seconds of `IteratorAge` looked at: CloudWatch is a minute or two behind itself."""


class Mapping(NamedTuple):
    """As it is kept under `meta/`: `stream` is the stream's label, `failures` the bucket its failed batches go to."""

    uuid: str
    stream: str
    function: str
    failures: str | None
    recorded: int

    @classmethod
    def of(cls, record: Object[str, Any]) -> Self:
        values = {name: record[name] for name in cls._fields}
        return cls(**{**values, "recorded": from_iso(values["recorded"])})

    def record(self) -> dict[str, Any]:
        return self._asdict() | {"recorded": iso(self.recorded)}


class State(NamedTuple):
    """What Lambda says of a mapping: `Enabled`, `Creating`, …, and how its last call went."""

    state: str
    last_result: str


def attach(client: Any, function: str, arn: str, label: str, stack: Stack | None, now: int) -> Mapping:
    """The mapping from a stream to the function: the one that is there, brought up to these settings, or a new one.

    Raises UsageError when there is no such function.
    """
    settings = _settings(stack)
    try:
        found = client.list_event_source_mappings(EventSourceArn=arn, FunctionName=function)["EventSourceMappings"]
        if found:
            made = found[0]
            if _differs(made, settings):
                made = client.update_event_source_mapping(UUID=made["UUID"], FunctionName=function, Enabled=True, **settings)
        else:
            source = {"EventSourceArn": arn, "StartingPosition": "TRIM_HORIZON"}
            made = client.create_event_source_mapping(FunctionName=function, **source, **settings)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            raise UsageError(
                f"There is no function {function!r} here.", "Check its name, --region and --profile."
            ) from error
        raise
    return Mapping(str(made["UUID"]), label, function, _bucket(made) or (stack.failures if stack else None), now)


def wait(client: Any, mapping: Mapping, table: str) -> None:
    """Returns when the mapping is enabled; raises IncompleteError when that takes too long."""
    give_up = time.monotonic() + PATIENCE
    while (found := look(client, mapping.uuid)) is None or found.state != "Enabled":
        if time.monotonic() > give_up:
            raise IncompleteError(
                f"The event source mapping of {table} is not enabled yet: {found.state if found else 'it is gone'}.",
                f"See how it goes on: stream-backup status {table}",
            )
        time.sleep(0.5)


def look(client: Any, uuid: str) -> State | None:
    """None when there is no such mapping (any more)."""
    try:
        found = client.get_event_source_mapping(UUID=uuid)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            return None
        raise
    return State(found["State"], found.get("LastProcessingResult") or "")


def iterator_age(cloudwatch: Any, function: str, now: int) -> int | None:
    """Seconds by which the function is behind in the stream it is furthest behind in, as CloudWatch's `IteratorAge` had it
    in the last minutes; None where CloudWatch does not say (nothing was read, or whoever asks may not know)."""
    try:
        found = cloudwatch.get_metric_statistics(
            Namespace="AWS/Lambda",
            MetricName="IteratorAge",
            Dimensions=[{"Name": "FunctionName", "Value": function}],
            StartTime=now - AGED,
            EndTime=now + 60,  # the minute that is not over too: the end is exclusive
            Period=60,
            Statistics=["Maximum"],
        )
    except (ClientError, BotoCoreError):
        return None
    newest = max(found.get("Datapoints", []), key=lambda point: point["Timestamp"], default=None)
    return ceil(newest["Maximum"] / 1000) if newest else None


def remove(client: Any, uuid: str) -> bool:
    """Deletes the mapping; whether there was one."""
    try:
        client.delete_event_source_mapping(UUID=uuid)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            return False
        raise
    return True


def _settings(stack: Stack | None) -> dict[str, Any]:
    """Without a stack, failed records are tried again for as long as the stream keeps them: nothing else would keep them."""
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
    """Whether a mapping that is there would lose records: it is off, skips failures, or has nowhere to put them."""
    off = found.get("State") in ("Disabled", "Disabling")
    skips = "ReportBatchItemFailures" not in (found.get("FunctionResponseTypes") or [])
    return off or skips or ("DestinationConfig" in settings and not _bucket(found))


def _bucket(found: dict[str, Any]) -> str | None:
    destination = ((found.get("DestinationConfig") or {}).get("OnFailure") or {}).get("Destination") or ""
    _, is_bucket, bucket = destination.partition(":s3:::")
    return bucket if is_bucket else None
