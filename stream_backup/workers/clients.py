"""The clients of one worker, opened in its own process from the settings and the credentials of its
parent."""

from dataclasses import dataclass, replace
from typing import Self

from stream_backup.archive.layout import Archive
from stream_backup.archive.store import once
from stream_backup.aws.connection import Connection
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.aws.patience import PatientAttempts
from stream_backup.core.key import KeySchema
from stream_backup.workers.credentials import borrowing
from stream_backup.workers.process import Parent


@dataclass(frozen=True, slots=True)
class WorkerClients:
    """The settings that a worker opens its clients with. It can be passed to another process,
    because it has no client yet."""

    connection: Connection
    table: str
    schema: KeySchema

    @classmethod
    def of(cls, connection: Connection, table: str, schema: KeySchema) -> Self:
        """Takes the settings of a connection, without its clients."""
        settings = replace(connection, archive_url=str(connection.location), attempts=once)
        return cls(settings, table, schema)

    def __call__(self, parent: Parent) -> tuple[DynamoDB, Archive]:
        """Opens the clients, which use the parent's credentials and have a patience of their
        own."""
        connection, patience = self.connection, PatientAttempts(parent.note)
        connection.attempts = patience
        connection.session = borrowing(connection.profile, connection.region, parent.ask, patience)
        return connection.dynamodb, connection.archive(self.table, self.schema)
