"""The demo checks what it claims, and leaves nothing behind."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from urllib.error import URLError
from urllib.request import urlopen

import boto3
import pytest

from stream_backup.archive.layout import History
from stream_backup.aws.connection import Connection
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.core.item import Item, digest, encode
from stream_backup.core.key import key_hash
from stream_backup.core.version import Version
from stream_backup.demo import chapters, deployment, embedded, function, reader, rows, terminal
from stream_backup.demo.differences import differences
from stream_backup.demo.environment import environment, settings
from stream_backup.demo.live import DemoTable, scan
from stream_backup.demo.traffic import Traffic
from stream_backup.demo.truth import Truth, Write
from stream_backup.errors import StreamBackupError

NOON = 1_795_262_400
PATIENCE = 60
PROGRAM = Path(sys.executable).with_name("stream-backup")
HOSTILE = {
    "AWS_PROFILE": "nobody",
    "AWS_SESSION_TOKEN": "stale",
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
    "AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:9",
    "AWS_REGION": "nowhere-1",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "GATEWAY_PORT": "9",
    "STREAM_BACKUP_ARCHIVE": "s3://somebody-elses",
    "STREAM_BACKUP_STACK": "somebody-elses",
}
"""Environment variables of a user that must not reach any process of the demo."""


def test_rows_are_real_and_exact() -> None:
    """Thousands of airports have a key, exact numbers in a map, a set, and bytes."""
    found = rows.airports()
    assert len(found) > 6000
    assert all(
        item[rows.KEY] == {"S": name} and item["codes"]["SS"] and item["position"]["B"]
        for name, item in found.items()
    )
    assert {found[each]["country"]["S"] for each in chapters.CLOSED} <= deployment.COUNTRIES


@pytest.mark.parametrize(
    ("given", "stored"),
    [("1.50", "1.5"), ("-0.0", "0"), ("1E+3", "1000"), ("-12", "-12"), ("0", "0")],
)
def test_numbers_are_formatted_as_by_dynamodb(given: str, stored: str) -> None:
    assert rows.number(Decimal(given)) == {"N": stored}


def item(name: str, **values: str) -> Item:
    return {rows.KEY: {"S": name}, **{key: {"N": text} for key, text in values.items()}}


@pytest.fixture
def truth() -> Truth:
    """A exists all the time, B until 1 s after noon, and C from 3 s after noon."""
    truth = Truth(rows.KEY)
    truth.begin({"A": item("A", n="1"), "B": item("B", n="2")})
    truth.wrote(Write("B", None, NOON + 1, NOON + 1))
    truth.wrote(Write("C", item("C", n="3"), NOON + 3, NOON + 3))
    return truth


def test_truth_knows_every_second(truth: Truth) -> None:
    """A write is effective at the end of its second, not at the end of the one before."""
    assert [sorted(truth.at(NOON + second)) for second in range(5)] == [
        ["A", "B"],
        ["A"],
        ["A"],
        ["A", "C"],
        ["A", "C"],
    ]
    assert truth.moments() == [NOON + 1, NOON + 3]
    assert truth.rows == truth.at(NOON + 3)


def test_truth_does_not_guess(truth: Truth) -> None:
    """A second is not used if a write may have happened before or after its end."""
    truth.wrote(Write("A", item("A", n="9"), NOON + 3, NOON + 4))
    assert truth.moments() == [NOON + 1, NOON + 4]
    with pytest.raises(ValueError, match="asked before the end of"):
        truth.at(NOON + 3)


def test_correct_rows_and_values_are_counted(truth: Truth) -> None:
    assert truth.check("it", NOON, [item("B", n="2"), item("A", n="1")]) == (2, 4)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([item("A", n="1")], "B is missing"),
        ([item("A", n="1"), item("B", n="2"), item("C")], "C should not exist"),
        ([item("A", n="1"), item("B", n="2"), item("B", n="2")], "B exists twice"),
        ([item("A", n="1.0"), item("B", n="2")], "A: n is {'N': '1.0'}, not {'N': '1'}"),
        ([item("A"), item("B", n="2")], "A: n is missing"),
        ([item("A", n="1", m="1"), item("B", n="2")], "A: m should not exist"),
    ],
)
def test_a_difference_fails_the_demo(truth: Truth, found: list[Item], said: str) -> None:
    """Any difference ends it with exit code 1 and a sentence that names the place."""
    with pytest.raises(StreamBackupError) as raised:
        truth.check("it", NOON, found)
    assert said in str(raised.value)
    assert raised.value.exit_code == 1


def test_differences_have_a_path() -> None:
    """This includes maps and lists. Only the order of a set is ignored."""
    right = {
        "M": {
            "a": {"L": [{"N": "1"}, {"M": {"b": {"S": "x"}}}]},
            "s": {"SS": ["p", "q"]},
            "l": {"L": [{"S": "p"}]},
        }
    }
    wrong = {
        "M": {
            "a": {"L": [{"N": "1"}, {"M": {"b": {"S": "y"}}}]},
            "s": {"SS": ["q", "p"]},
            "l": {"L": []},
        }
    }
    assert list(differences(right, wrong)) == [
        "a[1].b is {'S': 'y'}, not {'S': 'x'}",
        "l is {'L': []}, not {'L': [{'S': 'p'}]}",
    ]
    assert list(differences({"N": "1"}, {"S": "1"}, "n")) == ["n is {'S': '1'}, not {'N': '1'}"]


def test_no_setting_of_the_user_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the block only the demo's own AWS settings exist; afterwards the user's are restored."""
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    own = settings("http://127.0.0.1:1")
    with environment(own):
        assert {name: os.environ[name] for name in own} == own
        assert not {
            "AWS_PROFILE",
            "AWS_SESSION_TOKEN",
            "AWS_ENDPOINT_URL_S3",
            "STREAM_BACKUP_ARCHIVE",
        } & set(os.environ)
    assert dict(os.environ) == before


class UnwrittenTable(DemoTable):
    """A table that answers nothing, and so is only a record."""

    def _call(self, operation: str, request: dict[str, Any]) -> Any:
        return {}


def test_damaged_airports_neither_open_nor_close() -> None:
    """So only the two that close because of snow can be conflicts. Others do open and close."""
    found = rows.airports()
    table = UnwrittenTable(cast("DynamoDB", None), "airports", Truth(rows.KEY))
    names = list(found)
    table.truth.begin({name: found[name] for name in names[::2]})
    table.written = {name: [found[name]] for name in names[::2]}
    traffic = Traffic(table, {name: found[name] for name in names[1::2]}, deployment.COUNTRIES)

    def damaged() -> set[str]:
        left = table.truth.rows.items()
        return {name for name, each in left if each["country"]["S"] in deployment.COUNTRIES}

    before = damaged()
    for _ in range(5_000):
        traffic._change()  # noqa: SLF001 - without the clock
    assert damaged() == before
    assert traffic.kinds["insert"] > 100
    assert traffic.kinds["remove"] > 100
    assert all(each["open"] == {"BOOL": True} for each in table.truth.rows.values())


def test_an_older_state_of_a_row_is_not_enough() -> None:
    """The archive has caught up when its newest version is the last state or a later one."""
    states = [item("A", n="1"), None, item("A", n="2"), item("A", n="3")]
    name = key_hash({rows.KEY: {"S": "A"}})

    def waits(newest: Item | None, since: int) -> bool:
        etag = digest(encode(newest)) if newest else ""
        versions = (Version("path", "id", 0, 1 if newest else 0, etag),)
        return bool(reader.behind([History(name, versions)], {"A": states}, {"A": since}))

    assert [waits(newest, 2) for newest in states] == [True, True, False, False]
    assert [waits(newest, 1) for newest in states] == [True, False, False, False]
    assert reader.behind(
        [],
        {"A": states},
        {
            "A": 0,
        },
    ) == {"A": 0}


CONFLICT = (
    '{"key": {"iata": {"S": "%s"}}, "path": ["open"], "before": {"BOOL": true}, '
    '"damaged": {"S": "undefined"}, "now": {"BOOL": %s}}'
)


@pytest.mark.parametrize(
    ("lines", "right"),
    [
        ([("YYT", "false"), ("YQB", "false")], True),
        ([("YQB", "false")], False),
        ([("YQB", "false"), ("YYT", "true")], False),
        ([("YQB", "false"), ("YYT", "false"), ("MEX", "false")], False),
    ],
)
def test_any_other_conflict_fails_the_demo(
    lines: list[tuple[str, str]], right: bool, tmp_path: Path
) -> None:
    """There are exactly two, in any order."""
    path = tmp_path / "conflicts.jsonl"
    path.write_text("".join(f"{CONFLICT % line}\n" for line in lines))
    with nullcontext() if right else pytest.raises(StreamBackupError, match="lists"):
        chapters.check_conflicts(path)


@pytest.mark.parametrize(
    ("word", "typed"),
    [
        ("a.b", "a.b"),
        ("a == 'b'", "\"a == 'b'\""),
        ('{"a": "b"}', """'{"a": "b"}'"""),
        ("$a'", """'$a'"'"''"""),
    ],
)
def test_commands_are_typed_for_a_shell(word: str, typed: str) -> None:
    """A shell reads them as they were run."""
    assert terminal.as_typed(["diff", word]) == f"stream-backup diff {typed}"
    assert shlex.split(typed) == [word]


@pytest.mark.server
def test_the_server_ends_with_its_block() -> None:
    """This includes a block that fails."""
    url = embedded.free_url()

    def fail() -> None:
        with embedded.serve(url):
            assert answers(url)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not answers(url)


def test_a_process_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that ignores a request to end, or is too slow, is not an error of the demo."""
    monkeypatch.setattr(embedded, "_STOP", 0.1)
    program = "import signal; signal.signal(15, signal.SIG_IGN); print(1, flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout
    with process.stdout as started:
        started.readline()
        embedded.stop(process)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.server
@pytest.mark.parametrize("by", ["function", "follow"])
def test_changes_arrive_in_the_archive(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deployed function reads them, or `follow` if there is no template."""
    if by == "follow":
        monkeypatch.setattr(function, "_TEMPLATE", Path("no-template.yaml"))
    url = embedded.free_url()
    with environment(settings(url)), embedded.serve(url):
        table = DemoTable(DynamoDB(boto3.Session()), "airports", Truth(rows.KEY))
        table.create()
        named = reader.prepare()
        os.environ.update(named)
        with reader.reading(table.name) as follow:
            for name in ("A", "B", "C"):
                table.put(item(name, n="1"))
            table.delete("A")
            table.update("B", {"m": {"N": "1"}})
            table.damage(["B", "C"], deployment.BAD)
            table.update("B", {"m": {"N": "2"}})
            assert reader.catch_up(table, follow) < PATIENCE
        archive = Connection(None, None, named.get("STREAM_BACKUP_ARCHIVE")).archive(table.name)
        assert sorted(len(history.versions) for history in archive.histories()) == [2, 2, 4]
        left = {each[rows.KEY]["S"]: each for each in scan(table.dynamodb, table.name)}
    good = {"B": item("B", n="1", m="2"), "C": item("C", n="1")}
    assert left == {name: each | deployment.BAD for name, each in good.items()}
    assert left == {name: states[-1] for name, states in table.written.items() if states[-1]}
    assert table.truth.rows == good, "the deployment is not in the truth"
    assert bool(named) == bool(follow) == (by == "follow")


@pytest.mark.server
def test_waiting_for_changes_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_PATIENCE", 1)
    url = embedded.free_url()
    with environment(settings(url)), embedded.serve(url):
        monkeypatch.setattr(reader, "is_function", lambda: False)
        os.environ.update(reader.prepare())
        table = DemoTable(DynamoDB(boto3.Session()), "airports", Truth(rows.KEY))
        table.create()
        table.put(item("A", n="1"))
        with pytest.raises(StreamBackupError, match="has not caught up"):
            reader.catch_up(table, None)


@pytest.mark.server
def test_interrupted_it_leaves_nothing_running() -> None:
    """After Ctrl-C, the exit code is 130, and no server and no function is left."""
    with demo() as process:
        said = read_until(process, "stream-backup backfill")
        process.send_signal(signal.SIGINT)
        said += read_until(process, None)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert not answers(url_in(said))
    assert not left_running(url_in(said))


@pytest.mark.server
def test_the_whole_story() -> None:
    """It succeeds with a user's settings for other endpoints, and leaves no process running."""
    with demo() as process:
        said = read_until(process, None)
    assert process.returncode == 0, said
    assert r"\u000a" not in said
    typed = [
        re.sub(r"\d{4}-\S+Z", "T", line[2:]) for line in said.splitlines() if line.startswith("$ ")
    ]
    window = "--from T --to T"
    undo = (
        f"stream-backup undo airports {window} --where \"after.open == 'undefined'\" --changed open"
    )
    assert typed == [
        "stream-backup enable airports",
        "stream-backup backfill airports",
        "stream-backup timeline airports",
        f"stream-backup diff airports {window}",
        f"{undo} --conflicts conflicts.jsonl --yes",
        "stream-backup restore airports --at T --into airports-before",
    ]
    assert "Function stream-backup reads it" in said
    assert "Most changes: " in said
    assert 'open: true → "undefined"' in said
    assert "2 conflicts in 2 rows are left as they are." in said
    assert "(exit code 3)" in said
    assert said.count("no difference") == 2
    assert not answers(url_in(said))
    assert not left_running(url_in(said))


def demo() -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [PROGRAM, "demo"],
        env=os.environ | HOSTILE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read_until(process: "subprocess.Popen[str]", text: str | None) -> str:
    """Returns the output up to the line with `text`, or up to the end without `text`."""

    def lines() -> Iterator[str]:
        assert process.stdout
        for line in process.stdout:
            yield line
            if text and text in line:
                return

    return "".join(lines())


def url_in(said: str) -> str:
    found = re.search(r"http://127\.0\.0\.1:\d+", said)
    assert found, said
    return found[0]


def answers(url: str) -> bool:
    try:
        with urlopen(f"{url}/_ministack/health", timeout=5):
            return True
    except (URLError, OSError):
        return False


def left_running(url: str) -> list[str]:
    """Returns processes that use the demo's server, by their environment (Linux only)."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"AWS_ENDPOINT_URL={url}\0".encode() in environ.read_bytes():
                found.append(environ.parent.name)
        except OSError:
            continue  # it has ended, or belongs to another user
    return found
