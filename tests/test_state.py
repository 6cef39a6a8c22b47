"""What the state of a table's archive is read from, and in which order."""

from dataclasses import replace

import pytest

import stream_backup.capture.state as module
from stream_backup.archive.catalog import Catalog
from stream_backup.capture.failures import FailedBatch
from stream_backup.capture.state import state_of
from stream_backup.core.witness import Evidence
from tests.model import NAME
from tests.restore_world import RestoreWorld


def test_a_batch_that_is_given_up_while_the_state_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda gives up on a batch, and the function is no longer behind. Either what AWS reports
    about the function shows the batch, or the list of failed batches has it."""
    world, failed = RestoreWorld(monkeypatch), list[FailedBatch]()
    (stream,) = state_of(world.connection, NAME).status.streams
    Catalog(world.connection.archive(NAME)).write_stream(replace(stream, reader="function"))

    def evidence(*_: object) -> Evidence:
        now = world.connection.clock()
        failed.append(FailedBatch("failures", "path", NAME, stream.label, now - 60, now, 1, ""))
        return Evidence(now, "Enabled", "OK", 0, 0, 0)

    monkeypatch.setattr(module, "_evidence", evidence)
    monkeypatch.setattr(module, "_failed", lambda *_: tuple(failed))
    found = state_of(world.connection, NAME)
    assert found.evidence
    assert [hole.stream for hole in found.status.coverage.holes] == [stream.label]
