"""Every small case, without luck: all small histories of an item, all small triples of an undo, and
all short lives of a stream. `make soak` goes on with larger ones."""

import pytest

from tests.small import SMALL
from tests.small_versions import Counts

EXPECTED = {
    "one version": Counts(2_304, 231, 1_786),
    "two versions": Counts(168_120, 13_300, 245_346),
    "two versions, marked or not": Counts(226_368, 41_886, 358_380),
    "two versions, real margins": Counts(116_024, 7_108, 111_742),
    "three versions": Counts(465_696, 27_804, 693_441),
    "rewinds": Counts(61_506, 0, 82_520),
    "windows": Counts(40_365, 0, 54_747),
    "timelines": Counts(59_313, 0, 15_197),
    "timelines of three versions": Counts(62_892, 0, 46_424),
    "listings": Counts(169_170, 0, 138_551),
    "undo after two changes": Counts(4_500, 2_854),
    "undo of a row": Counts(10_000, 7_840),
    "undo of paths": Counts(19_652, 4_768),
    "undo of a counter": Counts(8_192, 5_698),
    "lives": Counts(5_716, 5_616),
    "covered lives": Counts(117_488, 94_765),
    "covered lives with retention": Counts(8_499, 6_850),
    "lives that began while rows were saved": Counts(10_021, 8_483),
    "second lives": Counts(13_910, 10_685),
    "second lives with retention": Counts(13_380, 10_550),
}
"""How many questions there are; how many of them raise an error, are conflicts of an undo, or are
moments that are refused; and how many versions are read for all of them. A walk that reads more
than it did is not wrong, but costs requests; a coverage that refuses more keeps people from
restoring."""


@pytest.mark.parametrize("name", SMALL)
def test_every_small_case(name: str) -> None:
    """Every case of a small space gives what its definition gives, with as many reads and refusals
    as before."""
    space, counts = SMALL[name](), Counts()
    for index in range(space.size):
        counts = counts.plus(space.check(index))
    assert counts == EXPECTED[name]
