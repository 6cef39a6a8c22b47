"""Breaks the code on purpose, one place at a time, and reports which test fails.

    python -m tests.mutants --list
    python -m tests.mutants floor epochs          # mutants whose names contain one of these words
    python -m tests.mutants --out build/killers   # resumes: mutants in FILE are not run again

A law that no mutant breaks is not tested. `mutants.toml` contains the mutants.
"""

import argparse
import ast
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
COPIED = (
    *("stream_backup", "backfill", "restore", "bench", "tests", "docs"),
    *("pyproject.toml", "template.yaml"),
)
LAWS = (
    "tests/test_delivery.py",
    "tests/test_order.py",
    "tests/test_laws.py",
    "tests/test_restoring.py",
    "tests/test_simulation.py",
)
LONGEST = 1800
"""Seconds that the tests of one mutant may take. A mutant that makes them hang does not survive."""

SURVIVES = "SURVIVES"


class Mutant(NamedTuple):
    """`old` occurs exactly once in the file at `path`. `also` are tests to run before the laws: if
    one of them fails, the laws, which take longer, are not even collected."""

    name: str
    path: str
    old: str
    new: str
    also: Sequence[str] = ()

    def applied(self) -> str:
        """Returns the file with the mutant applied. `old` is found however the formatter wraps it,
        and the result must parse."""
        source = (ROOT / self.path).read_text()
        found = list(spelled(self.old).finditer(source))
        if len(found) != 1:
            raise ValueError(f"{self.name}: {self.path} holds {len(found)} times {self.old!r}")
        broken = source[: found[0].start()] + self.new.strip() + source[found[0].end() :]
        ast.parse(broken)
        return broken


def spelled(code: str) -> re.Pattern[str]:
    """Returns a pattern that matches `code` with any white space between its tokens, and with
    trailing commas."""
    pattern, before = "", ""
    for word in re.findall(r"\w+|[^\w\s]", code):
        if word in ")]}":
            pattern += r"\s*,?"
        pattern += r"\s+" if re.match(r"\w\w", before[-1:] + word[0]) else r"\s*"
        pattern += re.escape(word)
        before = word
    return re.compile(pattern.removeprefix(r"\s*"))


def mutants() -> list[Mutant]:
    return [
        Mutant(**each)
        for each in tomllib.loads((ROOT / "tests/mutants.toml").read_text())["mutant"]
    ]


def killer(mutant: Mutant) -> str:
    """Returns the first test that fails, or SURVIVES."""
    broken = mutant.applied()
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder)
        for name in COPIED:
            if (ROOT / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / name, copy / name, ignore=ignored)
            else:
                shutil.copy(ROOT / name, copy / name)
        (copy / mutant.path).write_text(broken)
        every = filter(None, (mutant.also, LAWS))
        return next(filter(None, (failing(mutant, copy, tests) for tests in every)), SURVIVES)


def failing(mutant: Mutant, folder: Path, tests: Sequence[str]) -> str:
    """Returns the first of these tests that fails on the copy in `folder`, nothing if none does."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider"]
    command += ["--hypothesis-profile=mutants", *tests]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=LONGEST, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no test ended within {LONGEST} seconds"
    if done.returncode not in (0, 1):
        raise RuntimeError(
            f"{mutant.name}: pytest ended with {done.returncode}\n{done.stdout}{done.stderr}"
        )
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return found[1] if found else ""


def killers(chosen: Iterable[Mutant], jobs: int) -> Iterator[tuple[Mutant, str]]:
    """Yields each mutant with its killer as soon as it is known. `jobs` mutants run at a time."""
    pool = ThreadPoolExecutor(jobs)
    try:
        running = {pool.submit(killer, mutant): mutant for mutant in chosen}
        for done in as_completed(running):
            yield running[done], done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def main(given: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("words", nargs="*", metavar="WORD", help="part of a mutant's name")
    parser.add_argument("--list", action="store_true", help="list the mutants and run none")
    parser.add_argument("--shuffle", type=int, metavar="SEED", help="run them in random order")
    parser.add_argument("--jobs", type=int, default=2, help="so many at a time (default: 2)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="append name and killer here")
    asked = parser.parse_args(given)
    chosen = [
        mutant
        for mutant in mutants()
        if not asked.words or any(word in mutant.name for word in asked.words)
    ]
    if asked.list:
        for mutant in chosen:
            print(f"{mutant.name:45} {mutant.path}")
        return 0
    if asked.shuffle is not None:
        random.Random(asked.shuffle).shuffle(chosen)
    known = read(asked.out) if asked.out else {}
    waiting = [mutant for mutant in chosen if mutant.name not in known]
    print(f"mutants: {len(waiting)}, {asked.jobs} at a time", flush=True)
    begun = time.monotonic()
    for number, (mutant, by) in enumerate(killers(waiting, asked.jobs), start=1):
        known[mutant.name] = by
        seconds = time.monotonic() - begun
        print(f"{number:4} {seconds:6.0f} s  {mutant.name:45} {by}", flush=True)
        if asked.out:
            with asked.out.open("a") as file:
                file.write(f"{mutant.name}\t{by}\n")
    survivors = [mutant.name for mutant in chosen if known[mutant.name] == SURVIVES]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} mutants die.")
    return int(bool(survivors))


def read(file: Path) -> dict[str, str]:
    """Returns what an earlier run appended."""
    lines = file.read_text().splitlines() if file.exists() else []
    return dict(line.split("\t", 1) for line in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
