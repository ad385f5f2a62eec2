"""A log that a thread of its own writes: whoever adds a line never waits for a disk or a pipe.

The buffer is bounded. What cannot be written stays in it and is tried again; what then does not fit any more is lost,
and counted. Lines are whole: a write that was broken off goes on where it stopped.
"""

import asyncio
import errno
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path, PurePath

from tailsts.errors import AuditUnavailableError
from tailsts.server.workers.turns import Turn

# Some 20,000 events.
MAX_PENDING_BYTES = 8 * 1024 * 1024
MAX_BATCH_BYTES = 1024 * 1024
CROWDED = "has more lines to write than it can keep"
RETRY_SECONDS = 1.0
# How long somebody waits for a line to be written: disks take milliseconds, and a caller is waiting too.
WAIT_SECONDS = 5.0

Opener = Callable[[], int]


def appending_to(path: PurePath) -> Opener:
    """Return what opens the file at `path` to write at its end; a new one is its owner's alone to read."""

    def opener() -> int:
        # Without O_NONBLOCK, opening a FIFO would wait for its reader for ever.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0)
        descriptor = os.open(path, flags, 0o600)
        os.set_blocking(descriptor, True)
        return descriptor

    return opener


def end_half_line(path: PurePath) -> None:
    """End the half line that a killed process may have left at the end of a file: no event is to be joined to it.

    Raises:
        OSError: it cannot be read or written.
    """
    found = Path(path)
    # Of a FIFO or a device nothing can be told.
    if not found.is_file():
        return
    with found.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return
        file.seek(-1, os.SEEK_END)
        if file.read(1) == b"\n":
            return
    descriptor = appending_to(path)()
    try:
        os.write(descriptor, b"\n")
    except OSError as error:
        # The journal says that the disk is full, and goes on when it is not.
        if error.errno not in {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}:
            raise
    finally:
        os.close(descriptor)


class _Receipt:
    """Somebody waits to know that all lines before this place were written."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self._loop.create_future()

    def settle(self, fault: str | None) -> None:
        """Tell them. Called in the writing thread."""
        self._loop.call_soon_threadsafe(self._set, fault)

    def _set(self, fault: str | None) -> None:
        if self.future.done():
            return
        if fault is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(AuditUnavailableError(fault, retry_after=round(RETRY_SECONDS)))


class Journal:
    """Lines on their way to a file descriptor; added in one thread, the event loop's.

    `opener` is called at once, and again after `reopen`, as log rotation wants it. `tell` hears when writing begins
    to fail (the fault) and when it works again (None); it is called in the writing thread. With a `turn`, other
    processes write there too, and each waits for its own.
    """

    def __init__(self, opener: Opener, tell: Callable[[str | None], None], turn: Turn | None = None) -> None:
        self.lost = 0
        self.fault: str | None = None
        self._opener = opener
        self._tell = tell
        self._turn = turn
        self._descriptor = opener()
        # A deque, because adding to its end and taking from its beginning are atomic.
        self._queue: deque[bytes | _Receipt] = deque()
        self._rest = b""
        self._between_lines = True
        self._queued_bytes = 0
        self._written_bytes = 0
        self._reopening = False
        self._closing = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._write_until_closed, name="journal", daemon=True)
        self._thread.start()

    def add(self, lines: bytes, count: int = 1) -> bool:
        """Add `count` lines, each of which ends in a line feed. They are written soon; False if they are lost."""
        if self._queued_bytes - self._written_bytes > MAX_PENDING_BYTES:
            self.lost += count
            return False
        self._queued_bytes += len(lines)
        self._queue.append(lines)
        self._wake.set()
        return True

    async def written(self, line: bytes) -> None:
        """Add a line and wait until it was written.

        Raises:
            AuditUnavailableError: it could not be written now. It stays in the buffer, if it fitted in.
        """
        self.require_writable()
        if not self.add(line):
            raise AuditUnavailableError(CROWDED, retry_after=round(RETRY_SECONDS))
        receipt = _Receipt()
        self._queue.append(receipt)
        self._wake.set()
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await receipt.future
        except TimeoutError:
            raise AuditUnavailableError("was not written in time", retry_after=round(RETRY_SECONDS)) from None

    def is_crowded(self) -> bool:
        """Return whether so much is waiting that what anybody can cause should stay out."""
        return self._queued_bytes - self._written_bytes > MAX_PENDING_BYTES // 2

    def trouble(self) -> str | None:
        """Return why nothing can be kept for sure: the last attempt to write failed, or too much is waiting."""
        return self.fault or (CROWDED if self.is_crowded() else None)

    def require_writable(self) -> None:
        """Raise AuditUnavailableError if there is trouble."""
        if (trouble := self.trouble()) is not None:
            raise AuditUnavailableError(trouble, retry_after=round(RETRY_SECONDS))

    def reopen(self) -> None:
        """Open the file anew before the next line is written: it may have been moved away."""
        self._reopening = True
        self._wake.set()

    def close(self, seconds: float) -> bool:
        """Write what is left, for at most `seconds`; return whether all of it was written."""
        self._closing = True
        self._wake.set()
        self._thread.join(seconds)
        return not self._thread.is_alive() and self.fault is None

    def _write_until_closed(self) -> None:
        while True:
            self._wake.wait(RETRY_SECONDS if self.fault is not None else None)
            self._wake.clear()
            closing = self._closing
            if self._reopening:
                self._open_again()
            # As long as the new file cannot be opened, lines wait: nobody would look for them in the old one.
            while not self._reopening and self._write_batch():
                pass
            if closing:
                return

    def _open_again(self) -> None:
        self._reopening = False
        try:
            descriptor = self._opener()
        except OSError as error:
            self._reopening = True
            self._fail(f"cannot be opened again: {error.strerror}", [])
            return
        os.close(self._descriptor)
        self._descriptor = descriptor

    def _write_batch(self) -> bool:
        """Write some of what is waiting; return whether it is worth calling again at once."""
        lines, receipts = self._take(MAX_BATCH_BYTES)
        if not lines and not receipts and not self._rest:
            return False
        self._rest += b"".join(lines)
        try:
            self._write_rest()
        except OSError as error:
            self._fail(f"cannot be written: {error.strerror}", receipts)
            return False
        self._note(None)
        for receipt in receipts:
            receipt.settle(None)
        return True

    def _write_rest(self) -> None:
        turn = self._turn
        if turn is not None:
            turn.take(self._descriptor)
        try:
            while self._rest:
                write = os.write if turn is None else turn.write
                count = write(self._descriptor, self._rest)
                self._between_lines = self._rest.endswith(b"\n", 0, count)
                self._written_bytes += count
                self._rest = self._rest[count:]
        finally:
            # Nobody else writes in the middle of our line, however long it takes to end it.
            if turn is not None and self._between_lines:
                turn.give_back()

    def _fail(self, fault: str, receipts: list[_Receipt]) -> None:
        """Tell everybody who waits, also for lines further behind. The lines stay."""
        lines, others = self._take(None)
        self._rest += b"".join(lines)
        self._note(fault)
        for receipt in (*receipts, *others):
            receipt.settle(fault)

    def _take(self, limit: int | None) -> tuple[list[bytes], list[_Receipt]]:
        """Take what is waiting, up to some bytes."""
        lines: list[bytes] = []
        receipts: list[_Receipt] = []
        size = len(self._rest)
        while self._queue and (limit is None or size < limit):
            entry = self._queue.popleft()
            if isinstance(entry, bytes):
                lines.append(entry)
                size += len(entry)
            else:
                receipts.append(entry)
        return lines, receipts

    def _note(self, fault: str | None) -> None:
        changed = (fault is None) != (self.fault is None)
        self.fault = fault
        if changed:
            self._tell(fault)
