"""The process of the embedded AWS: `python -m stream_backup.demo.server`.

It reads one byte from its standard input. If the input is closed without one, the demo has ended
(for example with kill -9), and the server ends itself. After the byte, it keeps running.
"""

import os
import signal
import sys
import tempfile
from tempfile import TemporaryDirectory
from threading import Thread

KEEP = b"."
"""The byte after which the server keeps running."""


def _watch() -> None:
    # unbuffered, because a buffer's lock would still be held when the interpreter ends
    if not os.read(sys.stdin.fileno(), 1):
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    with TemporaryDirectory(prefix="stream-backup-demo-") as directory:
        # the server does not delete the code of functions that it unpacks
        os.environ["TMPDIR"] = tempfile.tempdir = directory
        from ministack.app import main

        Thread(target=_watch, daemon=True).start()
        main()
