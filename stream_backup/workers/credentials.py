"""The credentials of workers: those of their parent, which may have asked a person for them. AWS
accepts an MFA code only once, so a second process that asked would be refused."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.session
from botocore.credentials import CredentialProvider, RefreshableCredentials

from stream_backup.archive.store import Attempts, once
from stream_backup.aws.session import open_session

Lent = dict[str, str | None]
"""Credentials as botocore expects them from a function that refreshes them."""

_LENT_FOR = timedelta(minutes=16)
"""Botocore asks again 15 minutes before the end, so after one minute; the credentials it returns
last at least ten."""


def lend(session: Any) -> Lent:
    """Returns the present credentials of boto3's `session`."""
    found = session.get_credentials().get_frozen_credentials()
    until = datetime.now(UTC) + _LENT_FOR
    return {
        "access_key": found.access_key,
        "secret_key": found.secret_key,
        "token": found.token,
        "expiry_time": until.isoformat(),
    }


def borrowing(
    profile: str | None, region: str | None, ask: Callable[[], Lent], attempts: Attempts = once
) -> Any:
    """Returns a boto3 session that asks for its credentials when it needs them, and makes requests
    as often as `attempts` says."""
    core = botocore.session.Session(profile=profile)
    core.get_component("credential_provider").providers.insert(0, _Borrowed(ask))
    return open_session(profile, region, attempts, core)


class _Borrowed(CredentialProvider):  # type: ignore[misc]  # botocore ships no types
    METHOD = CANONICAL_NAME = "parent"

    def __init__(self, ask: Callable[[], Lent]) -> None:
        super().__init__()
        self._ask = ask

    def load(self) -> Any:
        return RefreshableCredentials.create_from_metadata(self._ask(), self._ask, self.METHOD)
