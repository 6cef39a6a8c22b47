"""What can happen to a request of a command (fault_positions), and which requests are the same.

A request is told from others by its operation, by the lines of the product that make it
(tests/callers.py), and by the state in which it is made: how many requests that write came before
it and, of a command that writes files, what is in its folder. In what a class of requests is tried:

- A request that writes is always one of its own.
- `busy`: AWS refuses a read once, and the client sends it again, below any line of the product
  but the innermost. So the class is the operation and this line.
- `denied` and, where files are written, every other kind: the error ends what the lines do, in this
  state. So the class is the operation, all lines, and the state.

Of each class, the first, the second, and the last request are tried: the first may differ from the
others in what comes after it, the last in what came before it.
"""

import json
import os
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock
from typing import NamedTuple

from tests.callers import Callers
from tests.cli import Answer, Lost, Request
from tests.fault_worlds import backend

OF_WRITES = ("lost", "cut off", "killed", "killed after")
KINDS = ("busy", "denied", "lost", "cut off", "killed", "killed after")
"""What happens to a request. `busy`: AWS refuses it once. `denied`: IAM denies it, once. `lost`: it
is executed, and the answer is lost. `cut off`: the same, and from then on nothing reaches AWS.
`killed`: the process is killed before the request is executed, or after. Those of OF_WRITES are
tried only where something may have changed: a request that only reads leaves nothing behind, so
that its position is that of the write before it."""

READS = ("Get", "List", "Describe", "Head", "Scan", "Invoke")

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
        name = json.loads(request.body)["StreamArn"].split("/")[1]
        table = backend("dynamodb").tables[name]
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


class Place(NamedTuple):
    """A request of a run. `caller` are the lines of the product, the innermost first. A process
    that is killed here `leaves` something of its own: it writes, or may have written a file."""

    operation: str
    caller: str
    state: str
    writes: bool
    leaves: bool

    def same(self, kind: str) -> tuple[str, ...]:
        """The class of the request among those of its run, where a failure of this kind happens."""
        if self.writes:
            return self.operation, self.caller
        if kind == "busy":
            return self.operation, self.caller.partition(" ")[0]
        return self.operation, self.caller, self.state


def numbered(places: Sequence[Place], kind: str) -> dict[int, tuple[tuple[str, ...], int]]:
    """Returns the class of each request that such a failure may happen to, and which one of its
    class it is, by its number in the run."""
    seen: Counter[tuple[str, ...]] = Counter()
    found = {}
    for number, place in enumerate(places, start=1):
        if place.leaves or kind not in OF_WRITES:
            same = place.same(kind)
            seen[same] += 1
            found[number] = same, seen[same]
    return found


def tried(places: Sequence[Place], kind: str) -> list[int]:
    """Returns the numbers of the requests that are tried: every request that writes; of each class
    of others, the first, the second and the last."""
    found = numbered(places, kind)
    most = Counter(same for same, _ in found.values())
    return [
        number
        for number, (same, which) in found.items()
        if places[number - 1].writes or which in (1, 2, most[same])
    ]


def sizes(folder: Path) -> str:
    """The files in a folder with their sizes."""
    found = []
    for path in sorted(folder.iterdir()):
        try:
            found.append(f"{path.name} {path.stat().st_size}")
        except FileNotFoundError:
            continue  # renamed in this moment
    return " ".join(found)


@dataclass
class Fault:
    """The rule of a run: request `which` of the class `same` fails, None for none. A class may be
    given by its first members only, so that it has more requests. `request` is the
    one that failed, `places` are all requests up to there. `folder` is where the command writes
    files, None if it does not; with `gone`, a stream that is off does not exist any more."""

    kind: str = ""
    same: tuple[str, ...] | None = None
    which: int = 1
    gone: bool = False
    folder: Path | None = None
    callers: Callers | None = None
    places: list[Place] = field(default_factory=list)
    request: Request | None = None
    pid: int = 0
    _started: Event = field(default_factory=Event)
    _over: bool = False
    _written: int = 0
    _reached: int = 0
    _lock: Lock = field(default_factory=Lock)

    @property
    def written(self) -> int:
        """How many requests that write were executed, or may have been."""
        refused = self.kind == "denied" and bool(self.request and is_write(self.request))
        return self._written - refused

    def started(self, pid: int) -> None:
        self.pid = pid
        self._started.set()

    def kill(self) -> None:
        assert self._started.wait(60)
        os.kill(self.pid, signal.SIGKILL)

    def _place(self, request: Request) -> Place:
        writes = is_write(request)
        caller = request.caller or (self.callers.of(request.path) if self.callers else "")
        files = sizes(self.folder) if self.folder else ""
        leaves = writes or self.folder is not None
        place = Place(request.operation, caller, f"{self._written} {files}", writes, leaves)
        self._written += writes
        return place

    def __call__(self, request: Request) -> Answer | Lost | None:
        with self._lock:
            over = self._over
            mine = False
            if not over:
                place = self._place(request)
                self.places.append(place)
                counts = place.leaves or self.kind not in OF_WRITES
                same = place.same(self.kind)[: len(self.same or ())]
                if self.same and counts and same == self.same:
                    self._reached += 1
                    mine = self._reached == self.which
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
