"""The Lambda function: a batch of a DynamoDB stream → the archive named by `STREAM_BACKUP_ARCHIVE`, in the Region
`STREAM_BACKUP_REGION` where that is not the function's own.

It answers with partial-batch responses (AWS Lambda Developer Guide, "Configuring partial batch response with DynamoDB
and Lambda"): the event source mapping goes on from the first record not written. It only ever puts, so its role needs
`s3:PutObject` under the prefix and nothing else. Item contents never reach a log.
"""

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from stream_backup.archive import Archive, Location
from stream_backup.batch import WRITERS, Outcome, write_batch
from stream_backup.change import table_of
from stream_backup.errors import RecordError, UsageError
from stream_backup.s3 import S3Store, open_objects

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]

ARCHIVE = "STREAM_BACKUP_ARCHIVE"
REGION = "STREAM_BACKUP_REGION"

RESERVE_MS = 10_000
"""Milliseconds before the deadline at which no further put is begun; half the time there is where that is less."""

logger = Logger(service="stream-backup", stream=sys.stderr)
metrics = Metrics(namespace="StreamBackup", service="stream-backup")


def make_handler(archive_of: Callable[[str], Archive]) -> Handler:
    """A handler that writes to `archive_of(table name)`."""
    pool = ThreadPoolExecutor(WRITERS, thread_name_prefix="put")

    def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
        records = event["Records"]
        if not records:
            return {"batchItemFailures": []}
        outcome = write_batch(records, archive_of, pool, _deadline(context))
        _report(records[0], outcome)
        if outcome.first_failed is None:
            return {"batchItemFailures": []}
        # A record without a sequence number leaves an empty identifier, which fails the whole batch.
        sequence = records[outcome.first_failed].get("dynamodb", {}).get("SequenceNumber", "")
        return {"batchItemFailures": [{"itemIdentifier": sequence}]}

    return handle


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Entry point of the function."""
    if ARCHIVE not in os.environ:
        raise UsageError(f"{ARCHIVE} is not set.", f"Set it like {ARCHIVE}=s3://my-backups/production.")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return _handler_of(os.environ[ARCHIVE], os.environ.get(REGION), endpoint)(event, context)


@cache
def _handler_of(url: str, region: str | None, endpoint: str | None) -> Handler:
    """Made at the first invocation and kept: no client is made for each."""
    location = Location.parse(url)
    settings = {"region": region} if region else {}
    store = S3Store(location.bucket, open_objects(location.bucket, endpoint=endpoint, **settings))
    return make_handler(cache(lambda table: Archive(store, location.prefix, table)))


def _deadline(context: Any) -> Callable[[], bool]:
    if not hasattr(context, "get_remaining_time_in_millis"):
        return lambda: False
    reserve = min(RESERVE_MS, context.get_remaining_time_in_millis() / 2)
    return lambda: bool(context.get_remaining_time_in_millis() < reserve)


def _report(record: dict[str, Any], outcome: Outcome) -> None:
    try:
        table = table_of(record)
    except RecordError:
        table = "unknown"
    for error in outcome.errors[:3]:
        logger.error(str(error), table=table, error=type(error).__name__)
    metrics.add_dimension("table", table)
    metrics.add_metric("changes", MetricUnit.Count, outcome.changes)
    metrics.add_metric("tombstones", MetricUnit.Count, outcome.tombstones)
    metrics.add_metric("bytes", MetricUnit.Bytes, outcome.bytes)
    metrics.add_metric("failures", MetricUnit.Count, int(outcome.first_failed is not None))
    if outcome.newest:
        metrics.add_metric("lag", MetricUnit.Seconds, max(0, time.time() - outcome.newest))
    metrics.flush_metrics()
