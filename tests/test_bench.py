"""Rules for the modules of bench. `python -m bench --quick` runs the bench."""

import ast
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent / "bench"


@pytest.mark.parametrize("path", sorted(BENCH.glob("*.py")), ids=lambda path: path.stem)
def test_nothing_imports_the_main_module(path: Path) -> None:
    """`bench.__main__` imports the parts, and no part imports it, not even in a function."""
    assert "bench.__main__" not in imports(path)


def imports(path: Path) -> set[str]:
    """Returns the modules that a file imports anywhere; names in them are included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found
