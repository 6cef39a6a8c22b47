"""How long a bucket certainly keeps a tombstone.

A lifecycle rule may put a delete marker on a tombstone, and the rule for superseded versions then
removes the tombstone below the marker. After that nothing shows that the item was removed, so an
older change of it that is written then would bring the item back.
"""

from typing import Any

from botocore.exceptions import ClientError

from stream_backup.aws.errors import is_denied

DAY = 24 * 3600

SHORTEST = 2 * DAY
"""Seconds for which a tombstone is kept at least under any rules: S3 counts whole days, and each of
the two rules needs one."""

_NONE = {"NoSuchLifecycleConfiguration", "NoSuchLifecycle"}


def tombstones_kept(s3: Any, bucket: str, prefix: str) -> int | None:
    """Returns the seconds for which a tombstone under `prefix` certainly exists, from the lifecycle
    rules that apply now; None when no pair of rules removes it. Where the rules may not be read it
    returns SHORTEST. Raises ClientError."""
    try:
        found = s3.get_bucket_lifecycle_configuration(Bucket=bucket).get("Rules", [])
    except ClientError as error:
        if error.response["Error"]["Code"] in _NONE:
            return None
        if is_denied(error):
            return SHORTEST
        raise
    rules = [rule for rule in found if _applies(rule, prefix)]
    marked = [_marked_after(rule.get("Expiration") or {}) for rule in rules]
    removed = [rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays") for rule in rules]
    first = min((int(days) for days in marked if days is not None), default=None)
    second = min((int(days) for days in removed if days is not None), default=None)
    return None if first is None or second is None else (first + second) * DAY


def _applies(rule: dict[str, Any], prefix: str) -> bool:
    """Whether a rule may apply. One that depends on tags or sizes counts."""
    selected = rule.get("Filter") or {}
    both = selected.get("And") or {}
    start = rule.get("Prefix") or selected.get("Prefix") or both.get("Prefix") or ""
    overlaps = prefix.startswith(start) or start.startswith(prefix)
    return rule.get("Status") == "Enabled" and overlaps


def _marked_after(expiration: dict[str, Any]) -> int | None:
    """Days after which the rule puts a delete marker on a current version; a date counts as 0."""
    if "Date" in expiration:
        return 0
    days: int | None = expiration.get("Days")
    return days
