"""The options of `restore` that choose a destination, and the question before a rewind."""

from dataclasses import dataclass
from pathlib import Path

from restore.destination import Destination
from restore.file import File
from restore.live_table import LiveTable
from restore.new_table import NewTable, identity_of
from restore.receipt import Receipt, ReceiptHeader
from stream_backup.archive.catalog import Catalog
from stream_backup.archive.selection import Selection
from stream_backup.aws.connection import Connection
from stream_backup.aws.table import describe, require
from stream_backup.capture.point import RestorePoint, rows_of
from stream_backup.cli.console import say
from stream_backup.cli.options import require_table_name
from stream_backup.cli.questions import confirm
from stream_backup.cli.workers import workers_of
from stream_backup.core.key import KeySchema
from stream_backup.core.moment import iso
from stream_backup.core.records import TableDescription
from stream_backup.errors import UsageError
from stream_backup.workers.crew import Workers, default_workers

TABLE = "{table}"
"""In the value of --into: the name of the table that is restored."""


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """Where to restore to, as it was typed."""

    into: str | None
    in_place: bool
    to: str | None
    like: str | None
    rate: float | None
    warm_throughput: int | None
    overwrite: bool
    incomplete_ok: bool
    with_stream: bool
    workers: int | None = None

    def check(self) -> None:
        """Raises UsageError for options that contradict each other."""
        if sum(map(bool, (self.into, self.in_place, self.to))) > 1:
            raise UsageError("--into, --in-place and --to exclude each other.", "Choose one.")
        ignored = {
            "--overwrite": self.overwrite,
            "--like": self.like,
            "--with-stream": self.with_stream,
            "--warm-throughput": self.warm_throughput,
        }
        given = [option for option, value in ignored.items() if value]
        if self.in_place and given:
            raise UsageError(f"{given[0]} has no meaning with --in-place.", "Leave it out.")
        if self.to and self.warm_throughput:
            raise UsageError(
                "--warm-throughput is a setting of a new table, and --to writes to a file.",
                "Leave it out.",
            )
        if self.workers and (self.in_place or self.to):
            option, made = ("--in-place", "rewind") if self.in_place else ("--to", "file")
            raise UsageError(
                f"--workers has no meaning with {option}: a {made} is written by one process.",
                "Leave it out.",
            )
        if self.to and self.to.startswith("s3://"):
            raise UsageError(
                "--to writes to a file on this machine, not to S3.",
                f"--to - | aws s3 cp - {self.to}",
            )
        if "" in (self.into, self.to):
            raise UsageError(
                "--into and --to need a name.",
                "The name is empty. If it comes from a variable, check that the variable is set.",
            )

    def check_together(self) -> None:
        """Raises UsageError for options that name something of one table, where there are
        several."""
        ones = {"--to": self.to, "--like": self.like}
        for option, value in ones.items():
            if value:
                raise UsageError(
                    f"{option} is about one table, and there are several.", "Name one table."
                )
        if self.into and TABLE not in self.into:
            raise UsageError(
                f"--into {self.into} is one name, and there are several tables.",
                f"Write {TABLE} where the name of each table belongs, in quotes: --into"
                f" '{TABLE}-restored'.",
            )

    def into_name(self, point: RestorePoint) -> str:
        """Returns the name of the new table. Raises UsageError when it is not the name of one."""
        moment = iso(point.moment).replace(":", "").replace("-", "")
        name = (self.into or f"{TABLE}-restored-{moment}").replace(TABLE, point.table)
        require_table_name(name)
        return name

    def destination(
        self,
        connection: Connection,
        point: RestorePoint,
        chosen: Selection,
        description: TableDescription,
        *,
        ask: bool,
    ) -> Destination:
        """Returns the destination that these options choose."""
        if self.in_place:
            question = _Question(point) if ask else None
            return LiveTable(question, lambda: _receipt(connection, point), self.rate)
        if self.to:
            return File(self.to, self.overwrite)
        archive = str(connection.location)
        return NewTable(
            name=self.into_name(point),
            description=description,
            identity=identity_of(archive, chosen, point, incomplete_ok=self.incomplete_ok),
            rate=self.rate,
            warm_throughput=self.warm_throughput,
            overwrite=self.overwrite,
            stream=self.with_stream,
            workers=self._workers(connection, point, chosen, description),
        )

    def _workers(
        self,
        connection: Connection,
        point: RestorePoint,
        chosen: Selection,
        description: TableDescription,
    ) -> Workers | None:
        """Returns the processes that load the table; by default one for some items."""
        schema = KeySchema.of(description.table)
        number = self.workers or (1 if chosen.keys else default_workers(rows_of(point)))
        return workers_of(number, connection, point.table, schema)


def description_of(
    connection: Connection, point: RestorePoint, like: str | None = None
) -> TableDescription:
    """Returns the description that a new table is created from, and that has the key of the items:
    that of the moment, or of the table `like`. Raises UsageError when there is none."""
    if like:
        live, _ = require(connection.dynamodb, like)
        return describe(connection.dynamodb, live.description)
    catalog = Catalog(connection.archive(point.table))
    found = catalog.description(point.label) or catalog.description()
    if found is None:
        raise UsageError(
            f"The archive contains no description of table {point.table}.",
            "Name a table with the same settings: --like TABLE",
        )
    return found


def _receipt(connection: Connection, point: RestorePoint) -> Receipt:
    """Creates the receipt of a rewind in the current folder."""
    header = ReceiptHeader(
        "rewind",
        point.table,
        *point.state.identity,
        int(connection.now()),
        iso(point.moment),
        options={"incomplete_ok": not point.trusting},
    )
    return Receipt(Path(), header, connection.now)


@dataclass(frozen=True, slots=True)
class _Question:
    """Asks whether the live table is to be rewound."""

    point: RestorePoint

    def __call__(self, puts: int, deletes: int) -> bool:
        table, moment = self.point.table, iso(self.point.moment)
        say(f"{table} as it was at {moment}: {puts:,} to put, {deletes:,} to delete.")
        return confirm(f"Rewind the live table {table}?")
