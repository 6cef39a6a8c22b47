"""Translates errors of AWS into this project's own errors, each with one sentence and a hint. Only
this module does so, and only the command line shows the result."""

from botocore import exceptions as aws
from obstore import exceptions as s3

from stream_backup.archive.store import ConflictError
from stream_backup.errors import ArchiveError, StreamBackupError, UsageError

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
_SERVER_ERROR = 500


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed later: AWS was busy, failed, or was out of reach. A
    limit counts as busy: the limits of streams are calls a second."""
    match error:
        case aws.ClientError():
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return error.response["Error"]["Code"] in _BUSY or status >= _SERVER_ERROR
        case aws.ConnectionError() | aws.HTTPClientError() | s3.GenericError():
            return True
        case FileNotFoundError() | PermissionError():
            return False
    return isinstance(error, OSError)


def is_denied(error: BaseException) -> bool:
    """Whether AWS refused a call because the caller has no permission for it."""
    return isinstance(error, aws.ClientError) and error.response["Error"]["Code"] in _DENIED


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
            return StreamBackupError(
                f"AWS did not respond: {error}", "Check the network, --region and AWS_ENDPOINT_URL."
            )
        case aws.ParamValidationError() | aws.InvalidRegionError():
            return UsageError(f"A parameter is not valid: {' '.join(str(error).split())}", _TYPED)
        # Botocore has no class for this error.
        case ValueError() if str(error).startswith("Invalid endpoint"):
            return UsageError(
                f"{error} is not a valid URL.",
                "Set AWS_ENDPOINT_URL to a URL such as http://localhost:4566, or unset it.",
            )
        case s3.PermissionDeniedError() | s3.UnauthenticatedError():
            return UsageError(
                f"AWS does not permit this: {_short(error)}",
                "Check the role's S3 actions and the bucket policy.",
            )
        case s3.BaseError() | FileNotFoundError() | ConflictError():
            return ArchiveError(
                f"A request to the archive failed: {_short(error)}", "Run the same command again."
            )
    return None


def _client_error(error: aws.ClientError) -> StreamBackupError:
    code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
    operation = error.operation_name
    if code in _DENIED:
        return UsageError(
            f"AWS does not permit {operation}: {message}",
            f"The role needs the action that allows {operation}.",
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


def _short(error: BaseException) -> str:
    """Returns the first line of an obstore message. The lines after it are XML and Rust
    structures."""
    return str(error).splitlines()[0].split(" - Server returned")[0]
