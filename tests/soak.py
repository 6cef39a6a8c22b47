"""Tests for a while what `make test` tests in minutes: `make soak MINUTES=120`, or
`python -m tests.soak --minutes 120 --seed 17`.

Its parts run in two processes at a time, each for its share of the time: the property tests with
other and longer histories, simulated histories (tests/simulation.py), mutants in random order,
small cases one by one (tests/small.py), and a failure at each request of each command in random
order (tests/fault_positions.py).
Everything random follows from the seed, which is printed. Each part can be run alone:

    python -m tests.soak --part simulation --minutes 10 --seed 17

The counts are printed at the end. The exit code is 1 if anything failed.
"""

import argparse
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests import fault_positions, laws, mutants, simulation, small
from tests.model import Model

Progress = Callable[[str], None]
"""Is called with a line now and then."""

Run = Callable[[float, int, Progress], Mapping[str, int]]
"""Tests for so many seconds, from a seed, and returns what it counted. Raises what is wrong."""

LAWS = [
    *("-m", "hypothesis and not server", "--hypothesis-profile=soak", "-p", "no:cacheprovider"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # this module has imported hypothesis
]

OPTIONS: dict[str, list[str]] = {"laws": ["tests"]}
"""The files or folders whose property tests run."""


class Soak:
    """A pytest plugin that runs tests in random order until the time is over. `failed` has the
    tests that failed."""

    def __init__(self, seconds: float, order: random.Random) -> None:
        self.end = time.monotonic() + seconds
        self.failed: list[str] = []
        self._order = order

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.end

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self._order.shuffle(items)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_runtest_logfinish(self) -> None:
        if self.over:
            pytest.exit("The time is over.", returncode=pytest.ExitCode.OK)


def run_laws(seconds: float, seed: int, progress: Progress) -> Mapping[str, int]:
    """Runs the property tests again and again, each round with the next seed. A failure is not
    shrunk and does not end it, so that one of them hides no other."""
    soak, failures = Soak(seconds, random.Random(seed)), list[str]()
    with counted() as counts:
        for round_seed in map("--hypothesis-seed={}".format, itertools.count(seed)):
            counts["rounds"] += 1
            command = ["-q", round_seed, *LAWS, *OPTIONS["laws"]]
            code = pytest.ExitCode(pytest.main(command, plugins=[soak]))
            failures += [f"{each} with {round_seed}" for each in soak.failed]
            progress(f"{counts['histories']:,} histories, {len(failures)} failures")
            if code and not soak.failed:
                failures.append(f"{code!r} with {round_seed}")
                break
            if soak.over:
                break
            soak.failed.clear()
    if failures:
        raise AssertionError("These property tests failed: " + "; ".join(failures))
    return counts


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Counts the tables that were generated, and how often an archive was asked for the state of
    one."""
    counts = Counter(rounds=0, histories=0, moments=0)

    def counting(owner: Any, name: str, what: str) -> None:
        plain = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            counts[what] += 1
            return plain(*args, **kwargs)

        patch.setattr(owner, name, call)

    with pytest.MonkeyPatch.context() as patch:
        counting(Model, "__init__", "histories")
        counting(laws, "rebuilt", "moments")
        yield counts


def run_mutants(seconds: float, seed: int, progress: Progress) -> Mapping[str, int]:
    """Tests mutants one after another, in another process, which is killed at the end."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        killers = Path(folder) / "killers"
        command = [sys.executable, "-m", "tests.mutants", "--shuffle", str(seed), "--jobs", "1"]
        with subprocess.Popen(
            [*command, "--out", str(killers)],
            cwd=mutants.ROOT,
            env=os.environ | {"TMPDIR": folder},
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            try:
                process.wait(seconds)
                progress("Every mutant was tested.")
            except subprocess.TimeoutExpired:
                pass
            finally:
                ended = process.poll()
                if ended is None:
                    os.killpg(process.pid, signal.SIGKILL)
        if ended not in (None, 0, 1):
            raise RuntimeError(f"the mutants ended with {ended}")
        tried = mutants.read(killers)
    if survivors := [name for name, by in tried.items() if by == mutants.SURVIVES]:
        raise AssertionError(f"Of {len(tried)} mutants, these survive: {', '.join(survivors)}.")
    return {"mutants": len(tried), "survivors": 0}


@dataclass(frozen=True)
class Part:
    """`lane` is the process in which it runs, after the parts before it, and `share` how much of
    its lane's time it has, in relation to the others."""

    name: str
    run: Run
    lane: int
    share: int


PARTS = (
    Part("laws", run_laws, lane=0, share=3),
    Part("simulation", simulation.run, lane=0, share=2),
    Part("mutants", run_mutants, lane=1, share=2),
    Part("small cases", small.run, lane=1, share=1),
    Part("fault positions", fault_positions.run, lane=1, share=1),
)


class Result(NamedTuple):
    """What became of a part. `counts` is None when it failed."""

    part: str
    seconds: float
    counts: Mapping[str, int] | None

    def __str__(self) -> str:
        if self.counts is None:
            said = "FAILED, see above"
        else:
            said = ", ".join(f"{count:,} {name}" for name, count in self.counts.items())
        return f"{self.part}: {said}; {self.seconds:.0f} seconds"


COUNTS = "counts "
"""How the line begins with which a part reports to its parent."""


def run_part(part: Part, seconds: float, seed: int) -> int:
    """The main function of the process of one part."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    counts = part.run(seconds, seed, lambda line: print(line, flush=True))
    print(COUNTS + json.dumps(counts), flush=True)
    return 0


class Lanes:
    """Runs parts in processes, one after another in each lane, and prints what they print."""

    def __init__(self, seconds: float, seed: int, tests: Sequence[str]) -> None:
        self._seconds = seconds
        self._seed = seed
        self._tests = tests
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def run(self, parts: Sequence[Part]) -> list[Result]:
        lanes = [
            [part for part in parts if part.lane == lane] for lane in {each.lane for each in parts}
        ]
        with ThreadPoolExecutor(len(lanes)) as pool:
            try:
                return [each for found in pool.map(self._lane, lanes) for each in found]
            finally:
                self._stopped = True
                for process in list(self._running):
                    process.terminate()

    def _lane(self, parts: Sequence[Part]) -> list[Result]:
        whole = sum(part.share for part in parts)
        return [
            self._part(part, self._seconds * part.share / whole)
            for part in parts
            if not self._stopped
        ]

    def _part(self, part: Part, seconds: float) -> Result:
        begun, counts = time.monotonic(), None
        command = [sys.executable, "-m", "tests.soak", "--part", part.name, "--seed"]
        command += [str(self._seed), "--minutes", str(seconds / 60), *self._tests]
        with subprocess.Popen(
            command, cwd=mutants.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            self._running.add(process)
            assert process.stdout
            for line in process.stdout:
                if line.startswith(COUNTS):
                    counts = json.loads(line.removeprefix(COUNTS))
                else:
                    print(f"{part.name}: {line}", end="", flush=True)
        self._running.discard(process)
        return Result(part.name, time.monotonic() - begun, None if process.returncode else counts)


def main(given: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(10**9))
    parser.add_argument("--part", choices=[part.name for part in PARTS], help="this one alone")
    parser.add_argument("tests", nargs="*", default=["tests"], help="where the laws are")
    asked = parser.parse_args(given)
    seconds = asked.minutes * 60
    if asked.part:
        OPTIONS["laws"] = asked.tests
        (part,) = [part for part in PARTS if part.name == asked.part]
        return run_part(part, seconds, asked.seed)
    begun = time.monotonic()
    print(f"seed: {asked.seed}", flush=True)
    results = Lanes(seconds, asked.seed, asked.tests).run(PARTS)
    print(f"\nseed: {asked.seed}")
    for result in results:
        print(result)
    print(f"seconds: {time.monotonic() - begun:.0f}")
    failed = [result.part for result in results if result.counts is None]
    print(f"Failed: {', '.join(failed)}." if failed else "Nothing failed.")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
