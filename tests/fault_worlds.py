"""Small tables and archives on moto for fault_positions: what is in them before a command,
and what is in them after it.

A world is built once, by the commands themselves, stage by stage. After that, moto's memory is
copied and put back, so that every run begins in the same world.
"""

import copy
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from moto.backends import get_backend
from moto.s3.models import FakeDeleteMarker
from moto.s3.utils import _VersionedKeyStore

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.aws.connection import Connection
from stream_backup.capture.state import State, state_of
from stream_backup.core.as_of import item_at
from stream_backup.core.change import Change
from stream_backup.core.item import Item, digest, encode
from stream_backup.core.key import KeySchema
from stream_backup.core.moment import from_iso, iso
from stream_backup.core.records import RedriveRecord
from stream_backup.core.time_rule import BUDGET, NEVER
from stream_backup.undo.receipts import ReceiptFile
from tests import hurried, preloaded
from tests.cli import Said, Table, next_second
from tests.event_source_mapping import Clock, EventSourceMapping, discarded
from tests.fault_upstream import Moto
from tests.journal import Journal, poisoned
from tests.servers import REGION, Aws, environment

ROWS = 6
NAME = "orders"
SCHEMA = KeySchema((("id", "S"),))
STACK = "deployed"
ACCOUNT = "123456789012"
"""Moto's."""

LONGEST = 600
"""Seconds that a command may take on a machine that is busy with others."""

REMEMBERED = ("s3", "dynamodb", "dynamodbstreams", "lambda")
"""The services of moto whose memory a world consists of; the others never change."""

Program = Callable[[], object]


def row(number: int, state: str, **more: Any) -> Item:
    return {"id": {"S": f"row-{number}"}, "state": {"S": state}, **more}


def key(number: int) -> Item:
    return {"id": {"S": f"row-{number}"}}


@dataclass(frozen=True)
class World:
    """`through` is the endpoint of commands, `marks` are moments by name, `truth` the rows of the
    table at each of them, `files` those of the current folder, `facts` what else a later command
    needs."""

    aws: Aws
    through: str
    bucket: str
    failures: str
    marks: Mapping[str, int] = field(default_factory=dict)
    truth: Mapping[int, list[bytes]] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def table(self) -> Table:
        return Table(self.aws, NAME)

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}"

    def at(self, name: str) -> str:
        return iso(self.marks[name])

    def marked(self, name: str) -> "World":
        """The same with the present second, which is over, as a moment."""
        moment = from_iso(next_second())
        truth = {**self.truth, moment: self.table.rows()}
        return replace(self, marks={**self.marks, name: moment}, truth=truth)

    def run(
        self,
        words: list[str],
        folder: Path,
        *,
        typed: str = "",
        program: Program = hurried.command,
        started: Callable[[int], object] = lambda _: None,
        more: Mapping[str, str] | None = None,
    ) -> Said:
        """Runs a command in a child process, with `more` in its environment."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "STREAM_BACKUP"))
        }
        own = {"STREAM_BACKUP_ARCHIVE": self.url, "STREAM_BACKUP_STACK": STACK}
        given = {**kept, **environment(self.through), **own}
        quiet = {"POWERTOOLS_METRICS_NAMESPACE": "StreamBackup", "PYTHONWARNINGS": "ignore"}
        done = preloaded.run(
            words,
            {**given, **quiet, **(more or {})},
            folder,
            typed.encode(),
            LONGEST,
            program,
            started,
        )
        return Said(done.returncode, done.stdout.decode(), done.stderr.decode())

    def done(self, *words: str, folder: Path) -> Said:
        said = self.run([*words], folder)
        assert said.code == 0, said
        return said

    def found(self) -> tuple[State, Archive]:
        """What the archive can answer, as the commands find it out, and the archive."""
        connection = _connection(self.url)
        for name in ("stack", "store", "now", "location"):
            connection.__dict__.pop(name, None)  # what is different in each world
        connection.store = store = memory_of(self.bucket)  # type: ignore[assignment]
        return state_of(connection, NAME), Archive(store, "", NAME, SCHEMA)


@cache
def _connection(archive: str) -> Connection:
    """The clients of this process. Creating them takes longer than everything else."""
    return Connection(None, None, archive, STACK)


def backend(service: str) -> Any:
    """What moto holds of a service."""
    found: Any = get_backend(service)  # type: ignore[call-overload]
    return found[ACCOUNT]["aws" if service == "s3" else REGION]


def memory_of(bucket: str) -> MemoryStore:
    """Every version in a bucket, read without a request."""
    now = [0.0]
    store = MemoryStore(lambda: now[0])
    store.bucket = bucket  # type: ignore[attr-defined]
    for path, stored in backend("s3").buckets[bucket].keys.lists():
        for each in stored:
            now[0] = each.last_modified.replace(tzinfo=UTC).timestamp()
            if isinstance(each, FakeDeleteMarker):
                store.delete(path)
            else:
                names = {name.removeprefix("x-amz-meta-"): name for name in each.metadata}
                given = {name: str(each.metadata[full]) for name, full in names.items()}
                store.put(path, each.value, given)
    return store


@dataclass
class Memory:
    """Moto's memory: what it held when this was made."""

    kept: list[dict[str, Any]] = field(init=False)
    backends: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.backends = [
            backend
            for service in REMEMBERED
            for regions in get_backend(service).values()  # type: ignore[call-overload]
            for backend in regions.values()
        ]
        self.kept = self._copied([backend.__dict__ for backend in self.backends])

    def put_back(self) -> None:
        for backend, kept in zip(self.backends, self._copied(self.kept), strict=True):
            backend.__dict__.clear()
            backend.__dict__.update(kept)

    def _copied(self, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return copy.deepcopy(found, {id(backend): backend for backend in self.backends})


def _copied_bucket(keys: Any, memo: dict[int, Any]) -> Any:
    """A copy of a bucket's keys with all versions. Python would copy only the current ones, because
    moto's dictionary has only those among its items."""
    made = memo[id(keys)] = type(keys)()
    for path, stored in keys.lists():
        dict.__setitem__(made, path, copy.deepcopy(stored, memo))
    return made


Stage = Callable[[World, Path], World]


def table(world: World, _: Path) -> World:
    made = Table.create(world.aws, NAME)
    made.put(*(row(number, "good") for number in range(ROWS)))
    until = {"Enabled": True, "AttributeName": "until"}
    made.client.update_time_to_live(TableName=NAME, TimeToLiveSpecification=until)
    arn = made.client.describe_table(TableName=NAME)["Table"]["TableArn"]
    made.client.tag_resource(ResourceArn=arn, Tags=[{"Key": "team", "Value": "money"}])
    return world


def enabled(world: World, folder: Path) -> World:
    world.done("enable", NAME, "--stream-only", folder=folder)
    return world


def covered(world: World, folder: Path) -> World:
    world.done("backfill", NAME, folder=folder)
    return world.marked("good")


def changed(world: World, _: Path) -> World:
    """Damage, and good changes after it, all of them unread."""
    world.table.put(*(row(number, "BAD") for number in (0, 1, 2)), row(10, "BAD"))
    world.table.delete(key(3))
    world = world.marked("damaged")
    world.table.put(row(1, "BAD", note={"S": "new"}), row(11, "good"))
    world.table.delete(key(4))
    return world


def followed(world: World, folder: Path) -> World:
    world.done("follow", NAME, "--once", folder=folder)
    return world.marked("now")


def broken(world: World, folder: Path) -> World:
    """Changes that the archive never received, on record as an outage: a backfill heals it."""
    words = ("--since", world.at("good"), "--until", world.at("damaged"), "--yes")
    world.done("outage", NAME, *words, folder=folder)
    return world


def undone(world: World, folder: Path) -> World:
    words = ("--from", world.at("good"), "--to", world.at("damaged"), "--yes")
    said = world.run(["undo", NAME, *words], folder)
    assert said.code in (0, 3), said
    (receipt,) = folder.glob("*.receipt.jsonl.gz")
    return replace(world, files={receipt.name: receipt.read_bytes()})


def stack(world: World, folder: Path) -> World:
    """A table, and a deployed stack."""
    outputs = {
        "ArchiveUrl": world.url,
        "FunctionName": "writer",
        "FunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:writer",
        "FailuresBucket": world.failures,
        "TablePattern": "*",
        "BatchSize": "500",
    }
    template = {
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {name: {"Value": value} for name, value in outputs.items()},
    }
    iam = world.aws.client("iam")
    role = iam.create_role(RoleName="writer", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    world.aws.client("lambda").create_function(
        FunctionName="writer",
        Runtime="python3.13",
        Role=role,
        Handler="writer.handler",
        Code={"ZipFile": b"nothing"},
    )
    formation = world.aws.client("cloudformation")
    formation.create_stack(StackName=STACK, TemplateBody=json.dumps(template))
    return table(world, folder)


def attached(world: World, folder: Path) -> World:
    world.done("enable", NAME, folder=folder)
    return covered(world, folder)


def failed(world: World, _: Path) -> World:
    """Two batches that Lambda gave up on wait in the failures bucket, with changes of the same
    item."""
    (mapping,) = world.aws.client("lambda").list_event_source_mappings()["EventSourceMappings"]
    journal = Journal(NAME, start=int(time.time()))
    journal.arn = mapping["EventSourceArn"]
    for value in ("1", "2", "3"):
        journal.write("row-0", value)
        journal.write("row-20", value)
    journal.write("row-20", None)

    def keep(path: str, content: bytes) -> None:
        s3 = world.aws.client("s3")
        s3.put_object(Bucket=world.failures, Key=path, Body=content)

    def fails(_event: object, _context: object) -> Any:
        raise RuntimeError

    reader = EventSourceMapping(
        fails,
        Clock(journal.now),
        batch_size=4,
        retries=0,
        bisect=False,
        destination=keep,
        uuid=mapping["UUID"],
    )
    reader.read(journal.records)
    return world


def hopeless(world: World, _: Path) -> World:
    """More batches wait that can never be written: one of which nothing can be read, and one with
    a record that nobody can parse between two that are fine."""
    (mapping,) = world.aws.client("lambda").list_event_source_mappings()["EventSourceMappings"]
    now = int(time.time())
    journal = Journal(NAME, start=now)
    journal.arn = mapping["EventSourceArn"]
    records = [journal.write(name, "4") for name in ("row-1", "row-21", "row-2")]
    records[1] = poisoned(records[1])
    s3, day = world.aws.client("s3"), time.strftime("%Y/%m/%d/%Y-%m-%dT%H.%M.%S", time.gmtime(now))
    contents = b"{}", discarded(records, "shardId-1", "RetryAttemptsExhausted", 1, now)
    for number, content in enumerate(contents):
        path = f"aws/lambda/{mapping['UUID']}/shardId-1/{day}-{number}"
        s3.put_object(Bucket=world.failures, Key=path, Body=content)
    return world


def several(world: World, folder: Path) -> World:
    """Two more tables with names alike, one of them enabled, and one with another name."""
    for name in ("ordered", "ordinary", "other"):
        Table.create(world.aws, name).put(row(0, name))
    world.done("enable", "ordered", folder=folder)
    return world


def delivered(world: World, _: Path) -> World:
    """What Lambda delivers to the function: changes of some items, one of them removed."""
    arn = world.table.client.describe_table(TableName=NAME)["Table"]["LatestStreamArn"]
    journal = Journal(NAME, start=int(time.time()))
    journal.arn = arn
    journal.fill(8, keys=4)
    return replace(world, facts={"event": json.dumps({"Records": journal.records})})


def disordered(world: World, _: Path) -> World:
    """A redrive that was killed left older versions of two items on top of newer ones."""
    now = int(time.time())
    arn = world.table.client.describe_table(TableName=NAME)["Table"]["LatestStreamArn"]
    journal = Journal(NAME, start=now)
    journal.arn = arn
    written = [journal.write(name, value) for name in ("a", "b") for value in ("old", "new")]
    archive = Archive(world.aws.store(world.bucket), "", NAME, SCHEMA)
    for record in reversed(written):
        archive.put(Change.streamed(record))
    began = now - 2 * BUDGET
    Catalog(archive).write_redrive(RedriveRecord("killed", began, 0, 0, 0, began=began))
    return world


def off(world: World, folder: Path) -> World:
    world.done("disable", NAME, folder=folder)
    return world


def occupied(world: World, _: Path) -> World:
    """Another table with other rows, which a restore may replace."""
    other = Table.create(world.aws, "other")
    other.put(row(0, "other"), row(7, "other"), row(8, "other"))
    return world


STAGES: dict[str, tuple[str | None, Stage]] = {
    "table": (None, table),
    "enabled": ("table", enabled),
    "covered": ("enabled", covered),
    "changed": ("covered", changed),
    "followed": ("changed", followed),
    "broken": ("followed", broken),
    "undone": ("followed", undone),
    "delivered": ("covered", delivered),
    "stack": (None, stack),
    "attached": ("stack", attached),
    "failed": ("attached", failed),
    "hopeless": ("failed", hopeless),
    "several": ("stack", several),
    "disordered": ("attached", disordered),
    "off": ("attached", off),
    "occupied": ("followed", occupied),
}
"""Each stage with the one before it."""


class Worlds:
    """Every stage, built when it is first needed, in a temporary folder of its own."""

    def __init__(self, aws: Aws, through: str, folder: Path, moto: Moto) -> None:
        self._aws, self._through, self._folder, self._moto = aws, through, folder, moto
        self._first: Memory | None = None
        self._built: dict[str, tuple[World, Memory]] = {}
        self._numbers = count(1)

    def begin(self, stage: str) -> tuple[World, Path]:
        """Puts the world of a stage back; returns it, and a folder with its files."""
        world, memory = self._stage(stage)
        memory.put_back()
        self._moto.begin(stage)
        return world, self._new_folder(world)

    def _new_folder(self, world: World) -> Path:
        shutil.rmtree(self._folder, ignore_errors=True)
        folder = self._folder / str(next(self._numbers))
        folder.mkdir(parents=True)
        for name, content in world.files.items():
            (folder / name).write_bytes(content)
        return folder

    def _stage(self, name: str) -> tuple[World, Memory]:
        if name not in self._built:
            self._moto.begin(None)
            before, build = STAGES[name]
            if before:
                world, memory = self._stage(before)
                memory.put_back()
            else:
                if self._first is None:
                    self._bucket = self._aws.bucket(), self._aws.bucket()
                    self._aws.client("dynamodb").list_tables()
                    self._aws.client("lambda").list_functions()
                    self._first = Memory()
                self._first.put_back()
                world = World(self._aws, self._through, *self._bucket)
            world = build(world, self._new_folder(world))
            self._built[name] = world, Memory()
        return self._built[name]


@contextmanager
def worlds(aws: Aws, through: str, folder: Path, moto: Moto) -> Iterator[Worlds]:
    """All worlds, on `moto`, which is at `aws`; the commands use the endpoint `through`. While they
    exist, this process uses that of moto, and small margins."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(aws.url).items():
            patch.setenv(name, value)
        hurried.margins(patch.setattr, 0)
        patch.setattr(_VersionedKeyStore, "__deepcopy__", _copied_bucket, raising=False)
        yield Worlds(aws, through, folder, moto)


# What is in a world


def versions(archive: Archive) -> dict[str, list[str]]:
    """Every version of every item, once each, without the seconds of scans, which differ from run
    to run."""
    found = {}
    for history in archive.histories():
        changes = [archive.read(version) for version in history.versions]
        assert changes[0].stamp.rank == max(each.stamp.rank for each in changes), (
            f"the newest version of {history.name} was not written last"
        )
        found[history.name] = sorted({_spoken(each) for each in changes})
    return found


def _spoken(change: Change) -> str:
    body = digest(change.body) if change.body is not None else "removed"
    stamp = change.stamp
    when = "" if stamp.kind == "scan" else f" {stamp.at} {stamp.sequence}"
    return f"{stamp.kind}{when} {body}"


def require_true(world: World, state: State, archive: Archive) -> None:
    """Checks that every moment of which the rows are known, and which the archive claims to be
    exact, is restored exactly."""
    status = state.status
    for moment, rows in world.truth.items():
        epoch = status.coverage.epoch_at(moment)
        if epoch is None:
            continue
        lateness = status.lateness_in(epoch)
        found = []
        for history in archive.histories():
            each = item_at(history.versions, moment, epoch.floor, archive.read, lateness)
            if each and each.body is not None:
                found.append(each.body)
        assert sorted(found) == rows, f"{iso(moment)} is claimed, and restored differently"


def records(world: World, state: State, archive: Archive) -> dict[str, Any]:
    """What the archive's records say, without seconds that differ from run to run."""
    status, catalog = state.status, Catalog(archive)
    # How far a function has certainly read depends on how long ago it began.
    follows = bool(status.stream and status.stream.reader == "follow")
    by_operator = [each for each in status.outages if "operator" in each.reason]
    return {
        "streams": [(each.reader, each.announces, each.empty) for each in status.streams],
        "ends": len(catalog.recorded_ends()),
        "outages": sorted({each.reason for each in status.outages}),
        "gaps": sorted({(each.since, each.until) for each in by_operator}),
        "mappings": sorted((each.function, each.failures) for each in catalog.mappings()),
        "open holes": len(catalog.open_holes()),
        "unfinished runs": sum(not each.complete for each in status.runs),
        "complete runs": any(each.complete for each in status.runs),
        "described": len(catalog.descriptions()),
        "covered": follows
        and {
            name: any(each.start <= at for each in status.coverage.epochs)
            for name, at in world.marks.items()
        },
        "ended": follows and [each.end is not None for each in status.coverage.epochs],
        "holes": len(status.coverage.holes),
        "exact now": status.floor_now != NEVER,
        "disorders": bool(status.coverage.disorders),
        "problems": bool(state.problems),
    }


def live(world: World) -> dict[str, Any]:
    """Every table with its rows and settings, the event source mappings, and the failed batches."""
    tables = {}
    for name, each in backend("dynamodb").tables.items():
        rows = (encode(item.to_json()["Attributes"]) for item in each.all_items())
        tables[name] = {
            "rows": sorted(row.decode() for row in rows),
            "tags": sorted(
                {tag["Key"] for tag in each.tags}
            ),  # moto keeps one that is sent twice, twice
            "ttl": each.ttl.get("AttributeName"),
            "stream": bool((each.stream_specification or {}).get("StreamEnabled")),
        }
    mappings = backend("lambda").list_event_source_mappings("", "")
    failures = backend("s3").buckets[world.failures].keys
    waiting = [path for path, each in failures.items() if not isinstance(each, FakeDeleteMarker)]
    return {
        "tables": tables,
        "mappings": sorted((each.function_arn, each.enabled) for each in mappings),
        "failures": sorted(waiting),
    }


def known(world: World) -> dict[str, Any]:
    """Every table of the archive, with how many streams and mappings it has on record, and whether
    its settings are."""
    store = memory_of(world.bucket)
    found = {}
    for name in sorted({each.path.partition("/")[0] for each in store.versions("")}):
        catalog = Catalog(Archive(store, "", name, SCHEMA))
        streams = sorted(each.reader for each in catalog.streams())
        mappings = sorted(each.function for each in catalog.mappings())
        found[name] = streams, mappings, len(catalog.descriptions())
    return found


def files(folder: Path) -> dict[str, Any]:
    """The files of a folder; of receipts, that they can be read."""
    found: dict[str, Any] = {}
    for path in sorted(folder.iterdir()):
        if path.name.endswith(".receipt.jsonl.gz"):
            with ReceiptFile(path) as receipt:
                assert receipt.header.table == NAME
        else:
            found[path.name] = sorted(path.read_text().splitlines())
    return found


def checked(world: World) -> tuple[State, Archive]:
    """Returns what the archive can answer, and checks that it claims nothing that is not true."""
    state, archive = world.found()
    require_true(world, state, archive)
    return state, archive


def final(world: World, folder: Path, parts: frozenset[str]) -> dict[str, Any]:
    """What is in a world now: `parts` of it."""
    state, archive = checked(world)
    every: dict[str, Callable[[], Any]] = {
        "live": lambda: live(world),
        "known": lambda: known(world),
        "files": lambda: files(folder),
        "records": lambda: records(world, state, archive),
        "versions": lambda: versions(archive),
    }
    return {name: every[name]() for name in sorted(parts)}
