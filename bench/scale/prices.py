"""Prices: those of `estimate`, and those that only this simulation needs, with their sources."""

from typing import NamedTuple

from bench.scale.quotas import COPY
from stream_backup.estimate.prices import Prices

_DYNAMODB = "Amazon DynamoDB pricing, https://aws.amazon.com/dynamodb/pricing/on-demand/"
_BACKUP = "AWS Backup pricing, https://aws.amazon.com/backup/pricing/"


class Price(NamedTuple):
    """US dollars for one `unit`, the page that states it, and how far it was checked."""

    usd: float
    unit: str
    page: str
    checked: str = COPY


OTHERS = {
    "state-transitions": Price(
        0.000025,
        "state transition of a Standard workflow",
        "AWS Step Functions pricing, https://aws.amazon.com/step-functions/pricing/",
    ),
    "ec2-vcpu-hours": Price(
        0.0408,
        "vCPU-hour of an EC2 instance of the family M7g (m7g.large: $0.0816 per hour), Linux, "
        "on demand",
        "Amazon EC2 On-Demand Pricing, https://aws.amazon.com/ec2/pricing/on-demand/",
    ),
    "pitr": Price(0.20, "GB-month of a table with point-in-time recovery", _DYNAMODB),
    "native-backup": Price(0.10, "GB-month of an on-demand backup", _DYNAMODB),
    "native-restore": Price(0.15, "GB restored from PITR or from an on-demand backup", _DYNAMODB),
    "export": Price(0.10, "GB of the table, exported by ExportTableToPointInTime", _DYNAMODB),
    "import": Price(0.15, "GB of the uncompressed source, imported by ImportTable", _DYNAMODB),
    "cold-backup": Price(
        0.03, "GB-month of a backup in cold storage, for 90 days at least", _BACKUP
    ),
}
"""Prices of US East (N. Virginia), without free tiers and discounts."""


def prices() -> dict[str, float]:
    """Returns every price in US dollars, by name."""
    return Prices.load().each | {name: price.usd for name, price in OTHERS.items()}
