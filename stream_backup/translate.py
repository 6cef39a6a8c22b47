"""AWS's errors → one sentence and a hint. The only place that does it, for the command line alone."""

from botocore import exceptions as aws
from obstore import exceptions as s3

from stream_backup.errors import ArchiveError, StreamBackupError, UsageError

_CREDENTIALS = "Set AWS_PROFILE, or pass --profile; then: aws sts get-caller-identity"
_TYPED = "Check the names and values given, --archive among them."
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


def translate(error: BaseException) -> StreamBackupError | None:
    """The error as this project's own; None when it is none that anybody foresaw."""
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
            return UsageError(f"There are no AWS credentials to use: {str(error).rstrip('.')}.", _CREDENTIALS)
        case aws.NoRegionError():
            return UsageError("No AWS Region is set.", "Set AWS_REGION, or pass --region eu-central-1.")
        case aws.ConnectionError() | aws.HTTPClientError():
            return StreamBackupError(f"AWS does not answer: {error}", "Check the network, --region and AWS_ENDPOINT_URL.")
        case aws.ParamValidationError() | aws.InvalidRegionError():
            return UsageError(f"AWS would not take this: {' '.join(str(error).split())}", _TYPED)
        case ValueError() if str(error).startswith("Invalid endpoint"):  # botocore has no type for it
            return UsageError(
                f"{error} is not an address.", "Set AWS_ENDPOINT_URL like http://localhost:4566, or not at all."
            )
        case s3.PermissionDeniedError() | s3.UnauthenticatedError():
            return UsageError(
                f"AWS does not permit this: {_short(error)}", "Check the role's S3 actions and the bucket's policy."
            )
        case s3.BaseError() | FileNotFoundError():
            return ArchiveError(f"The archive could not be reached: {_short(error)}", "Run the same command again.")
    return None


def _client_error(error: aws.ClientError) -> StreamBackupError:
    code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
    operation = error.operation_name
    if code in _DENIED:
        return UsageError(
            f"AWS does not permit {operation}: {message}", f"The role needs the action that allows {operation}."
        )
    if code in _IDENTITY:
        return UsageError(f"AWS does not accept these credentials: {message}", _CREDENTIALS)
    if code == "NoSuchBucket":
        bucket = error.response["Error"].get("BucketName", "")
        return UsageError(f"There is no bucket {bucket!r}.", "Check --archive, or make it with versioning on.")
    if code == "ResourceNotFoundException":
        return UsageError(
            f"AWS does not find what {operation} asks for: {message}", "Check the name, --region and --profile."
        )
    if code == "ValidationException":
        return UsageError(f"AWS would not take the request of {operation}: {message}", _TYPED)
    return StreamBackupError(f"{operation} failed: {code}: {message}", "Run the same command again; --debug shows more.")


def _short(error: BaseException) -> str:
    """obstore's messages carry a page of XML and Rust; the first line says it."""
    return str(error).splitlines()[0].split(" - Server returned")[0]
