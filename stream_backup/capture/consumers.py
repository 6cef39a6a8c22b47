"""What else receives the changes of a live table: a run that writes many rows is a burst of changes
for it too.

Only what AWS lists can be named. Nothing lists the readers that poll a stream themselves, such as
EventBridge pipes or applications with the Kinesis adapter.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from stream_backup.aws.connection import SHORT_TIMEOUTS, Connection
from stream_backup.capture.state import State


@dataclass(frozen=True, slots=True)
class Consumers:
    """One sentence for each consumer that was `found`, and for each kind that is `unseen` because
    AWS did not permit to list it."""

    found: tuple[str, ...]
    unseen: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """Returns the consumers as members of a JSON object."""
        return {"consumers": list(self.found), "consumers_unseen": list(self.unseen)}


def consumers_of(connection: Connection, state: State) -> Consumers:
    """Returns the other consumers of the table's changes: replicas, event source mappings other
    than those of this archive, destinations in Kinesis, and its time to live."""
    asked: dict[str, Callable[[], Iterator[str]]] = {
        "replicas": lambda: _replicas(state),
        "event source mappings": lambda: _mappings(connection, state),
        "Kinesis destinations": lambda: _destinations(connection, state.table),
        "time to live": lambda: _time_to_live(connection, state.table),
    }
    found, unseen = [], []
    for what, ask in asked.items():
        try:
            found += [*ask()]
        except (ClientError, BotoCoreError, ResponseParserError, LookupError) as error:
            reason = error.response["Error"]["Code"] if isinstance(error, ClientError) else error
            unseen.append(f"The table's {what} could not be read: {str(reason).rstrip('.')}.")
    return Consumers(tuple(found), tuple(unseen))


def _replicas(state: State) -> Iterator[str]:
    if state.live is None:
        raise LookupError("the table may not be described")
    for each in state.live.description.get("Replicas", ()):
        yield f"The table has a replica in {each['RegionName']}."


def _mappings(connection: Connection, state: State) -> Iterator[str]:
    stream = (state.live.description if state.live else {}).get("LatestStreamArn")
    if stream is None and state.status.stream:
        stream = state.status.stream.arn
    if stream is None:
        return
    ours = {each.mapping.uuid for each in state.mappings}
    client = connection.session.client("lambda", config=SHORT_TIMEOUTS)
    pages = client.get_paginator("list_event_source_mappings").paginate(EventSourceArn=stream)
    for page in pages:
        for each in page["EventSourceMappings"]:
            if each["UUID"] not in ours:
                name = each["FunctionArn"].partition(":function:")[2] or each["FunctionArn"]
                yield f"The function {name} reads the stream ({each.get('State', 'unknown')})."


def _destinations(connection: Connection, table: str) -> Iterator[str]:
    request = {"TableName": table}
    answer = connection.dynamodb.call("describe_kinesis_streaming_destination", request).data
    for each in answer.get("KinesisDataStreamDestinations", ()):
        if each.get("DestinationStatus") not in ("DISABLED", "ENABLE_FAILED"):
            yield f"The Kinesis stream {each['StreamArn'].rpartition('/')[2]} receives its changes."


def _time_to_live(connection: Connection, table: str) -> Iterator[str]:
    found = connection.dynamodb.call("describe_time_to_live", {"TableName": table}).data
    described = found.get("TimeToLiveDescription", {})
    if described.get("TimeToLiveStatus") in ("ENABLED", "ENABLING"):
        yield (
            f"Time to live is on: rows that are put back expire again once the time in"
            f" {described['AttributeName']!r} is over."
        )
