"""`stream-backup demo`"""

import click

from stream_backup.errors import UsageError


@click.command()
@click.option("--keep", is_flag=True, help="Leave the embedded AWS running, and say how to go on by hand.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def demo(*, keep: bool) -> None:
    """Tells the whole story on an embedded AWS on this machine: no account, nothing left behind.

    \b
      stream-backup demo
    """
    try:
        from stream_backup.demo.story import tell
    except ImportError as error:
        raise UsageError(f"The demo needs more than is installed: {error}.", "pip install 'stream-backup[demo]'") from error
    tell(keep=keep)
