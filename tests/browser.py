"""The browser in which the page of `timeline --html` is opened. Run as a program, this module says
which one that is.

STREAM_BACKUP_BROWSER is its path, or `any` where there must be one, as in CI.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SETTING = "STREAM_BACKUP_BROWSER"


def path() -> str | None:
    given = os.environ.get(SETTING, "")
    if given not in ("", "any"):
        return given
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def required() -> bool:
    return bool(os.environ.get(SETTING))


@contextmanager
def launched(program: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # The pages are our own, and a container has no sandbox for a browser that root runs.
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=program, args=options)
        yield browser
        browser.close()


if __name__ == "__main__":
    if found := path():
        print(f"The page of timeline --html is opened in {found}.")
    else:
        print("No browser was found, so the page of timeline --html is not opened in one.")
