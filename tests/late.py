"""Writers that are slow, frozen or killed, and readers among them: what the announcing of late
changes is held against.

Everything is the product's own code over a bucket in memory. Each writer and each reader is a
process that may stand still at every request for hours. The truth beside it is a list of changes.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.archive.status import Status, status_of
from stream_backup.capture.batch import write_batch
from stream_backup.core.as_of import item_at
from stream_backup.core.change import Change
from stream_backup.core.checkpoints import FollowCheckpoint
from stream_backup.core.item import Item, encode
from stream_backup.core.key import KeySchema
from stream_backup.core.records import Run, Stream
from stream_backup.core.version import Version
from stream_backup.errors import LatenessError
from tests.process import Inline, Killed, Process, pause
from tests.world import HostileStore

HOUR = 3600
NOON = 1_795_262_400
"""The beginning of an hour."""

SCHEMA = KeySchema((("id", "S"),))
KEYS: list[Item] = [{"id": {"S": "a"}}, {"id": {"S": "b"}}]
LABEL = "2026-11-21T11:00:00.000"
ARN = f"arn:aws:dynamodb:eu-central-1:123456789012:table/orders/stream/{LABEL}"


class SlowStore(HostileStore):
    """Others act before and after each listing and each read, too."""

    def versions(self, prefix: str, **how: Any) -> Iterator[Version]:
        pause()
        yield from list(super().versions(prefix, **how))

    def get(self, path: str, version_id: str) -> tuple[bytes, Mapping[str, str]]:
        pause()
        return super().get(path, version_id)


@dataclass(frozen=True)
class Made:
    """A change as it happened."""

    at: int
    key: int
    body: bytes | None
    event: dict[str, Any]


class Late:
    """A table of two items, its stream, and whoever reads it. `behind` is by how many seconds the
    writers' clocks are behind, `s3` by how many S3's is ahead."""

    def __init__(self, seed: int, start: float, behind: float = 0.0, s3: float = 0.0) -> None:
        self.random = Random(seed)
        self.now = float(start)
        self.failing = 0.0
        self.store = SlowStore(lambda: self.now + s3, self._fails)
        self.made: list[Made] = []
        self.delivered = 0
        self.killed = False
        self.processes: list[Process] = []
        self.doubted = self.answers = 0
        self.environments = [self.archive(lambda: self.now - behind) for _ in range(2)]
        catalog, floor = Catalog(self.archive(lambda: self.now)), int(start) - 10
        self.floor = floor
        catalog.write_stream(Stream(LABEL, ARN, "1", floor, True, "follow", floor, announces=True))
        catalog.write_run(Run("r", LABEL, floor, floor, floor, True, {}))

    def archive(self, clock: Callable[[], float]) -> Archive:
        return Archive(self.store, "", "orders", SCHEMA, clock)

    def _fails(self, path: str) -> str:
        fails = self.random.random() < self.failing
        return self.random.choice(["before", "after"]) if fails else ""

    def change(self, key: int, value: str | None) -> None:
        item = None if value is None else KEYS[key] | {"v": {"S": value}}
        data: dict[str, Any] = {
            "ApproximateCreationDateTime": int(self.now),
            "SequenceNumber": str(10**21 + len(self.made)),
            "Keys": KEYS[key],
        } | ({"NewImage": item} if item else {})
        event = {
            "eventName": "MODIFY" if item else "REMOVE",
            "eventSourceARN": ARN,
            "dynamodb": data,
        }
        self.made.append(Made(int(self.now), key, encode(item) if item else None, event))

    def truth(self, key: int, moment: int) -> bytes | None:
        made = [each for each in self.made if each.key == key]
        index = bisect_right([each.at for each in made], moment)
        return made[index - 1].body if index else None

    # Processes

    def start(self, work: Callable[[], object]) -> Process:
        process = Process("", work)
        self.processes.append(process)
        return process

    def step(self, process: Process, steps: int) -> None:
        process.step(steps)
        if process.error and not isinstance(process.error, OSError | Killed):
            raise process.error
        self.processes = [each for each in self.processes if each.alive]

    def kill(self, process: Process) -> None:
        self.killed = True
        process.kill()
        self.processes = [each for each in self.processes if each.alive]

    def finish(self) -> None:
        for process in list(self.processes):
            self.step(process, 10_000)

    def write(self, environment: int, size: int) -> Process:
        """Some process of the function or of `follow` reads on from what is certainly written."""
        start, archive = self.delivered, self.environments[environment]

        def work() -> None:
            batch = [made.event for made in self.made[start : start + size]]
            if batch:
                done = write_batch(batch, lambda _: archive, Inline(self.random), lambda: False)
                count = len(batch) if done.first_failed is None else done.first_failed
                self.delivered = max(self.delivered, start + count)
            self._check_in(archive)

        return self.start(work)

    def _check_in(self, archive: Archive) -> None:
        """Says up to which second everything is written."""
        waiting = self.made[self.delivered :]
        caught_up = waiting[0].at - 1 if waiting else int(self.now) - 1
        catalog = Catalog(archive)
        kept = catalog.follow_checkpoint(LABEL)
        if kept is None or kept.caught_up < caught_up:
            beat = int(self.now)
            checkpoint = FollowCheckpoint(caught_up, beat, running=True, drained=False, shards={})
            catalog.write_follow_checkpoint(LABEL, checkpoint)

    def rewrite(self, which: int, environment: int) -> Process:
        """An old version is written again on top of a newer one, as a repair does."""
        archive = self.environments[environment]
        name = Change.streamed(self.made[which].event).name

        def work() -> None:
            archive.put(Change.streamed(self.made[which].event))
            archive.reassert(name)

        return self.start(work)

    def read(self) -> Process:
        """A restore to every second that may be wrong, at the end of the process."""
        return self.start(self.look)

    def look(self) -> None:
        archive = self.archive(lambda: self.now)
        found = status_of(archive, int(self.store.s3_now()))
        lateness = found.lateness_in(found.coverage.epochs[-1])
        assert lateness.announces
        versions = {history.name: history.versions for history in archive.histories()}
        for number, key in enumerate(KEYS):
            name = archive.history(key).name
            for moment in self.dangerous(found):
                try:
                    read = item_at(
                        versions.get(name, ()), moment, self.floor, archive.read, lateness
                    )
                except LatenessError:
                    self.doubted += 1
                else:
                    self.answers += 1
                    body = read.body if read else None
                    assert body == self.truth(number, moment), (moment, number, lateness)

    def dangerous(self, found: Status) -> list[int]:
        edges = {made.at for made in self.made} | {found.coverage.latest, self.floor}
        near = {edge + beside for edge in edges for beside in (-1, 0, 1)}
        return sorted(moment for moment in near if found.coverage.epoch_at(moment))
