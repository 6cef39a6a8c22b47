"""Rules that hold for the whole code base."""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path
    for package in ("stream_backup", "backfill", "restore")
    for path in (ROOT / package).rglob("*.py")
)
PURE = ("stream_backup.core.", "stream_backup.errors", "stream_backup.settings")
RINGS = (
    "stream_backup.errors stream_backup.settings stream_backup.progress",
    "stream_backup.core",
    "stream_backup.archive",
    "stream_backup.aws",
    "stream_backup.capture stream_backup.workers",
    "stream_backup.handler stream_backup.watcher backfill restore stream_backup.verify"
    " stream_backup.inspect",
    "stream_backup.undo",
    "stream_backup.drill",
    "stream_backup.estimate stream_backup.driller stream_backup.distributed stream_backup.enrol",
    "stream_backup.worker stream_backup.enroller",
    "stream_backup.cli",
    "stream_backup.demo backfill.__main__ restore.__main__",
)
"""The packages, from the lowest layer to the highest. Packages of one layer do not import each
other."""

ROOMS = ("stream_backup", "backfill", "restore")
TERMINAL = ("click", "rich")
LIGHT = {
    "backfill.share, restore.load, stream_backup.verify.shares": (
        "click",
        "rich",
        "aws_lambda_powertools",
        "stream_backup.cli",
    ),
    "stream_backup.handler": ("click", "rich", "boto3", "stream_backup.aws", "stream_backup.cli"),
    "stream_backup.watcher": ("click", "rich", "tenacity", "stream_backup.cli"),
    "stream_backup.driller": ("click", "rich", "stream_backup.cli", "stream_backup.estimate"),
    "stream_backup.worker": ("click", "rich", "stream_backup.cli", "stream_backup.estimate"),
    "stream_backup.enroller": ("click", "rich", "stream_backup.cli", "stream_backup.estimate"),
}
"""What a process that imports only these modules must not load. Powertools loads botocore."""


FUNCTION = {
    "stream_backup.handler",
    "stream_backup.capture.batch",
    "stream_backup.archive.layout",
    "stream_backup.archive.announce",
    "stream_backup.archive.s3",
    "stream_backup.archive.listing",
}


def imports(path: Path) -> set[str]:
    """Returns the modules that a file imports, by their dotted names. For `from package import
    module`, this includes the module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if file_of(inner).exists() else node.module)
    return found


def file_of(module: str) -> Path:
    path = ROOT / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@pytest.mark.parametrize(
    "path", sorted((ROOT / "stream_backup/core").glob("*.py")), ids=lambda path: path.stem
)
def test_the_core_is_pure(path: Path) -> None:
    """The core imports only the standard library and itself. `item` also imports a JSON library."""
    for found in imports(path):
        library = found.split(".")[0] in sys.stdlib_module_names
        assert library or found.startswith(PURE) or (path.stem, found) == ("item", "orjson"), found


def room_of(module: str) -> tuple[int, str]:
    """Returns the layer of a module and the most specific package that contains it."""
    rooms = [(ring, room) for ring, rooms in enumerate(RINGS) for room in rooms.split()]
    inside = [each for each in rooms if f"{module}.".startswith(f"{each[1]}.")]
    return max(inside, key=lambda each: len(each[1]))


def may_import(module: str, found: str) -> bool:
    """The import rule: a module imports its own package or a lower layer."""
    (ring, room), (lower, other) = room_of(module), room_of(found)
    return room == other or lower < ring


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_its_own_room_or_a_lower_ring(path: Path) -> None:
    """No module imports a higher layer, or another package of its own layer."""
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    if module == "stream_backup":
        return
    ours = {found for found in imports(path) if found.split(".")[0] in ROOMS}
    assert [found for found in sorted(ours) if not may_import(module, found)] == []


@pytest.mark.parametrize(
    ("module", "found"),
    [
        ("stream_backup.core.item", "stream_backup.archive.store"),
        ("stream_backup.capture.batch", "stream_backup.handler"),
        ("backfill.run", "restore.plan"),
        ("restore.plan", "stream_backup.cli.console"),
        ("stream_backup.estimate.model", "stream_backup.cli.options"),
        ("stream_backup.cli.demo", "stream_backup.demo.story"),
    ],
)
def test_the_import_rule_refuses(module: str, found: str) -> None:
    """The rule detects an import of a higher layer, or of another package of the same layer."""
    assert not may_import(module, found)
    assert may_import(found, "stream_backup.errors")


def test_only_the_command_line_knows_a_terminal() -> None:
    """Only `cli/` and `demo/` import click and rich."""
    for path in SOURCES:
        if path.parent.name not in ("cli", "demo"):
            assert not {found.split(".")[0] for found in imports(path)} & {*TERMINAL}, path


@pytest.mark.parametrize("module", sorted(LIGHT))
def test_a_process_loads_no_more_than_it_needs(module: str) -> None:
    """A worker loads no command line and no Powertools, the function no boto3, and the watcher and
    the driller and the enroller no command line."""
    script = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = done.stdout.split()
    heavy = [
        each for each in loaded if f"{each}.".startswith(tuple(f"{n}." for n in LIGHT[module]))
    ]
    assert heavy == []


def test_margins_are_computed_with_in_one_room() -> None:
    """Only the rule of time computes with the margins between clocks."""
    margins = {"SKEW", "MARGIN", "LATE", "SETTLE", "NORMAL", "BUDGET", "LEAST", "HOUR", "QUIET"}
    found = [
        path.name
        for path in SOURCES
        if margins
        & {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
    ]
    assert found == ["announcement.py", "time_rule.py"]


def test_records_are_stored_by_the_catalog_alone() -> None:
    """Only the catalog, of which the checkpoints are a part, reads and writes what is under
    `meta/`."""
    verbs = re.compile(r"\.meta\.(write|read|read_one|names|named|one)\(")
    found = [path.name for path in SOURCES if verbs.search(path.read_text())]
    assert found == ["catalog.py", "checkpoints.py"]


def test_an_archive_has_the_right_clock() -> None:
    """How late a change is depends on the clock of its archive. A command opens it with AWS's
    clock, and the function with its own."""
    found = [path.name for path in SOURCES if re.search(r"(?<!class )Archive\(", path.read_text())]
    assert found == ["connection.py", "handler.py"]


def test_no_two_classes_share_a_name() -> None:
    """A class name has one meaning in the whole project."""
    names: Counter[str] = Counter(
        node.name
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_every_public_docstring_is_a_sentence() -> None:
    """Everything public has a docstring, and the docstring is a sentence."""
    missing = []
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        for node in [tree, *public(tree)]:
            text = ast.get_docstring(node)
            name = getattr(node, "name", "")
            if text is None and path.stem == "__init__":
                continue
            first = (text or "").split("\n\n")[0].rstrip()
            if not first or not (first[0].isupper() or first[0] in "`(") or first[-1] not in ".:?":
                missing.append(f"{path.relative_to(ROOT)}: {name}")
    assert missing == []


def public(tree: ast.AST) -> Iterator[ast.ClassDef | ast.FunctionDef]:
    """Yields the public classes and functions of a module, and the public methods of public
    classes."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node)


def test_keys_are_hashed_in_one_place() -> None:
    """Only `item.py` computes MD5, and only `key.py` makes names from it."""
    hashing = [path.name for path in SOURCES if "md5(" in path.read_text()]
    assert hashing == ["item.py"]
    namers = [path.name for path in SOURCES if "digest(key_json(" in path.read_text()]
    assert namers == ["key.py"]


def test_the_function_needs_no_command_line() -> None:
    """Nothing that the function imports is boto3 or part of the command line."""
    todo, seen = {"stream_backup.handler"}, set[str]()
    while todo:
        module = todo.pop()
        seen.add(module)
        path = file_of(module)
        todo |= {found for found in imports(path) if found.startswith("stream_backup.")} - seen
        assert not {found.split(".")[0] for found in imports(path)} & {
            "boto3",
            "botocore",
            "click",
            "rich",
        }, module
    assert seen >= FUNCTION


def test_no_module_outgrows_its_noun() -> None:
    """No module has more than 260 lines. A longer one has two subjects."""
    assert {
        str(path): len(path.read_text().splitlines())
        for path in SOURCES
        if len(path.read_text().splitlines()) > 260
    } == {}


@pytest.mark.parametrize(
    "page", sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]), ids=lambda page: page.name
)
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    """Every relative link in a document is to an existing file."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
