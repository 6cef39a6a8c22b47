"""The files around the code are consistent with each other."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream_backup.cli.main import cli

ROOT = Path(__file__).parent.parent
MAKEFILE = (ROOT / "Makefile").read_text()
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
WORKFLOW = ".github/workflows/ci.yml"


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


def supported() -> list[str]:
    (line,) = re.findall(r"^SUPPORTED := (.+)$", MAKEFILE, re.MULTILINE)
    return str(line).split()


def test_one_list_of_pythons() -> None:
    """The Makefile tests the Python versions that pyproject.toml declares, beginning with the
    oldest."""
    said = PROJECT["project"]["classifiers"]
    assert said == [f"Programming Language :: Python :: {each}" for each in supported()]
    assert PROJECT["project"]["requires-python"] == f">={supported()[0]}"
    assert PROJECT["tool"]["mypy"]["python_version"] == supported()[0]


def test_the_workflow_sets_up_the_oldest_and_the_newest_python() -> None:
    steps = read(WORKFLOW)["jobs"]["check"]["steps"]
    (given,) = [step["with"]["python-version"] for step in steps if "with" in step]
    assert given.split() == [supported()[0], supported()[-1]]


@pytest.mark.parametrize("path", [WORKFLOW, ".ci/run", "CONTRIBUTING.md", "README.md"])
def test_every_make_target_exists(path: str) -> None:
    """Every target of a `make` command in these files exists."""
    commands = r"(?:^|- run: |`)make (?:\w+=\S+ )*([a-z][a-z-]*)"
    called = set(re.findall(commands, (ROOT / path).read_text(), re.MULTILINE))
    assert called
    assert called <= set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def test_the_readme_lists_every_command() -> None:
    """Its table names each command once, and no other."""
    cells = re.findall(r"^\| (`[^|]+`) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    listed = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
    assert sorted(listed) == sorted(cli.commands)


def test_hooks_run_what_make_check_runs() -> None:
    """Hooks run the same programs of the same environment as `make check`."""
    (repository,) = read(".pre-commit-config.yaml")["repos"]
    for hook in repository["hooks"]:
        program = hook["entry"].removesuffix(" --force-exclude").replace(".venv/bin", "$(BIN)")
        assert f"\t{program}" in MAKEFILE


def test_dependabot_reads_what_pins_versions() -> None:
    for update in read(".github/dependabot.yml")["updates"]:
        for folder in update.get("directories", []):
            assert [*(ROOT / folder.strip("/")).glob("*.txt")]


@pytest.mark.parametrize("package", ["stream_backup", "backfill", "restore"])
def test_types_are_shipped(package: str) -> None:
    """A type checker that sees the installed package uses its annotations."""
    assert (ROOT / package / "py.typed").exists()
    assert "py.typed" in PROJECT["tool"]["setuptools"]["package-data"]["*"]
