"""The numbers of the model: documented limits of AWS, measured rates, and assumptions.

Defaults of the commands are imported from the modules that define them.
"""

from stream_backup.estimate.sizes import KB

MB = 1024 * KB
GB = 1024 * MB
MONTH = 30 * 24 * 3600
"""Seconds."""

LISTED = 1000
"""Versions on a page of ListObjectVersions, at most (Amazon S3 API Reference)."""

BACKFILL_META = {"PUT": 4, "LIST": 34, "GET": 9}
RESTORE_META = {"LIST": 17, "GET": 8}
"""Requests for the archive's own records, with one stream and its first run.

tests/test_estimate.py counts them.
"""

RATES: dict[str, dict[int, int]] = {
    "backfill": {0: 10764, 10: 4297, 25: 1917},
    "restore": {0: 4658, 10: 3664, 25: 2039},
    "export": {0: 5257, 10: 4609, 25: 2137},
}
CPU = {"backfill": 141, "restore": 288, "export": 239}
"""Items per second of one process by the latency of each answer in ms, and µs of CPU time per item
at 10 ms, for items of 640 bytes: a backfill, and a restore into a table and into a file.

Measured on 2026-11-21 (docs/performance.md). `make bench BENCH=rates` prints them anew.
"""

BACKFILL_RATE, TABLE_RATE, FILE_RATE = (
    RATES["backfill"][25],
    RATES["restore"][10],
    RATES["export"][10],
)
"""The rates that are assumed: 25 ms until a PUT is answered, and 10 ms for other requests."""

S3_PUTS = 3500
"""PUT requests per second for one prefix, until S3 has scaled it (Amazon S3 User Guide,
"Optimizing Amazon S3 performance")."""

LISTING_RATE = 80_000
"""Versions per second of a listing if only a few of them are read.

Measured on 2026-11-21 (docs/performance.md, a rewind).
"""

BANDWIDTH = 50 * MB
"""Bytes per second between AWS and the computer that runs the command. An assumption."""

CALL_SECONDS, CHANGE_SECONDS = 0.05, 0.0045
"""The duration of a call of the function, and of each change in it: 0.5 s for 100 changes.

An assumption.
"""

CALL_LOG = 1000
"""Bytes of log per call: 500 for its metrics, and 500 for START, END and REPORT."""

METRICS = 6
"""Custom metrics of one table: changes, tombstones, bytes, failures, lag, exact_age."""

PAYLOAD = 6 * MB
"""Bytes of a call, at most."""
