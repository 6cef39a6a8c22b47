"""One module a command of `stream-backup`; the backfill and the restore bring their own."""
