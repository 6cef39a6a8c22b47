"""A deployed stack on ministack with only what the commands use: its outputs, a function, and two
buckets.

The function only answers `enable`, so that ministack's own event source mapping, which does not
follow AWS's rules, writes nothing. Instead, a test reads the stream and calls the real handler with
`EventSourceMapping`, which writes failed batches to the failures bucket.
"""

import io
import json
import zipfile
from dataclasses import dataclass
from itertools import count
from typing import Any

from stream_backup.archive.layout import Archive
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.capture.shards import ShardReader, describe_stream
from tests.cli import Shell
from tests.event_source_mapping import Clock, EventSourceMapping
from tests.journal import SCHEMA
from tests.servers import Aws

_NUMBERS = count(1)


def code_of(*, announces: bool) -> str:
    """A function that does nothing, but answers `enable` as the deployed release would."""
    answer: dict[str, Any] = {"batchItemFailures": []} | ({"announces": True} if announces else {})
    return f"def handler(event, context):\n    return {answer}\n"


@dataclass(frozen=True)
class Deployed:
    aws: Aws
    name: str
    archive_bucket: str
    failures: str

    @classmethod
    def make(
        cls, aws: Aws, pattern: str = "*", *, announces: bool = True, **outputs: str | None
    ) -> "Deployed":
        name = f"backup-{next(_NUMBERS)}-{aws.bucket()[8:]}"
        made = cls(aws, name, aws.bucket(), aws.bucket())
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as package:
            package.writestr("nothing.py", code_of(announces=announces))
        function = aws.client("lambda").create_function(
            FunctionName=name,
            Runtime="python3.13",
            Role="arn:aws:iam::000000000000:role/writer",
            Handler="nothing.handler",
            Code={"ZipFile": code.getvalue()},
        )
        values = {
            "ArchiveUrl": f"s3://{made.archive_bucket}/production",
            "FunctionName": name,
            "FunctionArn": function["FunctionArn"],
            "FailuresBucket": made.failures,
            "TablePattern": pattern,
            "BatchSize": "500",
            "MaximumRecordAge": "21600",
            "MaximumRetryAttempts": "-1",
            **outputs,
        }
        template = {
            "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
            "Outputs": {
                output: {"Value": value} for output, value in values.items() if value is not None
            },
        }
        aws.client("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(template))
        aws.client("cloudformation").get_waiter("stack_create_complete").wait(
            StackName=name, WaiterConfig={"Delay": 1}
        )
        return made

    @property
    def shell(self) -> Shell:
        """A terminal with the stack specified and no archive."""
        return Shell(self.aws, None, {"STREAM_BACKUP_STACK": self.name})

    def archive(self, table: str) -> Archive:
        return Archive(self.aws.store(self.archive_bucket), "production/", table, SCHEMA)

    def keep(self, path: str, content: bytes) -> None:
        self.aws.client("s3").put_object(Bucket=self.failures, Key=path, Body=content)

    def waiting(self) -> list[str]:
        found = self.aws.client("s3").list_objects_v2(Bucket=self.failures).get("Contents", [])
        return sorted(each["Key"] for each in found)

    def stream(self, arn: str) -> list[dict[str, Any]]:
        """Returns all records of the table's stream, as Lambda delivers them."""
        dynamodb = DynamoDB(self.aws.session)
        (shard,) = describe_stream(dynamodb, arn).shards
        reader = ShardReader(dynamodb, arn, shard, reached=0)
        while reader.read(0):
            pass
        return [record | {"eventSourceARN": arn} for record in reader.pending]

    def mapping(
        self, uuid: str, function: Any, clock: Clock, **settings: Any
    ) -> EventSourceMapping:
        return EventSourceMapping(function, clock, uuid=uuid, destination=self.keep, **settings)
