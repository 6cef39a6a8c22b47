"""Where obstore finds a bucket: at the endpoint that botocore resolves, which knows every partition
(China, GovCloud), FIPS and dual-stack endpoints, and the endpoints of the environment and of the
configuration file. obstore alone would always use `https://s3.REGION.amazonaws.com`."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from botocore.awsrequest import AWSResponse

from stream_backup.errors import UsageError


def endpoint_of(client: Any, bucket: str) -> dict[str, Any]:
    """Returns the settings of obstore for the endpoint of a bucket. `client` is a client of boto3
    for S3 in the Region of the bucket that is used for nothing else: it sends no request, but
    returns where it would be sent."""
    urls: list[str] = []

    def intercept(request: Any, **_: Any) -> AWSResponse:
        urls.append(request.url)
        return AWSResponse(request.url, 200, {}, SimpleNamespace(stream=list))

    client.meta.events.register("before-send.s3.HeadBucket", intercept)
    client.head_bucket(Bucket=bucket)
    found = urlsplit(urls[0])
    origin, path = f"{found.scheme}://{found.netloc}", found.path.rstrip("/")
    if not path:
        return {"endpoint": origin, "virtual_hosted_style_request": True}
    return {"endpoint": origin + path.removesuffix(f"/{bucket}")}


def root_certificate(session: Any) -> dict[str, Any]:
    """Returns the client options of obstore for the certificates that boto3 trusts: those in the
    file that AWS_CA_BUNDLE or `ca_bundle` in the configuration file names. Raises UsageError when
    it cannot be read."""
    bundle = session._session.get_config_variable("ca_bundle")  # noqa: SLF001 - boto3 hides it
    if not bundle:
        return {}
    try:
        return {"root_certificate": Path(bundle).read_bytes()}
    except OSError as error:
        raise UsageError(
            f"The file of certificates {bundle!r} cannot be read: {error.strerror}.",
            "Check AWS_CA_BUNDLE, and ca_bundle in the configuration file of AWS.",
        ) from error
