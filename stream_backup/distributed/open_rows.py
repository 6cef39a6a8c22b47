"""What the workers of a verification have left open, in the work bucket: the rows on which table
and archive did not agree, and examples of what is certain already."""

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

from stream_backup.archive.slices import SLICES
from stream_backup.distributed.records import JobEnd
from stream_backup.distributed.work_bucket import READERS, WorkBucket
from stream_backup.verify.compare import Suspect
from stream_backup.verify.findings import NAMED, Example, Findings, Found
from stream_backup.verify.rows import SuspectSpool, close

SUSPECTS = 10_000
"""Rows of an object at most: a few megabytes, of which some are in memory when they are read."""

VERDICTS = ("equal", "gone", *NAMED)
"""The counts of a job that are findings."""


def write_open(
    bucket: WorkBucket, job: str, suspects: Sequence[Suspect], examples: Iterable[Example]
) -> list[Mapping[str, Any]]:
    """Stores what a worker has left open, in order of name, and returns what its report keeps of
    it: nothing where nothing was left open."""
    told = [each._asdict() for each in examples]
    kept: list[Mapping[str, Any]] = []
    starts = range(0, len(suspects), SUSPECTS) or ([0] if told else [])
    for start in starts:
        part = suspects[start : start + SUSPECTS]
        path = bucket.path(job, f"open/{uuid4().hex}.json")
        # `since` is a time of the worker's clock, which nobody else knows.
        rows = [each._replace(since=0.0) for each in part]
        bucket.write(path, {"suspects": rows, "examples": told})
        kept.append({"path": path, "first": part[0].name if part else ""})
        told = []
    return kept


def read_open(bucket: WorkBucket, end: JobEnd) -> tuple[Findings, list[SuspectSpool]]:
    """Returns what the workers of a job have found for certain, and what they have left open, slice
    by slice in order of name; whoever reads it closes that. Rows that were left open count as
    unchanged from now on."""
    counts = {kind: end.counts[kind] for kind in VERDICTS if end.counts.get(kind)}
    findings, spools = Findings(), [SuspectSpool() for _ in SLICES]
    paths = [each["path"] for each in sorted(end.kept, key=lambda each: str(each["first"]))]
    try:
        with ThreadPoolExecutor(READERS) as threads:
            for start in range(0, len(paths), READERS):
                for found in threads.map(bucket.read, paths[start : start + READERS]):
                    examples = tuple(Example(**each) for each in found["examples"])
                    findings.add(Found({}, 0, examples))
                    for name, key, live, newest, _ in found["suspects"]:
                        suspect = Suspect(name, key, tuple(live), newest, time.monotonic())
                        spools[SLICES.index(name[0])].add(suspect)
    except BaseException:
        close(spools)
        raise
    findings.add(Found(counts, end.counts.get("versions", 0), ()))
    return findings, spools
