"""Records delivered to the handler as Lambda delivers them: a batch that fails is delivered again,
after a wait, from its first failed record on."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from stream_backup.capture.batch import Handler
from stream_backup.errors import UnavailableError

LONGEST_WAIT = 30.0
"""Seconds at most before a failed batch is delivered again."""


@dataclass(slots=True)
class Retry:
    """A shard whose batch failed waits longer each time."""

    failures: int = 0
    until: float = 0.0

    def failed(self) -> None:
        """Counts a failure and sets how long to wait."""
        self.until = time.monotonic() + min(LONGEST_WAIT, 0.2 * 2**self.failures)
        self.failures += 1


def deliver(
    handle: Handler, arn: str, batch: Sequence[dict[str, Any]], note: Callable[[str], None]
) -> int:
    """Calls the handler with records of the stream `arn`. Returns how many of them, from the first
    on, have certainly been written, by the rules of partial-batch responses. Raises
    UnavailableError when AWS was out of reach for as long as this process waits."""
    event = {"Records": [record | {"eventSourceARN": arn} for record in batch]}
    try:
        answer = handle(event, None)
    except UnavailableError:
        raise
    except Exception as error:  # noqa: BLE001 - a function that fails is called again, whatever the reason
        note(f"The handler failed: {error}")
        return 0
    failed = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
    sequences = [record["dynamodb"]["SequenceNumber"] for record in batch]
    if failed - set(sequences):
        return 0  # an answer that names no record of the batch fails the whole batch
    return next(
        (index for index, sequence in enumerate(sequences) if sequence in failed), len(batch)
    )
