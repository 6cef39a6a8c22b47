"""Where obstore finds a bucket: where boto3 would, in every partition and with every setting."""

import ssl
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from obstore.exceptions import GenericError

from stream_backup.archive.s3 import S3Store, open_objects
from stream_backup.aws.connection import Connection
from stream_backup.aws.endpoint import endpoint_of, root_certificate
from stream_backup.errors import UsageError
from tests.sam import make_certificate
from tests.servers import environment

REGIONS = {
    "eu-west-1": "s3.eu-west-1.amazonaws.com",
    "us-gov-west-1": "s3.us-gov-west-1.amazonaws.com",
    "cn-north-1": "s3.cn-north-1.amazonaws.com.cn",
    "us-iso-east-1": "s3.us-iso-east-1.c2s.ic.gov",
}


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Credentials, and no settings of this machine."""
    for name, value in environment("").items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ENDPOINT_URL", "AWS_CA_BUNDLE", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return monkeypatch


def configured(tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)


def found(region: str, bucket: str = "backups") -> str:
    """Returns the URL that obstore would send a request for the bucket to."""
    session = boto3.Session(region_name=region)
    settings = endpoint_of(session.client("s3", region_name=region), bucket)
    virtual = settings.get("virtual_hosted_style_request", False)
    return str(settings["endpoint"]) + ("" if virtual else f"/{bucket}")


@pytest.mark.parametrize("region", REGIONS)
def test_every_partition(region: str) -> None:
    """China, GovCloud and the isolated Regions have domains of their own."""
    assert found(region) == f"https://backups.{REGIONS[region]}"


@pytest.mark.parametrize("region", REGIONS)
def test_a_bucket_with_dots(region: str) -> None:
    """A name with dots fits no certificate of AWS, so it is in the path."""
    assert found(region, "my.backups") == f"https://{REGIONS[region]}/my.backups"


@pytest.mark.parametrize(
    ("setting", "host"),
    [
        ("use_fips_endpoint", "s3-fips.us-gov-west-1.amazonaws.com"),
        ("use_dualstack_endpoint", "s3.dualstack.us-gov-west-1.amazonaws.com"),
    ],
)
def test_fips_and_dual_stack(
    setting: str, host: str, settings: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Both can be asked for by the environment and by the configuration file."""
    assert found("us-gov-west-1") != f"https://backups.{host}"
    configured(tmp_path, f"[default]\n{setting} = true\n")
    assert found("us-gov-west-1") == f"https://backups.{host}"
    configured(tmp_path, "")
    settings.setenv(f"AWS_{setting.upper()}", "true")
    assert found("us-gov-west-1") == f"https://backups.{host}"


def test_an_endpoint_of_s3_alone(settings: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """AWS_ENDPOINT_URL_S3 outranks AWS_ENDPOINT_URL, and the configuration file can hold both."""
    settings.setenv("AWS_ENDPOINT_URL", "http://localhost:1")
    assert found("eu-west-1") == "http://localhost:1/backups"
    settings.setenv("AWS_ENDPOINT_URL_S3", "https://bucket.vpce-1.s3.eu-west-1.vpce.amazonaws.com")
    assert "vpce-1" in found("eu-west-1")
    settings.delenv("AWS_ENDPOINT_URL_S3")
    settings.delenv("AWS_ENDPOINT_URL")
    configured(
        tmp_path,
        "[default]\nservices = here\n[services here]\ns3 =\n  endpoint_url = http://localhost:2\n",
    )
    assert found("eu-west-1") == "http://localhost:2/backups"


def test_certificates(settings: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """obstore trusts what boto3 trusts: AWS_CA_BUNDLE, or `ca_bundle` in the configuration file."""
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(b"-----BEGIN CERTIFICATE-----")
    assert root_certificate(boto3.Session()) == {}
    configured(tmp_path, f"[default]\nca_bundle = {bundle}\n")
    assert root_certificate(boto3.Session()) == {"root_certificate": bundle.read_bytes()}
    settings.setenv("AWS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    with pytest.raises(UsageError, match=r"missing\.pem") as raised:
        root_certificate(boto3.Session())
    assert "AWS_CA_BUNDLE" in raised.value.hint


def test_a_server_with_a_certificate_of_ones_own(
    settings: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """obstore reads over TLS from a server whose certificate only AWS_CA_BUNDLE knows."""
    certificate, key = make_certificate(tmp_path)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.send_header("Last-Modified", self.date_time_string())
            self.send_header("ETag", '"0"')
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class has it
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"https://127.0.0.1:{server.server_port}"
    try:
        for trusted in (False, True):
            if trusted:
                settings.setenv("AWS_CA_BUNDLE", str(certificate))
            options = root_certificate(boto3.Session())
            few = {"max_retries": 0, "retry_timeout": timedelta(seconds=1)}
            objects = open_objects("b", endpoint=url, client_options=options, retry_config=few)
            if trusted:
                assert S3Store("b", objects).get("k", "v")[0] == b"ok"
            else:
                with pytest.raises(GenericError):
                    S3Store("b", objects).get("k", "v")
    finally:
        server.shutdown()
        server.server_close()


def test_a_connection_passes_all_of_it_to_obstore(
    settings: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The bucket may be in another Region than the tables: its endpoint is that of its Region."""
    given: dict[str, Any] = {}
    settings.setattr(
        "stream_backup.aws.connection.open_objects", lambda bucket, **more: given.update(more)
    )
    bundle = ssl.get_default_verify_paths().cafile
    if bundle:
        settings.setenv("AWS_CA_BUNDLE", bundle)
    connection = Connection(None, "cn-north-1", "s3://backups/p")

    class S3:
        class meta:  # noqa: N801 - as boto3 names it
            events = boto3.Session().events
            region_name = "cn-north-1"

        def get_bucket_versioning(self, **_: Any) -> Any:
            return {"Status": "Enabled"}

        def head_bucket(self, **_: Any) -> Any:
            headers = {"x-amz-bucket-region": "cn-northwest-1"}
            return {"ResponseMetadata": {"HTTPHeaders": headers}}

    connection.__dict__["s3"] = S3()
    assert connection.store.bucket == "backups"
    assert given["endpoint"] == "https://backups.s3.cn-northwest-1.amazonaws.com.cn"
    assert given["region"] == "cn-northwest-1"
    assert bool(given["client_options"]) is bool(bundle)
