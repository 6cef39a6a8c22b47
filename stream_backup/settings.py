"""The environment variables this project reads, by name."""

ARCHIVE = "STREAM_BACKUP_ARCHIVE"
"""The archive, like `s3://my-backups/production`: of the function and of every command."""

REGION = "STREAM_BACKUP_REGION"
"""The bucket's Region, where that is not the function's own."""

S3_ENDPOINT = "STREAM_BACKUP_S3_ENDPOINT"
"""The URL of S3 in the bucket's Region: of the function, which has no botocore to find it."""

STACK = "STREAM_BACKUP_STACK"
"""The name of the deployed stack."""

DRILL_TABLES = "STREAM_BACKUP_DRILL_TABLES"
"""The tables that are drilled on a schedule, `*` for every enabled one or names separated by
commas: of the watcher and the driller. Unset where no drill is scheduled."""

DRILL_ROWS = "STREAM_BACKUP_DRILL_ROWS"
"""The number of rows that a scheduled drill restores of each table."""
