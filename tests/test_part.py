"""The partial file of a restore is private, is opened through no name that somebody prepared, and
does not stay."""

import fcntl
import os
import stat
from pathlib import Path

import pytest

from restore.file import open_lines
from restore.part import partial
from restore.plan import Step
from stream_backup.errors import UsageError

ROW = Step("put", "0" * 32, {}, b'{"id":{"S":"a"}}')
LINE = b'{"Item":{"id":{"S":"a"}}}\n'


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    """The partial file and the file that it becomes have mode 0600, whatever the umask is, and the
    partial one is gone when the restore ends."""
    before = os.umask(0)
    try:
        with open_lines(str(tmp_path / "rows.json"), overwrite=False) as lines:
            (part,) = tmp_path.iterdir()
            assert part.name == ".rows.json.part"
            assert stat.S_IMODE(part.stat().st_mode) == 0o600
            lines.write(ROW)
    finally:
        os.umask(before)
    (file,) = tmp_path.iterdir()
    assert (file.name, file.read_bytes()) == ("rows.json", LINE)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
@pytest.mark.parametrize("name", ["rows.json", "rows.json.gz"])
def test_it_is_removed_however_the_restore_ends(
    tmp_path: Path, name: str, error: type[BaseException]
) -> None:
    """After an error or Ctrl-C nothing is left, and an existing file is what it was."""
    (tmp_path / name).write_bytes(b"earlier")

    def restore() -> None:
        with open_lines(str(tmp_path / name), overwrite=True) as lines:
            lines.write(ROW)
            raise error

    with pytest.raises(error):
        restore()
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [(name, b"earlier")]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A link that somebody put where the partial file goes is refused, and the file that it leads
    to is what it was."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / ".rows.json.part").symlink_to(victim)
    with (
        pytest.raises(UsageError, match="cannot be written"),
        open_lines(str(tmp_path / "rows.json"), overwrite=False),
    ):
        raise AssertionError
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "rows.json").exists()


def test_a_second_name_of_a_file_is_not_written_through(tmp_path: Path) -> None:
    """A hard link in its place is removed, and the file of which it is another name stays what it
    was."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / ".rows.json.part").hardlink_to(victim)
    with open_lines(str(tmp_path / "rows.json"), overwrite=False) as lines:
        lines.write(ROW)
    assert victim.read_bytes() == b"precious"
    assert (tmp_path / "rows.json").read_bytes() == LINE


def test_what_a_killed_restore_left_is_replaced(tmp_path: Path) -> None:
    """A partial file that nobody has open any more stops no restore, and nothing of it remains."""
    (tmp_path / ".rows.json.part").write_bytes(b"half a row")
    with open_lines(str(tmp_path / "rows.json"), overwrite=False) as lines:
        lines.write(ROW)
    assert [each.name for each in tmp_path.iterdir()] == ["rows.json"]
    assert (tmp_path / "rows.json").read_bytes() == LINE


def test_two_restores_to_one_file(tmp_path: Path) -> None:
    """While one restore writes, another one to the same file is refused, and the first one ends
    as if nothing had happened."""
    name = str(tmp_path / "rows.json")
    with open_lines(name, overwrite=False) as lines:
        with (
            pytest.raises(UsageError, match="Another restore"),
            open_lines(name, overwrite=False),
        ):
            raise AssertionError
        lines.write(ROW)
    assert (tmp_path / "rows.json").read_bytes() == LINE


def test_a_partial_file_that_was_taken_for_a_stale_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another restore may remove a partial file between its creation and its lock: it is then
    created again."""
    part = tmp_path / ".rows.json.part"
    taken: list[Path] = []
    lock = fcntl.flock

    def flock(file: int, how: int) -> None:
        if not taken:
            taken.append(part)
            part.unlink()
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with partial(tmp_path / "rows.json") as file:
        file.write(LINE)
    assert taken
    assert (tmp_path / "rows.json").read_bytes() == LINE


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    """There is one sentence for a folder that does not exist."""
    with (
        pytest.raises(UsageError, match="There is no folder"),
        open_lines(str(tmp_path / "nowhere/rows.json"), overwrite=False),
    ):
        raise AssertionError
