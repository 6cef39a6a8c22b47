"""A small table with an archive, in this process, on which drills are made: the fake DynamoDB, and
a bucket in memory.

Of every third item an old change was written again hours later, as a redrive does before it puts
the versions in order: the version written last is not the newest one by stamp.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from threading import Event
from types import SimpleNamespace
from typing import Any

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.aws.connection import Connection
from stream_backup.aws.table import describe
from stream_backup.core.change import Change
from stream_backup.core.checkpoints import FollowCheckpoint
from stream_backup.core.drill import DrillRecord
from stream_backup.core.item import Item
from stream_backup.core.records import Run, Stream
from stream_backup.core.time_rule import floor_of
from stream_backup.drill.run import DrillRequest, drill
from stream_backup.drill.scratch import PREFIX
from tests.fake_dynamodb import FakeDynamoDB
from tests.model import ARN, NAME, SCHEMA, Model
from tests.world import PlainBucket

HOUR = 3600
CALLER = "arn:aws:iam::123456789012:user/night"


class DrillDynamoDB(FakeDynamoDB):
    """Tables can be deleted, and all are listed."""

    def _list_tables(self, _: Any) -> Any:
        return {"TableNames": sorted([NAME, *self.others])}

    def _delete_table(self, request: dict[str, Any]) -> Any:
        self._rows(request["TableName"])
        assert request["TableName"] in self.others, "the live table"
        del self.others[request["TableName"]]
        self.tags.pop(ARN.replace(NAME, request["TableName"]))
        return {}

    def _put_item(self, request: dict[str, Any]) -> Any:
        assert request["TableName"] != NAME, "a drill wrote to the live table"
        return super()._put_item(request)


class DrillStore(MemoryStore):
    """`pause` is called before and after each request of a drill."""

    bucket = "backups"

    def __init__(self, clock: Callable[[], float], pause: Callable[[], None]) -> None:
        super().__init__(clock)
        for name in ("put", "get", "stat", "versions"):
            setattr(self, name, self._paused(getattr(self, name), pause))

    def _paused(self, work: Callable[..., Any], pause: Callable[[], None]) -> Callable[..., Any]:
        def paused(*words: Any, **more: Any) -> Any:
            pause()
            found = work(*words, **more)
            pause()
            return found

        return paused


@dataclass
class Notes:
    """A progress that keeps its notes."""

    said: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.said.append(text)

    def task(self, what: str, noun: str) -> Any:
        from stream_backup.progress import Silent

        return Silent().task(what, noun)

    def __contains__(self, words: str) -> bool:
        return any(words in each for each in self.said)


def key(number: int) -> Item:
    return {"pk": {"S": f"item {number}"}, "sk": {"N": str(number)}}


class DrillWorld:
    """`items` rows, each changed a few times, one after another, in nine hours."""

    def __init__(self, items: int = 12, seed: int = 1) -> None:
        self.on_request: Callable[[], None] = lambda: None
        self.model = Model(Random(seed))
        self.model.switch_on()
        stream = self.model.stream
        assert stream
        self.store = DrillStore(lambda: self.model.now + 1, lambda: self.on_request())
        self.dynamodb = DrillDynamoDB(
            self.model, lambda: int(self.model.now), lambda: self.on_request()
        )
        self.archive = Archive(self.store, "", NAME, SCHEMA, lambda: self.model.now)
        self.catalog = Catalog(self.archive)
        created = int(self.model.now)
        floor = floor_of(created, empty=True)
        label = stream.label
        self.label = label
        self.catalog.write_stream(
            Stream(label, f"{ARN}/stream/{label}", "1", floor, True, "follow", created)
        )
        found = self.dynamodb.call("describe_table", {"TableName": NAME}).data["Table"]
        self.catalog.write_description(label, describe(self.dynamodb, found))
        self.model.tick(60)
        asked = int(self.model.now)
        self.catalog.write_run(Run("1", label, floor, asked, asked + 60, True, {}))
        self.model.tick(2 * HOUR)
        self._fill(items)
        self.reach()
        self.connection = self._connect()

    def _fill(self, items: int) -> None:
        first: dict[int, Change] = {}
        for number in range(items):
            for change in range(3):
                self.model.tick(3 * HOUR // items)
                self.write(number, f"{change}")
                if change == 0:
                    first[number] = self._last
            if number % 4 == 1:
                self.model.tick(60)
                self.write(number, None)
        self.model.tick(2 * HOUR)
        for number in range(0, items, 3):
            self.archive.put(first[number])
        self.model.tick(HOUR)

    def write(self, number: int, text: str | None) -> None:
        """Changes a row, which is in the archive at once."""
        self.model.write(key(number), None if text is None else {"v": {"S": text}})
        assert self.model.stream
        records = [each for shard in self.model.stream.shards for each in shard]
        self._last = Change.streamed(max(records, key=lambda each: each.at).event)
        self.archive.put(self._last)

    def reach(self) -> None:
        """Everything up to the present has been read from the stream."""
        now = int(self.model.now)
        self.catalog.write_follow_checkpoint(
            self.label, FollowCheckpoint(now, now, True, False, {})
        )

    def _connect(self) -> Connection:
        found = Connection(None, None, "s3://backups")
        sts = SimpleNamespace(get_caller_identity=lambda: {"Arn": CALLER})
        given: dict[str, Any] = {
            "session": SimpleNamespace(client=lambda *_, **__: sts),
            "dynamodb": self.dynamodb,
            "store": self.store,
            "s3": PlainBucket(),
            "now": lambda: self.model.now,
            "clock": lambda: int(self.model.now),
        }
        found.__dict__.update(given)
        return found

    def drill(self, progress: Any = None, **more: Any) -> DrillRecord:
        request = DrillRequest(**{"table": NAME, "seed": 5, **more})
        return drill(self.connection, request, progress or Notes(), Event())

    @property
    def scratch_tables(self) -> list[str]:
        return [name for name in self.dynamodb.others if name.startswith(PREFIX)]
