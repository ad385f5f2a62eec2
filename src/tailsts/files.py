"""Reading a file that somebody named in a setting or a policy: bounded, never waiting, regular files only."""

import os
import stat
from pathlib import PurePath

from tailsts.errors import FileError


def read_bounded(path: PurePath, limit: int, *, refuse_world_writable: bool = False) -> bytes:
    """Return the content of the regular file at `path`, of at most `limit` bytes.

    Raises:
        FileError: it cannot be read, is larger, is not a regular file, or (if asked) anybody may change it.
    """
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for its writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise FileError("is not a regular file")
            if refuse_world_writable and mode & stat.S_IWOTH:
                raise FileError("can be changed by everybody on this machine; chmod o-w it")
            with open(descriptor, "rb", closefd=False) as file:
                raw = file.read(limit + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise FileError(f"cannot be read: {error.strerror}") from None
    if len(raw) > limit:
        raise FileError(f"is larger than {limit} bytes")
    return raw
