"""AWS's limits that the simulation knows, each with the page that states it.

Numbers that the product uses too are imported from where it defines them.
"""

from dataclasses import dataclass, field, fields
from typing import NamedTuple

from stream_backup.aws.capacity import NEW_READ, NEW_WRITE
from stream_backup.estimate.facts import WARMEST
from stream_backup.estimate.rates import GB, S3_PUTS
from stream_backup.estimate.table import PARTITION, PARTITION_READ, PARTITION_WRITE

_S3 = (
    'AWS Knowledge Center, "Why am I getting 503 Slow Down errors from Amazon S3 when the requests '
    'are within the supported request rate per prefix?"'
)
_DYNAMODB = "Amazon DynamoDB Developer Guide"
_QUOTAS = f'{_DYNAMODB}, "Quotas in Amazon DynamoDB"'
_WARM = f'{_DYNAMODB}, "Understanding DynamoDB warm throughput in different scenarios"'
_GROWTH = f'{_DYNAMODB}, "Pre-warming a table for on-demand capacity mode"'
_IMPORT = f'{_DYNAMODB}, "Best practices for importing from Amazon S3 into DynamoDB"'
_LAMBDA = 'AWS Lambda Operator Guide, "Scaling and concurrency in Lambda"'
_SCALING = 'AWS Lambda Developer Guide, "Lambda scaling behavior"'
_STEPS = 'AWS Step Functions Developer Guide, "Step Functions service quotas"'

CHECKED, COPY, UNKNOWN = "checked", "checked in a copy", "AWS documents no number"
"""How far a number was checked on 2026-11-22: in a stored version of the page, where others quote
the page, or not at all."""


class Source(NamedTuple):
    """What a limit is, in words; the page that states it; and how far the number was checked."""

    what: str
    page: str
    checked: str = CHECKED


def _limit(value: float, what: str, page: str, checked: str = CHECKED) -> float:
    """Declares a field of Quotas with its default value and its source."""
    found: float = field(default=value, metadata={"source": Source(what, page, checked)})
    return found


@dataclass(frozen=True, slots=True)
class Quotas:
    """The limits of an account in which none was raised, for one table and one archive.

    Rates are per second.
    """

    s3_puts: float = _limit(S3_PUTS, "PUT requests to one partition of a prefix", _S3)
    s3_gets: float = _limit(
        5500,
        "GET and HEAD requests to one partition of a prefix; here, LIST counts like them",
        _S3,
    )
    s3_split: float = _limit(
        3600,
        "seconds at its limit after which S3 has divided a partition into two (30 to 60 minutes)",
        "a comment on AWS re:Post, and other users",
        UNKNOWN,
    )
    table_read: float = _limit(WARMEST, "read request units of one table", _QUOTAS)
    table_write: float = _limit(WARMEST, "write request units of one table", _QUOTAS)
    new_read: float = _limit(NEW_READ, "read request units of a new on-demand table", _WARM)
    new_write: float = _limit(NEW_WRITE, "write request units of a new on-demand table", _WARM)
    growth: float = _limit(
        1800,
        "seconds in which an on-demand table grows to twice its previous peak",
        _GROWTH,
    )
    partition_bytes: float = _limit(
        PARTITION,
        "bytes of one partition of a table",
        f'{_DYNAMODB}, "Partitions and data distribution in DynamoDB"',
        COPY,
    )
    partition_read: float = _limit(PARTITION_READ, "read units of one partition", _WARM)
    partition_write: float = _limit(PARTITION_WRITE, "write units of one partition", _WARM)
    functions: float = _limit(1000, "concurrent executions of Lambda in one Region", _LAMBDA)
    function_burst: float = _limit(
        1000, "executions that a function may add in 10 seconds", _SCALING
    )
    call: float = _limit(
        900,
        "seconds of one call of a function",
        'AWS Lambda Developer Guide, "Lambda quotas"',
        COPY,
    )
    vcpu: float = _limit(
        1769,
        "MB of memory with which a function has one vCPU",
        'AWS Lambda Developer Guide, "Configure Lambda function memory"',
    )
    children: float = _limit(10_000, "concurrent children of one map run", _STEPS)
    child_starts: float = _limit(
        100, "children that a map run starts per second (Standard workflows)", _STEPS, COPY
    )
    transitions: float = _limit(5000, "state transitions per second (N. Virginia)", _STEPS)
    map_runs: float = _limit(1000, "open map runs of an account", _STEPS)
    events: float = _limit(25_000, "events in the history of one execution", _STEPS)
    state: float = _limit(256 * 1024, "bytes of a state's input or output", _STEPS)
    import_bytes: float = _limit(
        15 * 1024 * GB,
        "bytes of one ImportTable in N. Virginia, Oregon, and Ireland; 1 TB elsewhere",
        _IMPORT,
    )
    import_objects: float = _limit(
        50_000,
        "objects of one ImportTable",
        _IMPORT,
    )


def sources() -> dict[str, Source]:
    """Returns the source of each limit, by its name in Quotas."""
    return {each.name: each.metadata["source"] for each in fields(Quotas)}
