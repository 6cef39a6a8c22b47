"""The numbers an estimate reckons with: limits AWS documents, rates that were measured, defaults of the commands, assumptions."""

from stream_backup.estimate.sizes import KB

MB = 1024 * KB
GB = 1024 * MB
MONTH = 30 * 24 * 3600

SEGMENTS = 4
"""Segments that `backfill` scans at once in each of its processes, unless told otherwise."""

READ_SHARE = 0.5
"""Of a provisioned table's read capacity, which `backfill` uses unless told otherwise."""

LISTED = 1000
"""Versions in a page of a listing."""

BATCH = 25
"""Items in a BatchWriteItem."""

BACKFILL_META = {"PUT": 3, "LIST": 14, "GET": 7}
RESTORE_META = {"LIST": 10, "GET": 5}
"""Requests for what is known of the archive, of one stream and its first run. tests/test_estimate.py counts them."""

BACKFILL_RATE, TABLE_RATE, FILE_RATE = 1917, 3664, 4609
"""Items a second of one process, 25 ms for the answer to a PUT and 10 ms for any other, items of 640 bytes: measured on 2026-11-21
(docs/performance.md)."""

S3_PUTS = 3500
"""A second, of one prefix, until S3 has spread it (Amazon S3 User Guide, "Optimizing Amazon S3 performance")."""

LISTING_RATE = 80_000
"""Versions a second of a listing of which little needs reading: measured on 2026-11-21 (docs/performance.md, a rewind)."""

BANDWIDTH = 50 * MB
"""Bytes a second between AWS and where the command runs. An assumption."""

CALL_SECONDS, CHANGE_SECONDS = 0.05, 0.0045
"""Of a call of the function, and of each change in it: half a second for a hundred. An assumption."""

CALL_LOG = 1000
"""Bytes of log a call: its metrics take 500, START, END and REPORT the rest."""

METRICS = 5
"""Custom metrics of one table: changes, tombstones, bytes, failures, lag."""

PAYLOAD = 6 * MB
"""Bytes of a call, at most."""
