"""`stream-backup drill`."""

import os
from pathlib import Path
from threading import Event

import click

from stream_backup.archive.catalog import Catalog
from stream_backup.aws.connection import Connection
from stream_backup.aws.matching import archived_tables
from stream_backup.aws.several import Deliver
from stream_backup.capture.known import unknown
from stream_backup.cli.console import Terminal, data, json_text, keep, say, show
from stream_backup.cli.distributed_drill import distribute, follow_last
from stream_backup.cli.distribution import distribution
from stream_backup.cli.drill_evidence import markdown
from stream_backup.cli.drill_report import complain, report
from stream_backup.cli.input import parse_share, parse_when
from stream_backup.cli.options import Chosen, as_json, connected, table_or_match
from stream_backup.cli.several import run_archived
from stream_backup.core.drill import DrillRecord
from stream_backup.drill.evidence import evidence
from stream_backup.drill.run import DrillRequest
from stream_backup.drill.run import drill as run_drill
from stream_backup.errors import UsageError

INTERRUPTED = (
    "Only a scratch table was written. If it still exists, the next drill of this table removes it."
)


@click.command()
@table_or_match("Drill", required=False)
@click.option(
    "--rows", type=click.IntRange(1), metavar="N", help="Restore at most N items, chosen at random."
)
@click.option("--sample", metavar="P", help="Restore this share of the items, such as 5% or 0.05.")
@click.option(
    "--at",
    "when",
    metavar="WHEN",
    help="The moment to restore; `now` for the latest exact one, which is also compared with the"
    " live table.  [default: a random exact moment]",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    metavar="N",
    help="Make the random choices from this number, which is in the record of each drill.",
)
@click.option("--report", "as_report", is_flag=True, help="Report past drills, and make none.")
@click.option("--since", "since_text", metavar="WHEN", help="Report drills from this moment on.")
@click.option("--until", "until_text", metavar="WHEN", help="Report drills up to this moment.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the report to this file, not to stdout.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="With --distributed: functions of the stack that work at once.  [default: all of them]",
)
@distribution
@as_json
@connected
def drill(
    connection: Connection,
    chosen: Chosen,
    rows: int | None,
    sample: str | None,
    when: str | None,
    seed: int | None,
    since_text: str | None,
    until_text: str | None,
    output: Path | None,
    workers: int | None,
    *,
    as_report: bool,
    distributed: bool,
    detach: bool,
    attach: bool,
    as_json: bool,
) -> None:
    """Tests that a table can be restored: restores it to a scratch table, and compares.

    A random exact moment is restored to a new table whose name begins with stream-backup-drill-.
    Every row of it is compared with an independent reading of the archive, which reads every
    version of each item. Then the copy is rewound to another moment and compared again. The scratch
    table is removed whatever happens, and no other table is written. A record of the drill is kept
    next to the archive.

    A drill costs what a restore costs, twice a GET for each version, and a scratch table for as
    long as it runs. --rows and --sample restore a part. The exit code is 5 when something differs.

    With --match, the tables are those in the archive, even those that were deleted. They are
    drilled one after another, and the options hold for each of them.

    --distributed makes the drill on Lambda workers of the stack, of all items or of a --sample.
    Ctrl-C asks whether to stop it, which removes the scratch table. --attach returns to it, and
    reports it once it has ended.

    --report prints what past drills show, as Markdown or, with --json, as JSON; without TABLE of
    every table in the archive, or of those that match.

    \b
      stream-backup drill orders
      stream-backup drill orders --sample 5%
      stream-backup drill orders --at now --rows 1000
      stream-backup drill --match 'prod-*' --rows 1000
      stream-backup drill orders --distributed --sample 5%
      stream-backup drill --report --since 2026-01-01 --output drills.md
    """
    making: dict[str, object] = {
        "--rows": rows,
        "--sample": sample,
        "--at": when,
        "--seed": seed,
        "--workers": workers,
    }
    elsewhere = {"--distributed": distributed or None, "--attach": attach or None}
    reporting: dict[str, object] = {
        "--since": since_text,
        "--until": until_text,
        "--output": output,
    }
    if as_report:
        _refuse(making | elsewhere, "with --report")
        _report(connection, chosen, since_text, until_text, output, as_json=as_json)
        return
    _refuse(reporting, "without --report")
    if attach:
        _refuse(making, "with --attach")
    elif not distributed:
        _refuse({"--workers": workers}, "without --distributed")
    if not chosen.table and not chosen.pattern:
        raise UsageError(
            "Name one table, or a pattern.", "Only --report can do without TABLE and --match."
        )
    if rows is not None and sample is not None:
        raise UsageError("--rows and --sample exclude each other.", "Choose one.")
    share = None if sample is None else parse_share(sample)
    at, present = None, when is not None and when.strip().lower() == "now"
    if when is not None and not present:
        at = _moment(when, connection.clock())

    def work(table: str, deliver: Deliver) -> None:
        request = DrillRequest(table, at, rows, share, seed, present=present)
        if attach:
            found = keep(follow_last(connection, table))
        elif distributed:
            ended = distribute(connection, request, workers, detach=detach)
            if isinstance(ended, dict):
                deliver(ended)
                return
            found = keep(ended)
        else:
            found = keep(_here(connection, request))
        report(found, deliver if as_json else None)
        complain(found)

    run_archived(connection, chosen, work, as_json=as_json)


def _here(connection: Connection, request: DrillRequest) -> DrillRecord:
    """Makes a drill on this machine."""
    try:
        return run_drill(connection, request, Terminal(), Event())
    except KeyboardInterrupt as stop:
        stop.hint = INTERRUPTED  # type: ignore[attr-defined]
        raise


def _report(
    connection: Connection,
    chosen: Chosen,
    since_text: str | None,
    until_text: str | None,
    output: Path | None,
    *,
    as_json: bool,
) -> None:
    now = connection.clock()
    since = None if since_text is None else _moment(since_text, now)
    until = None if until_text is None else _moment(until_text, now)
    if since is not None and since > (now if until is None else until):
        raise UsageError("The period of the report ends before it begins.", "Check --since.")
    location = str(connection.location)
    found = []
    for name in _reported(connection, chosen):
        archive = connection.archive(name)
        catalog = Catalog(archive)
        if chosen.table and not catalog.streams() and archive.is_empty():
            raise unknown(connection, name)
        found.append(evidence(name, location, catalog.drills(), now, since, until))
    keep(found)
    told = [each.record() for each in found]
    value = told[0] if chosen.table else told
    if output:
        _write(output, f"{json_text(value)}\n" if as_json else markdown(location, found))
    elif as_json:
        data(value)
    else:
        show(*markdown(location, found).splitlines())


def _reported(connection: Connection, chosen: Chosen) -> list[str]:
    if chosen.table:
        return [chosen.table]
    return archived_tables(connection, chosen.pattern) if chosen.pattern else connection.tables()


def _refuse(options: dict[str, object], how: str) -> None:
    """Raises UsageError for an option that has no meaning here."""
    given = [option for option, value in options.items() if value is not None]
    if given:
        raise UsageError(f"{given[0]} has no meaning {how}.", "Leave it out.")


def _write(path: Path, text: str) -> None:
    """Writes a new file that only its owner can read. Raises UsageError."""
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(f"{path} exists already.", "Choose another name.") from error
    except OSError as error:
        raise UsageError(
            f"The report {path} cannot be written: {error.strerror}.", "Choose another file."
        ) from error
    say(f"Report: {path}")


def _moment(text: str, now: int) -> int:
    moment, note = parse_when(text, now)
    if note:
        say(note)
    return moment
