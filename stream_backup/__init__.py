"""Incremental backup of DynamoDB tables into a versioned S3 bucket, and restore to any second."""
