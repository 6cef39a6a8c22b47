"""`pip install` for tests, which build the functions' packages again and again: what was installed
for the same requirements before is copied. function/Makefile runs it if INSTALL says so.

    python tests/install_once.py OPTIONS --requirement FILE --target FOLDER
"""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

KEPT = Path(sys.prefix) / "installed"
"""Goes with the virtual environment, so `make clean` removes it."""


def main(given: Sequence[str]) -> None:
    *options, flag, target = given
    assert flag == "--target", given
    file = Path(options[options.index("--requirement") + 1])
    facts = [file.read_bytes(), *(option.encode() for option in options)]
    kept = KEPT / hashlib.sha256(b"\0".join(facts)).hexdigest()[:24]
    if not kept.exists():
        KEPT.mkdir(exist_ok=True)
        with TemporaryDirectory(dir=KEPT) as folder:
            new = Path(folder) / "new"
            command = [sys.executable, "-m", "pip", "install", *options, "--target", str(new)]
            subprocess.run(command, check=True)
            with suppress(OSError):  # another process was faster
                new.rename(kept)
    shutil.copytree(kept, target, dirs_exist_ok=True)


if __name__ == "__main__":
    main(sys.argv[1:])
