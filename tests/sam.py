"""The deployment as an operator does it: `sam build`, `sam deploy`, and `sam delete`, on an
emulator that enforces IAM.

`Cloud` is that emulator: ministack with AUTH=true, over TLS, because the bucket policies refuse
anything else. `Stack` is what was deployed on it. `template` reads the template as YAML with the
tags of CloudFormation.
"""

import datetime as dt
import ipaddress
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.servers import Aws, _child, _free_ports, environment

ROOT = Path(__file__).parent.parent
TEMPLATE = ROOT / "template.yaml"
BIN = ROOT / ".venv-sam" / "bin"
HERE = {
    "PYTHON_VERSION": f"3.{sys.version_info.minor}",
    "PLATFORMS": "",
    "INSTALL": f"{sys.executable} {ROOT / 'tests/install_once.py'}",
}
"""For function/Makefile: builds for this machine instead of Lambda, because the emulator runs
functions on its own interpreter, and downloads packages once."""

PATIENCE = 300

TRUSTED = {name: os.environ[name] for name in ("SSL_CERT_FILE",) if name in os.environ}
"""The certificates that this machine trusts, for `sam build`, which downloads packages. This
process may trust only the emulator."""


@dataclass(frozen=True)
class Cloud:
    aws: Aws
    certificate: Path

    @property
    def trust(self) -> dict[str, str]:
        """The settings with which boto3 and obstore in a process trust the emulator."""
        return {"AWS_CA_BUNDLE": str(self.certificate), "SSL_CERT_FILE": str(self.certificate)}

    def sam(self, *words: str, user: Mapping[str, str] | None = None) -> str:
        """Runs SAM CLI as this user, or as the root user of the account."""
        settings = environment(self.aws.url) | self.trust | dict(user or {})
        return sam(*words, **settings, SAM_CLI_POLL_DELAY="0.5")

    def refused(self, *words: str, cwd: Path) -> str:
        """What SAM CLI says in this folder before it fails."""
        done = run(*words, cwd=cwd, **environment(self.aws.url), **self.trust)
        said = (done.stdout + done.stderr).decode()
        assert done.returncode, said[-5000:]
        return said

    def user(self, name: str, statements: list[dict[str, Any]]) -> dict[str, str]:
        """Creates a user who may do only what these statements allow, and returns the settings that
        make a process this user."""
        iam = self.aws.client("iam")
        iam.create_user(UserName=name)
        document = {"Version": "2012-10-17", "Statement": statements}
        iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=json.dumps(document))
        made = iam.create_access_key(UserName=name)["AccessKey"]
        return {
            "AWS_ACCESS_KEY_ID": made["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"],
        }


@dataclass(frozen=True)
class Stack:
    cloud: Cloud
    name: str

    @cached_property
    def outputs(self) -> dict[str, str]:
        (found,) = self.cloud.aws.client("cloudformation").describe_stacks(StackName=self.name)[
            "Stacks"
        ]
        return {output["OutputKey"]: output["OutputValue"] for output in found["Outputs"]}

    @property
    def bucket(self) -> str:
        return self.outputs["ArchiveUrl"].removeprefix("s3://").split("/")[0]

    def statements(self, policy: str) -> list[dict[str, Any]]:
        """Returns the statements of the deployed managed policy whose ARN is this output."""
        iam = self.cloud.aws.client("iam")
        arn = self.outputs[policy]
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        found = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"][
            "Document"
        ]["Statement"]
        return [dict(statement) for statement in found]

    def widen(self, logical: str, *actions: str) -> None:
        """Allows a role of the stack what this emulator requires and AWS does not."""
        role = self.cloud.aws.client("cloudformation").describe_stack_resource(
            StackName=self.name, LogicalResourceId=logical
        )["StackResourceDetail"]["PhysicalResourceId"]
        statement = {"Effect": "Allow", "Action": [*actions], "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.cloud.aws.client("iam").put_role_policy(
            RoleName=role, PolicyName="emulator", PolicyDocument=document
        )


INSTEAD_OF_GET = "lambda:ListEventSourceMappings"
"""What ministack requires for GetEventSourceMapping."""


def sam(*words: str, **settings: str) -> str:
    """Runs SAM CLI to its end; what it said. It must succeed."""
    done = run(*words, cwd=ROOT, **settings)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said[-5000:]
    return said


def run(*words: str, cwd: Path, **settings: str) -> subprocess.CompletedProcess[bytes]:
    """Runs SAM CLI in a checkout, with the checkout's own configuration."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "SSL_CERT_FILE"))
    } | TRUSTED
    command = [
        str(BIN / "sam"),
        words[0],
        "--config-file",
        str(cwd / "samconfig.toml"),
        *words[1:],
    ]
    return subprocess.run(
        command,
        env=kept | settings | {"SAM_CLI_TELEMETRY": "0"},
        cwd=cwd,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )


def build(into: Path, *functions: str, **settings: str) -> Path:
    """Runs `sam build` for all functions, or only for these, and returns the directory with their
    packages and the template to deploy."""
    pip = {"PYTHON": sys.executable}
    sam(
        "build",
        *functions,
        "--template-file",
        str(TEMPLATE),
        "--build-dir",
        str(into),
        AWS_REGION="us-east-1",
        **pip,
        **settings,
    )
    return into


def deploy(
    cloud: Cloud,
    built: Path,
    name: str,
    *,
    user: Mapping[str, str] | None = None,
    **parameters: str,
) -> Stack:
    given = [f"{parameter}={value}" for parameter, value in parameters.items()]
    words = [
        "--template-file",
        str(built / "template.yaml"),
        "--stack-name",
        name,
        "--no-confirm-changeset",
    ]
    cloud.sam("deploy", *words, "--parameter-overrides", *given, user=user)
    return Stack(cloud, name)


@contextmanager
def cloud(work: Path) -> Iterator[Cloud]:
    """Starts ministack with IAM enforced, over TLS with its own certificate."""
    certificate, key = make_certificate(work)
    (port,) = _free_ports(1)
    url = f"https://127.0.0.1:{port}"
    trusted = {"SSL_CERT_FILE": str(certificate), "AWS_CA_BUNDLE": str(certificate)}
    settings = {
        "AUTH": "true",
        "USE_SSL": "1",
        "MINISTACK_SSL_CERT": str(certificate),
        "MINISTACK_SSL_KEY": str(key),
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "IOT_MTLS_ENABLED": "false",
        "TMPDIR": str(work),
        "S3_DATA_DIR": str(work / "s3"),
        # ministack runs functions with the first Python in the path.
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        **trusted,
        **environment(url),
    }
    before = {name: os.environ.get(name) for name in trusted}
    os.environ.update(trusted)  # this process must trust it too
    try:
        with _child(
            [str(Path(sys.executable).parent / "ministack")],
            work,
            url,
            "/_ministack/health",
            settings,
        ):
            yield Cloud(Aws(url), certificate)
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def template() -> dict[str, Any]:
    """Returns the template. Each tag becomes the long form of its function: `!Ref X` → `{"Ref":
    "X"}`."""
    found: dict[str, Any] = yaml.load(TEMPLATE.read_text(), _Loader)
    return found


def parameters(of: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return dict(of["Parameters"])


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml ships no types
    pass


def _tag(loader: Any, suffix: str, node: Any) -> dict[str, Any]:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        return {name: value.split(".", 1) if suffix == "GetAtt" else value}
    construct = (
        loader.construct_sequence
        if isinstance(node, yaml.SequenceNode)
        else loader.construct_mapping
    )
    return {name: construct(node, deep=True)}


_Loader.add_multi_constructor("!", _tag)


def make_certificate(work: Path) -> tuple[Path, Path]:
    """Creates a certificate for 127.0.0.1 and its key. The certificate is not a certificate
    authority, because rustls does not accept one for a server."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stand-in")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = work / "server.crt", work / "server.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form, coding = serialization.PrivateFormat.PKCS8, serialization.Encoding.PEM
    secret.write_bytes(key.private_bytes(coding, form, serialization.NoEncryption()))
    return certificate, secret
