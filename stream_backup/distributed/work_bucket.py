"""The work bucket: the lists and results of distributed runs, which its lifecycle rule removes
after some days. Nothing in it is part of an archive.

jobs/NAME/job.json              what is to be done
jobs/NAME/stop                  the job was stopped: workers end soon
jobs/NAME/lists/ROUND.json      the slices of a round, which Step Functions reads
jobs/NAME/reports/ROUND/SLICE   what became of a slice, written by its worker at its end
jobs/NAME/failures/ROUND/SLICE  why a worker of a slice failed (the last one)
jobs/NAME/closed/ROUND.json     the slices of a round whose reports count
jobs/NAME/standings/ROUND.json  how the job stood after a round
jobs/NAME/stages/STAGE.json     how a stage after the first one began
jobs/NAME/rows/…                rows that were scanned (row_objects.py)
jobs/NAME/open/….json           rows that a verification has left open (open_rows.py)
jobs/NAME/end.json              how it ended

A report, the end of a round (`closed`) and the beginning of a stage are written once: whoever comes
later finds what is there. Everything that is written at the end of a round follows from them, so
that a step that is repeated gives the same lists.
"""

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError

from stream_backup.core.slice import Slice
from stream_backup.distributed.records import (
    DistributedJob,
    JobEnd,
    JobFailure,
    Report,
    StageStart,
    Standing,
)

READERS = 32
"""Objects that are read at once."""

_MISSING = {"NoSuchKey", "404"}

_EXISTS = {"PreconditionFailed", "412"}


def open_work_bucket(session: Any, bucket: str) -> "WorkBucket":
    """Returns a work bucket. The connections of its client suffice for all readers."""
    return WorkBucket(session.client("s3", config=Config(max_pool_connections=READERS)), bucket)


@dataclass(frozen=True, slots=True)
class WorkBucket:
    """`client` is boto3's for S3. Methods raise ClientError."""

    client: Any
    bucket: str

    def path(self, job: str, rest: str) -> str:
        """Returns the name of an object of a job."""
        return f"jobs/{job}/{rest}"

    def write_job(self, job: DistributedJob) -> None:
        """Stores what is to be done."""
        self.write(self.path(job.name, "job.json"), job.record())

    def job(self, name: str) -> DistributedJob:
        """Returns a job."""
        return DistributedJob.of(self.read(self.path(name, "job.json")))

    def jobs(self, start: str) -> int:
        """Returns how many jobs have a name that begins like this."""
        request = {"Bucket": self.bucket, "Prefix": f"jobs/{start}", "Delimiter": "/"}
        pages = self.client.get_paginator("list_objects_v2").paginate(**request)
        return sum(len(page.get("CommonPrefixes", [])) for page in pages)

    def write_list(self, job: str, number: int, slices: Sequence[Slice]) -> str:
        """Stores the slices of a round, and returns the name of the object. Each gets a number,
        which is its name in the round."""
        path = self.path(job, f"lists/{number}.json")
        self.write(
            path,
            [
                {"name": str(name), "of": len(slices)} | each.record()
                for name, each in enumerate(slices)
            ],
        )
        return path

    def list_of(self, job: str, number: int) -> list[dict[str, Any]]:
        """Returns the slices of a round by their JSON objects."""
        found: list[dict[str, Any]] = self.read(self.path(job, f"lists/{number}.json"))
        return found

    def has_list(self, job: str, number: int) -> bool:
        """Returns whether a job has a round of this number."""
        return self._find(self.path(job, f"lists/{number}.json")) is not None

    def write_report(self, job: str, number: int, name: str, report: Report) -> Report:
        """Stores what became of a slice, and returns the report that counts: the first one."""
        return Report.of(self._write_once(self._report(job, number, name), report.record()))

    def report(self, job: str, number: int, name: str) -> Report | None:
        """Returns what became of a slice, None before its worker has ended."""
        found = self._find(self._report(job, number, name))
        return None if found is None else Report.of(found)

    def finished(self, job: str, number: int) -> set[str]:
        """Returns the names of the slices of a round whose workers have ended."""
        return self._names(self.path(job, f"reports/{number}/"))

    def close(self, job: str, number: int) -> set[str]:
        """Ends a round, and returns the names of the slices whose reports count. A worker that
        reports later has done nothing that counts."""
        found = sorted(self.finished(job, number))
        return {*self._write_once(self.path(job, f"closed/{number}.json"), found)}

    def is_closed(self, job: str, number: int) -> bool:
        """Returns whether a round has ended."""
        return self._find(self.path(job, f"closed/{number}.json")) is not None

    def reports(self, job: str, number: int, names: Iterable[str]) -> dict[str, Report]:
        """Returns reports of a round by the names of their slices."""
        names = sorted(names)
        with ThreadPoolExecutor(READERS) as threads:
            found = threads.map(lambda name: self.report(job, number, name), names)
            return {name: each for name, each in zip(names, found, strict=True) if each}

    def write_failure(self, job: str, number: int, name: str, failure: JobFailure) -> None:
        """Stores why a worker of a slice failed."""
        self.write(self.path(job, f"failures/{number}/{name}"), failure.record())

    def failures(self, job: str, number: int, most: int) -> list[JobFailure]:
        """Returns why workers of a round failed: the first `most` failures by name."""
        start = self.path(job, f"failures/{number}/")
        names = sorted(self._names(start))[:most]
        return [JobFailure.of(self.read(start + name)) for name in names]

    def write_standing(self, job: str, number: int, standing: Standing) -> None:
        """Stores how a job stands after a round."""
        self.write(self.path(job, f"standings/{number}.json"), standing.record())

    def standing(self, job: str, number: int) -> Standing:
        """Returns how a job stood after a round."""
        return Standing.of(self.read(self.path(job, f"standings/{number}.json")))

    def begin(self, job: str, stage: int, start: StageStart) -> StageStart:
        """Stores how a stage begins, and returns what counts: the first that was stored."""
        path = self.path(job, f"stages/{stage}.json")
        return StageStart.of(self._write_once(path, start.record()))

    def stage(self, job: str, stage: int) -> StageStart | None:
        """Returns how a stage after the first one began, None when it has not."""
        found = self._find(self.path(job, f"stages/{stage}.json"))
        return None if found is None else StageStart.of(found)

    def write_end(self, job: str, end: JobEnd) -> None:
        """Stores how a job ended."""
        self.write(self.path(job, "end.json"), end.record())

    def end(self, job: str) -> JobEnd | None:
        """Returns how a job ended, None when it has not."""
        found = self._find(self.path(job, "end.json"))
        return None if found is None else JobEnd.of(found)

    def stop(self, job: str) -> None:
        """Makes the workers of a job end soon: Step Functions does not end a function that it has
        called."""
        self.write(self.path(job, "stop"), {})

    def is_stopped(self, job: str) -> bool:
        """Returns whether a job was stopped."""
        return self._find(self.path(job, "stop")) is not None

    def _names(self, start: str) -> set[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=start
        )
        return {each["Key"][len(start) :] for page in pages for each in page.get("Contents", [])}

    def _report(self, job: str, number: int, name: str) -> str:
        return self.path(job, f"reports/{number}/{name}")

    def _write_once(self, path: str, content: Any) -> Any:
        """Stores an object unless there is one, and returns what is stored."""
        body = json.dumps(content, ensure_ascii=False).encode()
        try:
            self.client.put_object(Bucket=self.bucket, Key=path, Body=body, IfNoneMatch="*")
        except ClientError as error:
            if error.response["Error"]["Code"] not in _EXISTS:
                raise
            return self.read(path)
        return json.loads(body)

    def put(self, path: str, body: bytes) -> None:
        """Stores an object."""
        self.client.put_object(Bucket=self.bucket, Key=path, Body=body)

    def get(self, path: str, first: int, end: int) -> bytes:
        """Returns the bytes of an object from `first` to before `end`."""
        found = self.client.get_object(
            Bucket=self.bucket, Key=path, Range=f"bytes={first}-{end - 1}"
        )
        body: bytes = found["Body"].read()
        return body

    def write(self, path: str, content: Any) -> None:
        """Stores a JSON value."""
        self.put(path, json.dumps(content, ensure_ascii=False).encode())

    def read(self, path: str) -> Any:
        """Returns a JSON value."""
        return json.loads(self.client.get_object(Bucket=self.bucket, Key=path)["Body"].read())

    def _find(self, path: str) -> Any:
        try:
            return self.read(path)
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                return None
            raise
