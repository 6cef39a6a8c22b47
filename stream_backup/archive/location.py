"""The location of an archive, as it is written in a URL."""

import re
from typing import NamedTuple, Self

from stream_backup.errors import UsageError


class Location(NamedTuple):
    """The location of an archive, `s3://BUCKET[/PREFIX]`. `prefix` ends with a slash or is
    empty."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Returns the location in an archive URL. Raises UsageError when `text` is not one."""
        found = re.fullmatch(r"s3://([^/]+)(?:/(.*?))?/*", text)
        if not found:
            raise UsageError(
                f"{text!r} is not a valid archive URL.",
                "Use the form s3://BUCKET[/PREFIX], for example s3://my-backups/production.",
            )
        return cls(found[1], f"{found[2]}/" if found[2] else "")

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")
