"""A soak test of a few seconds: laws and mutants are tested, and the counts are printed."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import soak
from tests.mutants import ROOT


def test_some_seconds_of_it() -> None:
    """A soak test ends when the time is over, and prints the number of histories."""
    command = [sys.executable, "-m", "tests.soak", "--minutes", "0.01", "tests/test_delivery.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done
    *_, histories, moments, mutants, seconds, result = done.stdout.splitlines()
    assert int(histories.removeprefix("histories: ")) >= 20
    assert int(moments.removeprefix("moments compared: ").replace(",", "")) >= 0
    assert re.fullmatch(r"mutants: \d+, of which 0 survive", mutants)
    assert int(seconds.removeprefix("seconds: ")) < 300
    assert result == "No law failed."


@pytest.mark.parametrize(
    ("code", "killer", "exit_code"),
    [(0, "test_one", 0), (0, "SURVIVES", 1), (1, "test_one", 1), (5, "test_one", 1)],
)
def test_what_it_ends_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, killer: str, exit_code: int
) -> None:
    """The exit code is 0 only if tests were run, none failed, and no mutant survives."""
    file = tmp_path / "killers"
    file.write_text(f"a mutant\t{killer}\n")

    @contextmanager
    def beside() -> Iterator[Path]:
        yield file

    def run(*_: object, plugins: list[soak.Soak]) -> int:
        plugins[0].end = 0
        return code

    monkeypatch.setattr(soak, "mutants_beside", beside)
    monkeypatch.setattr(pytest, "main", run)
    assert soak.main([]) == exit_code
