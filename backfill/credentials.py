"""Credentials of workers: their parent's, which may have asked a human for them. AWS takes an MFA code once, so the next process
to ask would be refused."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import botocore.session
from botocore.credentials import CredentialProvider, RefreshableCredentials

Lent = dict[str, str | None]
"""As botocore wants them from whoever refreshes credentials."""

_LENT_FOR = timedelta(minutes=16)
"""Botocore asks again from 15 minutes before the end on, so after one; what it lends itself lasts for ten at least."""


def lend(session: Any) -> Lent:
    """The credentials of boto3's `session` as they are now."""
    found = session.get_credentials().get_frozen_credentials()
    until = datetime.now(UTC) + _LENT_FOR
    return {
        "access_key": found.access_key,
        "secret_key": found.secret_key,
        "token": found.token,
        "expiry_time": until.isoformat(),
    }


def borrowing(profile: str | None, region: str | None, ask: Callable[[], Lent]) -> Any:
    """A session of boto3 that asks for its credentials as it needs them."""
    core = botocore.session.Session(profile=profile)
    core.get_component("credential_provider").providers.insert(0, _Borrowed(ask))
    return boto3.Session(botocore_session=core, region_name=region)


class _Borrowed(CredentialProvider):  # type: ignore[misc]  # botocore ships no types
    METHOD = CANONICAL_NAME = "parent"

    def __init__(self, ask: Callable[[], Lent]) -> None:
        super().__init__()
        self._ask = ask

    def load(self) -> Any:
        return RefreshableCredentials.create_from_metadata(self._ask(), self._ask, self.METHOD)
