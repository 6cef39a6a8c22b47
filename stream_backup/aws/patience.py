"""Patience with AWS: a request that fails because AWS is busy or out of reach is sent again for
minutes, not for the seconds that an AWS client allows.

The waits double up to LONGEST_WAIT and are random (Amazon Builders' Library, "Timeouts, retries,
and backoff with jitter"). Any other error is raised at once.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from stream_backup.aws.dynamodb import Answer, Caller
from stream_backup.aws.errors import is_transient

PATIENCE = 900
"""Seconds for which a request is sent again. An iterator of a stream expires after as many."""

FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0

Found = TypeVar("Found")


@dataclass(slots=True)
class Retrying:
    """`note` receives one sentence when trouble begins, and one when it is over."""

    note: Callable[[str], None]

    def __call__(self, what: str, work: Callable[[], Found]) -> Found:
        """Returns what `work` returns. Raises its error when it is not transient, or when it
        continues for PATIENCE seconds."""
        began: float | None = None
        wait = FIRST_WAIT
        while True:
            try:
                found = work()
            except Exception as error:
                if not is_transient(error):
                    raise
                now = time.monotonic()
                if began is None:
                    began = now
                    self.note(f"{what} failed: {error}. Trying again for {PATIENCE // 60} minutes.")
                elif now - began > PATIENCE:
                    raise
                time.sleep(random.uniform(wait / 2, wait))  # noqa: S311 - jitter is no secret
                wait = min(2 * wait, LONGEST_WAIT)
            else:
                if began is not None:
                    self.note(f"{what} succeeds again.")
                return found


@dataclass(slots=True)
class RetryingCaller:
    """A client whose calls are made with patience. `clock` is the latest second of AWS's clock that
    an answer had."""

    client: Caller
    patience: Retrying
    clock: int = 0

    def call(self, operation: str, request: dict[str, Any] | bytes) -> Answer:
        """Calls an operation like DynamoDB.call."""
        answer = self.patience(operation, lambda: self.client.call(operation, request))
        self.clock = max(self.clock, answer.moment)
        return answer
