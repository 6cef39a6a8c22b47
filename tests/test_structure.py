"""What the code base promises of itself."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WAYS = ("backfill", "restore", "verify")
SOURCES = sorted(path for package in ("stream_backup", *WAYS) for path in (ROOT / package).rglob("*.py"))
PURE = {"item", "key", "stamp", "change", "timeline", "coverage", "moment", "errors", "store", "memory"}
FUNCTION = {
    "stream_backup.handler",
    "stream_backup.batch",
    "stream_backup.archive",
    "stream_backup.s3",
    "stream_backup.listing",
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner if node.module == "stream_backup" else {node.module}
    return found


@pytest.mark.parametrize("name", sorted(PURE))
def test_the_core_is_pure(name: str) -> None:
    """A module of the core imports the standard library and the core, nothing else; `item` alone a JSON library too."""
    for found in imports(ROOT / "stream_backup" / f"{name}.py"):
        package, _, module = found.partition(".")
        ours = package == "stream_backup" and module in PURE
        assert ours or package in sys.stdlib_module_names or (name, package) == ("item", "orjson"), found


def test_the_core_never_imports_the_ways_in_and_out() -> None:
    """`backfill`, `restore` and `verify` import from `stream_backup`; only `cli.py` imports them."""
    for path in SOURCES:
        if path.is_relative_to(ROOT / "stream_backup") and path.name != "cli.py":
            assert not {found for found in imports(path) if found.split(".")[0] in WAYS}, path


def test_keys_are_hashed_in_one_place() -> None:
    """MD5 is computed in `item.py` alone, and `key.py` alone makes names of it."""
    assert [path.name for path in SOURCES if "md5(" in path.read_text()] == ["item.py"]
    namers = [path.name for path in SOURCES if "digest(key_json(" in path.read_text()]
    assert namers == ["key.py"]


def test_the_function_needs_no_command_line() -> None:
    """What the function imports, through and through, is neither boto3 nor anything of the command line."""
    todo, seen = {"stream_backup.handler"}, set[str]()
    while todo:
        module = todo.pop()
        seen.add(module)
        path = ROOT / (module.replace(".", "/") + ".py")
        todo |= {found for found in imports(path) if found.startswith("stream_backup.")} - seen
        assert not {found.split(".")[0] for found in imports(path)} & {"boto3", "botocore", "click", "rich"}, module
    assert seen >= FUNCTION


def test_no_module_outgrows_its_noun() -> None:
    """A module of more than 200 lines holds two nouns."""
    assert {
        path.name: len(path.read_text().splitlines()) for path in SOURCES if len(path.read_text().splitlines()) > 200
    } == {}


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]), ids=lambda page: page.name)
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    """Every relative link of a document names a file that is there."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
