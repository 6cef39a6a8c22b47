"""Copies the module of a function and every module of this project that it imports into the
deployment package, whose directory is the first argument. The second is the name of the module, the
handler by default. The package also says which version of the project it is."""

import ast
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENTRY = "stream_backup.handler"
PACKAGES = ("stream_backup", "restore", "backfill")


def closure(entry: str = ENTRY) -> set[Path]:
    """Returns the source files of module `entry` and of every module of this project that it
    imports, directly or indirectly. The paths are relative to the root of the project."""
    todo, seen = {entry}, set[str]()
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
                name for name in names if name.split(".")[0] in PACKAGES and _file(name).exists()
            } - seen
    return {_file(name).relative_to(ROOT) for name in seen}


def _file(name: str) -> Path:
    path = ROOT / name.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def write_version(package: Path) -> None:
    """Writes the version of the project where `importlib.metadata` finds it, because nothing
    installs the project in the package."""
    found = re.search(r'(?m)^version = "(.+)"$', (ROOT / "pyproject.toml").read_text())
    if found is None:
        sys.exit("pyproject.toml has no version")
    folder = package / f"stream_backup-{found[1]}.dist-info"
    folder.mkdir(parents=True, exist_ok=True)
    text = f"Metadata-Version: 2.1\nName: stream-backup\nVersion: {found[1]}\n"
    (folder / "METADATA").write_text(text)


if __name__ == "__main__":
    write_version(Path(sys.argv[1]))
    for path in closure(*sys.argv[2:]):
        target = Path(sys.argv[1]) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, target)
