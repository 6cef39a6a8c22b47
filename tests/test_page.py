"""The page of `timeline --html`, opened in a real browser: zoom, choose, copy; and what others
wrote is shown as text.

Without a browser these tests are skipped, and where one is required they fail (`tests/browser.py`).
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stream_backup.cli.timeline_page import page as page_of
from stream_backup.cli.timeline_report import TimelineReport, regrouped
from stream_backup.core.item import Item
from stream_backup.core.moment import from_iso, iso
from stream_backup.inspect.shapes import Shapes, differences_of
from stream_backup.inspect.timeline import ChangeCounts, Timeline
from tests import browser as browsers
from tests.damage import CAUSE, END, NOW, Night, incident
from tests.test_diff import changed

HOSTILE = [
    "</script><script>window.harmed = 1</script>",
    "<img src=x onerror='window.harmed = 2'>",
    "<b onmouseover=window.harmed=3>bold</b>",
    "${window.harmed = 4}`{data}{plotly}",
    "\x1b[31mred\x1b[0m\x00\x07",
    "\u202egnp.exe",
    "\u2028\u2029",
    "javascript:window.harmed=5",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = browsers.path()
    if path is None:
        if browsers.required():
            pytest.fail("there is no browser")
        pytest.skip("there is no browser: install chromium")
    with browsers.launched(path) as found:
        yield found


class Opened:
    """The page in a tab. Whatever goes wrong in it is kept."""

    def __init__(self, browser: Any, path: Path) -> None:
        self.wrong: list[str] = []
        self.requests: list[str] = []
        permissions = ["clipboard-read", "clipboard-write"]
        self.context = browser.new_context(permissions=permissions, timezone_id="Asia/Kolkata")
        self.tab = self.context.new_page()
        self.tab.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.tab.on("console", self._console)
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.goto(path.as_uri())
        self.tab.wait_for_selector("body[data-ready]")
        self.chart = self.tab.locator("#chart")

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(message.text)

    def text(self, where: str) -> str:
        return str(self.tab.locator(where).text_content())

    @property
    def visible(self) -> tuple[int, int]:
        found = (self.chart.get_attribute(f"data-{name}") for name in ("first", "last"))
        first, last = map(from_iso, found)
        return first, last

    def press(self, *keys: str) -> None:
        self.chart.focus()
        for key in keys:
            self.tab.keyboard.press(key)

    def until(self, holds: Callable[[], bool]) -> None:
        """Waits for what the page does in answer to an event."""
        for _ in range(200):
            if holds():
                return
            self.tab.wait_for_timeout(50)
        raise AssertionError(self.text("main"))

    @property
    def step(self) -> int:
        return int(self.chart.get_attribute("data-step"))

    def close(self) -> None:
        self.context.close()
        assert self.wrong == []
        assert len(self.requests) == 1, self.requests  # the page itself


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page as the command writes it."""
    night = incident()
    path = tmp_path_factory.mktemp("page") / "night.html"
    night.done("timeline", "orders", "--html", str(path))
    return path


@pytest.fixture(scope="module")
def tab(browser: Any, written: Path) -> Iterator[Opened]:
    with closing(Opened(browser, written)) as found:
        yield found


@pytest.fixture
def opened(tab: Opened) -> Opened:
    """The page as it was when it was opened."""
    tab.press("Escape", "0")
    return tab


def test_the_page_shows_the_whole_range_and_loads_nothing(opened: Opened) -> None:
    """The page needs no network, and begins with everything."""
    assert opened.text("#title") == "Changes of orders"
    assert opened.visible == (NOW - 24 * 3600, NOW - 1)
    assert "92 changes (14 inserted, 75 modified, 2 removed, 1 expired)" in opened.text("#chosen")
    assert opened.tab.locator("#shapes tr").count() == 6
    assert "undefined" in opened.text("#shapes")


def test_the_burst_is_found_by_keyboard_to_the_second(opened: Opened) -> None:
    """With the keyboard alone one chooses bars, zooms in until a bar is one second, reads the exact
    second of the first damage, and copies the commands for it."""
    opened.press("ArrowRight")  # the highest bar
    assert " 72 changes" in opened.text("#chosen")
    opened.press("Enter")
    first, last = opened.visible
    assert (first <= CAUSE, last - first) == (True, 599)
    opened.press("ArrowLeft")
    while "First change 2026-11-21T02:14:07Z" not in opened.text("#exact"):
        opened.press("ArrowLeft")
    opened.press("Enter")
    assert opened.step == 1
    opened.press("Escape")
    assert f"First change {iso(CAUSE)}" in opened.text("#exact")
    opened.press("Escape", "0")
    assert opened.visible == (NOW - 24 * 3600, NOW - 1)
    opened.press("+")
    first, last = opened.visible
    assert last - first == 12 * 3600 - 1
    opened.press("-")
    assert opened.visible == (NOW - 24 * 3600, NOW - 1)


def test_several_bars_are_chosen_with_shift(opened: Opened) -> None:
    """Shift extends the choice, and the counts are those of all chosen bars."""
    opened.press("ArrowLeft", "Shift+ArrowRight")
    first, last = opened.visible
    assert last - first + 1 == 2 * opened.step
    assert f"First change {iso(CAUSE)}, last change {iso(END + 309)}" in opened.text("#exact")


def test_the_mouse_zooms_and_chooses(opened: Opened) -> None:
    """Dragging zooms to what was dragged over, the wheel zooms, a click chooses a bar, and a
    double click shows everything."""
    box = opened.chart.bounding_box()
    middle = box["y"] + box["height"] / 2

    def place(moment: int) -> float:
        first, last = opened.visible
        left, right = 60, box["width"] - 20
        return float(box["x"] + left + (moment - first) / (last + 1 - first) * (right - left))

    mouse = opened.tab.mouse
    begin, end = place(CAUSE - 1800), place(END + 1200)
    mouse.move(begin, middle)
    mouse.down()
    mouse.move(end, middle, steps=5)
    mouse.up()
    opened.until(lambda: opened.step < 60)
    first, last = opened.visible
    assert first < CAUSE < END < last
    assert last - first < 2 * 3600

    before = last - first
    mouse.move(place(CAUSE), middle)
    mouse.wheel(0, -240)
    opened.until(lambda: opened.visible[1] - opened.visible[0] < before)

    opened.press("0")
    mouse.move(box["x"] + 2, box["y"] + 2)
    mouse.click(place(CAUSE + 180), box["y"] + box["height"] - 60)
    opened.until(lambda: " 72 changes" in opened.text("#chosen"))
    mouse.move(box["x"] + 300, middle)

    def everything() -> bool:
        """On a machine that is busy, a double click may come too slowly to be one."""
        mouse.dblclick(box["x"] + 300, middle)
        opened.tab.wait_for_timeout(50)
        return " 92 changes" in opened.text("#chosen")

    opened.until(everything)


def test_the_commands_are_copied(opened: Opened) -> None:
    """Each button copies its command: from the second before the first chosen change to the last
    one."""
    opened.press("ArrowLeft", "Shift+ArrowRight")
    window = f"--from {iso(CAUSE - 1)} --to {iso(END + 309)}"
    expected = {
        "diff": f"stream-backup diff orders {window}",
        "undo": f"stream-backup undo orders {window}",
        "restore": f"stream-backup restore orders --at {iso(CAUSE - 1)}",
    }
    for name, command in expected.items():
        button = opened.tab.get_by_role("button", name=f"Copy the {name} command")
        button.click()
        opened.until(lambda button=button: button.text_content() == "Copied")  # type: ignore[misc]
        assert opened.tab.evaluate("navigator.clipboard.readText()") == command
    opened.press("Escape", "ArrowRight", "ArrowLeft")
    assert opened.tab.locator("[data-name=diff] button").is_disabled()


def test_a_copied_command_runs(opened: Opened, capsys: pytest.CaptureFixture[str]) -> None:
    """The command that is copied for the burst shows its shape."""
    opened.press("ArrowLeft", "Shift+ArrowRight")
    words = opened.text("[data-name=diff] code").split()
    assert '"undefined"' in incident(capsys).done(*words[1:]).out


def hostile_page(names: list[str]) -> str:
    """A page whose table, attribute names, values and keys are all hostile."""
    with closing(Shapes()) as shapes:
        for index, text in enumerate(names):
            old: Item = {text: {"S": "old"}}
            each = changed(old, {text: {"S": text}}, index)
            shapes.add(each, differences_of(each))
        found = shapes.found()
    keyed = [
        shape._replace(key={name: {"S": name}}) for shape, name in zip(found, names, strict=True)
    ]
    counts = Timeline(CAUSE, END, 1, {CAUSE: ChangeCounts(1, 2, 3, 4)})
    report = TimelineReport(names[0], CAUSE, f"s3://{names[1]}", regrouped(counts, 60), {})
    return page_of(report, counts, (CAUSE, END), keyed)


def test_hostile_text_is_shown_as_text(browser: Any, tmp_path: Path) -> None:
    """Markup, script, control characters and characters that reorder a line are shown, and nothing
    of them runs."""
    path = tmp_path / "hostile.html"
    path.write_text(hostile_page(HOSTILE), encoding="utf-8")
    with closing(Opened(browser, path)) as opened:
        assert opened.text("#title") == f"Changes of {HOSTILE[0]}"
        shown = opened.text("#shapes")
        for text in HOSTILE[:4]:
            assert text in shown
        assert "\\u001b[31mred" in shown
        assert "\\u202egnp.exe" in shown
        assert not re.search(r"[\x00-\x08\x0b-\x1f\u202e\u2028]", opened.text("main"))
        opened.press("ArrowLeft", "Enter")
        opened.tab.mouse.move(500, 300)
        assert opened.tab.evaluate("window.harmed") is None
        assert opened.tab.locator("#shapes img, #shapes b, #shapes script").count() == 0


def test_injected_markup_could_not_run(browser: Any, tmp_path: Path) -> None:
    """Even if markup got into the page, its policy lets no script of it run."""
    path = tmp_path / "injected.html"
    text = hostile_page(["x", "y"])
    harm = "<script>window.harmed = 1</script><img src=x onerror='window.harmed = 2'>"
    path.write_text(text.replace("<main>", f"<main>{harm}"), encoding="utf-8")
    opened = Opened(browser, path)
    assert opened.tab.evaluate("window.harmed") is None
    assert any("Content Security Policy" in text for text in opened.wrong)
    opened.context.close()


# Without a browser


def test_no_text_ends_the_element_that_holds_it() -> None:
    """Whatever the items hold, the data of the page is one element, and only the two scripts of the
    page run."""
    text = hostile_page(HOSTILE)
    data = text.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    assert not {*data} & {*"<>&"}
    assert json.loads(data)["table"] == HOSTILE[0]
    assert text.count("<script>") == 2
    policy = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    assert [each.count("'sha256-") for each in policy] == [2]
    assert "default-src 'none'" in policy[0]


def test_a_page_is_not_written_over_a_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A file that exists is refused before anything is read, and so is a folder that does not."""
    night = incident(capsys)
    kept = tmp_path / "kept.html"
    kept.write_text("mine")
    night.store.requests.clear()
    night.run("timeline", "orders", "--html", str(kept)).refused(2, "exists")
    night.run("timeline", "orders", "--html", str(tmp_path / "no" / "x")).refused(2, "not a folder")
    assert kept.read_text() == "mine"
    assert not night.store.requests


def test_without_plotly_the_page_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installation without plotly says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "plotly.offline", None)
    said = incident(capsys).run("timeline", "orders", "--html", str(tmp_path / "x.html"))
    said.refused(2, "needs plotly")
    assert "stream-backup[html]" in said.err


def test_a_quiet_table_has_a_page(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A range without changes is a page too."""
    path = tmp_path / "quiet.html"
    Night(capsys).done("timeline", "orders", "--html", str(path))
    assert path.read_text().startswith("<!DOCTYPE html>")
    assert [each.name for each in tmp_path.iterdir()] == ["quiet.html"]
