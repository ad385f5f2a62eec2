"""The log's writing thread, against files, full disks and pipes that nobody reads."""

import asyncio
import fcntl
import os
import stat
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fakes.http import eventually, eventually_async
from tailsts.errors import AuditUnavailableError
from tailsts.server.journal import MAX_BATCH_BYTES, MAX_PENDING_BYTES, Journal, Opener, appending_to

FULL = "cannot be written: No space left on device"
FULL_DISK = Path("/dev/full")
MEBIBYTE = 1024 * 1024


@contextmanager
def journal_at(opener: Opener) -> Iterator[tuple[Journal, list[str | None]]]:
    """Yield a journal, and what it tells of its faults; end its thread afterwards."""
    told: list[str | None] = []
    journal = Journal(opener, told.append)
    yield journal, told
    journal.close(5)
    os.close(journal._descriptor)


class Disk:
    """A disk that is full until it is mended: then the next opening leads to the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.full = True

    def __call__(self) -> int:
        """Open it."""
        return appending_to(FULL_DISK if self.full else self.path)()


class Pipe:
    """A pipe with a small buffer whose reader sleeps until it is told to read."""

    def __init__(self, *, blocking: bool = True) -> None:
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(self.writer, blocking)
        self.read = bytearray()
        self._thread = threading.Thread(target=self._read_to_the_end, daemon=True)

    def opener(self) -> int:
        """Hand over the end to write to."""
        return self.writer

    def is_full(self) -> bool:
        """Return whether the buffer holds all that it can."""
        waiting = fcntl.ioctl(self.reader, termios.FIONREAD, bytes(4))
        return int.from_bytes(waiting, sys.byteorder) == 4096

    def start_reading(self) -> None:
        """Read from now on."""
        self._thread.start()

    def hang_up(self) -> None:
        """Close the end to read from."""
        os.close(self.reader)

    def _read_to_the_end(self) -> None:
        with suppress(OSError):
            while part := os.read(self.reader, 65536):
                self.read += part
        os.close(self.reader)


def numbered(*numbers: int) -> bytes:
    """Return a line for each number."""
    return b"".join(b'{"line":%d}\n' % number for number in numbers)


def test_order(tmp_path: Path) -> None:
    """Lines come in the order in which they were added, after what the file held, and closing waits for them."""
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"before\n")
    with journal_at(appending_to(path)) as (journal, told):
        for number in range(0, 5000, 2):
            journal.add(numbered(number, number + 1), 2)
        assert journal.close(10)
        assert path.read_bytes() == b"before\n" + numbered(*range(5000))
        assert (journal.lost, journal.fault, told) == (0, None, [])


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    """Nobody else on the machine can read the log."""
    path = tmp_path / "audit.jsonl"
    with journal_at(appending_to(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_lines_are_written_soon(tmp_path: Path) -> None:
    """A line does not wait for another one, nor for the end."""
    path = tmp_path / "audit.jsonl"
    with journal_at(appending_to(path)) as (journal, _):
        for number in range(3):
            journal.add(numbered(number))
            eventually(lambda count=number + 1: path.read_bytes() == numbered(*range(count)))  # type: ignore[misc]  # its default is its argument


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    """A log that cannot even be opened is an error at once."""
    with pytest.raises(FileNotFoundError):
        Journal(appending_to(tmp_path / "missing" / "audit.jsonl"), lambda _fault: None)


def test_lines_stay_whole() -> None:
    """A write that was broken off goes on where it stopped, by itself, as soon as there is room."""
    pipe = Pipe(blocking=False)
    lines = [b"%04d" % number + b"x" * 1500 + b"\n" for number in range(4)]
    with journal_at(pipe.opener) as (journal, told):
        for line in lines:
            journal.add(line)
        eventually(lambda: journal.fault is not None)
        assert pipe.is_full()
        pipe.start_reading()
        eventually(lambda: bytes(pipe.read) == b"".join(lines))
        eventually(lambda: told == ["cannot be written: Resource temporarily unavailable", None])


def test_l04_a_full_disk(tmp_path: Path) -> None:
    """L-04: a full disk is told once, keeps every line, and is told once more when it is over."""
    disk = Disk(tmp_path / "audit.jsonl")
    with journal_at(disk) as (journal, told):
        for number in range(5):
            journal.add(numbered(number))
            eventually(lambda: not journal._queue and journal.fault is not None)
        assert (journal.fault, told) == (FULL, [FULL])
        with pytest.raises(AuditUnavailableError) as caught:
            journal.require_writable()
        assert (str(caught.value), caught.value.retry_after) == (FULL, 1)
        disk.full = False
        journal.reopen()
        eventually(lambda: disk.path.exists() and disk.path.read_bytes() == numbered(*range(5)))
        eventually(lambda: told == [FULL, None])
        journal.require_writable()
        assert journal.lost == 0


def test_the_end_on_a_full_disk() -> None:
    """Closing says that the end could not be written."""
    with journal_at(appending_to(FULL_DISK)) as (journal, _):
        journal.add(b"x\n")
        assert not journal.close(10)


def test_what_does_not_fit_is_counted(tmp_path: Path) -> None:
    """While nothing can be written, 8 MiB are kept; what comes then is lost and counted, and the rest comes whole."""
    disk = Disk(tmp_path / "audit.jsonl")
    with journal_at(disk) as (journal, told):
        large = [b"%d" % number + b"x" * (MEBIBYTE - 2) + b"\n" for number in range(9)]
        for line in large:
            journal.add(line)
        assert journal.lost == 0
        journal.add(b"lost\n" * 7, 7)
        journal.add(b"lost\n")
        assert journal.lost == 8
        eventually(lambda: told == [FULL])
        disk.full = False
        journal.reopen()
        eventually(lambda: told == [FULL, None])
        journal.add(b"again\n")
        assert journal.close(10)
        assert disk.path.read_bytes() == b"".join(large) + b"again\n"
        assert journal.lost == 8


def test_rotation(tmp_path: Path) -> None:
    """After the file was moved away, `reopen` makes a new one: what was added before is in the old one or the new."""
    path, moved = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    with journal_at(appending_to(path)) as (journal, told):
        journal.add(numbered(0))
        eventually(lambda: path.read_bytes() == numbered(0))
        path.rename(moved)
        journal.add(numbered(1))
        eventually(lambda: moved.read_bytes() == numbered(0, 1))
        journal.reopen()
        eventually(path.exists)
        journal.add(numbered(2))
        assert journal.close(10)
        assert (moved.read_bytes(), path.read_bytes(), told) == (numbered(0, 1), numbered(2), [])


def descriptors() -> int:
    """Return how many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_rotation_leaves_no_descriptor_open(tmp_path: Path) -> None:
    """However often a log is rotated, one file is open."""
    path = tmp_path / "audit.jsonl"
    with journal_at(appending_to(path)) as (journal, _):
        count = descriptors()
        for number in range(20):
            path.rename(tmp_path / f"audit.jsonl.{number}")
            journal.reopen()
            eventually(path.exists)
        eventually(lambda: descriptors() <= count)


def test_a_file_that_cannot_be_opened_again(tmp_path: Path) -> None:
    """A new file that cannot be made is told, and tried again: lines must not go to a deleted file for ever."""
    folder = tmp_path / "logs"
    folder.mkdir()
    path = folder / "audit.jsonl"
    with journal_at(appending_to(path)) as (journal, told):
        journal.add(numbered(0))
        eventually(lambda: path.read_bytes() == numbered(0))
        folder.rename(tmp_path / "moved")
        journal.reopen()
        eventually(lambda: told == ["cannot be opened again: No such file or directory"])
        folder.mkdir()
        eventually(path.exists)
        journal.add(numbered(1))
        assert journal.close(10)
        assert path.read_bytes() == numbered(1)
        assert told == ["cannot be opened again: No such file or directory", None]


async def test_l04_receipts(tmp_path: Path) -> None:
    """L-04: whoever waits for a line is told when it is in the file, and so is everybody who waits."""
    path = tmp_path / "audit.jsonl"
    with journal_at(appending_to(path)) as (journal, _):
        await journal.written(numbered(0))
        assert path.read_bytes() == numbered(0)
        await asyncio.gather(*(journal.written(numbered(number)) for number in range(1, 500)))
        assert path.read_bytes() == numbered(*range(500))


async def test_l04_no_receipt_from_a_full_disk(tmp_path: Path) -> None:
    """L-04: whoever waits for a line on a full disk hears of it; the line is kept, and those after it are not taken."""
    disk = Disk(tmp_path / "audit.jsonl")
    with journal_at(disk) as (journal, told):
        for number in range(3):
            with pytest.raises(AuditUnavailableError) as caught:
                await journal.written(numbered(number))
            assert (str(caught.value), caught.value.retry_after) == (FULL, 1)
        disk.full = False
        journal.reopen()
        await eventually_async(lambda: told == [FULL, None])
        await journal.written(numbered(3))
        assert disk.path.read_bytes() == numbered(0, 3)


async def test_l04_no_receipt_for_what_was_lost() -> None:
    """L-04: a line that did not fit into the buffer is not said to be written when those before it were."""
    pipe = Pipe()
    with journal_at(pipe.opener) as (journal, _):
        for _ in range(10):
            journal.add(b"x" * (MEBIBYTE - 1) + b"\n")
        assert journal._queued_bytes - journal._written_bytes > MAX_PENDING_BYTES
        waiting = asyncio.create_task(journal.written(b"minted\n"))
        await asyncio.sleep(0)
        pipe.start_reading()
        with pytest.raises(AuditUnavailableError):
            await asyncio.wait_for(waiting, 10)


async def test_l04_whoever_waits_is_told_when_writing_fails() -> None:
    """L-04: when the log breaks, all who wait for their lines hear of it, also those far behind in the buffer."""
    pipe = Pipe()
    with journal_at(pipe.opener) as (journal, _):
        journal.add(b"x" * 8192)
        await eventually_async(pipe.is_full)
        for _ in range(3):
            journal.add(b"y" * MAX_BATCH_BYTES)
        waiting = asyncio.create_task(journal.written(b"minted\n"))
        await asyncio.sleep(0)
        pipe.hang_up()
        with pytest.raises(AuditUnavailableError, match="cannot be written: Broken pipe"):
            await asyncio.wait_for(waiting, 5)


async def test_a_waiter_that_leaves() -> None:
    """Whoever waits for a line and is cancelled disturbs nobody: the line is written, and others are told."""
    pipe = Pipe()
    mishaps: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, mishap: mishaps.append(mishap))
    with journal_at(pipe.opener) as (journal, _):
        journal.add(b"x" * 8191 + b"\n")
        await eventually_async(pipe.is_full)
        leaving = asyncio.create_task(journal.written(b"left\n"))
        staying = asyncio.create_task(journal.written(b"stayed\n"))
        await asyncio.sleep(0)
        leaving.cancel()
        pipe.start_reading()
        await asyncio.wait_for(staying, 10)
        await eventually_async(lambda: pipe.read.endswith(b"\nleft\nstayed\n"))
        assert leaving.cancelled()
        assert mishaps == []


def test_a_slow_reader_holds_up_nobody() -> None:
    """Whoever adds lines does not wait for a reader that sleeps; what was kept comes whole when it wakes."""
    pipe = Pipe()
    line = b"x" * 1023 + b"\n"
    with journal_at(pipe.opener) as (journal, told):
        started = time.monotonic()
        for _ in range(20_000):
            journal.add(line)
        assert time.monotonic() - started < 10
        kept = 20_000 - journal.lost
        assert MAX_PENDING_BYTES <= kept * len(line) <= MAX_PENDING_BYTES + MEBIBYTE
        assert not journal.close(0.1)
        pipe.start_reading()
        eventually(lambda: len(pipe.read) == kept * len(line))
        assert bytes(pipe.read) == line * kept
        assert told == []


def test_a_fifo(tmp_path: Path) -> None:
    """A named pipe is as good as a file."""
    path = tmp_path / "audit"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with journal_at(appending_to(path)) as (journal, _):
        journal.add(numbered(0, 1))
        assert journal.close(10)
        assert os.read(reader, 4096) == numbered(0, 1)
    os.close(reader)


def test_a_reader_that_goes_away() -> None:
    """When nobody will ever read again, that is a fault like a full disk, and ends nothing here."""
    pipe = Pipe()
    pipe.hang_up()
    with journal_at(pipe.opener) as (journal, told):
        journal.add(b"x\n")
        eventually(lambda: told == ["cannot be written: Broken pipe"])
        assert journal._thread.is_alive()
