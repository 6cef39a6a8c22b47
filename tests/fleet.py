"""The distributed part of a stack on ministack: a worker function with the code that is packaged
for it, the template's own state machine, and a work bucket.

ministack executes Distributed Map with a map run. It ignores MaxConcurrencyPath (all slices run at
once, unless the definition has a number instead), goes on with the slices of a map whose execution
was stopped, does not check how much a state returns, and validates no definition. Those rules are
tested in test_rounds.py, test_worker.py, and test_template.py.
"""

import io
import json
import zipfile
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import uuid4

from function.copy_modules import closure
from tests import sam
from tests.policies import ACCOUNT, PLACE, Rendered
from tests.servers import REGION, Aws, environment
from tests.stack import Deployed

OURS = "000000000000"


@cache
def package(more: str = "") -> bytes:
    """Returns a package with the modules that `sam build` copies, and a module `unlucky` with the
    source `more`. Its dependencies are installed in the emulator's interpreter."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(closure("stream_backup.worker")):
            archive.write(sam.ROOT / path, path)
        archive.writestr("unlucky.py", more)
    return packed.getvalue()


def definition(name: str, task: str, bucket: str, at_once: int | None = None) -> str:
    """Returns the template's state machine of a task, for a stack of this name on ministack. With
    `at_once`, that is how many slices it does at once, as a number, which ministack obeys."""
    rendered = Rendered(StackName=name, DistributedWorkers="100")
    worker, machine = f"{task.title()}Worker", f"{task.title()}Machine"
    rendered.values |= {"WorkBucket": bucket, worker: f"{name}-{task}"}
    found = rendered.resolve(rendered.resources[machine]["Properties"]["Definition"])
    if at_once:
        del found["States"]["Round"]["MaxConcurrencyPath"]
        found["States"]["Round"]["MaxConcurrency"] = at_once
    return json.dumps(found).replace(f"{PLACE}:{ACCOUNT}", f"{REGION}:{OURS}")


@dataclass(frozen=True)
class Fleet:
    """A stack with workers for these tasks."""

    deployed: Deployed
    work: str
    machines: dict[str, str]

    @classmethod
    def make(
        cls,
        aws: Aws,
        *tasks: str,
        workers: int = 4,
        at_once: int | None = None,
        unlucky: str = "",
    ) -> "Fleet":
        """Deploys workers for these tasks, of which ministack runs `at_once` at once, or all. With
        `unlucky`, the source of a module, its `handler` is called instead of that of the worker."""
        name, work = f"fleet-{uuid4().hex[:6]}", aws.bucket()
        machines = {
            task: f"arn:aws:states:{REGION}:{OURS}:stateMachine:{name}-{task}" for task in tasks
        }
        outputs: dict[str, Any] = {
            f"{task.title()}MachineArn": arn for task, arn in machines.items()
        }
        deployed = Deployed.make(aws, DistributedWorkers=str(workers), WorkBucket=work, **outputs)
        variables = {
            "STREAM_BACKUP_ARCHIVE": f"s3://{deployed.archive_bucket}/production",
            "STREAM_BACKUP_WORK_BUCKET": work,
            **environment(aws.url),
        }
        for task in tasks:
            aws.client("lambda").create_function(
                FunctionName=f"{name}-{task}",
                Runtime="python3.13",
                Role=f"arn:aws:iam::{OURS}:role/worker",
                Handler="unlucky.handler" if unlucky else "stream_backup.worker.handler",
                Code={"ZipFile": package(unlucky)},
                Timeout=300,
                Environment={"Variables": variables},
            )
            aws.client("stepfunctions").create_state_machine(
                name=f"{name}-{task}",
                definition=definition(name, task, work, at_once),
                roleArn=f"arn:aws:iam::{OURS}:role/machine",
            )
        return cls(deployed, work, machines)

    def reports(self) -> list[dict[str, Any]]:
        """Returns the reports of all workers of all jobs."""
        client = self.deployed.aws.client("s3")
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.work, Prefix="jobs/")
        paths = [each["Key"] for page in pages for each in page.get("Contents", [])]
        return [
            json.loads(client.get_object(Bucket=self.work, Key=path)["Body"].read())
            for path in paths
            if "/reports/" in path
        ]
