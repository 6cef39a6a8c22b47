"""The laws, each as a function that checks a world at some point of its history and changes
nothing."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

from restore.plan import Rebuild, Rewind
from stream_backup.archive.layout import Archive, Stat
from stream_backup.archive.status import Status
from stream_backup.core.as_of import item_at
from stream_backup.core.coverage import Coverage
from stream_backup.core.item import digest
from stream_backup.core.stamp import Stamp
from stream_backup.core.time_rule import FOREVER, NEVER, Lateness
from stream_backup.errors import LatenessError
from stream_backup.inspect.window import Window
from tests.world import World


def rebuilt(
    archive: Archive, moment: int, floor: int, lateness: Lateness | None = None
) -> dict[str, bytes]:
    """Returns what a restore into an empty table would write, by name."""
    plan = Rebuild(archive, moment, floor, lateness=lateness or Lateness())
    every = (plan.step(history) for history in archive.histories())
    return {
        step.name: step.body for step in every if step.action == "put" and step.body is not None
    }


def stamps(archive: Archive) -> dict[str, list[Stamp]]:
    every = archive.histories()
    return {
        history.name: [archive.read(version).stamp for version in history.versions]
        for history in every
    }


def dangerous(archive: Archive, coverage: Coverage) -> list[int]:
    """Returns every stored stamp and every bound, and the seconds before and after each."""
    edges = {
        edge
        for found in stamps(archive).values()
        for stamp in found
        for edge in (stamp.at, stamp.seen)
    }
    edges |= {
        edge for epoch in coverage.epochs for edge in (epoch.floor, epoch.start, epoch.end or 0)
    }
    bounds = [coverage.start_of(epoch) for epoch in coverage.epochs]
    edges |= {bound.moment for bound in bounds if bound.moment < FOREVER}
    edges.add(coverage.latest)
    return sorted({edge + beside for edge in edges for beside in (-1, 0, 1)})


def exact_moments(world: World, found: Status) -> Iterator[tuple[int, int]]:
    """Yields (moment, floor) for the dangerous moments that coverage claims and that must be exact
    by now."""
    # Of a change whose version has expired, only the model knows.
    changed = {int(entry.at) + beside for entry in world.model.journal for beside in (-1, 0, 1)}
    for moment in sorted({*dangerous(world.archive, found.coverage), *changed}):
        epoch = found.coverage.epoch_at(moment)
        if epoch is None:
            continue
        off_at = world.life(epoch.stream).off_at
        gone = world.model.rows is None and epoch.end is None
        if gone and off_at is not None and moment >= int(off_at):
            continue  # whether the stream of a deleted table was on to the last is unknown
        yield moment, epoch.floor


def law_5(world: World, found: Status) -> int:
    """For every moment inside coverage, a restore gives the table at the end of that second.
    Returns how many moments were checked."""
    count = 0
    for moment, floor in exact_moments(world, found):
        truth = world.model.at(moment)
        if truth is not None:
            wide = rebuilt(world.archive, moment, floor, found.lateness)
            assert wide == truth, f"{moment} in {found.coverage}"
            narrow = found.lateness_in(found.coverage.epoch_at(moment))
            with suppress(LatenessError):  # after a writer was killed
                assert rebuilt(world.archive, moment, floor, narrow) == truth, f"{moment} {narrow}"
            count += 1
    return count


def law_15(world: World, found: Status, since: int, until: int) -> None:
    """The difference between two exact moments of one epoch, applied to the table at the first,
    gives the table at the second; and the items of the window are those that were written in
    it."""
    epoch = found.coverage.epoch_at(until)
    before, after = world.model.at(since), world.model.at(until)
    assert epoch is not None
    if before is None or after is None:
        return
    floor, wide = epoch.floor, Lateness()
    for lateness in (wide, found.lateness_in(epoch)):
        window = Window(world.archive, since, until, floor, floor, lateness)
        rows, names = dict(before), set[str]()
        try:
            changed = [window.changed(history) for history in world.archive.histories()]
        except LatenessError:  # after a writer was killed
            assert lateness is not wide
            continue
        for each in filter(None, changed):
            assert rows.pop(each.name, None) == each.before
            if each.after is not None:
                rows[each.name] = each.after
            names.add(each.name)
            assert since < each.first <= each.last <= until
        assert rows == after
        journal = [each for each in world.model.journal if since < int(each.at) <= until]
        assert names == {each.name for each in journal}


def law_4(world: World, found: Status) -> None:
    """Within an epoch, a later moment never gives an older version of an item."""
    for epoch in found.coverage.epochs:
        for versions in stamps(world.archive).values():
            ranks = [
                max(
                    (s.rank for s in versions if s.at >= epoch.floor and s.seen <= moment),
                    default=(NEVER, 0),
                )
                for moment in dangerous(world.archive, found.coverage)
            ]
            assert ranks == sorted(ranks)


def baseline_never_covers(world: World) -> None:
    """The version under a scanned version always ranks lower: a backfill never covers a change
    newer than what it read. One exception: S3 compares content, so a state that came back between
    the read and the put is taken for the older one."""
    for history in world.archive.histories():
        oldest_first = list(reversed(list(world.store.versions(world.archive.root + history.name))))
        for index, (below, above) in enumerate(pairwise(oldest_first)):
            scan, covered = world.archive.read(above).stamp, world.archive.read(below).stamp
            came_back = below.etag in [version.etag for version in oldest_first[:index]]
            assert scan.kind != "scan" or covered.rank < scan.rank or came_back


def law_7(world: World, found: Status) -> None:
    """The short walk over the listing gives the same answer as reading every stamp, inside and
    outside coverage."""
    archive = world.archive
    for floor in {NEVER} | {epoch.floor for epoch in found.coverage.epochs}:
        for history in archive.histories():
            every = [Stat(archive.read(version).stamp, version) for version in history.versions]
            for moment in [*dangerous(archive, found.coverage), FOREVER]:
                counting = [
                    stat for stat in every if stat.stamp.at >= floor and stat.stamp.seen <= moment
                ]
                best = max(counting, key=lambda stat: stat.stamp.rank, default=None)
                walked = item_at(history.versions, moment, floor, archive.read, found.lateness)
                expected = None if best is None or best.stamp.removes else best.stamp.rank
                assert (
                    None if walked is None or walked.body is None else walked.stamp.rank
                ) == expected


def law_9(world: World, found: Status) -> None:
    """A rewind's plan, applied to the rows that the archive describes, gives the same rows as a
    rebuild, for all floors, inside and outside coverage."""
    archive = world.archive
    floors = {NEVER} | {epoch.floor for epoch in found.coverage.epochs}
    for moment in dangerous(archive, found.coverage):
        for floor, floor_now in {(floor, floor) for floor in floors} | {
            (floor, max(floors)) for floor in floors
        }:
            rows = rebuilt(archive, FOREVER, floor_now)
            for step in (
                Rewind(archive, moment, floor, floor_now).step(history)
                for history in archive.histories()
            ):
                present = rows.get(step.name)
                if step.action in ("put", "delete"):
                    assert step.now == (None if present is None else digest(present))
                if step.action == "put":
                    assert step.body is not None
                    rows[step.name] = step.body
                elif step.action == "delete":
                    del rows[step.name]
            assert rows == rebuilt(archive, moment, floor), f"{moment} {floor} {floor_now}"
