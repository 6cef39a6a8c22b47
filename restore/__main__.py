"""`python -m restore`."""

from stream_backup.cli.main import main
from stream_backup.cli.restore import restore

main(restore, "python -m restore")
