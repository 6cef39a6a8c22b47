"""The part of the bench that compares obstore's blocking calls in threads with its asynchronous
calls in one event loop.

    python -m bench.calls CALLS KIND NUMBER SECONDS S3_URL    one measurement, in its own process
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import obstore

from bench import rows
from bench.clients import Endpoints, objects
from bench.flight import DELAYS, NUMBERS, medians
from bench.rounds import Round
from bench.servers import servers
from stream_backup.core.change import Change

CALLS = ("threads", "async")
KINDS = ("put", "get")


def check_calls(rounds: int, seconds: float) -> Iterator[str]:
    """Compares obstore's blocking calls in threads with its asynchronous calls in one event
    loop."""
    heads = [f"{number}" for number in NUMBERS]
    yield f"| latency | request | calls | | {' | '.join(heads)} |"
    yield "|--:|---|---|---|" + "--:|" * len(heads)
    for delay in DELAYS:
        found: dict[tuple[str, str, int], list[Round]] = {}
        with servers(delay) as endpoints:
            for number in range(rounds):
                for kind in KINDS:
                    for size in NUMBERS if number % 2 else reversed(NUMBERS):
                        for calls in CALLS:
                            each = _call(calls, kind, size, seconds, endpoints)
                            found.setdefault((kind, calls, size), []).append(each)
        for kind in KINDS:
            for calls in CALLS:
                mids = [medians(found[kind, calls, size]) for size in NUMBERS]
                start = f"| {delay:g} ms | {kind.upper()} | {calls} |"
                yield f"{start} requests/s | {' | '.join(f'{rate:,.0f}' for rate, _ in mids)} |"
                yield f"{start} CPU µs | {' | '.join(f'{cpu:,.0f}' for _, cpu in mids)} |"


def _call(calls: str, kind: str, size: int, seconds: float, endpoints: Endpoints) -> Round:
    """Runs `main` in a process of its own."""
    command = [sys.executable, "-m", "bench.calls", calls, kind, str(size), str(seconds)]
    found: Round = json.loads(subprocess.check_output([*command, endpoints.s3]))
    line = f"{kind} {calls:7} {size:3} {found['rate']:8,.0f}/s {found['cpu']:5,.0f} µs"
    print(line, file=sys.stderr, flush=True)
    return found


def play_calls(calls: str, kind: str, size: int, seconds: float, s3: str) -> Round:
    """Makes requests for so many seconds, `size` of them at a time, and returns requests a second
    and CPU µs for each."""
    client = objects(Endpoints(s3, s3))
    items = [json.loads(rows.body(number, 0)) for number in range(1000)]
    changes = [Change.scanned(item, rows.SCHEMA, rows.BASE, rows.BASE, 0) for item in items]
    puts = [(f"t/{change.name}", change.payload, change.metadata) for change in changes]

    def put(number: int) -> None:
        path, payload, metadata = puts[number % 1000]
        obstore.put(client, path, payload, attributes=metadata, mode="create", use_multipart=False)

    def get(number: int) -> None:
        wanted = f"{number % 1000}.3"
        obstore.get(client, puts[number % 1000][0], options={"version": wanted}).bytes().to_bytes()

    async def put_async(number: int) -> None:
        path, payload, metadata = puts[number % 1000]
        await obstore.put_async(
            client, path, payload, attributes=metadata, mode="create", use_multipart=False
        )

    async def get_async(number: int) -> None:
        path, wanted = puts[number % 1000][0], f"{number % 1000}.3"
        found = await obstore.get_async(client, path, options={"version": wanted})
        (await found.bytes_async()).to_bytes()

    if calls == "threads":
        block = _in_threads(put if kind == "put" else get, size)
    else:
        ask = put_async if kind == "put" else get_async

        async def worker(first: int, end: float) -> int:
            done = 0
            while time.perf_counter() < end:
                await ask(first + done)
                done += 1
            return done

        async def every(end: float) -> int:
            return sum(await asyncio.gather(*(worker(first, end) for first in range(size))))

        def block(end: float) -> int:
            return asyncio.run(every(end))

    block(time.perf_counter() + min(seconds, 0.3))  # opens the connections
    began, cpu = time.perf_counter(), time.process_time()
    done = block(began + seconds)
    taken, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"rate": done / taken, "cpu": cpu / done * 1e6}


def _in_threads(ask: Callable[[int], None], size: int) -> Callable[[float], int]:
    pool = ThreadPoolExecutor(size)

    def worker(first: int, end: float) -> int:
        done = 0
        while time.perf_counter() < end:
            ask(first + done)
            done += 1
        return done

    def block(end: float) -> int:
        return sum(pool.map(lambda first: worker(first, end), range(size)))

    return block


def main() -> None:
    """Makes requests of one kind, and prints one JSON object."""
    calls, kind, size, seconds, s3 = sys.argv[1:]
    found = play_calls(calls, kind, int(size), float(seconds), s3)
    os.write(1, json.dumps(found).encode())
    os._exit(0)


if __name__ == "__main__":
    main()
