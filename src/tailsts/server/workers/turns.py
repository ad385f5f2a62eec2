"""How several workers write to one file or pipe, so that no line is torn: one after the other.

All of them have inherited one file in memory. For each stream it has a record, and whoever writes has locked it (the
operating system unlocks what a killed process had locked) and said in it what is being written. Who finds that said by
one that is gone ends the line that it may have left behind, so that only that line is broken.
"""

import errno
import os
import stat
import struct
import sys
import tempfile
import time

if sys.platform != "win32":
    import fcntl

LOG, AUDIT = 0, 1
# Where something is being written: the file, its size before, and how many bytes are to come. All zero: nothing is.
_RECORD = struct.Struct("<QQQ")
_NOTHING = bytes(_RECORD.size)
# A batch takes some hundred microseconds, unless its reader sleeps.
WAIT_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.0005
LONGEST_PAUSE_SECONDS = 0.02


def shared_file() -> int:
    """Return a file without a name, for workers to inherit. Their locks end when they close it: they never do."""
    return nameless_file("turns")


def nameless_file(shown: str) -> int:
    """Return an empty file that has no name and is in memory, if it can be; `shown` is how the system lists it."""
    if hasattr(os, "memfd_create"):
        # Also where no folder can be written.
        return os.memfd_create(shown, os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class Turn:
    """One process's right to write to one stream. Used by one thread. `shared` is the file that all have.

    Another one is waited for up to `seconds`.
    """

    def __init__(self, shared: int, stream: int, seconds: float = WAIT_SECONDS) -> None:
        self._shared = shared
        self._seconds = seconds
        self._at = stream * _RECORD.size
        self._is_ours = False

    def take(self, target: int) -> None:
        """Wait until nobody else writes, and end the line that a killed process has left in `target`.

        Raises:
            OSError: somebody else does not finish, or `target` cannot be written.
        """
        if self._is_ours:
            return
        self._lock()
        try:
            left = os.pread(self._shared, _RECORD.size, self._at)
            if left not in {b"", _NOTHING} and _is_torn(target, left):
                os.write(target, b"\n")
        except OSError:
            # What is said there stays: whoever can write will end that line.
            self._unlock()
            raise
        self._say(_NOTHING)
        self._is_ours = True

    def write(self, target: int, text: bytes) -> int:
        """Write some of the text, as os.write does, saying so before."""
        self._say(_RECORD.pack(*_place(target), len(text)))
        return os.write(target, text)

    def give_back(self) -> None:
        """Let others write: what was written ends with a line."""
        self._say(_NOTHING)
        self._is_ours = False
        self._unlock()

    def _say(self, record: bytes) -> None:
        os.pwrite(self._shared, record, self._at)

    def _lock(self) -> None:
        # Not left to the operating system to wait: it would wait for ever for a process that was stopped.
        waited, pause = 0.0, FIRST_PAUSE_SECONDS
        while not self._try_to_lock():
            if waited >= self._seconds:
                raise OSError(errno.ETIMEDOUT, "another worker does not finish its line")
            time.sleep(pause)
            waited += pause
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _unlock(self) -> None:
        if sys.platform != "win32":
            fcntl.lockf(self._shared, fcntl.LOCK_UN, _RECORD.size, self._at)

    def _try_to_lock(self) -> bool:
        if sys.platform != "win32":
            try:
                fcntl.lockf(self._shared, fcntl.LOCK_EX | fcntl.LOCK_NB, _RECORD.size, self._at)
            except OSError as error:
                if error.errno not in {errno.EACCES, errno.EAGAIN}:
                    raise
                return False
        return True


def _place(target: int) -> tuple[int, int]:
    found = os.fstat(target)
    return found.st_ino, found.st_size


def _is_torn(target: int, record: bytes) -> bool:
    """Return whether what was being written, as the record says, may have left half a line at the end of `target`."""
    inode, size, length = _RECORD.unpack(record)
    found = os.fstat(target)
    if not stat.S_ISREG(found.st_mode):
        # What went through a pipe cannot be told: an empty line at worst.
        return True
    # In another file, nothing of it or all of it: there is nothing to end.
    return found.st_ino == inode and found.st_size not in {size, size + length}
