"""What CloudWatch reports about the function that reads a stream."""

from math import ceil
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from stream_backup.core.witness import RECENT
from stream_backup.errors import UnavailableError

NAMESPACE = "StreamBackup"
"""Where the function and the watcher put their own metrics."""


class Reported(NamedTuple):
    """Of the last RECENT seconds: the greatest age of a record in seconds, the number of errors and
    failed batches, and the longest run in seconds. None where the metrics may not be read; 0 where
    there is no datapoint, as of a function that was not called."""

    age: int | None
    errors: int | None
    duration: int | None


def metrics_of(cloudwatch: Any, function: str, table: str, now: int) -> Reported:
    """Returns what CloudWatch reports, by boto3's client. The greatest of all datapoints counts,
    not the newest one."""
    of_function = [{"Name": "FunctionName", "Value": function}]
    of_table = [
        {"Name": "table", "Value": table},
        {"Name": "service", "Value": "stream-backup"},
    ]
    try:
        age = _points(cloudwatch, "AWS/Lambda", "IteratorAge", "Maximum", of_function, now)
        run = _points(cloudwatch, "AWS/Lambda", "Duration", "Maximum", of_function, now)
        errors = _points(cloudwatch, "AWS/Lambda", "Errors", "Sum", of_function, now)
        failed = _points(cloudwatch, NAMESPACE, "failures", "Sum", of_table, now)
    except (ClientError, BotoCoreError, UnavailableError):
        return Reported(None, None, None)
    seconds = [ceil(max(each, default=0) / 1000) for each in (age, run)]
    return Reported(seconds[0], round(sum(errors) + sum(failed)), seconds[1])


def _points(
    cloudwatch: Any,
    namespace: str,
    metric: str,
    statistic: str,
    dimensions: list[dict[str, str]],
    now: int,
) -> list[float]:
    found = cloudwatch.get_metric_statistics(
        Namespace=namespace,
        MetricName=metric,
        Dimensions=dimensions,
        StartTime=now - RECENT,
        EndTime=now + 60,  # the current minute too: the end is exclusive
        Period=60,
        Statistics=[statistic],
    )
    return [point[statistic] for point in found.get("Datapoints", [])]
