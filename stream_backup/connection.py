"""The clients of one command, made once, from the AWS settings everybody knows and `--profile`, `--region`, `--archive`,
`--stack`."""

from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from obstore.auth.boto3 import Boto3CredentialProvider

from stream_backup.archive import SHARDS, Archive, Location
from stream_backup.dynamodb import DynamoDB
from stream_backup.errors import UsageError
from stream_backup.failures import FailedBatch, is_out_of_sight, places, waiting
from stream_backup.handler import ARCHIVE
from stream_backup.key import KeySchema
from stream_backup.mapping import iterator_age
from stream_backup.meta import Meta
from stream_backup.s3 import S3Store, open_objects
from stream_backup.stack import NAME, Stack, find_stack

_BRIEF = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2})
"""For what is nice to know, and may be out of reach."""

_CREDENTIALS = timedelta(minutes=10)
"""As long as those that boto3 hands out last at least: it renews them before, and obstore only asks."""


@dataclass(slots=False)
class Connection:
    profile: str | None
    region: str | None
    archive_url: str | None
    stack_name: str = NAME

    @cached_property
    def session(self) -> Any:
        return boto3.Session(profile_name=self.profile, region_name=self.region)

    @cached_property
    def dynamodb(self) -> DynamoDB:
        return DynamoDB(self.session)

    @cached_property
    def s3(self) -> Any:
        return self.session.client(
            "s3", config=Config(max_pool_connections=2 * len(SHARDS))
        )  # every shard is listed at once

    @cached_property
    def stack(self) -> Stack | None:
        """The deployed stack; None where there is none, or no CloudFormation (DynamoDB Local has none)."""
        try:
            return find_stack(self.session.client("cloudformation"), self.stack_name)
        except ResponseParserError:
            return None

    @cached_property
    def location(self) -> Location:
        """The archive that was named, else the stack's."""
        if self.archive_url:
            return Location.parse(self.archive_url)
        try:
            stack, why = self.stack, "there is none of this name"
        except ClientError as error:
            stack, why = None, f"it cannot be looked up ({error.response['Error']['Code']})"
        if stack is None:
            raise UsageError(
                f"No archive is named, and none is found by the stack {self.stack_name!r}: {why}.",
                f"Pass --archive s3://BUCKET[/PREFIX], or set {ARCHIVE} to it, or name the deployed stack: --stack NAME",
            )
        return Location.parse(stack.archive)

    @cached_property
    def store(self) -> S3Store:
        """Raises UsageError when there is no such bucket, or it keeps no versions."""
        bucket = self.location.bucket
        try:
            status = self.s3.get_bucket_versioning(Bucket=bucket).get("Status")
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchBucket", "404"):
                raise UsageError(f"There is no bucket {bucket!r}.", "Check --archive, --region and --profile.") from error
            raise
        if status != "Enabled":
            raise UsageError(
                f"Bucket {bucket!r} keeps no versions, so it cannot hold history.",
                f"aws s3api put-bucket-versioning --bucket {bucket} --versioning-configuration Status=Enabled",
            )
        endpoint = self.s3.meta.endpoint_url
        stand_in = None if "amazonaws.com" in endpoint else endpoint
        credentials = Boto3CredentialProvider(self.session, ttl=_CREDENTIALS)
        objects = open_objects(bucket, endpoint=stand_in, credential_provider=credentials, region=self._bucket_region())
        return S3Store(bucket, objects, self.s3)

    def _bucket_region(self) -> str:
        """Where the bucket is, which may be elsewhere than the tables: boto3 follows S3's redirect there, obstore does not."""
        try:
            answer = self.s3.head_bucket(Bucket=self.location.bucket)
        except ClientError as error:
            answer = error.response  # a refusal says it too
        return str(answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region") or self.s3.meta.region_name)

    def archive(self, table: str, schema: KeySchema | None = None) -> Archive:
        return Archive(self.store, self.location.prefix, table, schema)

    def tables(self) -> list[str]:
        """The tables this archive holds something of."""
        prefix = self.location.prefix
        client = self.session.client("s3")  # a new one, whose listings are boto3's own
        request = {"Bucket": self.store.bucket, "Prefix": prefix, "Delimiter": "/"}
        pages = client.get_paginator("list_object_versions").paginate(**request)  # delete markers hide no table
        return [found["Prefix"][len(prefix) : -1] for page in pages for found in page.get("CommonPrefixes", [])]

    def failed_batches(self, table: str) -> list[FailedBatch] | None:
        """The failed batches of this table that wait, where its archive says they would lie; None where that is out of
        sight: a restorer need not be allowed to see them."""
        where = places(table, Meta(self.archive(table)).mappings())
        try:
            return waiting(self.s3, where) if where else []
        except ClientError as error:
            if is_out_of_sight(error):
                return None
            raise

    def behind(self, table: str, now: int) -> int | None:
        """Seconds by which the function that reads this table's newest stream is behind; None where nobody says."""
        mappings = Meta(self.archive(table)).mappings()
        return (
            iterator_age(self.session.client("cloudwatch", config=_BRIEF), mappings[-1].function, now) if mappings else None
        )

    def clock(self) -> int:
        """AWS's clock, as S3's `Date` header tells it."""
        headers = self.s3.head_bucket(Bucket=self.location.bucket)["ResponseMetadata"]["HTTPHeaders"]
        return int(parsedate_to_datetime(headers["date"]).timestamp())
