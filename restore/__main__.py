from restore.command import restore
from stream_backup.cli import main

main(restore, "python -m restore")
