"""`timeline` and `diff` on a real archive, from a table to the commands that are pasted."""

import json
import re

import pytest

from stream_backup.core.item import Item, encode
from stream_backup.core.key import key_hash
from tests.cli import Shell, Table, next_second
from tests.servers import Aws

pytestmark = pytest.mark.server


def row(number: int, state: str) -> Item:
    return {"id": {"S": f"row-{number}"}, "state": {"S": state}}


def test_damage_is_found(ministack_url: str) -> None:
    """Law 15 on a stand-in: the difference that `diff` prints, applied to the rows at A, gives the
    rows at B. `timeline` counts what happened, and the commands that it prints run."""
    aws = Aws(ministack_url)
    shell, table = Shell(aws, f"s3://{aws.bucket()}/kept"), Table.create(aws, "damaged")
    table.put_many([row(number, "new") for number in range(40)])
    shell.done("enable", "damaged", "--stream-only")
    shell.done("backfill", "damaged")
    table.put(row(1, "paid"))
    before, rows = next_second(), table.rows()
    table.put(*(row(number, "undefined") for number in range(20)))
    table.put(row(41, "new"))
    table.delete({"id": {"S": "row-30"}})
    table.put(row(31, "short"))
    table.put(row(31, "new"))
    after, damaged = next_second(), table.rows()
    table.put(row(2, "good"))
    shell.done("follow", "damaged", "--once")

    window = ("--from", before, "--to", after)
    said = shell.done("diff", "damaged", *window)
    assert [re.split(r" {2,}", line)[:2] for line in said.out.splitlines()] == [
        ['state: * → "undefined"', "20 items"],
        ["inserted", "1 item"],
        ["removed", "1 item"],
    ]
    assert "22 items differ; 1 changed and ended as they began." in said.err

    known = {key_hash({"id": json.loads(body)["id"]}): body for body in rows}
    for line in map(json.loads, shell.done("diff", "damaged", *window, "--json").out.splitlines()):
        name = key_hash(line["key"])
        assert known.pop(name, None) == (line["before"] and encode(line["before"]))
        if line["after"]:
            known[name] = encode(line["after"])
    assert sorted(known.values()) == damaged

    found = shell.done("timeline", "damaged", "--since", before, "--every", "1s", "--json").json
    # 20 damaged, 2 of row 31, the good one; and the one before the window, if it shares its second
    assert found["total"] in (
        {"insert": 1, "modify": modified, "remove": 1, "expiry": 0} for modified in (23, 24)
    )
    printed = shell.done("timeline", "damaged", "--every", "1h").out.splitlines()
    pasted = next(line.split() for line in printed if line.startswith("  stream-backup diff"))
    assert "undefined" in shell.done(*pasted[1:]).out
