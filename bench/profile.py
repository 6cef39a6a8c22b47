"""The part of the bench that shows where the CPU time of our Python code is spent."""

import pstats
import subprocess
import sys
import tempfile
from typing import Any

from bench.rounds import PATHS
from bench.servers import servers


def profile(path: str) -> None:
    """Prints the functions that use the most CPU time in one round, over all threads."""
    with servers() as endpoints, tempfile.NamedTemporaryFile() as into:
        arguments = [
            path,
            "ours",
            str(PATHS[path]),
            "0",
            "0",
            endpoints.s3,
            endpoints.dynamodb,
            into.name,
        ]
        subprocess.run(
            [sys.executable, "-m", "bench.round", *arguments], check=True, stdout=subprocess.DEVNULL
        )
        found = pstats.Stats(into.name)
    raw: dict[tuple[str, int, str], Any] = found.stats  # type: ignore[attr-defined]
    for name in [name for name in raw if "SimpleQueue" in name[2]]:
        del raw[name]  # a thread that was waiting for work when the round ended
    found.strip_dirs().sort_stats("tottime").print_stats(35)
