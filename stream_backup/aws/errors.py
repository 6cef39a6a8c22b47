"""Translates errors of AWS into this project's own errors, each with one sentence and a hint. Only
this module does so, and only the command line shows the result."""

import builtins
import re
from xml.parsers.expat import ExpatError

from botocore import exceptions as aws
from botocore.parsers import ResponseParserError
from obstore import exceptions as s3

from stream_backup.archive.s3 import shortened
from stream_backup.archive.store import ConflictError
from stream_backup.aws.actions import action_of, action_on_object
from stream_backup.errors import (
    ArchiveError,
    StreamBackupError,
    UnavailableError,
    UsageError,
)

_CREDENTIALS = (
    "Set AWS_PROFILE or pass --profile. To check which identity you are using, run: aws sts"
    " get-caller-identity"
)
_TYPED = "Check the names and values in the command, including --archive."
_DENIED = {
    "AccessDenied",
    "AccessDeniedException",
    "403",
    "Forbidden",
    "UnauthorizedOperation",
    "AuthorizationHeaderMalformed",
}
_IDENTITY = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}

_BUSY = {
    "BandwidthLimitExceeded",
    "ContinuousBackupsUnavailableException",
    "InternalFailure",
    "InternalServerError",
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
"""Errors after which the same request may succeed. A limit counts: those of streams and tags are
calls a second, and that of tables is a number of changes under way. The point-in-time recovery of a
table that was just created cannot be changed for a while."""

_SERVER_ERROR = 500
_STATUS = {408, 429, 500, 502, 503, 504}
_ANSWER = re.compile(r"status code: (\d+)")
_STATUS_LINE = re.compile(r"status code: (\d+[\w ]*)")
_NOT_ANSWERED = ("HTTP error", "timed out")


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed later: AWS was busy, failed, or was out of reach."""
    match error:
        case aws.ClientError():
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return error.response["Error"]["Code"] in _BUSY or status in _STATUS
        case s3.GenericError():
            found = _ANSWER.search(str(error))
            slow = "RequestTimeout" in str(error)  # S3 sends it with status 400
            return slow or int(found[1]) in _STATUS if found else is_unreachable(error)
    return isinstance(error, ConflictError) or is_unreachable(error)


def is_unreachable(error: BaseException) -> bool:
    """Whether AWS did not answer at all, be it that its address is wrong."""
    match error:
        case aws.ConnectionError() | aws.HTTPClientError():
            return True
        case s3.GenericError():
            text = str(error)
            return not _ANSWER.search(text) and any(sign in text for sign in _NOT_ANSWERED)
        case BrokenPipeError():
            return False  # somebody has closed our own output
    return isinstance(error, builtins.ConnectionError | TimeoutError)


def reason_of(error: BaseException) -> str:
    """Returns why a request failed, in a few words."""
    if isinstance(error, aws.ClientError):
        found = error.response["Error"]
        return f"{found['Code']} {found.get('Message', '')}".strip()
    if found := _STATUS_LINE.search(str(error)):
        return found[1]
    return shortened(error).rpartition(" - ")[2]


def is_denied(error: BaseException) -> bool:
    """Whether AWS refused a call because the caller has no permission for it."""
    return isinstance(error, aws.ClientError) and error.response["Error"]["Code"] in _DENIED


def may_have_been_written(error: aws.ClientError) -> bool:
    """Returns whether a request that failed may have been executed: AWS failed, or the request was
    sent more than once, so that it may have failed against its own success."""
    found = error.response.get("ResponseMetadata", {})
    return bool(found.get("RetryAttempts")) or found.get("HTTPStatusCode", 0) >= _SERVER_ERROR


def translate(error: BaseException) -> StreamBackupError | None:
    """Returns an error as one of this project's errors, None when the error is unknown and may be a
    bug."""
    match error:
        case StreamBackupError():
            return error
        case aws.ClientError():
            return _client_error(error)
        case (
            aws.NoCredentialsError()
            | aws.PartialCredentialsError()
            | aws.CredentialRetrievalError()
            | aws.ProfileNotFound()
            | aws.SSOError()
            | aws.TokenRetrievalError()
        ):
            return UsageError(
                f"No usable AWS credentials were found: {str(error).rstrip('.')}.", _CREDENTIALS
            )
        case aws.NoRegionError():
            return UsageError(
                "No AWS Region is set.", "Set AWS_REGION or pass --region, such as eu-central-1."
            )
        case aws.ConnectionError() | aws.HTTPClientError():
            return UnavailableError(
                f"AWS did not respond: {error}", "Check the network, --region and AWS_ENDPOINT_URL."
            )
        case aws.ParamValidationError() | aws.InvalidRegionError() | aws.EndpointProviderError():
            return UsageError(f"A parameter is not valid: {' '.join(str(error).split())}", _TYPED)
        # Botocore has no class for this error.
        case ValueError() if str(error).startswith("Invalid endpoint"):
            return UsageError(
                f"{error} is not a valid URL.",
                "Set AWS_ENDPOINT_URL to a URL such as http://localhost:4566, or unset it.",
            )
        case ResponseParserError() | ExpatError():  # the message may have the whole answer
            return StreamBackupError(
                "AWS's answer could not be read.", "Check AWS_ENDPOINT_URL and the proxy settings."
            )
        case s3.PermissionDeniedError() | s3.UnauthenticatedError():
            failed = shortened(error)
            return UsageError(
                f"AWS does not permit this: {failed}",
                f"The role needs the action {action_on_object(failed)}, and neither the bucket"
                " policy nor the KMS key may deny it.",
            )
        case s3.BaseError() | OSError() if is_transient(error):
            return UnavailableError(f"A request to the archive failed: {shortened(error)}")
        case s3.BaseError() | FileNotFoundError():
            return ArchiveError(
                f"A request to the archive failed: {shortened(error)}",
                "Run the same command again.",
            )
    return None


def _client_error(error: aws.ClientError) -> StreamBackupError:
    code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
    operation = error.operation_name
    if is_transient(error):
        return UnavailableError(f"{operation} failed: {code}: {message}")
    if code in _DENIED:
        return UsageError(
            f"AWS does not permit {operation}: {message}",
            _needed(action_of(operation, message), message),
        )
    if code in _IDENTITY:
        return UsageError(f"AWS does not accept these credentials: {message}", _CREDENTIALS)
    if code == "NoSuchBucket":
        bucket = error.response["Error"].get("BucketName", "")
        return UsageError(
            f"There is no bucket {bucket!r}.",
            "Check --archive, or create the bucket with versioning enabled.",
        )
    if code == "ResourceNotFoundException":
        return UsageError(
            f"{operation} failed because the resource does not exist: {message}",
            "Check the name, --region and --profile.",
        )
    if code == "ValidationException":
        return UsageError(f"AWS rejected the {operation} request: {message}", _TYPED)
    return StreamBackupError(
        f"{operation} failed: {code}: {message}",
        "Run the same command again. To see where it fails, add --debug.",
    )


def _needed(action: str, message: str) -> str:
    if "explicit deny" in message:
        return f"A policy denies {action} explicitly, and allowing it elsewhere does not help."
    return f"The role needs {action if ' ' in action else f'the action {action}'}."
