"""What an estimate takes for granted, said with it."""

from collections.abc import Iterable, Iterator

from stream_backup.estimate.facts import Facts
from stream_backup.estimate.prices import Prices
from stream_backup.estimate.rates import BANDWIDTH, MB


def assumptions(
    facts: Facts, prices: Prices, region: str, notes: Iterable[str], *, by_hand: bool, deployed: bool
) -> Iterator[str]:
    """A sentence each. `notes` say where items and sizes come from; `by_hand` that the changes were given; `deployed` that a
    stack was found."""
    yield f"Prices are list prices of {prices.region} as of {prices.date}, without free tiers."
    if region != prices.region:
        yield f"The table is in {region}, where prices differ: --prices FILE takes them."
    yield from notes
    if facts.changes is not None:
        yield from _of_capture(facts, by_hand=by_hand, deployed=deployed)
    if facts.versions_per_item is None:
        changes = "every change one" if facts.changes is not None else "none of the changes nobody knows is counted"
        yield f"After {facts.months} months each item has one version of its backfill, and {changes}: --months."
    if facts.capacity.on_demand:
        yield "An on-demand table gives 12,000 read units a second or what it is warm for, a new one takes 4,000 write units."
    else:
        yield "A backfill uses half the provisioned read units, which are paid anyway; a new table has the same capacity."
    if facts.index_units:
        yield "A new table's indexes are written too, as large as the table's are now."
    yield (
        f"A backfill in {facts.workers} processes, a restore in one, at the rates measured (docs/performance.md) with items of "
        f"about 640 bytes; {BANDWIDTH / MB:,.0f} MB/s to AWS, in the Region of the table: elsewhere, data transfer out is paid."
    )
    yield "S3 Standard, encrypted by S3's own keys. Alarms and dashboard of the stack are not in it, nor a new table's storage."


def _of_capture(facts: Facts, *, by_hand: bool, deployed: bool) -> Iterator[str]:
    function = facts.function
    if not by_hand:
        yield (
            "Changes are the write units of the last 14 days in CloudWatch, by the mean item's: transactional writes count "
            "twice in them, writes that change nothing count too, and deletes count by what they delete."
        )
    yield (
        f"Changes come evenly, over {facts.shards} shards: the function is called after {function.window} s, for "
        "whatever came. Changes in bursts take fewer calls."
    )
    where = "deployed" if deployed else "the template has it"
    yield f"The function is as {where}: {function.memory} MB. A call takes 50 ms, and 4.5 ms for each change."
