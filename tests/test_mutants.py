"""The mutants on which the laws are tested: each can be applied, and applying it changes the
code."""

import ast
from pathlib import Path

import pytest

from tests import mutants
from tests.mutants import ROOT, SURVIVES, Mutant


@pytest.mark.parametrize("mutant", mutants.mutants(), ids=lambda mutant: mutant.name)
def test_every_mutant_can_be_made(mutant: Mutant) -> None:
    """The text of a mutant occurs exactly once in its file, and the replacement can be parsed and
    differs."""
    whole = (ROOT / mutant.path).read_text()
    assert ast.dump(ast.parse(mutant.applied())) != ast.dump(ast.parse(whole))
    for test in mutant.also:
        path, _, name = test.partition("::")
        assert f"def {name}" in (ROOT / path).read_text()


def test_names_are_unique() -> None:
    """Names of mutants are unique, because a run that resumes identifies mutants by name."""
    names = [mutant.name for mutant in mutants.mutants()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("old", "source"),
    [
        ("call(one, two)", "call(one, two)"),
        ("call(one, two)", "call(\n    one,\n    two,\n)"),
        ("not a and b", "not a\n    and b"),
    ],
)
def test_wrapping_hides_no_mutant(old: str, source: str) -> None:
    assert mutants.spelled(old).fullmatch(source)


@pytest.mark.parametrize("source", ["call(one, two, three)", "call(onetwo)", "call(one, tw o)"])
def test_other_code_is_no_mutant(source: str) -> None:
    assert not mutants.spelled("call(one, two)").search(source)


def test_a_run_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mutant that is in the file is not run again, and counts."""
    first, second, *_ = (mutant.name for mutant in mutants.mutants())
    kept = tmp_path / "killers"
    kept.write_text(f"{first}\ttest_one\n")
    run: list[str] = []

    def killer(mutant: Mutant) -> str:
        run.append(mutant.name)
        return SURVIVES

    monkeypatch.setattr(mutants, "killer", killer)
    assert mutants.main(["--out", str(kept), first, second]) == 1
    assert run == [second]
    assert kept.read_text() == f"{first}\ttest_one\n{second}\t{SURVIVES}\n"
    begin, ended, end = capsys.readouterr().out.splitlines()
    assert begin == "mutants: 1, 2 at a time"
    assert ended.split() == ["1", "0", "s", *second.split(), SURVIVES]
    assert end == "1 of 2 mutants die."
    assert mutants.main(["--out", str(kept), first]) == 0
