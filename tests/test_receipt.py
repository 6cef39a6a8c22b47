"""Receipts: what they hold, how they are created, and which damage is accepted."""

import gzip
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from restore.receipt import Line, Receipt, ReceiptHeader, require_writable
from stream_backup.core.edits import Edit
from stream_backup.errors import IncompleteError, UsageError
from stream_backup.undo.receipts import ReceiptFile
from tests.undo_world import T0, key_of

HEADER = ReceiptHeader("undo", "orders", "arn", "id", T0, "A", "B", {"where": None}, {"a": "b"})
ROW = {**key_of("1"), "a": {"N": "1"}}
AFTER = {**key_of("1"), "a": {"N": "2"}}
EDITS = (Edit(("a",), {"N": "1"}, {"N": "2"}),)


def written(folder: Path) -> Path:
    """Returns a receipt of three requests: one done, one not written, one done to another row."""
    with Receipt(folder, HEADER, lambda: T0) as receipt:
        with receipt.request(Line(key_of("1"), ROW, AFTER, EDITS)) as number:
            receipt.end(number, "done")
        with receipt.request(Line(key_of("2"), None, key_of("2"))) as number:
            receipt.end(number, "not written")
        with receipt.request(Line(key_of("3"), key_of("3"), None)) as number:
            receipt.end(number, "done", {**key_of("3"), "more": {"S": "x"}})
    return receipt.path


def test_a_receipt_holds_what_was_written(tmp_path: Path) -> None:
    """A receipt is named after the table and the run, only its owner may read it, and it holds a
    header, a line before each request and one after it, and a last line."""
    path = written(tmp_path)
    assert path.name == "orders-undo-20270115T080000Z.receipt.jsonl.gz"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    header, first, done, *_, last = map(json.loads, gzip.decompress(path.read_bytes()).splitlines())
    assert header | {"crc": 0} == {
        "receipt": 1,
        "what": "undo",
        "table": "orders",
        "arn": "arn",
        "table_id": "id",
        "started": "2027-01-15T08:00:00Z",
        "since": "A",
        "until": "B",
        "options": {"where": None},
        "mark": {"a": "b"},
        "crc": 0,
    }
    assert first | {"crc": 0} == {
        "seq": 1,
        "time": "2027-01-15T08:00:00Z",
        "key": key_of("1"),
        "before": ROW,
        "after": AFTER,
        "paths": [{"path": ["a"], "before": {"N": "1"}, "after": {"N": "2"}}],
        "crc": 0,
    }
    assert done | {"crc": 0} == {"seq": 1, "outcome": "done", "crc": 0}
    assert last["lines"] == 3


def test_a_receipt_is_read(tmp_path: Path) -> None:
    """Requests that were not written are left out, and a row that was not what was read is as it
    was replaced."""
    with ReceiptFile(written(tmp_path)) as receipt:
        rows = list(receipt.rows())
        assert receipt.header == HEADER
        assert receipt.ended
    assert [each.line.key for row in rows for each in row] == [key_of("1"), key_of("3")]
    assert rows[0][0].line == Line(key_of("1"), ROW, AFTER, EDITS)
    assert rows[1][0].line.before == {**key_of("3"), "more": {"S": "x"}}


def test_a_receipt_is_created_exclusively(tmp_path: Path) -> None:
    """Two runs of one second write two receipts."""
    assert written(tmp_path).name != written(tmp_path).name
    assert len([*tmp_path.iterdir()]) == 2


def test_a_receipt_without_lines_is_removed(tmp_path: Path) -> None:
    """A run that wrote nothing leaves no file."""
    with Receipt(tmp_path, HEADER, lambda: T0) as receipt:
        pass
    assert receipt.name is None
    assert [*tmp_path.iterdir()] == []


def test_every_end_of_a_receipt_can_be_read(tmp_path: Path) -> None:
    """A receipt that was cut off anywhere after its header is read up to its last whole line: a run
    that was killed leaves one."""
    path = written(tmp_path)
    whole = path.read_bytes()
    found = set()
    for size in range(1, len(whole)):
        path.write_bytes(whole[:size])
        try:
            with ReceiptFile(path) as receipt:
                found.add((receipt.ended, sum(len(row) for row in receipt.rows())))
        except UsageError as refused:
            reason = str(refused)
        else:
            continue
        assert "header" in reason
        assert not found
    assert found == {(False, 0), (False, 1), (False, 2), (True, 2)}


def test_a_line_is_on_disk_before_its_request_is_sent(tmp_path: Path) -> None:
    """Whoever kills the run finds the line of a request under way, and each outcome."""
    with Receipt(tmp_path, HEADER, lambda: T0) as receipt:
        for outcome in (False, True):
            with receipt.request(Line(key_of("1"), ROW, AFTER, EDITS)) as number:
                if outcome:
                    receipt.end(number, "done")
                with ReceiptFile(receipt.path) as found:
                    assert next(found.rows())[0].certain is outcome


def test_any_other_damage_is_refused(tmp_path: Path) -> None:
    """A receipt of which a byte was changed is refused, or is read as it was written."""
    path = written(tmp_path)
    with ReceiptFile(path) as receipt:
        truth = list(receipt.rows())
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        try:
            with ReceiptFile(path) as receipt:
                assert list(receipt.rows()) == truth[: len(list(receipt.rows()))]
        except UsageError:
            continue


def rewritten(path: Path, change: Any) -> Path:
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(gzip.compress(b"".join(change(lines))))
    return path


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:1] + lines[3:],  # a line and its outcome are missing
        lambda lines: lines[:1] + lines[2:],  # an outcome without its line
        lambda lines: [*lines, lines[1]],  # more after the last line
        lambda lines: lines[1:],  # no header
        lambda lines: lines[:3] + lines[2:],  # an outcome twice
        lambda lines: [lines[0], lines[1].replace(b'"2"', b'"3"'), *lines[2:]],  # another value
        lambda lines: [lines[0], b"[]\n", *lines[1:]],
    ],
)
def test_lines_that_were_changed_are_refused(tmp_path: Path, change: Any) -> None:
    """A receipt whose lines were removed, added, repeated or changed is refused."""
    path = rewritten(written(tmp_path), change)
    with pytest.raises(UsageError, match="damaged"):
        ReceiptFile(path)


@pytest.mark.parametrize("content", [b"", b"no gzip", gzip.compress(b"{}\n", mtime=0)])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    """A file that is not a receipt, and one that does not exist, are refused."""
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="not a receipt"):
        ReceiptFile(path)
    with pytest.raises(UsageError, match="cannot be read"):
        ReceiptFile(tmp_path / "missing")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A folder that cannot be written is refused, with its name."""
    require_writable(tmp_path)
    with pytest.raises(UsageError, match="missing"):
        require_writable(tmp_path / "missing")


def test_nothing_is_sent_when_the_receipt_cannot_be_written(tmp_path: Path) -> None:
    """A request whose line cannot be written is not sent, and none after it."""
    receipt = Receipt(tmp_path, HEADER, lambda: T0)
    receipt._file.close()  # noqa: SLF001 - as if the disk were full
    for _ in range(2):
        with pytest.raises(IncompleteError), receipt.request(Line(key_of("1"), None, ROW)):
            pytest.fail("it was sent")
