"""Copies the module of a function and every module of this project that it imports into the
deployment package, whose directory is the first argument. The second is the name of the module, the
handler by default."""

import ast
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENTRY = "stream_backup.handler"


def closure(entry: str = ENTRY) -> set[Path]:
    """Returns the source files of module `entry` and of every module of its package that it
    imports, directly or indirectly. The paths are relative to the root of the project."""
    package = entry.split(".")[0]
    todo, seen = {package, entry}, set[str]()
    while todo:
        name = todo.pop()
        seen.add(name)
        todo |= {name.rpartition(".")[0]} - seen - {""}
        for node in ast.walk(ast.parse(_file(name).read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            else:
                continue
            todo |= {
                name for name in names if name.split(".")[0] == package and _file(name).exists()
            } - seen
    return {_file(name).relative_to(ROOT) for name in seen}


def _file(name: str) -> Path:
    path = ROOT / name.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


if __name__ == "__main__":
    for path in closure(*sys.argv[2:]):
        target = Path(sys.argv[1]) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, target)
