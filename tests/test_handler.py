"""The function: it receives a batch of stream records, writes versions to the archive, and returns
a partial-batch response."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

from stream_backup import handler as module
from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.archive.slices import CONCURRENCY
from stream_backup.capture.batch import RESERVE_MS, Handler, make_handler
from stream_backup.core.item import encode

NOW = 1_795_231_960
ARN = "arn:aws:dynamodb:eu-central-1:123456789012:table/{}/stream/2026-11-21T03:32:40.266"

_sequences = count(10**23)


def record(key: str, value: str | None = "v", table: str = "orders") -> dict[str, Any]:
    """Returns one change: the item's new value, or its removal."""
    data: dict[str, Any] = {
        "ApproximateCreationDateTime": NOW,
        "Keys": {"id": {"S": key}},
        "SequenceNumber": str(next(_sequences)),
        "SizeBytes": 59,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    }
    if value is not None:
        data["NewImage"] = {"id": {"S": key}, "secret": {"S": value}}
    name = "REMOVE" if value is None else "MODIFY"
    return {
        "eventID": "1",
        "eventName": name,
        "eventSourceARN": ARN.format(table),
        "dynamodb": data,
    }


def sequence(of: dict[str, Any]) -> str:
    return str(of["dynamodb"]["SequenceNumber"])


class Failing(MemoryStore):
    """A bucket that refuses payloads that contain a certain word."""

    word: bytes | None = None

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.refused: list[str] = []

    def put(self, path: str, payload: bytes, metadata: Mapping[str, str]) -> None:
        if self.word and self.word in payload:
            self.refused.append(path)
            raise ConnectionResetError("the bucket is away")
        super().put(path, payload, metadata)


@dataclass
class Context:
    """Lambda's context: the remaining time, which decreases every time it is read."""

    left: float
    step: float = 0.0

    def get_remaining_time_in_millis(self) -> float:
        self.left -= self.step
        return self.left


@pytest.fixture
def store() -> Failing:
    return Failing(lambda: NOW)


@pytest.fixture
def handle(store: Failing) -> Handler:
    def archive_of(table: str) -> Archive:
        return Archive(store, "", table, clock=lambda: NOW)

    return make_handler(archive_of, module.report)


def values(store: MemoryStore, key: str, table: str = "orders") -> list[bytes]:
    """Returns the payloads of the item's versions in the order in which they were written."""
    name = Archive(store, "", table).history({"id": {"S": key}}).name
    return [stored.payload for stored in store.objects.get(f"{table}/{name}", [])]


def body(key: str, value: str) -> bytes:
    return encode({"id": {"S": key}, "secret": {"S": value}})


def test_every_change_is_one_put_in_the_order_of_its_item(handle: Handler, store: Failing) -> None:
    """A batch makes one PUT per change and no other request, and each item's changes are written in
    the order of the stream."""
    records = [
        record(f"k{number % 7}", None if number % 5 == 4 else str(number)) for number in range(70)
    ]
    assert handle({"Records": records}, None) == {"batchItemFailures": []}
    assert store.requests == {"put": 70}
    wanted = [
        b"" if number % 5 == 4 else body("k3", str(number))
        for number in range(70)
        if number % 7 == 3
    ]
    assert values(store, "k3") == wanted


def test_a_failed_put_is_read_again_from_there(handle: Handler, store: Failing) -> None:
    """When a put fails, the response names the first record that was not written, and nothing newer
    of its item is written. After the retry, every item's newest version is the last one written."""
    records = [
        record("a", "1"),
        record("b", "bad"),
        record("a", "2"),
        record("b", "3"),
        record("c", "4"),
    ]
    store.word = b"bad"
    answer = handle({"Records": records}, None)
    assert answer == {"batchItemFailures": [{"itemIdentifier": sequence(records[1])}]}
    assert values(store, "b") == []
    store.word = None
    assert handle({"Records": records[1:]}, None) == {"batchItemFailures": []}
    assert values(store, "b") == [body("b", "bad"), body("b", "3")]
    assert values(store, "a")[-1] == body("a", "2")


def test_a_bucket_that_is_away_is_left_alone(handle: Handler, store: Failing) -> None:
    """After a put has failed, no other is started, whatever its item. Only puts that are already
    running may also fail."""
    records = [record(f"k{number}", "bad") for number in range(10 * CONCURRENCY)]
    store.word = b"bad"
    assert handle({"Records": records}, None) == {
        "batchItemFailures": [{"itemIdentifier": sequence(records[0])}]
    }
    assert 0 < len(store.refused) <= CONCURRENCY


def test_a_record_that_cannot_be_parsed_is_never_skipped(handle: Handler, store: Failing) -> None:
    """A poison record is reported as failed, and nothing after it is written, because it may be of
    the same item."""
    poison = record("a", "2")
    poison["dynamodb"]["NewImage"]["id"] = {"X": "?"}
    records = [record("a", "1"), poison, record("a", "3"), record("b", "4")]
    assert handle({"Records": records}, None) == {
        "batchItemFailures": [{"itemIdentifier": sequence(poison)}]
    }
    assert values(store, "a") == [body("a", "1")]
    assert values(store, "b") == []


def test_a_record_without_a_sequence_number_fails_the_whole_batch(handle: Handler) -> None:
    """An empty item identifier makes Lambda treat the whole batch as failed."""
    poison = record("a")
    del poison["dynamodb"]["SequenceNumber"]
    assert handle({"Records": [poison]}, None) == {"batchItemFailures": [{"itemIdentifier": ""}]}


@pytest.mark.parametrize("view", ["KEYS_ONLY", "OLD_IMAGE"])
@pytest.mark.parametrize("value", ["v", None])
def test_a_stream_without_new_images_is_refused(
    handle: Handler, store: Failing, caplog: pytest.LogCaptureFixture, view: str, value: str | None
) -> None:
    """A stream of the wrong view type fails its batch, including removals, with an error that names
    the view type."""
    wrong = record("a", value)
    wrong["dynamodb"]["StreamViewType"] = view
    assert handle({"Records": [wrong]}, None)["batchItemFailures"]
    assert store.requests == {}
    assert f"the stream's view type is {view}" in caplog.text


def test_it_stops_before_the_deadline(handle: Handler, store: Failing) -> None:
    """When time runs out, the function stops and reports the first record that was not written."""
    records = [record("same", str(number)) for number in range(50)]
    context = Context(left=RESERVE_MS * 3, step=RESERVE_MS / 5)
    (failure,) = handle({"Records": records}, context)["batchItemFailures"]
    written = len(values(store, "same"))
    assert 0 < written < 50
    assert failure["itemIdentifier"] == sequence(records[written])


def test_each_record_goes_to_the_archive_of_its_own_table(handle: Handler, store: Failing) -> None:
    """The table is taken from each record's own event source."""
    handle({"Records": [record("a", "1", "users"), record("a", "2", "orders")]}, None)
    assert (values(store, "a", "users"), values(store, "a", "orders")) == (
        [body("a", "1")],
        [body("a", "2")],
    )


def test_metrics_are_embedded_and_contents_never_logged(
    handle: Handler,
    store: Failing,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An invocation prints one line of EMF with changes, tombstones, bytes, lag, and failures, and
    no log contains the content of an item."""
    store.word = b"topsecret"
    handle({"Records": [record("k", "1"), record("k", None), record("q", "topsecret")]}, None)
    said = capsys.readouterr().out
    metrics = json.loads(said)
    assert (metrics["changes"], metrics["tombstones"], metrics["failures"]) == ([2], [1], [1])
    assert metrics["bytes"] == [len(body("k", "1"))]
    assert metrics["lag"] is not None
    assert metrics["table"] == "orders"
    assert metrics["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "StreamBackup"
    assert "topsecret" not in said + str([vars(entry) for entry in caplog.records])
    assert "the bucket is away" in caplog.text


@pytest.mark.parametrize(
    ("settings", "endpoint"),
    [
        ({}, None),
        ({"STREAM_BACKUP_S3_ENDPOINT": "https://s3.cn-north-1.amazonaws.com.cn"}, None),
        ({"AWS_ENDPOINT_URL": "http://localhost:4566"}, "http://localhost:4566"),
        (
            {"AWS_ENDPOINT_URL": "http://localhost:4566", "AWS_ENDPOINT_URL_S3": "http://s3:1"},
            "http://s3:1",
        ),
    ],
)
def test_the_endpoint_is_that_of_the_partition(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], endpoint: str | None
) -> None:
    """The function writes to the endpoint that the template gives it, which has the URL suffix of
    its partition. An endpoint that is set in the usual way of AWS comes first."""
    asked: list[str | None] = []

    def opened(bucket: str, *, endpoint: str | None, **_: Any) -> Any:
        asked.append(endpoint)

    monkeypatch.setattr(module, "open_objects", opened)
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "STREAM_BACKUP_S3_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STREAM_BACKUP_ARCHIVE", f"s3://backups-{next(_sequences)}")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    module.handler({"Records": []}, None)
    assert asked == [endpoint or settings.get("STREAM_BACKUP_S3_ENDPOINT")]


def test_no_client_is_made_for_an_invocation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry point creates its client once per archive, however often it is invoked."""
    made: list[str] = []

    def opened(bucket: str, **_: Any) -> Any:
        made.append(bucket)
        return None

    monkeypatch.setattr(module, "open_objects", opened)
    monkeypatch.setattr(module, "S3Store", lambda *_: MemoryStore(lambda: NOW))
    for archive in ("s3://first", "s3://first", "s3://second/prefix"):
        monkeypatch.setenv("STREAM_BACKUP_ARCHIVE", archive)
        assert module.handler({"Records": [record("a")]}, None) == {"batchItemFailures": []}
    assert made == ["first", "second"]
