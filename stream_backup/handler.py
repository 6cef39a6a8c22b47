"""The Lambda function: writes a batch of a DynamoDB stream to the archive named by
`STREAM_BACKUP_ARCHIVE`, in the Region `STREAM_BACKUP_REGION` where that is not the function's own,
at the endpoint `STREAM_BACKUP_S3_ENDPOINT`. The template sets the endpoint, because its host name
depends on the partition (`amazonaws.com.cn` in China). With `STREAM_BACKUP_KEEP_EVERY_CHANGE` set
to `false`, it writes only the last of several changes of an item in one second of a batch.

It answers with partial-batch responses (AWS Lambda Developer Guide, "Configuring partial batch
response with DynamoDB and Lambda"): the event source mapping continues from the first record that
was not written. It only ever puts, so its role needs `s3:PutObject` under the prefix and nothing
else. The contents of items are never logged.
"""

import os
import sys
import time
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from stream_backup.archive.layout import Archive
from stream_backup.archive.location import Location
from stream_backup.archive.s3 import S3Store, open_objects
from stream_backup.capture.batch import BatchOutcome, Handler, keeps_every_change, make_handler
from stream_backup.core.change import table_of
from stream_backup.errors import RecordError, UsageError
from stream_backup.settings import ARCHIVE, REGION, S3_ENDPOINT

logger = Logger(service="stream-backup", stream=sys.stderr)
metrics = Metrics(namespace="StreamBackup", service="stream-backup")


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handles one event: the entry point of the function. Raises UsageError when the function is
    not configured."""
    if ARCHIVE not in os.environ:
        raise UsageError(
            f"{ARCHIVE} is not set.", f"Set it like {ARCHIVE}=s3://my-backups/production."
        )
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", S3_ENDPOINT)
    endpoint = next((found for name in names if (found := os.environ.get(name))), None)
    keep = keeps_every_change(os.environ)
    return _handler_of(os.environ[ARCHIVE], os.environ.get(REGION), endpoint, keep)(event, context)


@cache
def _handler_of(url: str, region: str | None, endpoint: str | None, keep: bool) -> Handler:
    """Made at the first invocation and kept, so that no invocation makes a client of its own."""
    location = Location.parse(url)
    settings = {"region": region} if region else {}
    store = S3Store(location.bucket, open_objects(location.bucket, endpoint=endpoint, **settings))
    return make_handler(
        lambda table: Archive(store, location.prefix, table), report, keep_every_change=keep
    )


def report(record: dict[str, Any], outcome: BatchOutcome) -> None:
    """Logs the errors of a batch and writes its metrics. `record` is the first of the batch."""
    try:
        table = table_of(record)
    except RecordError:
        table = "unknown"
    for error in outcome.errors[:3]:
        logger.error(str(error), table=table, error=type(error).__name__)
    metrics.add_dimension("table", table)
    metrics.add_metric("changes", MetricUnit.Count, outcome.changes)
    if merged := outcome.changes - outcome.versions:  # CloudWatch bills each metric that has values
        metrics.add_metric("merged", MetricUnit.Count, merged)
    metrics.add_metric("tombstones", MetricUnit.Count, outcome.tombstones)
    metrics.add_metric("bytes", MetricUnit.Bytes, outcome.bytes)
    metrics.add_metric("failures", MetricUnit.Count, int(outcome.first_failed is not None))
    if outcome.newest:
        metrics.add_metric("lag", MetricUnit.Seconds, max(0, time.time() - outcome.newest))
    metrics.flush_metrics()
