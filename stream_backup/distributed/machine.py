"""The state machine of a task in AWS Step Functions: its executions, each of which is one job, are
started, found, described, and stopped."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from stream_backup.core.item import digest

RUNNING, SUCCEEDED, ABORTED = "RUNNING", "SUCCEEDED", "ABORTED"

_PREFIX = 32
"""Characters of a table's name in the name of an execution, which has at most 80 (AWS Step
Functions API Reference, "StartExecution")."""


class Execution(NamedTuple):
    """An execution: its ARN, the name of its job, its status, and why it failed."""

    arn: str
    job: str
    status: str
    error: str = ""
    cause: str = ""


class MapProgress(NamedTuple):
    """How far a round has come: the ARN of its map run, its slices, and how many of them have ended
    well."""

    round: str
    slices: int
    ended: int


def name_of(table: str, run: str = "") -> str:
    """Returns how the names of the executions for a table begin, or those for one run of it."""
    start = f"{table[:_PREFIX]}-{digest(table.encode())[:8]}-"
    return f"{start}{run.replace(':', '')}-" if run else start


@dataclass(frozen=True, slots=True)
class Machine:
    """`client` is boto3's for Step Functions. Methods raise ClientError."""

    client: Any
    arn: str

    def start(self, job: str, given: str) -> Execution | None:
        """Starts the execution of a job with this input, which is JSON. Returns None when there is
        one of its name already: a name can be used again after 90 days."""
        try:
            found = self.client.start_execution(stateMachineArn=self.arn, name=job, input=given)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ExecutionAlreadyExists":
                return None
            raise
        return Execution(found["executionArn"], job, RUNNING)

    def executions(self, start: str, status: str | None = None) -> Iterator[Execution]:
        """Yields the executions of the last 90 days whose names begin like this, the newest
        first."""
        request = {"stateMachineArn": self.arn} | ({"statusFilter": status} if status else {})
        for page in self.client.get_paginator("list_executions").paginate(**request):
            for each in page["executions"]:
                if each["name"].startswith(start):
                    yield Execution(each["executionArn"], each["name"], each["status"])

    def describe(self, execution: Execution) -> Execution:
        """Returns an execution as it is now."""
        found = self.client.describe_execution(executionArn=execution.arn)
        error, cause = found.get("error") or "", found.get("cause") or ""
        return Execution(execution.arn, execution.job, found["status"], error, cause)

    def progress(self, execution: Execution) -> MapProgress | None:
        """Returns how far the present round has come, None before the first one."""
        runs = self.client.list_map_runs(executionArn=execution.arn)["mapRuns"]
        if not runs:
            return None
        newest = max(runs, key=lambda each: str(each["startDate"]))["mapRunArn"]
        counts = self.client.describe_map_run(mapRunArn=newest)["itemCounts"]
        return MapProgress(newest, counts["total"], counts["succeeded"])

    def stop(self, execution: Execution) -> None:
        """Stops an execution. The workers that it has called end by themselves."""
        self.client.stop_execution(executionArn=execution.arn, error="Stopped")
