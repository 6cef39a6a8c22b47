"""`stream-backup status`"""

from itertools import zip_longest
from typing import Any

import click
from botocore.exceptions import ClientError

from stream_backup.connection import Connection
from stream_backup.errors import UsageError
from stream_backup.failures import FailedBatch
from stream_backup.mapping import State, look
from stream_backup.meta import Meta
from stream_backup.moment import iso
from stream_backup.options import as_json, connected
from stream_backup.survey import Survey, survey
from stream_backup.table import look_up
from stream_backup.talk import data, say


@click.command()
@click.argument("table", required=False)
@as_json
@connected
def status(connection: Connection, table: str | None, *, as_json: bool) -> None:
    """Says which moments of a table can be restored exactly, how far behind the archive is, and what is missing.

    \b
      stream-backup status
      stream-backup status orders --json
    """
    names = [table] if table else connection.tables()
    reports = [_report(connection, name) for name in names]
    if table and not reports[0]["streams"]:
        raise UsageError(f"The archive holds nothing of table {table!r}.", f"Run: stream-backup enable {table}")
    if as_json:
        data(reports[0] if table else reports)
        return
    for report in reports:
        _print(report)
    if not reports:
        say(f"There is no table in {connection.location} yet.")


def _report(connection: Connection, table: str) -> dict[str, Any]:
    try:
        live, now = look_up(connection.dynamodb, table)
        state = "no table" if live is None else "stream off" if live.label is None else "stream on"
    except ClientError as error:
        if "AccessDenied" not in error.response["Error"]["Code"]:
            raise
        live, now, state = None, connection.clock(), "not permitted to look"
    mappings = _mappings(connection, table)
    failed = connection.failed_batches(table)
    behind = connection.behind(table, now) if mappings else None
    found = survey(connection.archive(table), now, live, [batch.hole for batch in failed or ()], behind)
    bounds = found.coverage.bounds
    last = next((run for run in reversed(found.runs) if run.complete), None)
    return {
        "table": table,
        "state": state,
        "earliest": iso(bounds[0]) if bounds else None,
        "latest": iso(bounds[1]) if bounds else None,
        "lag": found.lag,
        "following": found.following,
        "mappings": mappings,
        "failed_batches": None if failed is None else [_told(batch) for batch in failed],
        "epochs": [
            {
                "stream": epoch.stream,
                "floor": iso(epoch.floor),
                "start": iso(epoch.start),
                "end": epoch.end and iso(epoch.end),
            }
            for epoch in found.coverage.epochs
        ],
        "gaps": _gaps(found),
        "last_backfill": last.record() if last else None,
        "unfinished_backfills": [run.name for run in found.runs if not run.complete],
        "streams": [stream.record() for stream in found.streams],
    }


def _mappings(connection: Connection, table: str) -> list[dict[str, Any]]:
    """The event source mappings that read this table's streams, those that are gone left out."""
    found = []
    recorded = Meta(connection.archive(table)).mappings()
    client = connection.session.client("lambda") if recorded else None
    for mapping in recorded:
        try:
            state = look(client, mapping.uuid)
        except ClientError as error:
            if "AccessDenied" not in error.response["Error"]["Code"]:
                raise
            state = State("not permitted to look", "")
        if state:
            found.append(mapping.record() | {"state": state.state, "last_result": state.last_result})
    return found


def _told(batch: FailedBatch) -> dict[str, Any]:
    return batch._asdict() | {"since": iso(batch.since), "until": iso(batch.until)}


def _gaps(found: Survey) -> list[dict[str, Any]]:
    """Between two epochs, and what follows an epoch that ended; each with its reason where one is on record."""
    gaps = []
    spans = found.coverage.epochs
    for epoch, following in zip_longest(spans, spans[1:]):
        if epoch.end is None:
            continue
        reason = next((outage.reason for outage in found.outages if outage.since == epoch.end), "the stream ended")
        gaps.append({"after": iso(epoch.end), "until": iso(following.start) if following else None, "reason": reason})
    return gaps


def _print(report: dict[str, Any]) -> None:
    click.echo(f"{report['table']} ({report['state']})")
    if report["earliest"] and report["latest"] < report["earliest"]:
        click.echo(f"  exact from      {report['earliest']}, once the stream has been read that far")
    elif report["earliest"]:
        click.echo(f"  exact from      {report['earliest']} to {report['latest']}")
    else:
        click.echo("  exact           at no moment yet: no complete backfill while its stream was on")
    lag = "not known here" if report["lag"] is None else f"{report['lag']} s"
    click.echo(f"  behind          {lag}{', being followed' if report['following'] else ''}")
    for mapping in report["mappings"]:
        result = f", last result: {mapping['last_result']}" if mapping["last_result"] else ""
        click.echo(f"  mapping         {mapping['uuid']} of {mapping['function']}: {mapping['state']}{result}")
    if failed := report["failed_batches"]:
        since = min(batch["since"] for batch in failed)
        click.echo(
            f"  failed batches  {len(failed):,} wait, with changes from {since} on: stream-backup redrive {report['table']}"
        )
    elif failed is None:
        click.echo("  failed batches  not known: the failures bucket is out of sight")
    if last := report["last_backfill"]:
        counts = last["counts"]
        click.echo(f"  last backfill   {last['answered']}, {counts['read']:,} read, {counts['written']:,} written")
    for gap in report["gaps"]:
        click.echo(f"  gap             after {gap['after']} until {gap['until'] or 'now'}: {gap['reason']}")
    if report["unfinished_backfills"]:
        click.echo(f"  unfinished      {len(report['unfinished_backfills'])} backfill(s); run it again to go on")
