"""The key with which a bucket encrypts what is written to it."""

from typing import Any

from botocore.exceptions import ClientError

from stream_backup.errors import UsageError

_NONE = {"ServerSideEncryptionConfigurationNotFoundError", "NotImplemented", "501"}
"""What a bucket answers that has no default encryption, and an S3 of another vendor."""


def require_key(s3: Any, bucket: str, allowed: str | None) -> None:
    """Raises UsageError when the bucket encrypts with a KMS key by default, and the function may
    not use it: each of its puts would fail. `allowed` is the ARN of the key that it may use. Raises
    ClientError when the setting may not be read.

    A key that the bucket does not name is AWS's own for S3 (alias `aws/s3`). A bucket can name its
    key by ARN, ID or alias, and an alias does not show which key it is.
    """
    try:
        found = s3.get_bucket_encryption(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] in _NONE:
            return
        raise
    for rule in found["ServerSideEncryptionConfiguration"]["Rules"]:
        setting = rule.get("ApplyServerSideEncryptionByDefault") or {}
        if not str(setting.get("SSEAlgorithm", "")).startswith("aws:kms"):
            continue
        named = setting.get("KMSMasterKeyID") or "alias/aws/s3"
        if allowed is None:
            raise UsageError(
                f"Bucket {bucket!r} encrypts with KMS key {named}, and the stack was deployed"
                " without a key, so the function cannot write to this bucket.",
                "Deploy the stack with the ARN of this key: KmsKeyArn=ARN",
            )
        if "alias/" not in named and named.rpartition("/")[2] != allowed.rpartition("/")[2]:
            raise UsageError(
                f"Bucket {bucket!r} encrypts with KMS key {named}, and the function may use only"
                f" {allowed}, so it cannot write to this bucket.",
                "Deploy the stack with the ARN of the bucket's key: KmsKeyArn=ARN",
            )
