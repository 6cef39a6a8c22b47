"""Breaks the code on purpose, one line at a time (`mutants.toml`), and says which test notices: `python -m tests.mutants [WORD …]`.

A law that no mutant fails is not tested. Takes several minutes; words choose the mutants whose names hold one of them.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
COPIED = ("stream_backup", "backfill", "restore", "verify", "tests", "pyproject.toml")
LAWS = ("tests/test_restoring.py", "tests/test_delivery.py", "tests/test_laws.py")


class Mutant(NamedTuple):
    """`old` stands exactly once in the file at `path`; `also` are tests to run beside the laws."""

    name: str
    path: str
    old: str
    new: str
    also: tuple[str, ...] = ()


def mutants() -> list[Mutant]:
    return [Mutant(**each) for each in tomllib.loads((ROOT / "tests/mutants.toml").read_text())["mutant"]]


def killer(mutant: Mutant) -> str | None:
    """The test that fails of it, None when it lives."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder)
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, copy / name)
        source = copy / mutant.path
        source.write_text(source.read_text().replace(mutant.old, mutant.new))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "--hypothesis-profile=mutants"]
        command += ["-p", "no:cacheprovider", *LAWS, *mutant.also]
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode not in (0, 1):
            raise SystemExit(f"{mutant.name}: pytest ended with {done.returncode}\n{done.stdout}{done.stderr}")
        found = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
        return found[1] if found else None


def main(words: list[str]) -> int:
    chosen = [mutant for mutant in mutants() if not words or any(word in mutant.name for word in words)]
    for mutant in chosen:
        if (found := (ROOT / mutant.path).read_text().count(mutant.old)) != 1:
            raise SystemExit(f"{mutant.name}: {mutant.path} holds {found} times {mutant.old!r}")
    killed = 0
    with ThreadPoolExecutor(2) as pool:
        for mutant, by in zip(chosen, pool.map(killer, chosen), strict=True):
            killed += by is not None
            print(f"{mutant.name:45} {by or 'SURVIVES'}", flush=True)
    print(f"{killed} of {len(chosen)} die.")
    return int(killed < len(chosen))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
