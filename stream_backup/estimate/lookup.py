"""Looks up what DescribeTable does not report: writes in CloudWatch, the stack, its function.

Only the table has to exist. What cannot be looked up is assumed, and the assumption is reported.
"""

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from stream_backup.archive.location import Location
from stream_backup.aws.connection import SHORT_TIMEOUTS, Connection
from stream_backup.aws.stack import Stack
from stream_backup.capture.batch import keeps_every_change
from stream_backup.capture.mapping import BATCH, WINDOW
from stream_backup.core.change import metadata_size
from stream_backup.core.item import digest
from stream_backup.core.stamp import Stamp
from stream_backup.errors import UnavailableError, UsageError
from stream_backup.estimate.facts import Function
from stream_backup.estimate.rates import MONTH
from stream_backup.estimate.sizes import Sizes

DAYS = 14
"""Days of writes that are read from CloudWatch."""

MEMORY = 512
"""The memory of the function in MB, by default in the template."""


def changes_of(
    connection: Connection, found: dict[str, Any], now: int, sizes: Sizes
) -> float | None:
    """Returns the changes per month, derived from the write units of the last days.

    `found` is `Table` of a DescribeTable answer. Returns None if CloudWatch has no metrics for
    the table or does not answer.
    """
    client = connection.session.client("cloudwatch", config=SHORT_TIMEOUTS)
    try:
        answer = client.get_metric_statistics(
            Namespace="AWS/DynamoDB",
            MetricName="ConsumedWriteCapacityUnits",
            Dimensions=[{"Name": "TableName", "Value": found["TableName"]}],
            StartTime=now - DAYS * 86400,
            EndTime=now,
            Period=86400,
            Statistics=["Sum"],
        )
    except (ClientError, BotoCoreError, UnavailableError):
        return None
    points = [point["Sum"] for point in answer.get("Datapoints", [])]
    since = max(now - DAYS * 86400, int(found.get("CreationDateTime", 0)))
    return sum(points) / sizes.units * MONTH / max(now - since, 3600) if points else None


def function_of(connection: Connection) -> tuple[Function, Stack | None]:
    """Returns the function and its stack.

    Without a stack, or without permission to read it, the function is as in the template. The
    stack is None if it was not found.
    """
    settings: dict[str, int] = {}
    memory, keep, stack = MEMORY, True, None
    try:
        stack = connection.stack
        if stack:
            settings = dict(stack.settings)
            client = connection.session.client("lambda", config=SHORT_TIMEOUTS)
            answer = client.get_function_configuration(FunctionName=stack.function)
            memory = int(answer["MemorySize"])
            variables = answer.get("Environment", {}).get("Variables", {})
            keep = keeps_every_change(variables)
    except (ClientError, BotoCoreError, UnavailableError, UsageError):
        pass  # an estimate needs no stack, and no permission to read one
    function = Function(
        batch=settings.get("BatchSize", BATCH),
        window=settings.get("MaximumBatchingWindowInSeconds", WINDOW),
        factor=settings.get("ParallelizationFactor", 1),
        memory=memory,
        keep_every_change=keep,
    )
    return function, stack


def overhead_of(archive_url: str | None, table: str) -> int:
    """Returns the bytes that S3 bills for a version in addition to its body.

    These are its name and its metadata (Amazon S3 FAQs, "Billing").
    """
    stamp = Stamp(at=10**9, sequence=10**20, seen=10**9, kind="modify", before=digest(b""))
    prefix = Location.parse(archive_url).prefix if archive_url else ""
    return len(f"{prefix}{table}/".encode()) + len(digest(b"")) + metadata_size(stamp.metadata())
