"""`stream-backup status`"""

from itertools import zip_longest
from typing import Any

import click
from botocore.exceptions import ClientError

from stream_backup.connection import Connection
from stream_backup.errors import UsageError
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
    names = [table] if table else _tables(connection)
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


def _tables(connection: Connection) -> list[str]:
    prefix = connection.location.prefix
    client = connection.session.client("s3")  # a new one, whose listings are boto3's own
    request = {"Bucket": connection.store.bucket, "Prefix": prefix, "Delimiter": "/"}
    pages = client.get_paginator("list_object_versions").paginate(**request)  # delete markers hide no table
    return [found["Prefix"][len(prefix) : -1] for page in pages for found in page.get("CommonPrefixes", [])]


def _report(connection: Connection, table: str) -> dict[str, Any]:
    try:
        live, now = look_up(connection.dynamodb, table)
        state = "no table" if live is None else "stream off" if live.label is None else "stream on"
    except ClientError as error:
        if "AccessDenied" not in error.response["Error"]["Code"]:
            raise
        live, now, state = None, connection.clock(), "not permitted to look"
    found = survey(connection.archive(table), now, live)
    bounds = found.coverage.bounds
    last = next((run for run in reversed(found.runs) if run.complete), None)
    return {
        "table": table,
        "state": state,
        "earliest": iso(bounds[0]) if bounds else None,
        "latest": iso(bounds[1]) if bounds else None,
        "lag": found.lag,
        "following": found.following,
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
    if last := report["last_backfill"]:
        counts = last["counts"]
        click.echo(f"  last backfill   {last['answered']}, {counts['read']:,} read, {counts['written']:,} written")
    for gap in report["gaps"]:
        click.echo(f"  gap             after {gap['after']} until {gap['until'] or 'now'}: {gap['reason']}")
    if report["unfinished_backfills"]:
        click.echo(f"  unfinished      {len(report['unfinished_backfills'])} backfill(s); run it again to go on")
