"""The environment variables this project reads, by name."""

ARCHIVE = "STREAM_BACKUP_ARCHIVE"
"""The archive, like `s3://my-backups/production`: of the function and of every command."""

REGION = "STREAM_BACKUP_REGION"
"""The bucket's Region, where that is not the function's own."""

S3_ENDPOINT = "STREAM_BACKUP_S3_ENDPOINT"
"""The URL of S3 in the bucket's Region: of the function, which has no botocore to find it."""

KEEP_EVERY_CHANGE = "STREAM_BACKUP_KEEP_EVERY_CHANGE"
"""`false` if only the last of several changes of an item in one second and one batch is written: of
the function and of `follow`. `true` by default."""

STACK = "STREAM_BACKUP_STACK"
"""The name of the deployed stack."""

DRILL_TABLES = "STREAM_BACKUP_DRILL_TABLES"
"""The tables that are drilled on a schedule, `*` for every enabled one or names separated by
commas: of the watcher and the driller. Unset where no drill is scheduled."""

ENROL_PATTERN = "STREAM_BACKUP_ENROL_PATTERN"
"""The names of the tables that the enroller enables, patterns separated by commas."""

ENROL_TAG = "STREAM_BACKUP_ENROL_TAG"
"""The tag of the tables that the enroller enables, `KEY=VALUE` or `KEY`."""

ENROL_READ_SHARE = "STREAM_BACKUP_ENROL_READ_SHARE"
"""The percentage of a provisioned table's read capacity that the enroller uses."""

DRILL_ROWS = "STREAM_BACKUP_DRILL_ROWS"
"""The number of rows that a scheduled drill restores of each table."""

WORK_BUCKET = "STREAM_BACKUP_WORK_BUCKET"
"""The bucket for the lists and results of distributed runs: of the workers."""
