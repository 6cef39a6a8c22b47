"""The AWS clients of one command. They use the standard AWS settings and the options `--profile`,
`--region`, `--archive` and `--stack`."""

from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from obstore.auth.boto3 import Boto3CredentialProvider

from stream_backup.archive.layout import Archive
from stream_backup.archive.location import Location
from stream_backup.archive.s3 import FEW_RETRIES, S3Store, open_objects
from stream_backup.archive.store import Attempts, once
from stream_backup.aws.clock import AwsClock
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.aws.endpoint import endpoint_of, root_certificate
from stream_backup.aws.session import open_session
from stream_backup.aws.stack import NAME, Stack, find_stack
from stream_backup.core.in_flight import MOST
from stream_backup.core.key import KeySchema
from stream_backup.errors import UsageError
from stream_backup.settings import ARCHIVE

SHORT_TIMEOUTS = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2})
"""For optional calls: a command does not wait long for what it can do without."""

_CREDENTIALS = timedelta(minutes=10)
"""How long obstore uses credentials before it asks boto3 for them again. boto3 renews credentials
early enough that those it returns are valid for at least this long."""


@dataclass(slots=False)
class Connection:
    """The clients for one profile, Region, archive and stack. Each client is created when it is
    first used, and makes its requests as often as `attempts` says."""

    profile: str | None
    region: str | None
    archive_url: str | None
    stack_name: str = NAME
    attempts: Attempts = once

    @cached_property
    def session(self) -> Any:
        """The boto3 session."""
        return open_session(self.profile, self.region, self.attempts)

    @cached_property
    def dynamodb(self) -> DynamoDB:
        """The client for DynamoDB and DynamoDB Streams."""
        return DynamoDB(self.session)

    @cached_property
    def s3(self) -> Any:
        """The boto3 client for S3. Its connections suffice for every request in flight."""
        return self.session.client("s3", config=Config(max_pool_connections=MOST))

    @cached_property
    def cloudwatch(self) -> Any:
        """The boto3 client for CloudWatch, with short timeouts."""
        return self.session.client("cloudwatch", config=SHORT_TIMEOUTS)

    @cached_property
    def stack(self) -> Stack | None:
        """The deployed stack, None when there is none or when the endpoint has no CloudFormation,
        like DynamoDB Local. Raises ClientError and UsageError like `find_stack`."""
        try:
            return find_stack(self.session.client("cloudformation"), self.stack_name)
        except ResponseParserError:
            return None

    @cached_property
    def location(self) -> Location:
        """The location of the archive: that of `archive_url`, otherwise that of the stack. Raises
        UsageError when there is neither."""
        if self.archive_url:
            return Location.parse(self.archive_url)
        try:
            stack, why = self.stack, "there is no stack with this name"
        except ClientError as error:
            stack, why = None, f"it cannot be described ({error.response['Error']['Code']})"
        if stack is None:
            raise UsageError(
                f"No archive was specified, and stack {self.stack_name!r} does not provide one:"
                f" {why}.",
                f"Pass --archive s3://BUCKET[/PREFIX], set {ARCHIVE} to this URL, or pass the name"
                " of the deployed stack: --stack NAME",
            )
        return Location.parse(stack.archive)

    @cached_property
    def store(self) -> S3Store:
        """The bucket of the archive. Raises UsageError when the bucket does not exist or its
        versioning is not enabled."""
        bucket = self.location.bucket
        try:
            status = self.s3.get_bucket_versioning(Bucket=bucket).get("Status")
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchBucket", "404"):
                raise UsageError(
                    f"There is no bucket {bucket!r}.", "Check --archive, --region and --profile."
                ) from error
            raise
        if status != "Enabled":
            raise UsageError(
                f"Bucket {bucket!r} does not keep object versions, so it cannot store history.",
                f"Enable versioning: aws s3api put-bucket-versioning --bucket {bucket}"
                " --versioning-configuration Status=Enabled",
            )
        region = self._bucket_region()
        settings: dict[str, Any] = {
            "credential_provider": Boto3CredentialProvider(self.session, ttl=_CREDENTIALS),
            "client_options": root_certificate(self.session),
            "region": region,
        }
        if self.attempts is not once:
            settings["retry_config"] = FEW_RETRIES
        found = endpoint_of(self.session.client("s3", region_name=region), bucket)
        objects = open_objects(bucket, **settings, **found)
        return S3Store(bucket, objects, self.s3, self.attempts)

    def _bucket_region(self) -> str:
        """Returns the Region of the bucket, which may differ from that of the tables: boto3 follows
        S3's redirect to it, obstore does not."""
        headers = self._head_bucket()["ResponseMetadata"]["HTTPHeaders"]
        return str(headers.get("x-amz-bucket-region") or self.s3.meta.region_name)

    def _head_bucket(self) -> Any:
        try:
            return self.s3.head_bucket(Bucket=self.location.bucket)
        except ClientError as error:
            return error.response  # A response with an error contains the headers as well.

    def archive(self, table: str, schema: KeySchema | None = None) -> Archive:
        """Returns the archive of a table. Raises UsageError like `store`."""
        prefix, attempts = self.location.prefix, self.attempts
        return Archive(self.store, prefix, table, schema, self.now, attempts)

    def tables(self) -> list[str]:
        """Returns the names of the tables that have objects in this archive."""
        prefix = self.location.prefix
        client = self.session.client("s3")  # A new client, whose listings boto3 parses.
        request = {"Bucket": self.store.bucket, "Prefix": prefix, "Delimiter": "/"}
        # Versions are listed, so that delete markers do not hide a table.
        pages = client.get_paginator("list_object_versions").paginate(**request)
        return [
            found["Prefix"][len(prefix) : -1]
            for page in pages
            for found in page.get("CommonPrefixes", [])
        ]

    @cached_property
    def now(self) -> AwsClock:
        """AWS's clock as it goes on, for what is written."""
        return AwsClock(self.clock)

    def clock(self) -> int:
        """Returns the time of AWS's clock in epoch seconds, from the `Date` header of S3."""
        headers = self._head_bucket()["ResponseMetadata"]["HTTPHeaders"]
        return int(parsedate_to_datetime(headers["date"]).timestamp())
