"""Undoes the damage of a bad deployment in a table that is being written all the time, and compares
every row with the truth.

    python -m bench.undo                           200,000 rows, 5,000 damaged
    python -m bench.undo --rows 5000 --damaged 300

Everything runs on ministack, through a proxy that counts requests. The report is Markdown on
stdout, for `docs/performance.md`.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.core.item import Item, decode, encode
from tests import cli, servers
from tests.cli import Between, Shell, Table, next_second, proxy
from tests.servers import Aws

NAME = "undone-orders"
_INCOMPLETE = 3
_PROGRAM = Path(sys.executable).with_name("stream-backup")


def order(number: int) -> Item:
    """Returns a row as good traffic writes it."""
    return {
        "id": {"S": f"order-{number}"},
        "state": {"S": "paid"},
        "total": {"N": str(number)},
        "prices": {"M": {"net": {"N": str(number)}, "tax": {"N": "19"}}},
        "tags": {"SS": ["eu", "new"]},
    }


class Traffic:
    """One writer that goes on all the time, and the truth: what every row must be once the damage
    is undone. Damage does not pass through it."""

    def __init__(self, dynamodb: DynamoDB, rows: int, seed: int = 1) -> None:
        self.dynamodb = dynamodb
        self.truth = {f"order-{number}": order(number) for number in range(rows)}
        self.writes = 0
        self._rows = rows
        self._random = Random(seed)
        self._stop = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Writes in a thread for as long as the block runs."""
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.002):
            self.step()

    def step(self) -> None:
        """Writes once: mostly a note or a tag of any row, sometimes a new row."""
        self.writes += 1
        if self._random.random() < 0.1:
            row = order(self._rows + self.writes)
            self._call("put_item", {"Item": row})
            self.truth[row["id"]["S"]] = row
            return
        name = f"order-{self._random.randrange(self._rows)}"
        row, note = self.truth[name], {"S": f"note {self.writes}"}
        self._call(
            "update_item",
            {
                "Key": {"id": {"S": name}},
                "UpdateExpression": "SET #n = :n, #p.#x = :n ADD #t :t",
                "ExpressionAttributeNames": {
                    "#n": "note",
                    "#p": "prices",
                    "#x": "by",
                    "#t": "tags",
                },
                "ExpressionAttributeValues": {":n": note, ":t": {"SS": [f"t{self.writes % 5}"]}},
            },
        )
        row["note"] = row["prices"]["M"]["by"] = note
        row["tags"] = {"SS": sorted({*row["tags"]["SS"], f"t{self.writes % 5}"})}

    def _call(self, operation: str, request: dict[str, Any]) -> None:
        self.dynamodb.call(operation, {"TableName": NAME, **request})


@dataclass(frozen=True)
class Undone:
    """What an undo took, and how many rows differ from the truth."""

    rows: int
    damaged: int
    report: dict[str, Any]
    seconds: float
    requests: Counter[str]
    writes: int
    differing: int

    def lines(self) -> list[str]:
        """Returns the report as Markdown."""
        asked = self.requests
        written = sum(asked[each] for each in ("UpdateItem", "PutItem", "DeleteItem"))
        return [
            "| rows | damaged | versions | LIST | GET | HEAD | row reads | row writes | seconds |"
            " good writes meanwhile | wrong rows |",
            "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
            f"| {self.rows:,} | {self.damaged:,} | {self.report['versions_listed']:,}"
            f" | {asked['ListObjectVersions']:,} | {asked['GetObject']:,} | {asked['HeadObject']:,}"
            f" | {asked['GetItem']:,} | {written:,} | {self.seconds:.1f} | {self.writes:,}"
            f" | {self.differing:,} |",
        ]


def measure(aws: Aws, folder: Path, rows: int, damaged: int, settle: float = 0) -> Undone:
    """Fills a table of `rows`, damages `damaged` of them, and undoes that during writes. The damage
    comes `settle` seconds after the backfill: the first minutes after one are read version by
    version."""
    shell = Shell(aws, f"s3://{aws.bucket()}", folder=folder)
    table = Table.create(aws, NAME)
    dynamodb = DynamoDB(aws.session)  # of AWS_ENDPOINT_URL
    with ThreadPoolExecutor(4) as pool:
        batches = [
            [order(number) for number in range(start, min(start + 1000, rows))]
            for start in range(0, rows, 1000)
        ]
        list(pool.map(table.put_many, batches))
    _say("enable and backfill")
    shell.done("enable", NAME, "--stream-only")
    while shell.run("backfill", NAME).code == _INCOMPLETE:
        _say("backfill again")  # a busy machine: the emulator did not answer in time
    time.sleep(settle)
    traffic = Traffic(dynamodb, rows)
    with traffic.running():
        time.sleep(2)
        since = next_second()
        _say("damage")
        _damage(dynamodb, rows, damaged)
        until = next_second()
        time.sleep(2)
        shell.done("follow", NAME, "--once")
        _say("undo")
        with proxy(aws.url) as between:
            before = traffic.writes
            report, seconds = _undo(shell, between, since, until)
            writes = traffic.writes - before
            requests = between.requests
    _say("compare")
    found = {row["id"]["S"]: encode(row) for row in map(decode, table.rows())}
    truth = {name: encode(row) for name, row in traffic.truth.items()}
    differing = sum(found.get(name) != truth.get(name) for name in {*found, *truth})
    return Undone(rows, damaged, report, seconds, requests, writes, differing)


def _damage(dynamodb: DynamoDB, rows: int, damaged: int) -> None:
    """Overwrites two attributes and a nested one, and removes another, as a bad job does."""
    names = {"#s": "state", "#t": "total", "#p": "prices", "#n": "net", "#x": "tax"}
    for at in range(damaged):
        request = {
            "TableName": NAME,
            "Key": {"id": {"S": f"order-{at * rows // damaged}"}},
            "UpdateExpression": "SET #s = :s, #t = :t, #p.#n = :t REMOVE #p.#x",
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": {":s": {"S": "undefined"}, ":t": {"N": "0"}},
        }
        dynamodb.call("update_item", request)


def _undo(shell: Shell, between: Between, since: str, until: str) -> tuple[dict[str, Any], float]:
    """Undoes what the job wrote, but not the notes that others wrote in the same seconds."""
    through = Shell(between.aws, shell.archive, folder=shell.folder)
    words = ["undo", NAME, "--from", since, "--to", until, "--yes", "--json"]
    words += ["--where", "after.state == 'undefined'"]
    for path in ("state", "total", "prices.net", "prices.tax"):
        words += ["--changed", path]
    started = time.monotonic()
    report: dict[str, Any] = through.done(*words, command=(str(_PROGRAM),)).json
    return report, time.monotonic() - started


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Starts the emulator and prints the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.undo")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--damaged", type=int, default=5_000)
    parser.add_argument("--settle", type=float, default=330, help="seconds after the backfill")
    given = parser.parse_args()
    cli.PATIENCE = 3600
    with (
        tempfile.TemporaryDirectory() as work,
        tempfile.TemporaryDirectory() as folder,
        servers.ministack(Path(work)) as url,
    ):
        os.environ.update(servers.environment(url))
        found = measure(Aws(url), Path(folder), given.rows, given.damaged, given.settle)
    print("\n".join(found.lines()))
    print(json.dumps(found.report["done"]), file=sys.stderr)


if __name__ == "__main__":
    main()
