"""Lines that wait on disk until somebody has taken them: in order, bounded, through restarts.

A folder has a file `position`, which says up to where lines were taken and whose lock says that a process uses the
folder, and segments: files of whole lines, written at their end and removed when all of their lines were taken. After
a restart nothing is written to the segments that are there, so a line that was torn stays the last of its segment:
whoever reads it finds out.

What was appended is with the operating system: it survives the end of the process, also by SIGKILL. `sync` brings it
to the disk. The position may be lost with the power; then lines are handed out again.
"""

import contextlib
import io
import os
import sys
from pathlib import Path

import msgspec

from tailsts.server.webhook.ground import POSITION, segment_name, segments_in

# One is removed as a whole: the smaller, the sooner there is room again.
MAX_SEGMENT_BYTES = 4 * 1024 * 1024
SEGMENTS_AT_LEAST = 8
# More than this no file can hold.
MAX_POSITION = 10**18


class Batch(msgspec.Struct, frozen=True):
    """Some lines, and where they end."""

    lines: tuple[bytes, ...]
    segment: int
    end: int


class Spool:
    """The spool in `folder`, of at most `limit` bytes. Used by one thread; its numbers may be read by others.

    Whoever makes one has the lock (`spools`), as `descriptor` of the file of the position. `removed` counts
    lines that waited in a segment that somebody else has removed; not those `under_way`, which may arrive.
    """

    def __init__(self, folder: Path, limit: int, descriptor: int) -> None:
        self.pending = 0
        self.removed = 0
        self.used = 0
        # What is being sent, until `acknowledge` or `put_back`.
        self.under_way: Batch | None = None
        self._folder = folder
        self._limit = limit
        self._descriptor = descriptor
        self._segment_bytes = min(MAX_SEGMENT_BYTES, limit // SEGMENTS_AT_LEAST)
        # Of each segment that is there: its bytes, and how many of its lines wait.
        self._sizes: dict[int, int] = {}
        self._waiting: dict[int, int] = {}
        self._segment, self._offset = self._position()
        self._writing: int | None = None
        self._is_entered = False
        self._last = self._segment
        self._find_segments()

    def append(self, lines: bytes) -> bool:
        """Add whole lines at the end; return False if there is no room for them.

        Raises:
            OSError: they could not be written. None of them is in the spool then.
        """
        if self.used + len(lines) > self._limit:
            return False
        if self._writing is not None and not _is_at(self._path(self._last), self._writing):
            self._lose(self._last)
        if self._writing is not None and os.fstat(self._writing).st_size < self._sizes[self._last]:
            # Somebody has cut it short: what is written now would not be where it seems. What is left is still read.
            self._end_segment()
        if self._writing is None or self._sizes[self._last] >= self._segment_bytes:
            self._begin_segment()
        assert self._writing is not None  # noqa: S101 - was just opened
        size = self._sizes[self._last]
        try:
            _write_all(self._writing, lines)
        except OSError:
            # What was written of them would be taken for lines after a restart.
            with contextlib.suppress(OSError):
                os.ftruncate(self._writing, size)
            self._end_segment()
            raise
        self._sizes[self._last] = size + len(lines)
        self.used += len(lines)
        self._wait(self._last, lines.count(b"\n"))
        return True

    def peek(self, most: int, most_bytes: int) -> Batch | None:
        """Return the oldest lines, so many and so many bytes at most, or None if there are none.

        Raises:
            OSError: they cannot be read.
        """
        while True:
            self._forget()
            left = self._sizes.get(self._segment, 0) - self._offset
            if left <= 0:
                return None
            with contextlib.suppress(FileNotFoundError):
                if text := self._read(min(left, most_bytes)):
                    return self._batch(text, left, most)
            self._lose(self._segment)

    def _batch(self, text: bytes, left: int, most: int) -> Batch:
        lines = io.BytesIO(text).readlines()[: most + 1]
        if len(lines) > most or (len(lines) > 1 and len(text) < left and not text.endswith(b"\n")):
            # The last one is one too many, or its end was not read.
            lines.pop()
        end = self._offset + sum(map(len, lines))
        return Batch(tuple(lines), self._segment, end)

    def acknowledge(self, batch: Batch) -> None:
        """Remember that the lines of the last `peek`, and all before them, were taken."""
        self.under_way = None
        self._segment, self._offset = batch.segment, batch.end
        if batch.segment in self._waiting:
            self._wait(batch.segment, -len(batch.lines))
        # Should it not be written, lines are handed out again after a restart.
        with contextlib.suppress(OSError):
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.write(self._descriptor, b"%016d %016d\n" % (self._segment, self._offset))
        self._forget()

    def put_back(self, batch: Batch) -> None:
        """Keep the lines, which did not arrive; count them if their segment was removed meanwhile."""
        self.under_way = None
        if batch.segment not in self._sizes:
            self.removed += len(batch.lines)

    def sync(self) -> None:
        """Bring to the disk what was appended to the segment that is being written.

        Raises:
            OSError: the disk fails.
        """
        if self._writing is None:
            return
        os.fsync(self._writing)
        if not self._is_entered:
            _sync_folder(self._folder)
            self._is_entered = True

    def close(self) -> None:
        """Let others use the folder. An empty spool leaves nothing but its position."""
        with contextlib.suppress(OSError):
            self.sync()
        self._end_segment()
        self._forget()
        os.close(self._descriptor)

    def abandon(self) -> None:
        """Let go of a folder that is somewhere else by now, and touch nothing where it was; what waited is removed."""
        self._end_segment()
        os.close(self._descriptor)
        for number in self._sizes:
            self._count_removed(number)
        self._sizes.clear()

    def is_there(self) -> bool:
        """Return whether the folder is still where others find it."""
        return _is_at(self._folder / POSITION, self._descriptor)

    def _read(self, size: int) -> bytes:
        with self._path(self._segment).open("rb") as file:
            file.seek(self._offset)
            return file.read(size)

    def _wait(self, number: int, lines: int) -> None:
        self._waiting[number] = self._waiting.get(number, 0) + lines
        self.pending += lines

    def _lose(self, number: int) -> None:
        """Count what waited in a segment that somebody has removed, and go on without it."""
        self._count_removed(number)
        if number == self._last:
            self._end_segment()
        self._remove(number)
        if number == self._segment:
            self._offset = 0

    def _count_removed(self, number: int) -> None:
        self.removed += self._waiting.get(number, 0)
        if self.under_way is not None and self.under_way.segment == number:
            self.removed -= len(self.under_way.lines)

    def _position(self) -> tuple[int, int]:
        """Return where to go on. What cannot be read as one is the beginning of all that is there."""
        words = os.read(self._descriptor, 64).split()
        if len(words) != 2 or not all(word.isdigit() for word in words):  # noqa: PLR2004 - segment and offset
            return 0, 0
        segment, offset = int(words[0]), int(words[1])
        return (segment, offset) if max(segment, offset) < MAX_POSITION else (0, 0)

    def _find_segments(self) -> None:
        self._sizes = {number: status.st_size for number, status in segments_in(self._folder).items()}
        self._last = max(self._last, *self._sizes, 0)
        self.used = sum(self._sizes.values())
        for number in [number for number in self._sizes if number < self._segment]:
            self._remove(number)
        self._forget()
        for number in self._sizes:
            self._wait(number, _count_lines(self._path(number), self._offset if number == self._segment else 0))

    def _forget(self) -> None:
        """Remove segments that were taken whole, and go on to the one after them."""
        while self._sizes and not (self._writing is not None and self._segment == self._last):
            if self._offset < self._sizes.get(self._segment, 0):
                return
            self._remove(self._segment)
            following = [number for number in self._sizes if number > self._segment]
            if not following:
                return
            self._segment, self._offset = min(following), 0

    def _remove(self, number: int) -> None:
        with contextlib.suppress(OSError):
            self._path(number).unlink(missing_ok=True)
        self.used -= self._sizes.pop(number, 0)
        self.pending -= self._waiting.pop(number, 0)

    def _begin_segment(self) -> None:
        self._end_segment()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
        # One that could be made but not written has its number already.
        self._last += 1
        self._writing = os.open(self._path(self._last), flags, 0o600)
        self._sizes[self._last] = 0
        self._is_entered = False
        self._forget()

    def _end_segment(self) -> None:
        if self._writing is not None:
            os.close(self._writing)
            self._writing = None

    def _path(self, number: int) -> Path:
        return self._folder / segment_name(number)


def _is_at(path: Path, descriptor: int) -> bool:
    """Return whether the open file is still the one with this name."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _write_all(descriptor: int, text: bytes) -> None:
    rest = memoryview(text)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync_folder(folder: Path) -> None:
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _count_lines(path: Path, offset: int) -> int:
    """Return the number of lines behind `offset`; a torn one is one."""
    count, end = 0, b"\n"
    with path.open("rb") as file:
        file.seek(offset)
        for part in iter(lambda: file.read(1024 * 1024), b""):
            count, end = count + part.count(b"\n"), part[-1:]
    return count + (end != b"\n")
