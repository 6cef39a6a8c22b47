"""The clients of a round, pointed at the null servers; and what a plain user of boto3 would make."""

from typing import Any

import boto3
from botocore.config import Config

from bench import rows
from stream_backup.archive import SHARDS, Archive
from stream_backup.dynamodb import DynamoDB
from stream_backup.s3 import S3Store, open_objects

KEYS = {"aws_access_key_id": "bench", "aws_secret_access_key": "bench"}
REGION = "us-east-1"
THREADS = 64
"""As many as our own code uses, on every side."""


class Endpoints:
    def __init__(self, s3: str, dynamodb: str) -> None:
        self.s3, self.dynamodb = s3, dynamodb


class Session:
    """What our code expects of boto3's session, with each service at its own endpoint."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._session = boto3.Session(region_name=REGION, **KEYS)
        self._endpoints = endpoints

    def client(self, service: str, **settings: Any) -> Any:
        url = self._endpoints.s3 if service == "s3" else self._endpoints.dynamodb
        return self._session.client(service, endpoint_url=url, **settings)


def plain(endpoints: Endpoints, service: str) -> Any:
    """A boto3 client as one makes it, with connections for all threads."""
    return Session(endpoints).client(service, config=Config(max_pool_connections=THREADS))


def objects(endpoints: Endpoints) -> Any:
    return open_objects(
        rows.BUCKET,
        endpoint=endpoints.s3,
        access_key_id="bench",
        secret_access_key="bench",
        region=REGION,
    )


def dynamodb(endpoints: Endpoints) -> DynamoDB:
    return DynamoDB(Session(endpoints))


def archive(endpoints: Endpoints, table: str) -> Archive:
    """As `Connection.archive` makes it."""
    s3 = Session(endpoints).client("s3", config=Config(max_pool_connections=2 * len(SHARDS)))
    store = S3Store(rows.BUCKET, objects(endpoints), s3)
    return Archive(store, "", table, rows.SCHEMA)
