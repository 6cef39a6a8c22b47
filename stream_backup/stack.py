"""The deployed stack, found by its name through CloudFormation, and what its outputs tell the commands."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Self

from botocore.exceptions import ClientError

from stream_backup.errors import UsageError

NAME = "stream-backup"
"""What the template's own configuration calls it."""

VARIABLE = "STREAM_BACKUP_STACK"

_REQUIRED = ("ArchiveUrl", "FunctionName", "FunctionArn")

_SETTINGS = {
    "BatchSize": "BatchSize",
    "BatchingWindow": "MaximumBatchingWindowInSeconds",
    "ParallelizationFactor": "ParallelizationFactor",
    "MaximumRecordAge": "MaximumRecordAgeInSeconds",
    "MaximumRetryAttempts": "MaximumRetryAttempts",
}
"""Output → what CreateEventSourceMapping calls it."""


@dataclass(frozen=True, slots=True)
class Stack:
    """`failures` is the bucket failed batches go to; `pattern` says which tables' streams the function may read (`*` and `?`,
    as IAM reads them); `settings` are those of a new event source mapping, so that it is like the template's own."""

    name: str
    archive: str
    function: str
    function_arn: str
    failures: str | None
    pattern: str
    settings: Mapping[str, int]

    @property
    def destination(self) -> str | None:
        """ARN of the failures bucket, in the partition that the function is in (`aws`, `aws-cn`, …)."""
        return f"arn:{self.function_arn.split(':')[1]}:s3:::{self.failures}" if self.failures else None

    @classmethod
    def of(cls, name: str, outputs: Mapping[str, str]) -> Self:
        """Raises UsageError when the outputs are not those of this project's template."""
        if missing := [output for output in _REQUIRED if not outputs.get(output)]:
            raise UsageError(
                f"Stack {name!r} has no output {missing[0]}, so it is none of ours, or is not deployed yet.",
                "Name the one you deployed: --stack NAME",
            )
        return cls(
            name=name,
            archive=outputs["ArchiveUrl"],
            function=outputs["FunctionName"],
            function_arn=outputs["FunctionArn"],
            failures=outputs.get("FailuresBucket") or None,
            pattern=outputs.get("TablePattern") or "*",
            settings={name: int(outputs[output]) for output, name in _SETTINGS.items() if outputs.get(output)},
        )

    def require(self, table: str) -> None:
        """Raises UsageError when the function's role does not cover this table's stream."""
        if not any(fnmatchcase(table, pattern.strip()) for pattern in self.pattern.split(",")):
            raise UsageError(
                f"Stack {self.name!r} reads tables that match {self.pattern!r}, and {table!r} does not.",
                "Deploy it with another TablePattern, or name another: --stack NAME",
            )


def find_stack(client: Any, name: str) -> Stack | None:
    """The stack of this name by boto3's `cloudformation` client, None when there is none.

    Raises ClientError when AWS will not say, and UsageError for a stack that is none of ours.
    """
    try:
        (found,) = client.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":  # "Stack with id NAME does not exist"
            return None
        raise
    return Stack.of(name, {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])})
