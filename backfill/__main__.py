"""`python -m backfill`."""

from stream_backup.cli.backfill import backfill
from stream_backup.cli.main import main

main(backfill, "python -m backfill")
