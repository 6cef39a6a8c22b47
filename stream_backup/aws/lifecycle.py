"""The lifecycle rules of a bucket that concern an archive in it."""

from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from stream_backup.aws.errors import is_denied

_NONE = {"NoSuchLifecycleConfiguration", "NoSuchLifecycle", "NotImplemented", "501"}
"""What a bucket without rules answers, and an S3 of another vendor that has no rules at all."""


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """`noncurrent_days` is the shortest time for which superseded versions are kept, None when they
    are kept for ever; `expiring` are the IDs of rules that expire current versions other than
    tombstones; `marked_days` is the shortest time after which a rule puts a delete marker on a
    current version, tombstones included."""

    noncurrent_days: int | None = None
    expiring: tuple[str, ...] = ()
    marked_days: int | None = None


def lifecycle_of(s3: Any, bucket: str, prefix: str) -> Lifecycle | None:
    """Returns the rules that apply to objects under `prefix`, by boto3's client for S3; None when
    they may not be read. A rule that depends on tags counts too: anybody who may tag objects can
    make it apply. Raises ClientError."""
    try:
        found = s3.get_bucket_lifecycle_configuration(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] in _NONE:
            return Lifecycle()
        if is_denied(error):
            return None
        raise
    rules = [rule for rule in found.get("Rules", []) if _applies(rule, prefix)]
    days = [
        int(rule["NoncurrentVersionExpiration"]["NoncurrentDays"])
        for rule in rules
        if "NoncurrentDays" in rule.get("NoncurrentVersionExpiration", {})
    ]
    expiring = tuple(str(rule.get("ID", "")) for rule in rules if _expires_items(rule))
    marked = [each for each in map(_marked_after, rules) if each is not None]
    return Lifecycle(min(days, default=None), expiring, min(marked, default=None))


def _applies(rule: dict[str, Any], prefix: str) -> bool:
    selected = rule.get("Filter") or {}
    both = selected.get("And") or {}
    start = rule.get("Prefix") or selected.get("Prefix") or both.get("Prefix") or ""
    overlaps = prefix.startswith(start) or start.startswith(prefix)
    return rule.get("Status") == "Enabled" and overlaps


def _expires_items(rule: dict[str, Any]) -> bool:
    """Whether the rule expires current versions of one byte or more. A tombstone has none."""
    expiration = rule.get("Expiration") or {}
    if not ("Days" in expiration or "Date" in expiration):
        return False
    selected = rule.get("Filter") or {}
    both = selected.get("And") or {}
    limit = selected.get("ObjectSizeLessThan", both.get("ObjectSizeLessThan"))
    return limit is None or int(limit) > 1


def _marked_after(rule: dict[str, Any]) -> int | None:
    """Days after which the rule puts a delete marker on a current version; a date counts as 0."""
    expiration = rule.get("Expiration") or {}
    if "Date" in expiration:
        return 0
    days = expiration.get("Days")
    return None if days is None else int(days)
