"""Every fault position: each command that writes, with one failure at each of its requests in turn.

A run without a failure counts the requests of a command. After that, the command runs once for
each of them and each kind of failure, in the same world (tests/fault_worlds.py), through a proxy
that fails this request. It must report that with the right exit code, and running it again must end
as if nothing had failed. A request that a command does not make today is covered when it makes it.

    python -m tests.fault_positions                     # everything
    python -m tests.fault_positions backfill disable    # only these commands
    python -m tests.fault_positions --kind lost --position 7 backfill
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from threading import Event, Lock
from typing import Any, NamedTuple

from tests import hurried
from tests.cli import Answer, Between, Lost, Request, Said, proxy
from tests.fault_worlds import NAME, Program, World, Worlds, backend, checked, final, worlds
from tests.servers import Aws, moto

OF_WRITES = ("lost", "cut off", "killed", "killed after")
KINDS = ("busy", "denied", "lost", "cut off", "killed", "killed after")
"""What happens to a request. `busy`: AWS refuses it once. `denied`: IAM denies it, once. `lost`: it
is executed, and the answer is lost. `cut off`: the same, and from then on nothing reaches AWS.
`killed`: the process is killed before the request is executed, or after. Those of OF_WRITES are
tried only where something may have changed: a request that only reads leaves nothing behind, so
that its position is that of the write before it."""

READS = ("Get", "List", "Describe", "Head", "Scan", "Invoke")

EVERY = frozenset({"live", "files", "records", "versions"})
ROWS = frozenset({"live", "files"})


@dataclass(frozen=True)
class Command:
    """A command in the world of a `stage`. `parts` of the world are compared. `again` are the exit
    codes of a second run, after one that had done everything. `typed` is its stdin, given what the
    first run printed. With `local` it writes files, so that every request counts as a write; with
    `gone`, a stream that is off does not exist any more."""

    stage: str
    words: str
    parts: frozenset[str] = EVERY
    again: frozenset[int] = frozenset({0})
    program: Program = hurried.command
    typed: Callable[[World, Said | None], str] = lambda _world, _said: ""
    local: bool = False
    gone: bool = False

    def fault(self, kind: str = "", position: int = 0) -> "Fault":
        return Fault(kind, position, self.local, self.gone)

    def spoken(self, world: World) -> list[str]:
        moments = {name.upper(): world.at(name) for name in world.marks}
        receipt = next(iter(world.files), "")
        given = {**moments, "TABLE": NAME, "RECEIPT": receipt}
        return [given.get(word, word) for word in self.words.split()]


def redelivered(world: World, said: Said | None) -> str:
    """The event, from the first record on that was not written by the first call."""
    event = json.loads(world.facts["event"])
    if said and said.code == 0:
        failed = json.loads(said.out.splitlines()[-1])["batchItemFailures"]
        numbers = [each["dynamodb"]["SequenceNumber"] for each in event["Records"]]
        places = [numbers.index(each["itemIdentifier"]) for each in failed]
        event["Records"] = event["Records"][min(places, default=0) :]
    return json.dumps(event)


REFUSED = frozenset({0, 2})

COMMANDS: dict[str, Command] = {
    "enable": Command("table", "enable TABLE --stream-only"),
    "enable with a function": Command("stack", "enable TABLE"),
    "enable --match": Command("stack", "enable --match ord*"),
    "disable": Command("followed", "disable TABLE", again=REFUSED),
    "disable with a function": Command("attached", "disable TABLE", again=REFUSED),
    "disable when the stream is gone": Command("off", "disable TABLE", again=REFUSED, gone=True),
    "follow --once": Command("changed", "follow TABLE --once"),
    "handler": Command("delivered", "", program=hurried.function, typed=redelivered),
    "backfill": Command("enabled", "backfill TABLE"),
    "backfill after an outage": Command("broken", "backfill TABLE"),
    "restore into a table": Command(
        "followed", "restore TABLE --at GOOD --into restored", again=REFUSED
    ),
    "restore --overwrite": Command(
        "occupied", "restore TABLE --at GOOD --into other --overwrite", again=REFUSED
    ),
    "restore to a file": Command(
        "followed", "restore TABLE --at GOOD --to rows.json", again=REFUSED, local=True
    ),
    "restore --in-place": Command(
        "followed", "restore TABLE --at GOOD --in-place --yes", parts=ROWS
    ),
    "undo": Command(
        "followed", "undo TABLE --from GOOD --to DAMAGED --yes", parts=ROWS, again=frozenset({0, 3})
    ),
    "undo --receipt": Command("undone", "undo TABLE --receipt RECEIPT --yes", parts=ROWS),
    "redrive": Command("failed", "redrive TABLE"),
    "redrive --give-up": Command("failed", "redrive TABLE --give-up"),
    "outage": Command("followed", "outage TABLE --since GOOD --until DAMAGED --yes"),
    "watcher": Command("disordered", "", program=hurried.watcher),
}


# The failures


def refused(request: Request, code: str, status: int) -> Answer:
    """Returns an error in the form of the request's service."""
    if request.path.startswith("/20"):  # Lambda
        return status, json.dumps({"__type": code, "Message": code}).encode()
    if b"Action=" in request.body:  # CloudFormation
        found = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>"
        return status, f"<ErrorResponse>{found}</ErrorResponse>".encode()
    if request.path == "/":
        return status, json.dumps({"__type": f"com.amazonaws#{code}", "message": code}).encode()
    return status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()


def is_write(request: Request) -> bool:
    """Whether a request may change something."""
    if request.path.startswith("/20"):  # Lambda
        return request.method != "GET" and not request.path.endswith("/invocations")
    return not (b"Action=" in request.body or request.operation.startswith(READS))


def busy(request: Request) -> Answer:
    return refused(request, "ServiceUnavailable", 503)


def denied(request: Request) -> Answer:
    is_data = request.path == "/" and b"Action=" not in request.body
    code = "AccessDeniedException" if is_data or request.path.startswith("/20") else "AccessDenied"
    return refused(request, code, 400 if is_data else 403)


GONE = b'{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"gone"}'
ENDED = b'{"StreamDescription":{"StreamStatus":"DISABLED","Shards":[{"ShardId":"1"}]}}'


def strict(request: Request, *, gone: bool = False) -> Answer | None:
    """Answers what AWS answers where moto is more tolerant, and for the deployed function."""
    if request.path.endswith("/invocations"):
        return 200, b'{"batchItemFailures": [], "announces": true}'
    if request.path.startswith("/2015-03-31/event-source-mappings") and request.body:
        asked = json.loads(request.body)
        for found in backend("lambda").list_event_source_mappings(
            asked.get("EventSourceArn", ""), ""
        ):
            if "StartingPosition" in asked and found.function_arn.endswith(asked["FunctionName"]):
                return refused(request, "ResourceConflictException", 409)
    if request.operation == "DescribeKinesisStreamingDestination":
        return 200, b"{}"
    if request.operation == "DescribeStream":
        table = backend("dynamodb").tables[NAME]
        if not (table.stream_specification or {}).get("StreamEnabled"):
            return (400, GONE) if gone else (200, ENDED)
    if request.operation == "UpdateTable":
        asked = json.loads(request.body)
        table = backend("dynamodb").tables.get(asked["TableName"])
        on = (asked.get("StreamSpecification") or {}).get("StreamEnabled")
        is_on = bool(table and (table.stream_specification or {}).get("StreamEnabled"))
        if on is not None and on == is_on:
            return refused(request, "ValidationException", 400)
    if request.operation == "UpdateTimeToLive":
        asked = json.loads(request.body)
        table = backend("dynamodb").tables.get(asked["TableName"])
        if table and table.ttl.get("TimeToLiveStatus") == "ENABLED":
            return refused(request, "ValidationException", 400)
    return None


@dataclass
class Fault:
    """The rule of a run: the request number `position` fails, 0 for none; of `OF_WRITES`, only
    requests that write are counted. `request` is the one that failed. `seen` counts all requests,
    `writes` those that write."""

    kind: str
    position: int
    local: bool = False
    gone: bool = False
    seen: int = 0
    writes: int = 0
    request: Request | None = None
    pid: int = 0
    _started: Event = field(default_factory=Event)
    _over: bool = False
    _lock: Lock = field(default_factory=Lock)

    def started(self, pid: int) -> None:
        self.pid = pid
        self._started.set()

    def kill(self) -> None:
        assert self._started.wait(60)
        os.kill(self.pid, signal.SIGKILL)

    def __call__(self, request: Request) -> Answer | Lost | None:
        with self._lock:
            over = self._over
            writes = self.local or is_write(request)
            self.seen += not over
            self.writes += writes and not over
            counts = writes or self.kind not in OF_WRITES
            reached = self.writes if self.kind in OF_WRITES else self.seen
            mine = not over and counts and reached == self.position
            if mine:
                self.request = request
                self._over = self.kind not in ("busy", "denied", "lost")
        if over:
            return Lost(executed=False)
        if not mine:
            return strict(request, gone=self.gone)
        match self.kind:
            case "busy":
                return busy(request)
            case "denied":
                return denied(request)
            case "killed":
                return Lost(executed=False, then=self.kill)
            case "killed after":
                return Lost(executed=True, then=self.kill)
        return Lost(executed=True)


# The runs


class WrongError(AssertionError):
    """A command did something wrong. The text says how to repeat it."""


class Undisturbed(NamedTuple):
    """What a command does without a failure: its requests, those that write, what is in its world
    afterwards, and its exit code."""

    requests: int
    writes: int
    wanted: dict[str, Any]
    code: int

    def positions(self, kind: str) -> range:
        return range(1, (self.writes if kind in OF_WRITES else self.requests) + 1)


@dataclass
class Runs:
    """Runs commands with failures, on the worlds of one emulator. With `twice`, it also checks of
    each command that a second run changes nothing."""

    worlds: Worlds
    between: Between
    twice: bool = True
    _undisturbed: dict[str, "Undisturbed"] = field(default_factory=dict)

    def run(
        self, command: Command, world: World, folder: Path, fault: Fault, said: Said | None = None
    ) -> Said:
        self.between.rule = fault
        done = world.run(
            command.spoken(world),
            folder,
            typed=command.typed(world, said),
            program=command.program,
            started=fault.started,
        )
        self.between.settle()
        self.between.rule = strict
        return done

    def undisturbed(self, name: str) -> "Undisturbed":
        """What a command does without a failure."""
        if name not in self._undisturbed:
            command = COMMANDS[name]
            world, folder = self.worlds.begin(command.stage)
            fault = command.fault()
            said = self.run(command, world, folder, fault)
            self._check_text(command, said, frozenset({0, 3} if "undo" in name else {0}))
            wanted = final(world, folder, command.parts)
            if self.twice:
                second = self.run(command, world, folder, command.fault(), said)
                self._check_text(command, second, command.again)
                require_same(final(world, folder, command.parts), wanted)
            self._undisturbed[name] = Undisturbed(fault.seen, fault.writes, wanted, said.code)
        return self._undisturbed[name]

    def fail(self, name: str, kind: str, position: int) -> bool:
        """Runs a command with one failure, and again without. Returns whether it made so many
        requests. Raises WrongError."""
        command = COMMANDS[name]
        *_, wanted, code = self.undisturbed(name)
        world, folder = self.worlds.begin(command.stage)
        fault = command.fault(kind, position)
        said = second = None
        try:
            said = self.run(command, world, folder, fault)
            if fault.request is None:
                return False
            self._check(command, kind, said, code)
            checked(world)
            if said.code == code and kind in ("busy", "lost"):
                require_same(final(world, folder, command.parts), wanted)
            second = self.run(command, world, folder, command.fault(), said)
            self._check_text(command, second, command.again | {code})
            require_same(final(world, folder, command.parts), wanted)
        except Exception as error:
            told = fault.request and f"{fault.request.operation} {fault.request.path}"
            raise WrongError(
                f"python -m tests.fault_positions --kind '{kind}' --position {position} '{name}'\n"
                f"request: {told}\n{type(error).__name__}: {error}\n"
                f"first run: {said}\nsecond run: {second}"
            ) from error
        return True

    def _check(self, command: Command, kind: str, said: Said, code: int) -> None:
        """Checks the exit code and the text of a run with a failure."""
        codes = {
            "busy": {code},
            "denied": {code, 2, 3},
            "lost": {code, 3},
            "cut off": {code, 3},
            "killed": {-signal.SIGKILL},
            "killed after": {-signal.SIGKILL},
        }[kind]
        self._check_text(command, said, frozenset(codes))

    def _check_text(self, command: Command, said: Said, codes: frozenset[int]) -> None:
        if command.program is not hurried.command:  # A function fails with a traceback.
            codes = codes | {1} if codes & {2, 3} else codes
        assert said.code in codes, f"exit code {said.code}, not {sorted(codes)}: {said.err}"
        if command.program is hurried.command:
            assert "Traceback" not in said.err, "a traceback"
            assert "Unexpected" not in said.err, "an unexpected error"
            if said.code > 0:
                *_, sentence, hint = said.err.rstrip("\n").split("\n")
                assert sentence, "no sentence"
                assert hint.startswith("hint: "), "no hint"


def require_same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raises AssertionError with what differs."""
    differing = [
        f"{part}.{name}: {each.get(name)!r}, and undisturbed {wanted[part].get(name)!r}"
        for part, each in found.items()
        for name in sorted({*each, *wanted[part]})
        if each.get(name) != wanted[part].get(name)
    ]
    assert not differing, "\n".join(["it does not end as undisturbed:", *differing])


@contextmanager
def runs(url: str, *, twice: bool = True) -> Iterator[Runs]:
    """Everything that is needed, on the moto server of this process at `url`."""
    with (
        tempfile.TemporaryDirectory(prefix="faults-") as folder,
        proxy(url) as between,
        worlds(Aws(url), between.url, Path(folder)) as built,
    ):
        between.rule = strict
        yield Runs(built, between, twice)


TOLD = 20
"""After how many positions progress is told."""

Position = tuple[str, str, int]
"""A command, a kind of failure, and the number of a request."""


def positions(found: Runs, names: Sequence[str], kinds: Sequence[str] = KINDS) -> list[Position]:
    """Returns every position of these commands, as many as they make requests undisturbed."""
    return [
        (name, kind, position)
        for name in names
        for kind in kinds
        for position in found.undisturbed(name).positions(kind)
    ]


def sample(every: Sequence[Position], number: int, seed: int) -> list[Position]:
    """Returns one position out of each of `number` equal stretches, the same for the same seed."""
    chosen = random.Random(seed)
    edges = [len(every) * each // number for each in range(number + 1)]
    return [chosen.choice(every[start:end]) for start, end in pairwise(edges) if start < end]


def run(
    seconds: float,
    seed: int,
    progress: Callable[[str], object] = lambda _: None,
    names: Sequence[str] = tuple(COMMANDS),
    kinds: Sequence[str] = KINDS,
) -> Counter[str]:
    """Tries positions in an order that `seed` gives, until the time is over or all were tried.

    Returns the number of positions tried, by command and by kind, and the number of `failures`.
    `progress` receives a line about each command and each failure.
    """
    counts: Counter[str] = Counter(positions=0, failures=0)
    end = time.monotonic() + seconds
    with moto() as url, runs(url) as found:
        every = []
        for name in names:
            if time.monotonic() >= end:
                break
            mine = positions(found, [name], kinds)
            requests, writes, *_ = found.undisturbed(name)
            progress(f"{name}: {requests} requests, {writes} writes, {len(mine)} positions")
            every += mine
        random.Random(seed).shuffle(every)
        for name, kind, position in every:
            if time.monotonic() >= end:
                break
            try:
                tried = found.fail(name, kind, position)
            except WrongError as error:
                counts["failures"] += 1
                progress(f"\n{error}\n")
            else:
                counts["not reached"] += not tried
            counts.update(("positions", name, kind))
            if not counts["positions"] % TOLD:
                progress(f"{counts['positions']} of {len(every)} positions")
    return counts


def main(given: Sequence[str]) -> int:
    """Tries all positions, or those that were named. The exit code is 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fault_positions", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--kind", choices=KINDS, action="append", help="only this kind")
    parser.add_argument("--position", type=int, help="only this request")
    parser.add_argument("--minutes", type=float, default=24 * 60, help="stop after so many")
    parser.add_argument("--seed", type=int, default=0, help="of the order")
    parser.add_argument("commands", nargs="*", choices=[*COMMANDS, []], metavar="COMMAND")
    asked = parser.parse_args(given)
    names, kinds = asked.commands or [*COMMANDS], asked.kind or KINDS
    tell = partial(print, flush=True)
    if asked.position is not None:
        with moto() as url, runs(url) as found:
            for name in names:
                for kind in kinds:
                    print(name, kind, found.fail(name, kind, asked.position))
        return 0
    begun = time.monotonic()
    counts = run(asked.minutes * 60, asked.seed, tell, names, kinds)
    for name, number in counts.items():
        tell(f"{name}: {number}")
    tell(f"seconds: {time.monotonic() - begun:.0f}")
    return int(bool(counts["failures"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
