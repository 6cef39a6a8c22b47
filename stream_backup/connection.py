"""The clients of one command, made once, from the AWS settings everybody knows and `--profile`, `--region`, `--archive`."""

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

import boto3
from botocore.exceptions import ClientError
from obstore.auth.boto3 import Boto3CredentialProvider

from stream_backup.archive import Archive, Location
from stream_backup.dynamodb import DynamoDB
from stream_backup.errors import UsageError
from stream_backup.handler import ARCHIVE
from stream_backup.key import KeySchema
from stream_backup.s3 import S3Store, open_objects


@dataclass(slots=False)
class Connection:
    profile: str | None
    region: str | None
    archive_url: str | None

    @cached_property
    def session(self) -> Any:
        return boto3.Session(profile_name=self.profile, region_name=self.region)

    @cached_property
    def dynamodb(self) -> DynamoDB:
        return DynamoDB(self.session)

    @cached_property
    def s3(self) -> Any:
        return self.session.client("s3")

    @cached_property
    def location(self) -> Location:
        if not self.archive_url:
            raise UsageError(
                "No archive is named.", f"Pass --archive s3://BUCKET[/PREFIX], or set {ARCHIVE} to it once and for all."
            )
        return Location.parse(self.archive_url)

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
        credentials = Boto3CredentialProvider(self.session)
        objects = open_objects(bucket, endpoint=stand_in, credential_provider=credentials, region=self.s3.meta.region_name)
        return S3Store(bucket, objects, self.s3)

    def archive(self, table: str, schema: KeySchema | None = None) -> Archive:
        return Archive(self.store, self.location.prefix, table, schema)

    def clock(self) -> int:
        """AWS's clock, as S3's `Date` header tells it."""
        headers = self.s3.head_bucket(Bucket=self.location.bucket)["ResponseMetadata"]["HTTPHeaders"]
        return int(parsedate_to_datetime(headers["date"]).timestamp())
