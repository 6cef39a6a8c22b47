"""How fast the hot paths are, beside plain boto3 and beside the bare client: `make bench`."""
