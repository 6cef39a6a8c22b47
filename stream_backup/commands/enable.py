"""`stream-backup enable`"""

from typing import Any

import click
from botocore.exceptions import ClientError

from stream_backup.connection import Connection
from stream_backup.errors import UsageError
from stream_backup.moment import iso
from stream_backup.options import as_json, connected, table_argument
from stream_backup.stream import enable as switch_on
from stream_backup.talk import data, say


@click.command()
@table_argument
@click.option("--function", metavar="NAME", help="The deployed function that reads the stream.")
@click.option("--stream-only", is_flag=True, help="No function: `follow` reads the stream.")
@as_json
@connected
def enable(connection: Connection, table: str, function: str | None, *, stream_only: bool, as_json: bool) -> None:
    """Switches a table's stream on, and has it read into the archive.

    A stream that is on already is taken as it is, if it carries new images. Run a backfill next: coverage begins with it.

    \b
      stream-backup enable orders --function stream-backup
      stream-backup enable orders --stream-only      # then: stream-backup follow orders
    """
    if bool(function) == stream_only:
        raise UsageError(
            "Who reads the stream?", f"stream-backup enable {table} --function NAME, or --stream-only and `follow` does."
        )
    stream, was_off = switch_on(connection.dynamodb, connection.archive(table), "follow" if stream_only else "function")
    mapping = _map(connection.session.client("lambda"), function, stream.arn) if function else None
    say(f"The stream of {table} {'is on now' if was_off else 'was on already'}, since {iso(stream.floor)}.")
    if mapping:
        say(f"Function {function} reads it (event source mapping {mapping}).")
    else:
        say(f"Read it: stream-backup follow {table}")
    say(f"Next: stream-backup backfill {table}")
    if as_json:
        data({"table": table, "was_off": was_off, "mapping": mapping} | stream.record())


def _map(client: Any, function: str, arn: str) -> str:
    """The event source mapping from the stream to the function, made if it is not there."""
    try:
        found = client.list_event_source_mappings(EventSourceArn=arn, FunctionName=function)["EventSourceMappings"]
        if found:
            return str(found[0]["UUID"])
        made = client.create_event_source_mapping(
            EventSourceArn=arn,
            FunctionName=function,
            StartingPosition="TRIM_HORIZON",
            BatchSize=1000,
            BisectBatchOnFunctionError=True,
            FunctionResponseTypes=["ReportBatchItemFailures"],
        )
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            raise UsageError(
                f"There is no function {function!r} here.", "Check its name, --region and --profile."
            ) from error
        raise
    return str(made["UUID"])
