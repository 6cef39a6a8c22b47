"""The faulty release: what damages the table."""

from collections import Counter
from decimal import Decimal

from stream_backup.demo.live import DemoTable
from stream_backup.demo.rows import text


def release(table: DemoTable, victim: str, countries: set[str]) -> Counter[str]:
    """Damages the airports in `countries`, `victim` first.

    It swaps latitude and longitude, and deletes airports with a latitude beyond 90 degrees.
    Returns how many rows were `overwritten` and how many `deleted`.
    """
    done: Counter[str] = Counter()
    touched = [
        name for name, item in table.truth.rows.items() if text(item["country"]) in countries
    ]
    for name in sorted(touched, key=lambda name: (name != victim, name)):
        item = table.truth.rows[name]
        geo = item["geo"]["M"]
        if abs(Decimal(geo["lon"]["N"])) > 90:
            table.delete(name)
            done["deleted"] += 1
        else:
            table.put(item | {"geo": {"M": geo | {"lat": geo["lon"], "lon": geo["lat"]}}})
            done["overwritten"] += 1
    return done
