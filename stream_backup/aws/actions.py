"""The IAM action that permits a call: what an operator must add to a policy, which is not always
what the call is named (Service Authorization Reference, "Actions, resources, and condition keys";
Amazon S3 User Guide, "Required permissions for Amazon S3 API operations").
"""

import re
from functools import cache

import botocore.session

DIFFERENT = {
    "CompleteMultipartUpload": "s3:PutObject",
    "CopyObject": "s3:GetObject and s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "DeleteObjects": "s3:DeleteObject",
    "GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "GetObjectLockConfiguration": "s3:GetBucketObjectLockConfiguration",
    "HeadBucket": "s3:ListBucket",
    "HeadObject": "s3:GetObject",
    "Invoke": "lambda:InvokeFunction",
    "ListBuckets": "s3:ListAllMyBuckets",
    "ListObjectVersions": "s3:ListBucketVersions",
    "ListObjects": "s3:ListBucket",
    "ListObjectsV2": "s3:ListBucket",
    "PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
    "UploadPart": "s3:PutObject",
}
"""The action of each call whose action has another name."""

SERVICES = {
    "dynamodb": "dynamodb",
    "dynamodbstreams": "dynamodb",
    "s3": "s3",
    "lambda": "lambda",
    "cloudwatch": "cloudwatch",
    "cloudformation": "cloudformation",
    "sts": "sts",
}
"""The services that are called, by botocore's name, with the prefix of their actions. Where two
services have a call of the same name, this project calls that of the first."""

_TOLD = re.compile(r"not authorized to perform: ([a-z0-9-]+:[A-Za-z]+)")


def action_of(operation: str, message: str = "") -> str:
    """Returns the action that permits a call: the one that AWS's message names, else the one of the
    operation; a description of it for a call that this project does not make."""
    if told := _TOLD.search(message):
        return told[1]
    prefix = _prefix_of(operation)
    same = f"{prefix}:{operation}" if prefix else f"the action that allows {operation}"
    return DIFFERENT.get(operation, same)


def action_on_object(failed: str) -> str:
    """Returns the action that permits the request of one object with which the message of an error
    begins, such as `GET https://… failed, status code: 403`."""
    method, _, rest = failed.partition(" ")
    url = rest.partition(" ")[0]
    if method == "PUT":
        return "s3:PutObject"
    return "s3:GetObjectVersion" if "versionId=" in url else "s3:GetObject"


@cache
def _prefix_of(operation: str) -> str | None:
    session = botocore.session.get_session()
    models = ((prefix, session.get_service_model(name)) for name, prefix in SERVICES.items())
    return next((prefix for prefix, model in models if operation in model.operation_names), None)
