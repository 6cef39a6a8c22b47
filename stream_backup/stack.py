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


@dataclass(frozen=True, slots=True)
class Stack:
    """`failures` is the bucket failed batches go to; `pattern` says which tables' streams the function may read (`*` and `?`,
    as IAM reads them); `record_age` is how many seconds a failing batch is tried again before it goes there."""

    name: str
    archive: str
    function: str
    function_arn: str
    failures: str | None
    pattern: str
    record_age: int | None

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
            record_age=int(outputs["MaximumRecordAge"]) if outputs.get("MaximumRecordAge") else None,
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
