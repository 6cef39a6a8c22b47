"""docs/operations.md followed word for word: its commands in order, the terminal in which they are
typed, and its `aws` command.

A command is a line of a ```console block that begins with `$ `. `<!-- not on a stand-in: reason
-->` before a block means that it cannot be run here, and why. Run as a program, this module is the
part of the AWS CLI that the page uses, on top of boto3: every operation by the service's own model,
`--query`, `--output text`, `--profile`, `file://`, and `configure set`.
"""

import configparser
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import jmespath  # type: ignore[import-untyped]  # it ships no types, and boto3 brings it along
from botocore import xform_name

_MARK = "\x1e"
_SKIP = re.compile(r"<!-- not on a stand-in: (.+) -->")


class Step(NamedTuple):
    """`section` is the heading above the command. `skipped` is the reason why it is not run here,
    or empty."""

    section: str
    command: str
    skipped: str


def steps(page: str) -> Iterator[Step]:
    section, skipped, in_block = "", "", False
    for line in page.splitlines():
        if in_block:
            if line == "```":
                in_block, skipped = False, ""
            elif line.startswith("$ "):
                yield Step(section, line.removeprefix("$ "), skipped)
        elif line == "```console":
            in_block = True
        elif found := _SKIP.fullmatch(line):
            skipped = found[1]
        elif line.startswith("#"):
            section = line.lstrip("# ")


class Said(NamedTuple):
    code: int
    text: str
    """stdout and stderr, in the order in which a terminal shows them."""


@dataclass(frozen=True)
class Terminal:
    """One bash process, in which exported variables remain. Every question is answered with `y`."""

    process: "subprocess.Popen[str]"

    def type(self, command: str) -> Said:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{{ {command}\n}} < <(yes)\nprintf '{_MARK}%s\\n' $?\n")
        self.process.stdin.flush()
        text = ""
        while _MARK not in text:
            line = self.process.stdout.readline()
            assert line, f"the terminal is gone after: {command}\n{text}"
            text += line
        text, _, code = text.partition(_MARK)
        return Said(int(code), text)


@contextmanager
def terminal(where: Path, settings: Mapping[str, str], patience: float) -> Iterator[Terminal]:
    """Starts bash in the folder `where`. After `patience` seconds, it is killed with all its child
    processes."""
    pipe = subprocess.PIPE
    command = ["bash", "--noprofile", "--norc"]
    process = subprocess.Popen(
        command,
        cwd=where,
        env=dict(settings),
        stdin=pipe,
        stdout=pipe,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )
    timer = threading.Timer(patience, os.killpg, (process.pid, 9))
    timer.start()
    try:
        with process:
            yield Terminal(process)
    finally:
        timer.cancel()


def install_aws(where: Path) -> None:
    """Writes an executable `aws` to this folder, which runs this module."""
    root = Path(__file__).parent.parent
    program = where / "aws"
    program.write_text(
        f'#!/bin/sh\nPYTHONPATH="{root}" exec "{sys.executable}" -m tests.walk "$@"\n'
    )
    program.chmod(0o755)


def aws(words: list[str]) -> str:
    """Returns what the AWS CLI prints for these words. Raises ClientError."""
    service, operation, *rest = words
    if service == "configure":
        return _configure(*rest)
    client, options = None, _options(rest)
    session = boto3.Session(profile_name=_one(options.pop("--profile", None)))
    client = session.client("s3" if service == "s3api" else service)
    method = operation.replace("-", "_")
    shape = client.meta.service_model.operation_model(
        client.meta.method_to_api_mapping[method]
    ).input_shape
    query, form = _one(options.pop("--query", None)), _one(options.pop("--output", None))
    members = {
        f"--{xform_name(name, '-')}": (name, member)
        for name, member in (shape.members if shape else {}).items()
    }
    given = {
        members[option][0]: _value(values, members[option][1]) for option, values in options.items()
    }
    found = (
        client.get_paginator(method).paginate(**given).build_full_result()
        if client.can_paginate(method)
        else getattr(client, method)(**given)
    )
    found.pop("ResponseMetadata", None)
    answer = jmespath.search(query, found) if query else found
    return _text(answer) if form == "text" else json.dumps(answer, indent=4, default=str)


def _configure(name: str, value: str, option: str, profile: str) -> str:
    assert option == "--profile"
    path = Path(os.environ["AWS_CONFIG_FILE"])
    config = configparser.ConfigParser(interpolation=None)
    config.read(path)
    section = f"profile {profile}"
    if not config.has_section(section):
        config.add_section(section)
    config.set(section, name, value)
    with path.open("w") as file:
        config.write(file)
    return ""


def _options(words: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    option = ""
    for word in words:
        if word.startswith("--"):
            option = word
            found[option] = []
        else:
            found[option].append(word)
    return found


def _one(values: list[str] | None) -> str | None:
    return values[0] if values else None


def _value(words: list[str], shape: Any) -> Any:
    word = words[0] if words else "true"
    if word.startswith("file://"):
        word = Path(word.removeprefix("file://")).read_text()
    match shape.type_name:
        case "structure" | "map":
            return json.loads(word)
        case "list":
            return json.loads(word) if word.startswith("[") else words
        case "integer" | "long":
            return int(word)
        case "boolean":
            return word == "true"
        case _:
            return word


def _text(answer: Any) -> str:
    """Returns a list of lists as lines, and a list of words as one line separated by tabs."""
    if isinstance(answer, list) and answer and isinstance(answer[0], list):
        return "\n".join(map(_text, answer))
    return "\t".join(map(str, answer)) if isinstance(answer, list) else str(answer)


if __name__ == "__main__":
    print(aws(sys.argv[1:]))
