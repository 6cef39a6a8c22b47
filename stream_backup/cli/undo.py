"""`stream-backup undo`."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from restore.receipt import require_writable
from stream_backup.archive.pool import RequestPool
from stream_backup.aws.connection import Connection
from stream_backup.capture.state import state_of
from stream_backup.cli.console import Terminal, keep
from stream_backup.cli.consumers_report import show_consumers
from stream_backup.cli.items import choosing, chosen_items
from stream_backup.cli.options import ChosenTables, as_json, connected, tables_or_match
from stream_backup.cli.undo_options import UndoOptions
from stream_backup.cli.undo_planned import planned_undo
from stream_backup.cli.undo_source import ReceiptSource, Source, WindowSource
from stream_backup.cli.undo_together import undo_together
from stream_backup.errors import UsageError


@click.command()
@tables_or_match("Undo the window in")
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
    chosen_tables: ChosenTables,
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

    Several tables, by name or with --match, have one window, one plan, and one question, and a
    receipt each. If the window is not exact for one of them, nothing is written to any table.

    \b
      stream-backup undo orders --from 2026-11-21T02:14:06Z --to 2026-11-21T02:19:55Z --plan
      stream-backup undo orders --from 2026-11-21T02:14:06Z --to 2026-11-21T02:19:55Z \\
          --where "after.state == 'undefined'" --canary 5
      stream-backup undo --match 'shop-*' --from 2026-11-21T02:14:06Z --to 2026-11-21T02:19:55Z \\
          --plan
      stream-backup undo orders --receipt orders-undo-20261121T031502Z.receipt.jsonl.gz
    """
    chosen_options = UndoOptions(**options)
    chosen_options.check()
    table = chosen_tables.one
    if table is None:
        if keys or keys_from:
            raise UsageError(
                "--key and --keys-from are about items of one table, and there are several.",
                "Name one table.",
            )
        undo_together(connection, chosen_tables, chosen_options, as_json=as_json)
        return
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
        chosen = chosen_items(connection, table, schema, keys, keys_from)
        pool = stack.enter_context(RequestPool())
        found = planned_undo(connection, chosen_options, source, state, chosen, pool, stack)
        found.report.show_plan()
        show_consumers(found.report.consumers)
        if not chosen_options.plan_only:
            found.execute(connection, pool)
    keep(found.report).show(as_json=as_json)
    found.report.complain()
