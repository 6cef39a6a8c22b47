"""Makes the pictures in docs/images: the chart of `timeline` in a terminal, and its page in a
browser.

Both show the same night: a bad deployment among a day of ordinary traffic, in an archive in memory.
`make screenshots` runs it; it needs Chromium or Chrome.
"""

import sys
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402 - the tests are found after the line above
from rich.terminal_theme import MONOKAI  # noqa: E402

import stream_backup.cli.console as console  # noqa: E402
from stream_backup.cli import timeline_report  # noqa: E402
from tests import browser  # noqa: E402
from tests.damage import CAUSE, END, Night, long_night  # noqa: E402

IMAGES = Path(__file__).with_name("images")
COLUMNS = 100
COMMAND = ("timeline", "orders")


def terminal(night: Night) -> str:
    """Returns what the command draws, as HTML."""
    drawn = Console(
        record=True,
        width=COLUMNS,
        force_terminal=True,
        color_system="truecolor",
        file=StringIO(),
        highlight=False,
        markup=False,
    )
    drawn.print(f"$ stream-backup {' '.join(COMMAND)}")
    console.out = drawn
    timeline_report.show = lambda *lines: drawn.print(*lines, sep="\n")
    night.done(*COMMAND)
    return drawn.export_html(theme=MONOKAI, inline_styles=True)


def make(where: Path, night: Night) -> None:
    """Writes the pictures to a folder."""
    program = browser.path()
    if program is None:
        sys.exit("There is no browser: install Chromium.")
    where.mkdir(exist_ok=True)
    with browser.launched(program) as found, TemporaryDirectory() as folder:
        page = Path(folder, "orders.html")
        night.done(*COMMAND, "--html", str(page))
        shoot_page(found, page, where)
        shoot_terminal(found, terminal(night), where)


def shoot_page(found: Any, page: Path, where: Path) -> None:
    tab = found.new_page(viewport={"width": 1180, "height": 1000})
    tab.goto(page.as_uri())
    tab.wait_for_selector("body[data-ready]")
    tab.locator("body").screenshot(path=where / "timeline-page.png")
    tab.locator("#chart").focus()
    box = tab.locator("#chart").bounding_box()

    def place(moment: int, first: int, last: int) -> float:
        return float(box["x"] + 60 + (moment - first) / (last - first) * (box["width"] - 80))

    data = tab.evaluate("JSON.parse(document.getElementById('data').textContent)")
    middle = box["y"] + box["height"] / 2
    tab.mouse.move(place(CAUSE - 300, data["since"], data["until"]), middle)
    tab.mouse.down()
    tab.mouse.move(place(END + 300, data["since"], data["until"]), middle, steps=5)
    tab.mouse.up()
    tab.wait_for_timeout(500)
    tab.keyboard.press("ArrowRight")
    while "02:14:0" not in str(tab.locator("#chosen").text_content())[:20]:
        tab.keyboard.press("ArrowLeft")
    while "02:19:59" not in str(tab.locator("#chosen").text_content())[20:44]:
        tab.keyboard.press("Shift+ArrowRight")
    clip = {"x": 0, "y": 0, "width": 1180, "height": 790}
    tab.screenshot(path=where / "timeline-page-zoomed.png", clip=clip)


def shoot_terminal(found: Any, html: str, where: Path) -> None:
    tab = found.new_page(viewport={"width": 900, "height": 400})
    tab.set_content(html)
    style = "body { margin: 0; background: #0c0c0c } pre { padding: 1rem; display: inline-block }"
    size = "pre { font-size: 13px !important; line-height: 1.25 !important }"
    tab.add_style_tag(content=style + size)
    tab.locator("pre").screenshot(path=where / "timeline-terminal.png")


if __name__ == "__main__":
    make(IMAGES, long_night())
