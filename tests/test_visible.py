"""Whatever is printed passes through one function, so that no archive can write to a terminal."""

import ast
import json
import sys
import unicodedata
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_backup.cli import console, questions
from stream_backup.core.visible import visible, visible_lines

ROOT = Path(__file__).parent.parent

DANGEROUS = [
    *map(chr, range(0x20)),  # C0
    *map(chr, range(0x7F, 0xA0)),  # DEL and C1
    *map(chr, (0x61C, 0x200E, 0x200F, 0x2028, 0x2029, 0xFEFF, 0xE0041)),
    *map(chr, range(0x202A, 0x202F)),
    *map(chr, range(0x2066, 0x206A)),
    "\ud800",
    "\udfff",
]

texts = st.text(st.characters(codec=None) | st.sampled_from(DANGEROUS), max_size=30)


@given(texts, texts)
def test_each_character_is_shown_alone(one: str, other: str) -> None:
    """What a text becomes does not depend on the text around it."""
    assert visible(one + other) == visible(one) + visible(other)


@given(texts)
def test_no_control_character_is_left(text: str) -> None:
    """Nothing in the result is a control, a format or bidirectional control, a separator other than
    the space, or a surrogate; what is printable stays as it is."""
    found = visible(text)
    assert not {unicodedata.category(each) for each in found} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert not set(found) & set(DANGEROUS)
    if text.isprintable():
        assert found == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\u001b[2J"),
        ("a\nhint: rm -rf /", r"a\u000ahint: rm -rf /"),
        ("\x9b31m", r"\u009b31m"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("\u2066x\u2069\u200e\u2028", r"\u2066x\u2069\u200e\u2028"),
        ("\U000e0041", r"\udb40\udc41"),
        ("\ud800", r"\ud800"),
        ("[red]é ☃ 漢字 :bomb:", "[red]é ☃ 漢字 :bomb:"),
    ],
)
def test_a_character_is_shown_as_its_escape(text: str, shown: str) -> None:
    """Each character that a terminal would obey is shown as the escape of JSON; any other text,
    markup included, stays as it is."""
    assert visible(text) == shown


@given(st.recursive(texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner)))
def test_visible_json_is_the_same_value(value: object) -> None:
    """JSON whose lines were made visible has the same value."""
    written = json.dumps(value, indent=2, ensure_ascii=False)
    assert json.loads(visible_lines(written)) == value


def test_every_way_to_the_terminal_is_visible(capsys: pytest.CaptureFixture[str]) -> None:
    """Sentences, reports, JSON, and a bar show controls as escapes, and markup and emoji codes as
    text."""
    hostile = "[red]:bomb:\x1b[2J\u202e\x9b\n[/red]"
    console.err.file = sys.stderr
    console.say(hostile)
    console.show(hostile)
    console.data({hostile: hostile})
    with console.bar(hostile, "items") as bar:
        bar._shown = -1e9  # noqa: SLF001 - a line is due
        bar.advance(1)
    out, err = capsys.readouterr()
    for text in (out, err):
        assert set(text) & set(DANGEROUS) == {"\n"}
        assert r"[red]:bomb:\u001b[2J\u202e\u009b" in text
    assert len(err.splitlines()) == 2
    assert json.loads(out.partition("\n")[2]) == {hostile: hostile}


def test_a_question_is_visible(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question shows controls as escapes, and an end of input is a no."""
    monkeypatch.setattr("sys.stdin", StringIO("y\n"))
    console.err.file = sys.stderr
    assert questions.confirm("Rewind \x1b[2Jorders?")
    assert not questions.confirm("Rewind \x1b[2Jorders?")
    err = capsys.readouterr().err
    assert r"Rewind \u001b[2Jorders? [y/N]" in err
    assert "\x1b" not in err


def test_only_the_console_writes_to_the_terminal() -> None:
    """In the command line only `cli/console.py` prints, and in the engines only the destination
    that writes to stdout."""
    writers = {"print", "echo", "secho", "style", "confirm", "prompt"}
    found = set()
    for path in [*ROOT.glob("stream_backup/**/*.py"), *ROOT.glob("restore/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(node, "attr", None) or getattr(node, "id", None)
            called = isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "click"
            if (name in writers and (called or name == "print")) or name in ("stdout", "stderr"):
                found.add(path.relative_to(ROOT).as_posix())
    assert {path for path in found if "/demo/" not in path} == {
        "stream_backup/cli/console.py",
        "stream_backup/cli/questions.py",
        "stream_backup/cli/main.py",  # closes stdout when its reader is gone
        "stream_backup/handler.py",  # the log
        "stream_backup/watcher.py",
        "stream_backup/driller.py",
        "stream_backup/enroller.py",
        "stream_backup/worker.py",
        "restore/file.py",
    }
