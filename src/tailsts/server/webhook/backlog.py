"""Audit events that a receiver has not taken yet: a moment in memory, then in spools on disk; in order.

Where the disk fails they wait in memory, within bounds, and can be taken from there.
"""

import contextlib
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from tailsts.errors import FileError
from tailsts.server.webhook.ground import strangers
from tailsts.server.webhook.spool import Batch, Spool
from tailsts.server.webhook.spools import orphans, take

# Receivers bound what they read; of the usual ones none to less than a megabyte.
MAX_BATCH_BYTES = 256 * 1024
# Events that are not in the spool yet: those of 10 ms, or for as long as the disk fails.
MAX_MEMORY_BYTES = 8 * 1024 * 1024
# In the line of an event that only a caller with a good token and rights can cause. Within a text of a caller, the
# quotes would be escaped.
GRANTED = b'"outcome":"granted"'
# Events were left out because too many waited (crowded), found no room in memory or in the spool, were in memory when
# the service stopped and the disk failed, were torn when a process was killed, were refused each time, or waited in a
# file that somebody else removed.
LOST = ("crowded", "memory", "spool", "stopped", "torn", "refused", "removed")


class Taken(msgspec.Struct, frozen=True):
    """Lines to be sent, and where they come from: a spool, or memory."""

    lines: tuple[bytes, ...]
    spool: Spool | None
    batch: Batch | None = None


class Backlog:
    """What waits in `folder`, in at most `limit` bytes. One thread adds, another does all the rest.

    `tell` hears when the disk begins to fail (the fault) and when it works again (None). `lost` counts by reason.

    Raises:
        OSError: the spool cannot be used.
        FileError: there are too many of them, or another user could have put something there.
    """

    def __init__(self, folder: Path, limit: int, tell: Callable[[str | None], None]) -> None:
        self.lost = Counter(dict.fromkeys(LOST, 0))
        self.fault: str | None = None
        self._folder = folder
        self._limit = limit
        self._tell = tell
        self._spool = take(folder, limit)
        self._adopted: list[Spool] = []
        self._memory = _Memory()
        self._is_memory_taken = False
        self._granted: bytes | None = None

    @property
    def pending(self) -> int:
        """How many events wait."""
        return self._memory.pending + self._spool.pending + sum(spool.pending for spool in self._adopted)

    @property
    def used(self) -> float:
        """How much of the spool is used, from 0 to 1."""
        return self._spool.used / self._limit

    def is_crowded(self) -> bool:
        """Return whether so much is waiting that what anybody can cause should stay out."""
        size = self._memory.size
        return (self._spool.used + size) * 2 > self._limit or size * 2 > MAX_MEMORY_BYTES

    def add(self, lines: bytes, count: int) -> None:
        """Add events, each a line of JSON that ends in a line feed; called in the one thread."""
        if self._memory.size > MAX_MEMORY_BYTES:
            self.lost["memory"] += count
        else:
            self._memory.add(lines, count)

    def store(self) -> None:
        """Move what is in memory to the spool."""
        while not self._is_memory_taken and (lines := self._memory.first()):
            try:
                self._find_spool()
                fits = self._spool.append(lines)
            except OSError as error:
                self._note(f"cannot be written: {error.strerror}")
                return
            except FileError as error:
                self._note(str(error))
                return
            finally:
                self._count_removed(self._spool)
            self._note(None)
            self._granted = _last_granted(lines) or self._granted
            count = self._memory.remove_first()
            if not fits:
                self.lost["spool"] += count

    def sync(self) -> None:
        """Bring to the disk what was stored."""
        try:
            self._find_spool()
            self._spool.sync()
        except OSError as error:
            self._note(f"cannot be written: {error.strerror}")
        except FileError as error:
            self._note(str(error))

    def adopt(self) -> int:
        """Take over what other processes left behind; return how many events these are.

        Raises:
            OSError: the folder cannot be looked through.
        """
        found = list(orphans(self._folder, self._limit))
        self._adopted.extend(found)
        return sum(spool.pending for spool in found)

    def strange(self) -> Path | None:
        """Return one of the things between the spools that are none of ours and are left alone, if there are any.

        Raises:
            OSError: the folder cannot be looked through.
        """
        return next(strangers(self._folder), None)

    def peek(self, most: int) -> Taken | None:
        """Return the oldest events, at most so many, or None if there are none. They are under way until `settle`.

        Raises:
            OSError: they cannot be read.
        """
        taken = self._oldest(most)
        if taken is not None and taken.spool is not None:
            taken.spool.under_way = taken.batch
        elif taken is not None:
            # Until it is settled, these must not be stored as well.
            self._is_memory_taken = True
        return taken

    def _oldest(self, most: int) -> Taken | None:
        while self._adopted:
            if taken := self._peek_adopted(self._adopted[0], most):
                return taken
            self._adopted.pop(0).close()
        batch = self._spool.peek(most, MAX_BATCH_BYTES)
        self._count_removed(self._spool)
        if batch:
            return Taken(batch.lines, self._spool, batch)
        if self.fault is not None and (lines := self._memory.first()):
            return Taken(tuple(lines.splitlines(keepends=True)[:most]), None)
        return None

    def _peek_adopted(self, spool: Spool, most: int) -> Taken | None:
        """Return its oldest events. One that cannot be read is left to whoever looks for such spools next."""
        try:
            batch = spool.peek(most, MAX_BATCH_BYTES)
        except OSError:
            return None
        self._count_removed(spool)
        return Taken(batch.lines, spool, batch) if batch else None

    def _find_spool(self) -> None:
        """See to it that the spool is where it was; if somebody has removed it, take another one.

        Raises:
            OSError: there can be none.
            FileError: likewise.
        """
        if self._spool.is_there():
            return
        gone, self._spool = self._spool, take(self._folder, self._limit)
        gone.abandon()
        self._count_removed(gone)

    def _count_removed(self, spool: Spool) -> None:
        self.lost["removed"] += spool.removed
        spool.removed = 0

    def witness(self, most: int) -> bytes | None:
        """Return an event that no stranger has worded: the granted one that came last, or one that waits.

        Raises:
            OSError: it cannot be read.
        """
        if self._granted is None and (taken := self._oldest(most)):
            return _last_granted(b"".join(taken.lines))
        return self._granted

    def settle(self, taken: Taken, *, done: bool) -> None:
        """Forget what was taken, or, if it was not `done` with, keep it."""
        self._is_memory_taken = False
        if taken.spool is None or taken.batch is None:
            if done:
                self._memory.remove_lines(len(taken.lines))
        elif not done:
            taken.spool.put_back(taken.batch)
            self._count_removed(taken.spool)
        elif taken.spool is self._spool or taken.spool in self._adopted:
            taken.spool.acknowledge(taken.batch)

    def leave(self) -> None:
        """Store what can be stored, and let other processes have it."""
        self._is_memory_taken = False
        self.store()
        self.lost["stopped"] += self._memory.pending
        for spool in (self._spool, *self._adopted):
            with contextlib.suppress(OSError):
                spool.close()

    def _note(self, fault: str | None) -> None:
        changed, self.fault = fault != self.fault, fault
        if changed:
            self._tell(fault)


def _last_granted(lines: bytes) -> bytes | None:
    if (place := lines.rfind(GRANTED)) < 0:
        return None
    return lines[lines.rfind(b"\n", 0, place) + 1 :].partition(b"\n")[0]


class _Memory:
    """Lines in chunks as they came. One thread adds, another removes."""

    def __init__(self) -> None:
        # A deque, because adding to its end and taking from its beginning are atomic; and sums that one thread adds to
        # and another only reads.
        self._chunks: deque[tuple[bytes, int]] = deque()
        self._bytes_in = self._bytes_out = self._lines_in = self._lines_out = 0

    @property
    def size(self) -> int:
        return self._bytes_in - self._bytes_out

    @property
    def pending(self) -> int:
        return self._lines_in - self._lines_out

    def add(self, lines: bytes, count: int) -> None:
        self._bytes_in += len(lines)
        self._lines_in += count
        self._chunks.append((lines, count))

    def first(self) -> bytes:
        """Return the oldest chunk, or nothing."""
        return self._chunks[0][0] if self._chunks else b""

    def remove_first(self) -> int:
        """Remove the oldest chunk, and return how many lines it had."""
        lines, count = self._chunks.popleft()
        self._bytes_out += len(lines)
        self._lines_out += count
        return count

    def remove_lines(self, most: int) -> None:
        """Remove the first lines of the oldest chunk."""
        lines, count = self._chunks.popleft()
        removed, rest = lines.splitlines(keepends=True)[:most], lines.splitlines(keepends=True)[most:]
        if rest:
            self._chunks.appendleft((b"".join(rest), count - len(removed)))
        self._bytes_out += sum(map(len, removed))
        self._lines_out += len(removed)
