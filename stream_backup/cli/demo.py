"""`stream-backup demo`."""

from importlib import import_module

import click

from stream_backup.errors import UsageError


@click.command()
@click.option(
    "--keep",
    is_flag=True,
    help="Keep the embedded AWS running, and show how to use it.",
)
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def demo(*, keep: bool) -> None:
    """Runs a complete example on an embedded AWS on this computer, without an AWS account.

    \b
      stream-backup demo
    """
    try:
        # By name, because the demo is an optional installation.
        story = import_module("stream_backup.demo.story")
    except ImportError as error:
        raise UsageError(
            f"The demo needs more than is installed: {error}.", "pip install 'stream-backup[demo]'"
        ) from error
    story.tell(keep=keep)
