"""The clients of a round, for the null servers."""

from typing import Any

import boto3
from botocore.config import Config

from bench import rows
from stream_backup.archive.layout import Archive
from stream_backup.archive.s3 import S3Store, open_objects
from stream_backup.archive.slices import SLICES
from stream_backup.aws.dynamodb import DynamoDB

KEYS = {"aws_access_key_id": "bench", "aws_secret_access_key": "bench"}
REGION = "us-east-1"
THREADS = 64
"""The number that our code uses, for every side."""


class Endpoints:
    """The URLs of the null S3 and of the null DynamoDB."""

    def __init__(self, s3: str, dynamodb: str) -> None:
        self.s3, self.dynamodb = s3, dynamodb


class Session:
    """Replaces a boto3 session; each service has its own endpoint."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._session = boto3.Session(region_name=REGION, **KEYS)
        self._endpoints = endpoints

    def client(self, service: str, **settings: Any) -> Any:
        """Returns a boto3 client."""
        url = self._endpoints.s3 if service == "s3" else self._endpoints.dynamodb
        return self._session.client(service, endpoint_url=url, **settings)


def plain(endpoints: Endpoints, service: str) -> Any:
    """Returns a boto3 client with connections for all threads."""
    return Session(endpoints).client(service, config=Config(max_pool_connections=THREADS))


def objects(endpoints: Endpoints) -> Any:
    """Returns the obstore client of our code."""
    return open_objects(
        rows.BUCKET,
        endpoint=endpoints.s3,
        access_key_id="bench",
        secret_access_key="bench",
        region=REGION,
    )


def dynamodb(endpoints: Endpoints) -> DynamoDB:
    """Returns the DynamoDB client of our code."""
    return DynamoDB(Session(endpoints))


def archive(endpoints: Endpoints, table: str) -> Archive:
    """Returns the archive of a table, as `Connection.archive` does."""
    s3 = Session(endpoints).client("s3", config=Config(max_pool_connections=2 * len(SLICES)))
    store = S3Store(rows.BUCKET, objects(endpoints), s3)
    return Archive(store, "", table, rows.SCHEMA)
