"""Patience with AWS: a request that fails because AWS is busy or out of reach is sent again for
minutes, not for the seconds that an AWS client allows.

boto3 and obstore send a request again a few times, at once. That is not enough for an outage of
minutes, and botocore even stops after a hundred retries of all requests of a client together: its
standard mode pays each one from a quota of 500 tokens (`botocore.retries.quota`). What they give up
is made again here by tenacity, with waits that double and are random (Amazon Builders' Library,
"Timeouts, retries, and backoff with jitter").
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import TypeVar

from botocore.exceptions import ClientError
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from stream_backup.archive.pool import slow_down
from stream_backup.aws.errors import is_transient, is_unreachable, reason_of
from stream_backup.errors import UnavailableError

PATIENCE = 900
"""Seconds for which a request is sent again. An iterator of a stream expires after as many."""

LONGEST_WAIT = 30.0
"""Seconds between two attempts at most; half of it on average."""

SOON = 5
"""Seconds of trouble with one request that nobody needs to know of."""

OPTIONAL = frozenset({"CloudWatch"})
"""Services that a command can do without. The others are waited for even when one was given up."""

CALM = 900
"""Seconds without trouble after which new trouble is reported again."""

Found = TypeVar("Found")


@dataclass(slots=True)
class PatientAttempts:
    """The patience of one command with all requests that it makes, of any service; an `Attempts`.

    `note` receives one sentence when trouble begins, however many requests it concerns. Once a
    request has been given up, the others are not made again either: the command ends, unless the
    service is OPTIONAL. Thread-safe.
    """

    note: Callable[[str], None]
    clock: Callable[[], float] = lambda: time.monotonic()
    _over: Event = field(default_factory=Event)
    _answered: set[str] = field(default_factory=set)
    _given_up: dict[str, str] = field(default_factory=dict)
    _troubled: float | None = None
    _lock: Lock = field(default_factory=Lock)

    def __call__(self, what: str, work: Callable[[], Found]) -> Found:
        """Returns what `work` returns. `what` names the service and the operation.

        Raises the error of `work` when it is not transient, or when a service that never answered
        cannot be reached: its address is most likely wrong. Raises UnavailableError when trouble
        continues for PATIENCE seconds.
        """
        service = what.partition(" ")[0]
        try:
            found = work()
        except Exception as error:
            if not is_unreachable(error):
                self._answered.add(service)
            if not is_transient(error) or service not in self._answered:
                raise
            return self._again(what, work, error)
        self._answered.add(service)
        return found

    def end(self) -> None:
        """Ends all waiting, because the command was interrupted."""
        self._over.set()

    def tell(self, text: str) -> None:
        """Reports trouble with a sentence, unless trouble has been reported and continues."""
        with self._lock:
            now, before = self.clock(), self._troubled
            self._troubled = now
        if before is None or now - before > CALM:
            self.note(text)

    def _again(self, what: str, work: Callable[[], Found], error: Exception) -> Found:
        began, failed, service = self.clock(), [error], what.partition(" ")[0]

        def attempt() -> Found:
            if failed:
                raise failed.pop()  # The first attempt has been made.
            try:
                return work()
            except ClientError as refusal:
                # It may refuse what an earlier attempt has done: nobody knows what became of that.
                refusal.response.setdefault("ResponseMetadata", {})["RetryAttempts"] = 1
                raise

        def elapsed() -> float:
            return self.clock() - began

        def tell(state: RetryCallState) -> None:
            slow_down()
            if elapsed() >= SOON:
                self.tell(
                    f"AWS is busy or out of reach ({what}: {_reason(state)}). Each request is sent"
                    f" again for up to {PATIENCE // 60} minutes."
                )

        def is_over(_: RetryCallState) -> bool:
            ended = self._over.is_set() or service in self._given_up
            return ended or elapsed() > PATIENCE

        def give_up(state: RetryCallState) -> Found:
            with self._lock:
                # The others end because of the first, so they have its reason.
                text = self._given_up.setdefault(
                    service,
                    f"AWS was busy or out of reach for {elapsed() / 60:.0f} minutes"
                    f" ({what}: {_reason(state)}).",
                )
            if service not in OPTIONAL:
                self._over.set()
            raise UnavailableError(text) from (state.outcome.exception() if state.outcome else None)

        retrying = Retrying(
            retry=retry_if_exception(is_transient),
            wait=wait_random_exponential(multiplier=1, max=LONGEST_WAIT),
            stop=is_over,
            sleep=self._wait,
            before_sleep=tell,
            retry_error_callback=give_up,
        )
        return retrying(attempt)

    def _wait(self, seconds: float) -> None:
        self._over.wait(seconds)


def _reason(state: RetryCallState) -> str:
    error = state.outcome.exception() if state.outcome else None
    return reason_of(error) if error else ""
