"""Patience with AWS: what is sent again and for how long, what is said, and what is not waited
for."""

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import botocore.endpoint
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.retries.quota import RetryQuota
from hypothesis import given
from hypothesis import strategies as st
from obstore.exceptions import GenericError, NotFoundError, PermissionDeniedError

from stream_backup.archive.pool import RequestPool
from stream_backup.archive.store import ConflictError, once
from stream_backup.aws.errors import is_transient, reason_of, translate
from stream_backup.aws.patience import CALM, PATIENCE, SOON, PatientAttempts
from stream_backup.aws.session import FEW_RETRIES, open_session
from stream_backup.capture.metrics import metrics_of
from stream_backup.core.in_flight import MOST, InFlight
from stream_backup.errors import UnavailableError


@dataclass
class Clock:
    now: float = 0.0
    waits: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now


class Virtual(PatientAttempts):
    """Waits by moving its clock."""

    def _wait(self, seconds: float) -> None:
        clock: Any = self.clock
        clock.now += seconds
        clock.waits.append(seconds)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def patience(said: list[str], clock: Clock) -> Virtual:
    return Virtual(said.append, clock)


def refused(code: str, status: int = 400) -> ClientError:
    answer = {
        "Error": {"Code": code, "Message": "m"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(answer, "Operation")


def s3(status: str, body: str = "") -> GenericError:
    found = f"Error performing PUT https://b in 1ms - Server returned non-2xx status code: {status}"
    return GenericError(f"{found}: {body}")


UNREACHABLE = EndpointConnectionError(endpoint_url="https://dynamodb")
NO_ROUTE = GenericError("Error performing GET https://b in 2ms - HTTP error: error sending request")

TRANSIENT = [
    refused("ThrottlingException"),
    refused("ProvisionedThroughputExceededException"),
    refused("LimitExceededException"),
    refused("ContinuousBackupsUnavailableException"),
    refused("InternalServerError", 500),
    refused("503", 503),
    refused("SlowDown", 503),
    s3("503 Service Unavailable", "<Code>SlowDown</Code>"),
    s3("500 Internal Server Error"),
    s3("400 Bad Request", "<Code>RequestTimeout</Code>"),
    ConflictError("S3 reports a conflicting operation"),
    UNREACHABLE,
    NO_ROUTE,
    ConnectionResetError("reset"),
]

FINAL = [
    refused("ValidationException"),
    refused("AccessDeniedException"),
    refused("ConditionalCheckFailedException"),
    refused("NotImplemented", 501),
    s3("400 Bad Request", "<Code>ExpiredToken</Code>"),
    s3("501 Not Implemented"),
    GenericError("Received redirect without LOCATION, this normally indicates a wrong region"),
    NotFoundError("no"),
    PermissionDeniedError("no"),
    BrokenPipeError(),
    OSError(28, "No space left on device"),
    FileNotFoundError("x"),
    ValueError("x"),
]


@pytest.mark.parametrize("error", TRANSIENT, ids=repr)
def test_trouble_that_passes(error: Exception) -> None:
    """What AWS answers when it is busy, or when it cannot be reached, passes; and it is exit code 3
    wherever it is met."""
    assert is_transient(error)
    found = translate(error)
    assert isinstance(found, UnavailableError)
    assert found.exit_code == 3


@pytest.mark.parametrize("error", FINAL, ids=repr)
def test_errors_that_stay(error: Exception, patience: Virtual) -> None:
    """Any other error is raised at once, and is no sign of an outage."""
    calls = Counter[str]()

    def work() -> None:
        calls["made"] += 1
        raise error

    assert not is_transient(error)
    with pytest.raises(type(error)):
        patience("S3 PutObject", work)
    assert calls["made"] == 1
    assert not isinstance(translate(error), UnavailableError)


def failing(clock: Clock, until: float, error: Exception) -> Callable[[], str]:
    def work() -> str:
        if clock.now < until:
            raise error
        return "done"

    return work


@given(st.sampled_from(TRANSIENT), st.floats(SOON * 8, PATIENCE))
def test_an_outage_is_waited_for_and_reported_once(error: Exception, seconds: float) -> None:
    """A request is sent again until an outage of up to a quarter of an hour is over. One sentence
    says so, and the waits are random, grow, and stay below half a minute."""
    said: list[str] = []
    clock = Clock()
    patience = Virtual(said.append, clock)
    assert patience("S3 GetObject", lambda: "well") == "well"
    assert patience("S3 GetObject", failing(clock, seconds, error)) == "done"
    assert seconds <= clock.now <= seconds + 30
    assert max(clock.waits) <= 30
    assert clock.waits[0] <= 1
    (sentence,) = said
    assert "S3 GetObject" in sentence
    assert "15 minutes" in sentence


def test_ten_minutes_at_least() -> None:
    assert PATIENCE >= 600


def test_trouble_without_end(patience: Virtual, clock: Clock, said: list[str]) -> None:
    """After a quarter of an hour a request is given up, with what failed and how to resume; others
    are not waited for any more, because the command ends."""
    with pytest.raises(UnavailableError, match=r"15 minutes \(S3 PutObject: SlowDown m") as found:
        patience("S3 PutObject", failing(clock, 1e9, refused("SlowDown", 503)))
    assert PATIENCE < clock.now < PATIENCE + 30
    assert "resume" in found.value.hint
    assert len(said) == 1
    before = clock.now
    with pytest.raises(UnavailableError, match=r"15 minutes \(S3 PutObject: SlowDown m"):
        patience("S3 GetObject", failing(clock, 1e9, NO_ROUTE))
    with pytest.raises(UnavailableError):
        patience("DynamoDB Scan", failing(clock, 1e9, refused("ThrottlingException")))
    assert clock.now == before


def test_what_a_command_can_do_without(patience: Virtual, clock: Clock) -> None:
    """Metrics that cannot be read are unknown, after one wait and not one of each request; the
    command continues, and is as patient with other services as before."""
    cloudwatch: Any = SimpleNamespace(
        get_metric_statistics=lambda **_: patience(
            "CloudWatch GetMetricStatistics", failing(clock, 1e9, refused("Throttling"))
        )
    )
    for _ in range(2):
        assert metrics_of(cloudwatch, "f", "t", 0) == (None, None, None)
    assert PATIENCE < clock.now < PATIENCE + 30
    until = clock.now + 300
    assert patience("S3 GetObject", failing(clock, until, refused("SlowDown", 503))) == "done"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (s3("503 Service Unavailable", "<Error>secret</Error>"), "503 Service Unavailable"),
        (NO_ROUTE, "HTTP error: error sending request"),
        (refused("ThrottlingException"), "ThrottlingException m"),
        (UNREACHABLE, 'Could not connect to the endpoint URL: "https://dynamodb"'),
    ],
)
def test_the_reason_in_a_few_words(error: Exception, reason: str) -> None:
    """A sentence has the reason and nothing of the answer's body."""
    assert reason_of(error) == reason


@pytest.mark.parametrize(
    "error",
    [s3("503 Service Unavailable"), refused("SlowDown", 503), refused("ThrottlingException")],
)
def test_a_service_that_is_busy_gets_half_as_many_requests(
    error: Exception, patience: Virtual, clock: Clock
) -> None:
    """A request that is refused because AWS is busy halves the number of requests that its pool
    keeps under way, however often it is refused in this moment."""
    rule = InFlight()
    rule.number = MOST
    patience("S3 PutObject", lambda: None)
    with RequestPool(rule) as pool:
        work = failing(clock, 20, error)
        assert pool.submit(patience, "S3 PutObject", work).result()
    assert rule.number == MOST // 2


def test_a_hiccup_is_not_reported(patience: Virtual, clock: Clock, said: list[str]) -> None:
    """Nobody needs to know of trouble that is over after seconds."""
    assert patience("S3 GetObject", failing(clock, 0.3, refused("SlowDown", 503))) == "done"
    assert said == []


def test_requests_in_trouble_together_say_one_sentence(
    patience: Virtual, clock: Clock, said: list[str]
) -> None:
    """However many requests meet an outage, and however often it seems over, one sentence is said.
    An outage hours later has a sentence of its own."""
    for number in range(20):
        until = clock.now + 60
        assert patience(f"S3 Get{number}", failing(clock, until, refused("SlowDown", 503)))
    assert len(said) == 1
    clock.now += CALM + 1
    assert patience("DynamoDB Scan", failing(clock, clock.now + 60, refused("ThrottlingException")))
    assert len(said) == 2


def test_a_service_that_was_never_reached(patience: Virtual, clock: Clock) -> None:
    """An address that never answered is most likely wrong, so nobody waits for it. One that did
    answer is out of reach for a while."""
    for error in (UNREACHABLE, NO_ROUTE):
        with pytest.raises(type(error)):
            patience("S3 GetObject", failing(clock, 60, error))
    assert clock.now == 0
    patience("S3 GetObject", lambda: "answered")
    assert patience("S3 PutObject", failing(clock, 60, NO_ROUTE)) == "done"
    with pytest.raises(EndpointConnectionError):
        patience("DynamoDB Scan", failing(clock, clock.now + 60, UNREACHABLE))


def test_an_interrupt_ends_all_waiting() -> None:
    """Ctrl-C wakes up every thread that waits."""
    waiting = threading.Event()
    patience = PatientAttempts(lambda _: None)

    def work() -> None:
        waiting.set()
        raise refused("SlowDown", 503)

    def wait() -> None:
        with pytest.raises(UnavailableError):
            patience("S3 GetObject", work)

    threads = [threading.Thread(target=wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    waiting.wait(10)
    patience.end()
    for thread in threads:
        thread.join(5)
    assert not any(thread.is_alive() for thread in threads)


SERVICES: dict[str, Callable[[Any], Any]] = {
    "dynamodb": lambda client: client.list_tables(),
    "dynamodbstreams": lambda client: client.describe_stream(StreamArn="a" * 40),
    "s3": lambda client: [*client.get_paginator("list_object_versions").paginate(Bucket="b")],
    "lambda": lambda client: client.get_event_source_mapping(UUID="u" * 36),
    "cloudwatch": lambda client: client.list_metrics(),
    "cloudformation": lambda client: client.describe_stacks(),
    "sts": lambda client: client.get_caller_identity(),
}


@pytest.mark.parametrize("service", SERVICES)
def test_every_client_of_a_command_is_patient(
    service: str, patience: Virtual, clock: Clock, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five minutes of 503 from any service, also to a paginator, are waited for. The same client
    without patience gives up."""
    monkeypatch.setattr(botocore.endpoint, "time", SimpleNamespace(sleep=lambda _: None))
    sent = Counter[str]()

    def answer(request: Any, **_: Any) -> AWSResponse:
        sent["requests"] += 1
        busy = clock.now < 300
        body = b"" if busy else {"s3": b"<ListVersionsResult/>"}.get(service, b"{}")
        if not busy and service in ("cloudformation", "sts"):
            body = b"<R><DescribeStacksResult/><GetCallerIdentityResult/></R>"
        stream = SimpleNamespace(stream=lambda: [body])
        return AWSResponse(request.url, 503 if busy else 200, {}, stream)

    for attempts in (once, patience):
        session = open_session(None, "us-east-1", attempts)
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
        client = session.client(service, **keys)
        client.meta.events.register("before-send", answer)
        if attempts is once:
            with pytest.raises(ClientError, match="503"):
                SERVICES[service](client)
        else:
            SERVICES[service](client)
    assert 300 <= clock.now < 330
    assert len(said) == 1
    assert sent["requests"] > 3 * (1 + FEW_RETRIES)


def test_what_botocore_alone_would_wait_for() -> None:
    """botocore pays each retry from a quota of the client, which a hundred failures use up: the
    assumption on which the patience of this project is based."""
    quota, paid = RetryQuota(), 0
    while quota.acquire(5):
        paid += 1
    assert paid == 100


def test_credentials_are_fetched_with_patience(patience: Virtual) -> None:
    """Clients that boto3 creates itself, for example to assume a role, are patient as well."""
    session = open_session(None, "us-east-1", patience)
    client = session._session.create_client("sts", region_name="us-east-1")  # noqa: SLF001
    assert "Repeating" in [each.__name__ for each in type(client).__mro__]
    assert json.dumps(client.meta.region_name)
