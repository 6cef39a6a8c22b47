"""One round of one path and one side, in a process of its own.

    python -m bench.round PATH SIDE ITEMS WARM SECONDS S3_URL DYNAMODB_URL [PROFILE]

Prints one JSON object. After a first run with WARM items, the work is repeated until SECONDS have
passed. CPU is the user and system time of this process.
"""

import cProfile
import json
import os
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import bare, ours, plain
from bench.clients import Endpoints

SIDES = {"boto3": plain, "ours": ours, "bare": bare}


def work_of(
    path: str, side: str, endpoints: Endpoints, items: int, folder: Path
) -> Callable[[], int]:
    """Returns the work of a path and a side; it returns the number of items done. A number as a
    side is our code with so many threads."""
    if side.isdigit():
        ours.fix(int(side))
    make = getattr(SIDES.get(side, ours), path)
    made: Callable[[], int] = (
        make(endpoints, items, folder / "out.json") if path == "export" else make(endpoints, items)
    )
    return made


def stats(endpoints: Endpoints) -> tuple[float, Counter[str]]:
    """Returns the CPU seconds of both servers and the requests they have answered, by kind."""
    cpu, requests = 0.0, Counter[str]()
    for url in (endpoints.s3, endpoints.dynamodb):
        with urllib.request.urlopen(f"{url}/_stats") as answer:
            found = json.load(answer)
        cpu += found["cpu"]
        requests.update(found["requests"])
    return cpu, requests


def peak() -> int:
    """Returns the maximum resident set size of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def run(
    path: str,
    side: str,
    items: int,
    warm: int,
    seconds: float,
    endpoints: Endpoints,
    profile: str = "",
) -> dict[str, Any]:
    """Runs a round.

    Returns the number of `items`, the `rate` in items per second, `cpu` in µs per item, the CPU
    `cores` used here and by the `server`, the `peak` memory in bytes, and the `requests` per item,
    in total and by kind. With `profile`, the name of a file, only `items`.
    """
    with tempfile.TemporaryDirectory() as folder:
        if warm:
            work_of(path, side, endpoints, warm, Path(folder))()
        work = work_of(path, side, endpoints, items, Path(folder))
        if path == "capture" and warm:
            work()
        server, asked = stats(endpoints)
        if profile:
            return _profiled(work, profile)
        started, cpu, done = time.perf_counter(), time.process_time(), 0
        while True:
            done += work()
            taken = time.perf_counter() - started
            if taken >= seconds:
                break
        cpu = time.process_time() - cpu
        server_after, requests = stats(endpoints)
    return {
        "items": done,
        "rate": done / taken,
        "cpu": cpu / done * 1e6,
        "cores": cpu / taken,
        "server": (server_after - server) / taken,
        "peak": peak(),
        "requests": sum((requests - asked).values()) / done,
        "kinds": {kind: count / done for kind, count in (requests - asked).items()},
    }


def _profiled(work: Callable[[], int], path: str) -> dict[str, Any]:
    """Runs the work with cProfile in every thread, by CPU time, and writes the file `path`."""
    import pstats

    profiles: list[cProfile.Profile] = []

    def begin(*_: object) -> None:
        found = cProfile.Profile(time.thread_time)
        profiles.append(found)
        found.enable()

    threading.setprofile(begin)  # for the threads that start after this
    main = cProfile.Profile(time.thread_time)
    main.enable()
    done = work()
    main.disable()
    threading.setprofile(None)
    whole = pstats.Stats(main)
    for found in profiles:
        found.create_stats()
        whole.add(found)
    whole.dump_stats(path)
    return {"items": done}


if __name__ == "__main__":
    answer = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the function writes its metrics to stdout
    path, side, items, warm, seconds, s3, dynamodb, *profile = sys.argv[1:]
    found = run(
        path, side, int(items), int(warm), float(seconds), Endpoints(s3, dynamodb), *profile
    )
    os.write(answer, json.dumps(found).encode())
    os._exit(0)  # does not wait for idle threads
