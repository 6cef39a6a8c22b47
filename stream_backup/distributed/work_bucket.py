"""The work bucket: the lists and results of distributed runs, which its lifecycle rule removes
after some days. Nothing in it is part of an archive.

jobs/NAME/job.json              what is to be done
jobs/NAME/stop                  the job was stopped: workers end soon
jobs/NAME/lists/ROUND.json      the slices of a round, which Step Functions reads
jobs/NAME/reports/ROUND/SLICE   what became of a slice, written by its worker at its end
jobs/NAME/failures/ROUND/SLICE  why a worker of a slice failed (the last one)
jobs/NAME/standings/ROUND.json  how the job stood after a round
jobs/NAME/end.json              how it ended
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from stream_backup.core.slice import Slice
from stream_backup.distributed.records import DistributedJob, JobEnd, JobFailure, Report, Standing

READERS = 32
"""Reports that are read at once."""

_MISSING = {"NoSuchKey", "404"}


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
        self._write(self.path(job.name, "job.json"), job.record())

    def job(self, name: str) -> DistributedJob:
        """Returns a job."""
        return DistributedJob.of(self._read(self.path(name, "job.json")))

    def jobs(self, start: str) -> int:
        """Returns how many jobs have a name that begins like this."""
        request = {"Bucket": self.bucket, "Prefix": f"jobs/{start}", "Delimiter": "/"}
        pages = self.client.get_paginator("list_objects_v2").paginate(**request)
        return sum(len(page.get("CommonPrefixes", [])) for page in pages)

    def write_list(self, job: str, number: int, slices: Sequence[Slice]) -> str:
        """Stores the slices of a round, and returns the name of the object. Each gets a number,
        which is its name in the round."""
        path = self.path(job, f"lists/{number}.json")
        self._write(
            path,
            [
                {"name": str(name), "of": len(slices)} | each.record()
                for name, each in enumerate(slices)
            ],
        )
        return path

    def list_of(self, job: str, number: int) -> list[dict[str, Any]]:
        """Returns the slices of a round by their JSON objects."""
        found: list[dict[str, Any]] = self._read(self.path(job, f"lists/{number}.json"))
        return found

    def has_list(self, job: str, number: int) -> bool:
        """Returns whether a job has a round of this number."""
        return self._find(self.path(job, f"lists/{number}.json")) is not None

    def write_report(self, job: str, number: int, name: str, report: Report) -> None:
        """Stores what became of a slice."""
        self._write(self.path(job, f"reports/{number}/{name}"), report.record())

    def report(self, job: str, number: int, name: str) -> Report | None:
        """Returns what became of a slice, None before its worker has ended."""
        found = self._find(self.path(job, f"reports/{number}/{name}"))
        return None if found is None else Report.of(found)

    def finished(self, job: str, number: int) -> set[str]:
        """Returns the names of the slices of a round whose workers have ended."""
        return self._names(self.path(job, f"reports/{number}/"))

    def reports(self, job: str, number: int) -> dict[str, Report]:
        """Returns every report of a round by the name of its slice."""
        names = sorted(self.finished(job, number))
        with ThreadPoolExecutor(READERS) as threads:
            found = threads.map(lambda name: self.report(job, number, name), names)
            return {name: each for name, each in zip(names, found, strict=True) if each}

    def write_failure(self, job: str, number: int, name: str, failure: JobFailure) -> None:
        """Stores why a worker of a slice failed."""
        self._write(self.path(job, f"failures/{number}/{name}"), failure.record())

    def failures(self, job: str, number: int, most: int) -> list[JobFailure]:
        """Returns why workers of a round failed: the first `most` failures by name."""
        start = self.path(job, f"failures/{number}/")
        names = sorted(self._names(start))[:most]
        return [JobFailure.of(self._read(start + name)) for name in names]

    def write_standing(self, job: str, number: int, standing: Standing) -> None:
        """Stores how a job stands after a round."""
        self._write(self.path(job, f"standings/{number}.json"), standing.record())

    def standing(self, job: str, number: int) -> Standing:
        """Returns how a job stood after a round."""
        return Standing.of(self._read(self.path(job, f"standings/{number}.json")))

    def write_end(self, job: str, end: JobEnd) -> None:
        """Stores how a job ended."""
        self._write(self.path(job, "end.json"), end.record())

    def end(self, job: str) -> JobEnd | None:
        """Returns how a job ended, None when it has not."""
        found = self._find(self.path(job, "end.json"))
        return None if found is None else JobEnd.of(found)

    def stop(self, job: str) -> None:
        """Makes the workers of a job end soon: Step Functions does not end a function that it has
        called."""
        self._write(self.path(job, "stop"), {})

    def is_stopped(self, job: str) -> bool:
        """Returns whether a job was stopped."""
        return self._find(self.path(job, "stop")) is not None

    def _names(self, start: str) -> set[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=start
        )
        return {each["Key"][len(start) :] for page in pages for each in page.get("Contents", [])}

    def _write(self, path: str, content: Any) -> None:
        body = json.dumps(content, ensure_ascii=False).encode()
        self.client.put_object(Bucket=self.bucket, Key=path, Body=body)

    def _read(self, path: str) -> Any:
        return json.loads(self.client.get_object(Bucket=self.bucket, Key=path)["Body"].read())

    def _find(self, path: str) -> Any:
        try:
            return self._read(path)
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                return None
            raise
