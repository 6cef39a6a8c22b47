"""Which Region a command works in."""

from pathlib import Path

import pytest

from stream_backup.aws.session import open_session


@pytest.mark.parametrize(
    ("option", "environment", "expected"),
    [
        (None, {"AWS_REGION": "eu-central-1"}, "eu-central-1"),
        (None, {"AWS_DEFAULT_REGION": "eu-west-1"}, "eu-west-1"),
        (None, {"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "eu-west-1"}, "eu-central-1"),
        ("us-east-2", {"AWS_REGION": "eu-central-1"}, "us-east-2"),
        (None, {"AWS_REGION": ""}, "ap-south-1"),
        (None, {}, "ap-south-1"),
    ],
)
def test_region(
    option: str | None,
    environment: dict[str, str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The option, AWS_REGION, AWS_DEFAULT_REGION, and the profile, in this order."""
    config = tmp_path / "config"
    config.write_text("[default]\nregion = ap-south-1\n")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"AWS_CONFIG_FILE": str(config)} | environment).items():
        monkeypatch.setenv(name, value)
    assert open_session(None, option).region_name == expected
