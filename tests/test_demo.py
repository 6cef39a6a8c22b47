"""The demo checks what it claims, and leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import boto3
import pytest

from stream_backup.aws.connection import Connection
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.core.item import Item
from stream_backup.demo import chapters, embedded, function, reader, rows
from stream_backup.demo.differences import differences
from stream_backup.demo.environment import environment, settings
from stream_backup.demo.live import DemoTable
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
    assert found[chapters.VICTIM]["country"]["S"] in chapters.COUNTRIES
    assert abs(Decimal(found[chapters.VICTIM]["geo"]["M"]["lon"]["N"])) < 90, (
        "it is overwritten, not deleted"
    )


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
            for name in ("A", "B"):
                table.put(item(name, n="1"))
            table.delete("A")
            assert reader.catch_up(table, follow) < PATIENCE
        archive = Connection(None, None, named.get("STREAM_BACKUP_ARCHIVE")).archive(table.name)
        assert sorted(len(history.versions) for history in archive.histories()) == [1, 2]
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
    typed = [
        re.sub(r"\d{4}-\S+Z", "T", line[2:]) for line in said.splitlines() if line.startswith("$ ")
    ]
    assert typed[:7] == [
        "stream-backup enable airports",
        "stream-backup backfill airports",
        "stream-backup status airports",
        """stream-backup history airports '{"iata": "YQB"}'""",
        "stream-backup restore airports --at T --plan",
        "stream-backup restore airports --at T --into airports-before",
        "stream-backup restore airports --at T --in-place --yes",
    ]
    assert typed[7].startswith("stream-backup restore airports --at T --to ")
    assert "Function stream-backup reads it" in said
    assert said.count("no difference") == 3
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
