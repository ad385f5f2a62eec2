"""What a folder must be like for spools to be kept in it. What everybody could have put there is never sent."""

import contextlib
import errno
import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tailsts.errors import FileError

POSITION = "position"
# More processes than anybody runs on one machine.
MAX_FOLDERS = 1024
_SEGMENT = re.compile(r"([0-9]{16,18})\.jsonl")


def segment_name(number: int) -> str:
    """Return the name of the file of a segment."""
    return f"{number:016d}.jsonl"


def segments_in(folder: Path) -> dict[int, os.stat_result]:
    """Return the segments in `folder` by number. What is no file, or has another name, is none.

    Raises:
        OSError: it cannot be looked through.
    """
    found = {}
    for path in folder.iterdir():
        # Two names must not be one segment.
        if (match := _SEGMENT.fullmatch(path.name)) and segment_name(int(match[1])) == path.name:
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                found[int(match[1])] = status
    return found


def check_folder(folder: Path) -> None:
    """See to it that nobody but us, the superuser and those whom the group lets could have put something there.

    Raises:
        OSError: it cannot be looked at.
        FileError: it is no folder, or another one can change it.
    """
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise FileError("is no folder")
    _check_rights(status)


def check_parent(parent: Path) -> None:
    """See to the same for the folder of all spools. It may be a symbolic link.

    Raises:
        OSError: it cannot be looked at.
        FileError: another one can change it.
    """
    _check_rights(parent.stat())


def open_position(folder: Path, *, create: bool) -> int:
    """Return the descriptor of the file of the position, that nobody has led elsewhere.

    Raises:
        OSError: it cannot be opened.
        FileError: it is no regular file.
    """
    # Without O_NONBLOCK, a named pipe may be waited for without end.
    flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(folder / POSITION, flags | (os.O_CREAT if create else 0), 0o600)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EISDIR, errno.ENXIO}:
            raise FileError(f"has a {POSITION} that is no file") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileError(f"has a {POSITION} that is no file")
    return descriptor


def refuse_spool(folder: Path) -> str | None:
    """Return why the spool that is there already cannot be used, or None if it can."""
    try:
        check_folder(folder)
        with contextlib.suppress(FileNotFoundError):
            os.close(open_position(folder, create=False))
        for number in segments_in(folder):
            # Another process may have removed it by now.
            with contextlib.suppress(FileNotFoundError), (folder / segment_name(number)).open("rb"):
                pass
        with tempfile.TemporaryFile(dir=folder):
            return None
    except FileError as error:
        return str(error)
    except OSError as error:
        return f"cannot be used: {error.strerror}"


def strangers(parent: Path) -> Iterator[Path]:
    """Yield what is in the way of spools below `parent` and is left alone.

    Raises:
        OSError: it cannot be looked through.
    """
    for folder in folders(parent):
        try:
            check_folder(folder)
        except FileError:
            yield folder
            continue
        ours = {POSITION, *map(segment_name, segments_in(folder))}
        yield from (path for path in folder.iterdir() if path.name not in ours)


def folders(parent: Path) -> Iterator[Path]:
    """Yield what there is with the name of a spool's folder."""
    for number in range(MAX_FOLDERS):
        if os.path.lexists(parent / str(number)):
            yield parent / str(number)


def _check_rights(status: os.stat_result) -> None:
    if sys.platform == "win32":
        return
    if status.st_uid not in {os.geteuid(), 0}:
        raise FileError("belongs to another user")
    # Also with the sticky bit: it keeps others from removing, not from adding.
    if status.st_mode & stat.S_IWOTH:
        raise FileError("can be changed by everybody on this machine; chmod o-w it")
