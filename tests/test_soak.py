"""A soak test of a few seconds: every part runs, and the counts are printed."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import pytest

from tests import mutants, soak
from tests.mutants import ROOT, SURVIVES
from tests.soak import Part, Result


def test_some_seconds_of_it() -> None:
    """A soak test ends when the time is over, and prints its seed and the counts of every part."""
    command = [sys.executable, "-m", "tests.soak", "--minutes", "0.01", "--seed", "17"]
    done = subprocess.run(
        [*command, "tests/test_delivery.py"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done
    begun, *_ = lines = done.stdout.splitlines()
    assert begun == "seed: 17"
    end = lines[lines.index("seed: 17", 1) :]
    assert end[-1] == "Nothing failed."
    assert re.fullmatch(r"seconds: \d+", end[-2])
    counts = dict(line.split(": ", 1) for line in end[1:-2])
    assert list(counts) == [part.name for part in soak.PARTS]
    assert re.match(r"[1-9]\d* rounds, [\d,]+ histories, ", counts["laws"])
    assert re.match(r"[1-9]\d* histories, ", counts["simulation"])
    assert re.match(r"\d+ mutants, 0 survivors; ", counts["mutants"])


def test_a_part_that_fails(capfd: pytest.CaptureFixture[str]) -> None:
    """A part whose process fails is named, and the exit code is 1; a part that is killed has no
    counts either."""
    part = Part("no such part", soak.run_laws, lane=0, share=1)
    (result,) = soak.Lanes(0.1, 17, []).run([part])
    assert result.counts is None
    assert str(result).startswith("no such part: FAILED")
    assert "no such part: usage:" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("counts", "code", "end"), [({"cases": 1200}, 0, "Nothing failed."), (None, 1, "Failed: laws.")]
)
def test_what_it_ends_with(
    counts: Mapping[str, int] | None,
    code: int,
    end: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The exit code is 0 only if no part failed."""
    monkeypatch.setattr(soak.Lanes, "run", lambda *_: [Result("laws", 60.4, counts)])
    assert soak.main(["--seed", "3"]) == code
    *_, result, _, last = capsys.readouterr().out.splitlines()
    assert last == end
    assert result == ("laws: 1,200 cases; 60 seconds" if counts else str(Result("laws", 60, None)))


@pytest.mark.parametrize("code", [1, 5])
def test_laws_that_fail(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The part fails when tests cannot run, and names the seed of the round."""
    monkeypatch.setattr(pytest, "main", lambda *_, **__: code)
    with pytest.raises(AssertionError, match="hypothesis-seed=17"):
        soak.run_laws(9, 17, print)


def test_every_law_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure ends no round, and one of the round in which the time ends counts, too: pytest then
    ends with the code 0."""
    ends = iter([(["a"], 1), ([], 0), (["b", "c"], 0)])

    def main(_: object, plugins: Sequence[soak.Soak]) -> int:
        (plugin,) = plugins
        plugin.failed, code = next(ends)
        if len(plugin.failed) == 2:
            plugin.end = 0
        return code

    monkeypatch.setattr(pytest, "main", main)
    with pytest.raises(AssertionError) as raised:
        soak.run_laws(9, 17, print)
    assert re.findall(r"(\w) with --hypothesis-seed=(\d+)", str(raised.value)) == [
        ("a", "17"), ("b", "19"), ("c", "19")
    ]  # fmt: skip


@pytest.mark.parametrize(("killer", "fails"), [("test_one", False), (SURVIVES, True)])
def test_mutants_that_survive(killer: str, fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The part fails when a mutant survives, and names it."""
    monkeypatch.setattr(mutants, "read", lambda _: {"a mutant": killer})
    if fails:
        with pytest.raises(AssertionError, match="a mutant"):
            soak.run_mutants(0.01, 1, print)
    else:
        assert soak.run_mutants(0.01, 1, print) == {"mutants": 1, "survivors": 0}


def test_every_lane_uses_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts of a lane share its time, and every lane has the whole time."""
    given: Counter[str] = Counter()

    def run(_: object, part: Part, seconds: float) -> Result:
        given[part.name] += int(seconds)
        return Result(part.name, seconds, {})

    none: Callable[[float, int, soak.Progress], Mapping[str, int]] = lambda *_: {}  # noqa: E731
    parts = [Part("a", none, 0, 3), Part("b", none, 0, 1), Part("c", none, 1, 5)]
    monkeypatch.setattr(soak.Lanes, "_part", run)
    assert [each.part for each in soak.Lanes(400, 1, []).run(parts)] == ["a", "b", "c"]
    assert given == {"a": 300, "b": 100, "c": 400}
