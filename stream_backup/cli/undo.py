"""`stream-backup undo`."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import click

from restore.receipt import require_writable
from stream_backup.archive.slices import CONCURRENCY
from stream_backup.aws.connection import Connection
from stream_backup.capture.consumers import consumers_of
from stream_backup.capture.state import state_of
from stream_backup.cli.console import Terminal, keep
from stream_backup.cli.consumers_report import show_consumers
from stream_backup.cli.items import choosing, chosen_items
from stream_backup.cli.options import as_json, connected, table_argument
from stream_backup.cli.undo_options import UndoOptions
from stream_backup.cli.undo_report import UndoReport
from stream_backup.cli.undo_run import UndoRun
from stream_backup.cli.undo_source import ReceiptSource, Source, WindowSource
from stream_backup.undo.conflicts import ConflictFile
from stream_backup.undo.damage import DamageSpool
from stream_backup.undo.run import counted, ignore


@click.command()
@table_argument
@click.option(
    "--from",
    "since",
    metavar="WHEN",
    help="The last second before the damage: ISO-8601 (no offset: UTC), '2h ago', or epoch"
    " seconds.",
)
@click.option("--to", "until", metavar="WHEN", help="The last second of the damage.")
@click.option(
    "--receipt",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Take back an earlier rewind or undo: the receipt that it left.",
)
@click.option(
    "--where", metavar="EXPR", help="Only items of which this JMESPath expression is true."
)
@choosing
@click.option(
    "--changed",
    multiple=True,
    metavar="PATH",
    help="Only this attribute and what is below it; may be repeated.",
)
@click.option(
    "--as-delta",
    "deltas",
    multiple=True,
    metavar="PATH",
    help="A counter: subtract what the damage added, and keep what came later. Needs --mark.",
)
@click.option(
    "--mark",
    metavar="ATTR",
    help="Add this attribute, with the name of the undo, to every row that is updated or put back.",
)
@click.option(
    "--conflicts",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write each conflict to this new file, one JSON object a line.",
)
@click.option(
    "--resolve",
    metavar="before|now|FILE",
    help="Decide all conflicts, or those in a file of conflicts with your decisions.",
)
@click.option("--plan", "plan_only", is_flag=True, help="Print the plan and write nothing.")
@click.option("--yes", is_flag=True, help="Write without asking.")
@click.option(
    "--canary",
    type=click.IntRange(1),
    metavar="N",
    help="Undo N rows first, show them, and ask again.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0.1),
    metavar="ITEMS/S",
    help="Write at most this many items a second.",
)
@as_json
@connected
def undo(
    connection: Connection,
    table: str,
    keys: tuple[str, ...],
    keys_from: Path | None,
    *,
    as_json: bool,
    **options: Any,
) -> None:
    """Takes back what changed in a window, and keeps everything that came after it.

    Each attribute that changed in the window gets back its value from before, if it has not changed
    since. If it has, it is a conflict: it is left as it is, and listed (exit code 3). Rows that the
    window inserted are deleted, and rows that it removed are put back, if nothing happened to them
    since. PATH is like total or prices.net, or a JSON array of names.

    A run leaves a receipt in the current folder. With --receipt it is taken back.

    \b
      stream-backup undo orders --from 2026-11-21T02:14:06Z --to 2026-11-21T02:19:55Z --plan
      stream-backup undo orders --from 2026-11-21T02:14:06Z --to 2026-11-21T02:19:55Z \\
          --where "after.state == 'undefined'" --canary 5
      stream-backup undo orders --receipt orders-undo-20261121T031502Z.receipt.jsonl.gz
    """
    chosen_options = UndoOptions(**options)
    chosen_options.check()
    if not chosen_options.plan_only:
        require_writable(Path())
    with ExitStack() as stack:
        source: Source = (
            stack.enter_context(ReceiptSource(chosen_options.receipt))
            if chosen_options.receipt
            else WindowSource(chosen_options)
        )
        progress = Terminal()
        state = state_of(connection, table)
        schema = source.resolve(connection, state, progress)
        rule = chosen_options.rule(source.undone, schema)
        chosen = chosen_items(connection, table, schema, keys, keys_from)
        if not chosen_options.plan_only:
            state = source.catch_up(connection, progress)
        consumers = consumers_of(connection, state)
        report = UndoReport(table, source.undone, consumers, connection.store.requests)
        file = chosen_options.conflicts
        listed = stack.enter_context(ConflictFile(file)).add if file else ignore
        pool = stack.enter_context(ThreadPoolExecutor(CONCURRENCY))
        damages = source.damages(connection, chosen, pool, report.examined, progress)
        planned = listed if chosen_options.plan_only else ignore
        spool = stack.enter_context(
            closing(DamageSpool(counted(rule, damages, report.plan, planned)))
        )
        report.require_readable()
        report.show_plan()
        show_consumers(consumers)
        if not chosen_options.plan_only:
            UndoRun(connection, state, chosen_options, rule, report, listed).execute(spool, pool)
    keep(report).show(as_json=as_json)
    report.complain()
