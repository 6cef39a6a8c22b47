"""The deployed stream-backup stack, found by its name in CloudFormation, and the outputs that the
commands use."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Self

from botocore.exceptions import ClientError

from stream_backup.errors import UsageError

NAME = "stream-backup"
"""The default name of the stack, as in `samconfig.toml`."""

_REQUIRED = ("ArchiveUrl", "FunctionName", "FunctionArn")

_MACHINES = {
    "backfill": "BackfillMachineArn",
    "restore": "RestoreMachineArn",
    "verify": "VerifyMachineArn",
    "drill": "DrillMachineArn",
}
"""Tasks, with the outputs that name their state machines."""

_SETTINGS = {
    "BatchSize": "BatchSize",
    "BatchingWindow": "MaximumBatchingWindowInSeconds",
    "ParallelizationFactor": "ParallelizationFactor",
    "MaximumRecordAge": "MaximumRecordAgeInSeconds",
    "MaximumRetryAttempts": "MaximumRetryAttempts",
}
"""Outputs of the stack, with the parameters of CreateEventSourceMapping that they set."""


@dataclass(frozen=True, slots=True)
class Distributed:
    """What a stack has for distributed runs: at most `workers` of a run at once, the `bucket` for
    lists and results, and the ARN of the state machine of each task."""

    workers: int
    bucket: str
    machines: Mapping[str, str]

    @classmethod
    def of(cls, outputs: Mapping[str, str]) -> Self | None:
        """Returns what these outputs name, None when they name nothing."""
        if not outputs.get("WorkBucket"):
            return None
        found = {task: outputs[name] for task, name in _MACHINES.items() if outputs.get(name)}
        return cls(int(outputs["DistributedWorkers"]), outputs["WorkBucket"], found)


@dataclass(frozen=True, slots=True)
class Stack:
    """The outputs of a stream-backup stack.

    `archive` is the archive URL. `failures` is the bucket that receives failed batches, if there is
    one. `pattern` matches the tables whose streams the function may read: comma-separated patterns
    with `*` and `?`, which match as in IAM. `key` is the ARN of the KMS key that the function may
    encrypt the archive with, None when it may use no key. `settings` are the parameters of a new
    event source mapping, so that it equals one from the template. `distributed` is what the stack
    has for distributed runs, None where it has nothing. Where drills are scheduled, `drill_tables`
    are those that are drilled, `*` or names separated by commas, and `drill_days` is the number of
    days for which no drill need have passed. `restore_pattern` matches further tables that a
    distributed restore may write to, `*` where the stack does not say which.
    """

    name: str
    archive: str
    function: str
    function_arn: str
    failures: str | None
    pattern: str
    settings: Mapping[str, int]
    key: str | None = None
    distributed: "Distributed | None" = None
    drill_tables: str = ""
    drill_days: int | None = None
    restore_pattern: str = "*"

    @property
    def destination(self) -> str | None:
        """The ARN of the failures bucket, in the partition of the function (`aws`, `aws-cn`, …).
        None when there is no failures bucket."""
        return (
            f"arn:{self.function_arn.split(':')[1]}:s3:::{self.failures}" if self.failures else None
        )

    @classmethod
    def of(cls, name: str, outputs: Mapping[str, str]) -> Self:
        """Returns the stack with these outputs. Raises UsageError when an output of the
        stream-backup template is missing."""
        if missing := [output for output in _REQUIRED if not outputs.get(output)]:
            raise UsageError(
                f"Stack {name!r} has no output {missing[0]}: it is not a stream-backup stack, or it"
                " is not deployed yet.",
                "Pass the name of the deployed stack: --stack NAME",
            )
        return cls(
            name=name,
            archive=outputs["ArchiveUrl"],
            function=outputs["FunctionName"],
            function_arn=outputs["FunctionArn"],
            failures=outputs.get("FailuresBucket") or None,
            pattern=outputs.get("TablePattern") or "*",
            settings={
                name: int(outputs[output])
                for output, name in _SETTINGS.items()
                if outputs.get(output)
            },
            key=outputs.get("KmsKeyArn") or None,
            distributed=Distributed.of(outputs),
            restore_pattern=outputs.get("RestorePattern") or "*",
            drill_tables=outputs.get("DrillTables") or "",
            drill_days=int(outputs["DrillMaxAgeDays"]) if outputs.get("DrillMaxAgeDays") else None,
        )

    def reads(self, table: str) -> bool:
        """Returns whether the function's role allows it to read this table's stream."""
        return any(fnmatchcase(table, pattern.strip()) for pattern in self.pattern.split(","))

    def require(self, table: str) -> None:
        """Raises UsageError when the function's role does not allow it to read this table's
        stream."""
        if not self.reads(table):
            raise UsageError(
                f"Stack {self.name!r} can read only tables that match {self.pattern!r}, and"
                f" {table!r} does not match.",
                "Deploy the stack with a TablePattern that matches the table, or pass another"
                " stack: --stack NAME",
            )


def find_stack(client: Any, name: str) -> Stack | None:
    """Returns the stack with this name, None when there is none. `client` is boto3's
    `cloudformation` client.

    Raises ClientError when the stack cannot be described, and UsageError when it is not a
    stream-backup stack.
    """
    try:
        (found,) = client.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        # The message of this error is "Stack with id NAME does not exist".
        if error.response["Error"]["Code"] == "ValidationError":
            return None
        raise
    return Stack.of(
        name, {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}
    )
