"""What strangers can cause at will does not push out of the audit log what was granted."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.http import eventually, eventually_async
from tailsts.errors import AuditUnavailableError
from tailsts.outcome import (
    Malformed,
    Outcome,
)
from tailsts.server.journal import CROWDED, MAX_PENDING_BYTES, Journal
from unit.test_recording import MINTED, REFUSED, UNKNOWN, Desk, event

HALF = MAX_PENDING_BYTES // 2


class SleepingReader:
    """A pipe whose reader sleeps until it is woken; what is written meanwhile waits."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.read = bytearray()
        self._thread = threading.Thread(target=self._read_to_the_end, daemon=True)

    def opener(self) -> int:
        """Hand over the end to write to."""
        return self.writer

    def wake(self) -> None:
        """Read from now on."""
        if not self._thread.is_alive():
            self._thread.start()

    def lines_after(self, start: int) -> list[bytes]:
        """Return the lines that were read, from this byte on."""
        return bytes(self.read[start:]).splitlines()

    def _read_to_the_end(self) -> None:
        while part := os.read(self.reader, 65536):
            self.read += part
        os.close(self.reader)


@pytest.fixture
def pipe() -> Iterator[SleepingReader]:
    """Return a pipe, and close it when its writer is done."""
    pipe = SleepingReader()
    yield pipe
    os.close(pipe.writer)


@pytest.fixture
def journal(pipe: SleepingReader) -> Iterator[Journal]:
    """Return a journal that writes into the pipe."""
    journal = Journal(pipe.opener, lambda _fault: None)
    yield journal
    pipe.wake()
    assert journal.close(10)


def fill(journal: Journal) -> None:
    """Leave as much to write as is still no crowd: one line, of which no part counts as written before the whole."""
    journal.add(b"x" * (HALF - 1) + b"\n")


async def test_l04_a_crowd_is_told_before_the_buffer_is_full(pipe: SleepingReader, journal: Journal) -> None:
    """L-04: when more than half of the buffer waits, nobody is let in who must be recorded; and again when it is less.

    What is turned away is neither kept nor lost: nothing was done yet that would have to be recorded.
    """
    fill(journal)
    journal.require_writable()
    assert not journal.is_crowded()
    journal.add(b"\n")
    assert journal.is_crowded()
    with pytest.raises(AuditUnavailableError) as caught:
        journal.require_writable()
    assert (str(caught.value), caught.value.retry_after) == (CROWDED, 1)
    with pytest.raises(AuditUnavailableError) as caught:
        await journal.written(b"minted\n")
    assert (str(caught.value), caught.value.retry_after, journal.lost) == (CROWDED, 1, 0)
    pipe.wake()
    await eventually_async(lambda: not journal.is_crowded())
    journal.require_writable()
    await journal.written(b"minted\n")
    eventually(lambda: len(pipe.read) == HALF + 1 + len(b"minted\n"))


def outcomes(lines: list[bytes]) -> list[str]:
    """Return the outcomes in lines of an audit log."""
    return [json.loads(line)["outcome"] for line in lines]


@pytest.mark.parametrize(("crowded", "kept", "lost"), [(False, 5, 0), (True, 2, 3)])
async def test_l02_strangers_do_not_push_out_what_was_granted(
    tmp_path: Path, pipe: SleepingReader, crowded: bool, kept: int, lost: int
) -> None:
    """L-02: in a crowd, what was refused is dropped and counted as lost, and what was granted is kept."""
    desk = Desk(tmp_path, opener=pipe.opener)
    assert desk.audit_journal is not None
    fill(desk.audit_journal)
    if crowded:
        desk.audit_journal.add(b"\n")
    endings: list[Outcome] = [UNKNOWN, MINTED, REFUSED, MINTED, Malformed(400, "bad_json", "no")]
    for number, ending in enumerate(endings):
        desk.recorder.record(event(number), ending)
    desk.recorder.flush()
    assert desk.audit_journal.lost == lost
    # The metrics know of each, kept or not.
    assert sum(desk.metrics.decisions.values()) == len(endings)
    pipe.wake()
    start = HALF + crowded
    eventually(lambda: len(pipe.lines_after(start)) == kept)
    assert outcomes(pipe.lines_after(start)).count("granted") == 2
    desk.close()


async def test_l04_nobody_is_served_in_a_crowd_where_auditing_is_required(tmp_path: Path, pipe: SleepingReader) -> None:
    """L-04: where auditing is required, an exchange is turned away before it mints, as long as too much waits."""
    desk = Desk(tmp_path, opener=pipe.opener, required=True)
    assert desk.audit_journal is not None
    fill(desk.audit_journal)
    admit = desk.recorder.auditor().admit
    admit()
    desk.audit_journal.add(b"\n")
    with pytest.raises(AuditUnavailableError, match=f"^{CROWDED}$"):
        admit()
    pipe.wake()
    await eventually_async(lambda: desk.audit_journal is not None and not desk.audit_journal.is_crowded())
    admit()
    desk.close()
