"""Moto without a connection: requests of the commands of fault_positions, executed in this process.

Between two writes, S3 answers the same request in the same way, so that it is executed once. Most
requests of a command read its archive's records, several times.
"""

from collections.abc import Mapping
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.test import Client, EnvironBuilder

from tests.cli import Found, Request

READS = ("GET", "HEAD")


class Moto:
    """Executes requests; an `Upstream`. It remembers answers only in a world that has begun:
    whoever builds one writes to moto directly as well."""

    def __init__(self) -> None:
        self._client = Client(DomainDispatcherApplication(create_backend_app))
        self._known: dict[tuple[str, str], Found] | None = None
        self._first: dict[str, dict[tuple[str, str], Found]] = {}

    def begin(self, world: str | None) -> None:
        """Moto's memory is that of the beginning of this world, or changes in other ways."""
        self._known = None if world is None else self._first.setdefault(world, {})

    def __call__(self, request: Request, headers: Mapping[str, str]) -> Found:
        known, asked = self._known, (request.method, request.path)
        if known is None or not is_s3(request):
            return self._execute(request, headers)
        if request.method not in READS:
            found = self._execute(request, headers)
            self._known = {}
            return found
        if asked not in known:
            known[asked] = self._execute(request, headers)
        return known[asked]

    def _execute(self, request: Request, headers: Mapping[str, str]) -> Found:
        path, _, query = request.path.partition("?")
        builder = EnvironBuilder(
            path=path,
            query_string=query,
            method=request.method,
            headers=[*headers.items()],
            data=request.body,
            environ_overrides={"RAW_URI": request.path},
        )
        found: Any = self._client.open(builder, buffered=True)
        length = found.headers.get("content-length")
        return Found(found.status_code, list(found.headers.items()), found.data, length)


def is_s3(request: Request) -> bool:
    """Whether S3 answers a request: the other services are at the root, or have versions."""
    return request.path != "/" and not request.path.startswith("/20")
