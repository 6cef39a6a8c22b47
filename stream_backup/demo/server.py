"""The embedded AWS in its own process, bound to the life of whoever started it: `python -m stream_backup.demo.server`.

It reads one byte from its standard input. When that closes without one, the demo is gone, however it went (kill -9 too),
and the server ends itself; the byte sets it free to stay.
"""

import os
import signal
import sys
import tempfile
from tempfile import TemporaryDirectory
from threading import Thread

FREE = b"."


def _watch() -> None:
    if not os.read(sys.stdin.fileno(), 1):  # unbuffered: a lock on a buffer would be held when the interpreter ends
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    with TemporaryDirectory(prefix="stream-backup-demo-") as directory:
        os.environ["TMPDIR"] = tempfile.tempdir = directory  # it leaves what it unpacks of a function
        from ministack.app import main

        Thread(target=_watch, daemon=True).start()
        main()
