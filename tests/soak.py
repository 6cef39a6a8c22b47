"""Runs the property tests for a while: `make soak MINUTES=30`, or
`python -m tests.soak --minutes 30`.

Every property test runs repeatedly, each time with other histories, which are longer than those of
`make test`; each round has the next seed. At the same time, mutants are tested in random order. The
exit code is 1 if a law fails or a mutant survives. The counts are printed at the end.
"""

import argparse
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import laws, mutants
from tests.model import Model

LAWS = ["-m", "hypothesis and not server", "--hypothesis-profile=soak", "-p", "no:cacheprovider"]


class Soak:
    """A pytest plugin that runs tests in random order until the time is over."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.end

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        random.shuffle(items)

    def pytest_runtest_logfinish(self) -> None:
        if self.over:
            pytest.exit("The time is over.", returncode=pytest.ExitCode.OK)


def main(given: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(10**9), help="of round one")
    parser.add_argument("tests", nargs="*", default=["tests"], help="files or folders of tests")
    asked = parser.parse_args(given)
    begun = time.monotonic()
    seeds = itertools.count(asked.seed)
    with counted() as counts, mutants_beside() as killers:
        soak = Soak(asked.minutes * 60)
        code: int = pytest.ExitCode.OK
        while code == pytest.ExitCode.OK and not soak.over:
            seed = f"--hypothesis-seed={next(seeds)}"
            code = pytest.main(["-x", "-q", seed, *LAWS, *asked.tests], plugins=[soak])
        tried = mutants.read(killers)
    survivors = [name for name, by in tried.items() if by == mutants.SURVIVES]
    print(f"\nseeds: {asked.seed} to {next(seeds) - 1}")
    print(f"histories: {counts['histories']:,}")
    print(f"moments compared: {counts['moments']:,}")
    print(f"mutants: {len(tried)}, of which {len(survivors)} survive")
    print(f"seconds: {time.monotonic() - begun:.0f}")
    for name in survivors:
        print(f"survives: {name}")
    print(f"The tests ended with code {int(code)}, see above." if code else "No law failed.")
    return int(bool(code or survivors))


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Counts the tables that were generated, and how often an archive was asked for the state of
    one."""
    counts: Counter[str] = Counter()

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


@contextmanager
def mutants_beside() -> Iterator[Path]:
    """Runs mutants in another process, which is killed at the end. Yields the file of killers."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        killers = Path(folder) / "killers"
        command = [sys.executable, "-m", "tests.mutants", "--shuffle", "--out", str(killers)]
        with subprocess.Popen(
            command,
            cwd=mutants.ROOT,
            env=os.environ | {"TMPDIR": folder},
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            try:
                yield killers
                if process.poll() not in (None, 0, 1):
                    raise RuntimeError(f"the mutants ended with {process.returncode}")
            finally:
                os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
