"""One round in a process of its own: one path, one side, warmed up, then timed.

    python -m bench.round PATH SIDE ITEMS WARM SECONDS S3_URL DYNAMODB_URL [PROFILE]

Prints one JSON object. The work is repeated, whole, until SECONDS have passed. CPU is this process's own, user and system.
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


def work_of(path: str, side: str, endpoints: Endpoints, items: int, folder: Path) -> Callable[[], int]:
    make = getattr(SIDES[side], path)
    made: Callable[[], int] = make(endpoints, items, folder / "out.json") if path == "export" else make(endpoints, items)
    return made


def stats(endpoints: Endpoints) -> tuple[float, Counter[str]]:
    """CPU seconds of both servers, and what they have answered."""
    cpu, requests = 0.0, Counter[str]()
    for url in (endpoints.s3, endpoints.dynamodb):
        with urllib.request.urlopen(f"{url}/_stats") as answer:
            found = json.load(answer)
        cpu += found["cpu"]
        requests.update(found["requests"])
    return cpu, requests


def peak() -> int:
    """The most bytes ever resident in this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def run(
    path: str, side: str, items: int, warm: int, seconds: float, endpoints: Endpoints, profile: str = ""
) -> dict[str, Any]:
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
    """Every thread under cProfile, clocked by its own CPU time; merged into the file `path`."""
    import pstats

    profiles: list[cProfile.Profile] = []

    def begin(*_: object) -> None:
        found = cProfile.Profile(time.thread_time)
        profiles.append(found)
        found.enable()

    threading.setprofile(begin)  # the threads that start from here on
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
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the function tells its metrics on stdout
    path, side, items, warm, seconds, s3, dynamodb, *profile = sys.argv[1:]
    found = run(path, side, int(items), int(warm), float(seconds), Endpoints(s3, dynamodb), *profile)
    os.write(answer, json.dumps(found).encode())
    os._exit(0)  # pools of idle threads need no farewell
