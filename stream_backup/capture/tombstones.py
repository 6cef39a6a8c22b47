"""How long a bucket certainly keeps a tombstone.

A lifecycle rule may put a delete marker on a tombstone, and the rule for superseded versions then
removes the tombstone below the marker. After that nothing shows that the item was removed, so an
older change of it that is written then would bring the item back.
"""

from typing import Any

from stream_backup.aws.lifecycle import lifecycle_of
from stream_backup.core.retention import DAY

SHORTEST = 2 * DAY
"""Seconds for which a tombstone is kept at least under any rules: S3 counts whole days, and each of
the two rules needs one."""


def tombstones_kept(s3: Any, bucket: str, prefix: str) -> int | None:
    """Returns the seconds for which a tombstone under `prefix` certainly exists, from the lifecycle
    rules that apply now; None when no pair of rules removes it. Where the rules may not be read it
    returns SHORTEST. Raises ClientError."""
    found = lifecycle_of(s3, bucket, prefix)
    if found is None:
        return SHORTEST
    if found.marked_days is None or found.noncurrent_days is None:
        return None
    return (found.marked_days + found.noncurrent_days) * DAY
