"""What an estimate assumes, as sentences that are reported with it."""

from collections.abc import Iterable, Iterator

from stream_backup.aws.capacity import NEW_READ, NEW_WRITE, READ_SHARE
from stream_backup.estimate.facts import Facts, Function
from stream_backup.estimate.lookup import DAYS
from stream_backup.estimate.prices import Prices
from stream_backup.estimate.rates import BANDWIDTH, CALL_SECONDS, CHANGE_SECONDS, MB


def assumptions(
    facts: Facts,
    prices: Prices,
    region: str,
    notes: Iterable[str],
    *,
    changes_given: bool,
    deployed: bool,
) -> Iterator[str]:
    """Yields one or two sentences for each assumption.

    `region` is the table's. `notes` name the sources of the item count and of the sizes.
    `changes_given` is True if the number of changes is the value of an option, `deployed` if a
    stack was found.
    """
    yield f"Prices are list prices of {prices.region} as of {prices.date}, without free tiers."
    if region != prices.region:
        yield f"The table is in {region}, where prices differ. Pass your prices with --prices FILE."
    yield from notes
    if facts.changes is not None:
        yield from _of_capture(facts, changes_given=changes_given, deployed=deployed)
    if facts.versions_per_item is None:
        yield _of_versions(facts)
    yield from _of_capacity(facts)
    yield from _of_speed(facts)
    yield (
        "Storage is S3 Standard, encrypted with SSE-S3. The stack's alarms and dashboard and the "
        "storage of a new table are not included."
    )


def _of_capture(facts: Facts, *, changes_given: bool, deployed: bool) -> Iterator[str]:
    if changes_given:
        yield "The number of changes is the value of --changes-per-month."
    else:
        yield (
            f"The number of changes is derived from the write units of the last {DAYS} days in "
            "CloudWatch and the mean item. Transactional writes count twice, writes that change "
            "nothing count, and deletes count by the size of the deleted item."
        )
    function = facts.function
    yield (
        f"Changes arrive evenly, over {_count(facts.shards, 'shard')}, and the function is called "
        f"{function.window} s after the first change of a batch. Bursts of changes need fewer "
        "calls."
    )
    yield _of_seconds(function)
    source = "as deployed" if deployed else "as in the template"
    yield (
        f"The function has {function.memory} MB of memory, {source}. A call takes "
        f"{CALL_SECONDS * 1000:g} ms, and {CHANGE_SECONDS * 1000:g} ms for each change."
    )


def _of_seconds(function: Function) -> str:
    """What is known of changes of one item in one second: how many there are is in no metric."""
    bound = (
        "at most one version is written for an item, second, and batch, however often the item "
        f"changes: with a batching window of {function.window} s about "
        f"{1 + 1 / function.window:.1f} versions per second of an item that changes all the time"
    )
    if function.keep_every_change:
        return (
            f"Every change becomes a version. With KeepEveryChange=false, {bound}. No metric shows "
            "how many changes share an item and a second, so what that saves is not estimated."
        )
    return (
        "The function does not keep every change (KeepEveryChange=false), so the PUT requests and "
        f"the storage of capture are upper bounds: {bound}."
    )


def _of_versions(facts: Facts) -> str:
    versions = (
        f"After {_count(facts.months, 'month')} (--months), the archive holds one version of each "
        "item from the backfill"
    )
    if facts.changes is None:
        return f"{versions}. Unknown changes are not counted."
    return f"{versions}, and one version for each change."


def _of_capacity(facts: Facts) -> Iterator[str]:
    if facts.capacity.on_demand:
        yield (
            f"An on-demand table supports {NEW_READ:,} read units per second, or its warm "
            f"throughput. A new one supports {NEW_WRITE:,} write units per second, and more at once"
            " with --warm-throughput, which costs once what the additional units would cost as"
            " provisioned capacity in one hour, for the table and each of its global indexes (AWS"
            ' Database Blog, "Pre-warming Amazon DynamoDB tables with warm throughput").'
        )
    else:
        yield (
            f"A backfill uses {READ_SHARE:.0%} of the provisioned read capacity, which is paid for "
            "in any case. A new table has the same capacity."
        )
    if facts.index_units:
        yield "A restore also writes a new table's indexes, as large as the existing ones."


def _of_speed(facts: Facts) -> Iterator[str]:
    yield (
        f"A backfill runs in {_count(facts.workers, 'process', 'processes')} and a restore in one, "
        "at the rates measured with items of about 640 bytes (docs/performance.md)."
    )
    yield (
        f"The commands run in the table's Region and transfer {BANDWIDTH / MB:,.0f} MB/s. "
        "Elsewhere, AWS also charges for data transfer out."
    )


def _count(number: int, noun: str, plural: str = "") -> str:
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
