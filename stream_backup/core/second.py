"""Several changes of one item in one second, as one: what a reader of whole seconds sees of them.

A stamp is a whole second, and a restore asks what an item was at the end of one. Of several changes
of an item in a second only the last can be the answer, so a writer may leave out the others. The
one that it writes has the content, the rank and the `by` of the last, and says what was there
before the first: its `kind` and `before` are those of one change from there to here. `first` and
`merged` say which changes it stands for.

    before the second   after it   kind     before
    nothing             an item    insert
    an item             an item    modify   of the first change
    an item             nothing    remove   of the first change
    nothing             nothing    remove   NOTHING

The last is written too. The insert may be in the archive already, from a batch that was cut
elsewhere, or a scan may have seen the item; without the tombstone the item would exist for ever.

A batch that is delivered again may be cut elsewhere, so that versions overlap: `distinct` takes out
those for which another one stands.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from stream_backup.core.change import Change
from stream_backup.core.stamp import NOTHING, Kind, Stamp


def continues(changes: Sequence[Change], change: Change) -> bool:
    """Returns whether a change is the next one of its item in the second of these, so that they can
    be merged. A stream has the changes of an item in order; a repeated record begins again."""
    last = changes[-1].stamp
    return last.at == change.stamp.at and last.sequence < change.stamp.sequence


def merged(changes: Sequence[Change]) -> Change:
    """Returns the change that stands for these changes of one item, which `continues` accepted in
    this order."""
    if len(changes) == 1:
        return changes[0]
    first, last = changes[0].stamp, changes[-1].stamp
    inserted = first.kind == "insert"
    before = NOTHING if inserted and last.removes else None if inserted else first.before
    kind: Kind = "remove" if last.removes else "insert" if inserted else "modify"
    stamp = replace(last, kind=kind, before=before, first=first.sequence, merged=len(changes))
    return replace(changes[-1], stamp=stamp)


def distinct(stamps: Iterable[Stamp]) -> list[Stamp]:
    """Returns the streamed changes among the stamps of one item by rank, each once, without those
    for which another one stands. What is left may overlap, where one began within another."""
    found: list[Stamp] = []
    streamed = (stamp for stamp in stamps if stamp.streamed)
    for stamp in sorted(streamed, key=lambda each: (each.rank, -each.begins), reverse=True):
        # Those found so far rank as high, so one that begins no later stands for this one.
        if not found or found[-1].at != stamp.at or stamp.begins < found[-1].begins:
            found.append(stamp)
    return found[::-1]
