from backfill.command import backfill
from stream_backup.cli import main

main(backfill, "python -m backfill")
