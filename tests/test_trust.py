"""docs/trust.md: what it names exists, and it leaves out no promise of the README."""

import ast
import re
from pathlib import Path

import pytest

from tests.mutants import mutants

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/trust.md").read_text()
PROMISES = ("What a restore guarantees", "How it works")
"""The sections of the README in which each paragraph begins with a promise."""


def section(text: str, title: str) -> str:
    """Returns what stands under a heading of the second level."""
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def parts(title: str) -> dict[str, str]:
    """Returns the text of each promise of a section of the page."""
    _, *found = section(PAGE, title).split("\n### ")
    return {name: text for name, _, text in (each.partition("\n") for each in found)}


def named(text: str, what: str) -> list[str]:
    """Returns what a line that begins with `what` lists, however it is wrapped."""
    (line,) = re.findall(rf"^- {what}: ((?:.+\n?)(?:^  .+\n?)*)", text, re.MULTILINE) or [""]
    return re.findall(r"`([^`]+)`", line)


EVERY = [(title, name, text) for title in PROMISES for name, text in parts(title).items()]


@pytest.mark.parametrize("title", PROMISES)
def test_every_promise_of_the_readme_is_there(title: str) -> None:
    """The page has each promise of the README, in its order, and no other."""
    readme = section((ROOT / "README.md").read_text(), title)
    said = re.findall(r"^(?:- |\d\. )\*\*(.+?)\.?\*\*", readme, re.MULTILINE)
    assert len(said) > 5
    assert list(parts(title)) == said


@pytest.mark.parametrize(("title", "name", "text"), EVERY, ids=[name for _, name, _ in EVERY])
def test_every_promise_has_tests_and_mutants(title: str, name: str, text: str) -> None:
    """A promise without a test, or with a test that no mutant was planted for, is not shown."""
    known = {mutant.name for mutant in mutants()}
    assert named(text, "Tests"), (title, name)
    assert all("::" in each for each in named(text, "Tests"))
    assert named(text, "Mutants")
    assert set(named(text, "Mutants")) <= known


def test_every_test_exists() -> None:
    """Each test and each file that the page names exists."""
    paths = set(re.findall(r"`(tests/[\w./]+?\.(?:py|toml))(?:::(\w+))?`", PAGE))
    assert len(paths) > 50
    for path, test in paths:
        tree = ast.parse((ROOT / path).read_text()) if test else None
        assert (ROOT / path).exists(), path
        assert tree is None or test in defined(tree), f"{path}::{test}"


def defined(tree: ast.Module) -> set[str]:
    """Returns the tests that a file defines: functions, and classes that get a name."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in found if name.lower().startswith("test")}


def test_every_law_is_stated() -> None:
    """Each law that a promise or a test names is in the table of laws."""
    stated = set(re.findall(r"^\| (\d+) \|", section(PAGE, "The laws"), re.MULTILINE))
    lines = re.findall(r"^Laws? ([^.:]+)", PAGE, re.MULTILINE)
    used = {number for line in lines for number in re.findall(r"\d+", line)}
    for path in (ROOT / "tests").glob("test_*.py"):
        for said in re.findall(r"\"\"\"Laws? ((?:\d+(?:, | and )?)+)", path.read_text()):
            used |= set(re.findall(r"\d+", said))
    assert used
    assert used <= stated
    assert stated == {str(number) for number in range(1, len(stated) + 1)}


def test_every_decision_exists() -> None:
    links = re.findall(r"\]\((decisions/[^)]+)\)", PAGE)
    assert links
    assert all((ROOT / "docs" / link).exists() for link in links)


@pytest.mark.parametrize(
    ("path", "link"), [("README.md", "docs/trust.md"), ("CONTRIBUTING.md", "docs/trust.md")]
)
def test_the_page_is_linked(path: str, link: str) -> None:
    assert f"]({link})" in (ROOT / path).read_text()
