"""The environment variables this project reads, by name."""

ARCHIVE = "STREAM_BACKUP_ARCHIVE"
"""The archive, like `s3://my-backups/production`: of the function and of every command."""

REGION = "STREAM_BACKUP_REGION"
"""The bucket's Region, where that is not the function's own."""

S3_ENDPOINT = "STREAM_BACKUP_S3_ENDPOINT"
"""The URL of S3 in the bucket's Region: of the function, which has no botocore to find it."""

STACK = "STREAM_BACKUP_STACK"
"""The name of the deployed stack."""
