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
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from tests import hurried
from tests.callers import FILE, Callers
from tests.cli import Between, Said, proxy
from tests.fault_places import KINDS, Fault, Place, numbered, sizes, strict, tried
from tests.fault_upstream import Moto
from tests.fault_worlds import NAME, Program, World, Worlds, checked, final, worlds
from tests.servers import Aws, moto

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

    def fault(self, folder: Path, kind: str = "") -> Fault:
        return Fault(kind, gone=self.gone, folder=folder if self.local else None)

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
    "enable --match": Command("several", "enable --match ord*", parts=EVERY | {"known"}),
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
    "redrive --give-up": Command("hopeless", "redrive TABLE --give-up"),
    "outage": Command("followed", "outage TABLE --since GOOD --until DAMAGED --yes"),
    "watcher": Command("disordered", "", program=hurried.watcher),
}


# The runs


class WrongError(AssertionError):
    """A command did something wrong. The text says how to repeat it."""


class Undisturbed(NamedTuple):
    """What a command does without a failure: its requests, what is in its world afterwards, and its
    exit code."""

    places: Sequence[Place]
    wanted: dict[str, Any]
    code: int


@dataclass
class Runs:
    """Runs commands with failures, on the worlds of one emulator. With `twice`, it also checks of
    each command that a second run changes nothing."""

    worlds: Worlds
    between: Between
    told: Path
    twice: bool = True
    _undisturbed: dict[str, "Undisturbed"] = field(default_factory=dict)

    def run(
        self, command: Command, world: World, folder: Path, fault: Fault, said: Said | None = None
    ) -> Said:
        self.told.write_bytes(b"")
        fault.callers = Callers(self.told)
        self.between.rule = fault
        done = world.run(
            command.spoken(world),
            folder,
            typed=command.typed(world, said),
            program=command.program,
            started=fault.started,
            more={FILE: str(self.told)},
        )
        self.between.settle()
        self.between.rule = strict
        return done

    def undisturbed(self, name: str) -> "Undisturbed":
        """What a command does without a failure."""
        if name not in self._undisturbed:
            command = COMMANDS[name]
            world, folder = self.worlds.begin(command.stage)
            fault = command.fault(folder)
            said = self.run(command, world, folder, fault)
            self._check_text(command, said, frozenset({0, 3} if "undo" in name else {0}))
            wanted = final(world, folder, command.parts)
            if self.twice:
                second = self.run(command, world, folder, command.fault(folder), said)
                self._check_text(command, second, command.again)
                require_same(final(world, folder, command.parts), wanted)
            unknown = [each for each in fault.places if not each.caller]
            assert not unknown, f"{name}: nobody knows which line made {unknown}"
            self._undisturbed[name] = Undisturbed(fault.places, wanted, said.code)
        return self._undisturbed[name]

    def fail(self, name: str, kind: str, position: int, *, anywhere: bool = False) -> bool:
        """Runs a command with a failure at this request of an undisturbed run, and again without,
        unless the first run left a world in which `undisturbed` has run it. Returns whether it made
        this request, in this state or `anywhere`. Raises WrongError."""
        command = COMMANDS[name]
        places, wanted, code = self.undisturbed(name)
        world, folder = self.worlds.begin(command.stage)
        fault = command.fault(folder, kind)
        fault.same, fault.which = numbered(places, kind)[position]
        if anywhere:
            fault.same, fault.which = fault.same[:2], 1
        said = second = None
        try:
            files = sizes(folder)
            said = self.run(command, world, folder, fault)
            if fault.request is None:
                return False
            self._check(command, kind, said, code)
            if said.code == code and kind in ("busy", "lost"):
                require_same(final(world, folder, command.parts), wanted)
                if kind == "busy" and self.twice:
                    return True  # the second run of `undisturbed` begins like this
            elif not fault.written and files == sizes(folder):
                return True  # the first run of `undisturbed` begins like this
            else:
                checked(world)
            second = self.run(command, world, folder, command.fault(folder), said)
            self._check_text(command, second, command.again | {code})
            require_same(final(world, folder, command.parts), wanted)
        except Exception as error:
            told = fault.request and f"{fault.request.operation} {fault.request.path}"
            raise WrongError(
                f"python -m tests.fault_positions --kind '{kind}' --position {position} '{name}'\n"
                f"request: {told}, from {places[position - 1].caller}\n"
                f"{type(error).__name__}: {error}\n"
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
    upstream = Moto()
    with (
        tempfile.TemporaryDirectory(prefix="faults-") as folder,
        proxy(url, upstream) as between,
        worlds(Aws(url), between.url, Path(folder), upstream) as built,
    ):
        between.rule = strict
        yield Runs(built, between, Path(folder).with_suffix(".callers"), twice)


TOLD = 50
"""After how many positions progress is told."""

AGAIN = 3
"""How often a position is tried whose request is not made: how often a command waits, and which of
its threads is first, differs from run to run. After that, the same request is tried in any
state."""

Position = tuple[str, str, int]
"""A command, a kind of failure, and the number of a request in a run without a failure."""


def positions(found: Runs, names: Sequence[str], kinds: Sequence[str] = KINDS) -> list[Position]:
    """Returns the positions of these commands that are tried (tests/fault_places.py)."""
    return [
        (name, kind, position)
        for name in names
        for kind in kinds
        for position in tried(found.undisturbed(name).places, kind)
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

    Returns the number of requests at which a failure of a kind may happen, of the positions that
    stand for all of them, and of those that were tried, also by command and by kind, and the number
    of `failures`. `progress` receives a line about each command and each failure.
    """
    counts: Counter[str] = Counter(requests=0, different=0, positions=0, failures=0)
    end = time.monotonic() + seconds
    with moto() as url, runs(url) as found:
        every = []
        for name in names:
            if time.monotonic() >= end:
                break
            mine, places = positions(found, [name], kinds), found.undisturbed(name).places
            counts["requests"] += sum(len(numbered(places, kind)) for kind in kinds)
            counts["different"] += len(mine)
            writes = sum(each.writes for each in places)
            progress(f"{name}: {len(places)} requests, {writes} writes, {len(mine)} positions")
            every += mine
        random.Random(seed).shuffle(every)
        for name, kind, position in every:
            if time.monotonic() >= end:
                break
            try:
                reached = any(
                    found.fail(name, kind, position, anywhere=turn >= AGAIN)
                    for turn in range(2 * AGAIN)
                )
            except WrongError as error:
                counts["failures"] += 1
                progress(f"\n{error}\n")
            else:
                counts["not reached"] += not reached
                if not reached:
                    place = found.undisturbed(name).places[position - 1]
                    progress(f"not reached: {name}, {kind}, {position}: {place}")
            counts.update(("positions", name, kind))
            if not counts["positions"] % TOLD:
                progress(f"{counts['positions']} of {len(every)} positions")
    return counts


def together(
    jobs: int, seconds: float, seed: int, names: Sequence[str], kinds: Sequence[str]
) -> Counter[str]:
    """The same in so many processes, a new one for each command: moto keeps what it has in its
    process."""
    counts: Counter[str] = Counter()
    with ProcessPoolExecutor(jobs, get_context("spawn"), max_tasks_per_child=1) as pool:
        tell = partial(print, flush=True)
        for each in pool.map(partial(_alone, seconds, seed, tell, kinds), names):
            counts += each
    return counts


def _alone(
    seconds: float, seed: int, tell: Callable[[str], None], kinds: Sequence[str], name: str
) -> Counter[str]:
    begun = time.monotonic()
    found = run(seconds, seed, tell, [name], kinds)
    tell(f"{name}: {found['positions']} positions in {time.monotonic() - begun:.0f} seconds")
    return found


def main(given: Sequence[str]) -> int:
    """Tries all positions, or those that were named. The exit code is 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fault_positions", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--kind", choices=KINDS, action="append", help="only this kind")
    parser.add_argument("--position", type=int, help="only this request")
    parser.add_argument(
        "--minutes", type=float, default=24 * 60, help="stop a command after so many"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the order")
    parser.add_argument("--jobs", type=int, default=2, help="so many commands at a time")
    parser.add_argument("commands", nargs="*", choices=[*COMMANDS, []], metavar="COMMAND")
    asked = parser.parse_args(given)
    names, kinds = asked.commands or [*COMMANDS], asked.kind or KINDS
    if asked.position is not None:
        with moto() as url, runs(url) as found:
            for name in names:
                for kind in kinds:
                    print(name, kind, found.fail(name, kind, asked.position))
        return 0
    begun = time.monotonic()
    counts = together(asked.jobs, asked.minutes * 60, asked.seed, names, kinds)
    for name, number in counts.items():
        print(f"{name}: {number}")
    print(f"seconds: {time.monotonic() - begun:.0f}")
    return int(bool(counts["failures"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
