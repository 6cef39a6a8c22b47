"""Who else receives the changes of a live table, as a plan that writes to it reports it."""

from stream_backup.capture.consumers import Consumers
from stream_backup.cli.console import say


def show_consumers(consumers: Consumers) -> None:
    """Prints who else receives the changes, and what could not be seen."""
    if consumers.found:
        say("Others receive these changes too:")
    for sentence in consumers.found:
        say(f"  {sentence}")
    for sentence in consumers.unseen:
        say(sentence)
