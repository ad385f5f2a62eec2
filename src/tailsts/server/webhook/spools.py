"""Which spool a process uses: the first that no other one does. What was left behind by others is adopted."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tailsts.errors import FileError
from tailsts.server.webhook.ground import (
    MAX_FOLDERS,
    check_folder,
    check_parent,
    folders,
    open_position,
    refuse_spool,
    segments_in,
)
from tailsts.server.webhook.spool import Spool

if sys.platform != "win32":
    import fcntl


def take(parent: Path, limit: int, most: int = MAX_FOLDERS) -> Spool:
    """Return the spool in the first folder below `parent` that no other process uses: `0`, `1` and so on.

    Raises:
        OSError: it cannot be read or written.
        FileError: all are in use, or another user could have put something there.
    """
    # Made anew if somebody has removed it: `mode` is not that of its parents.
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_parent(parent)
    for number in range(most):
        folder = parent / str(number)
        folder.mkdir(mode=0o700, exist_ok=True)
        check_folder(folder)
        if (descriptor := _lock(folder)) is not None:
            return Spool(folder, limit, descriptor)
    raise FileError(f"holds {most} spools that are in use")


def orphans(parent: Path, limit: int) -> Iterator[Spool]:
    """Yield each spool below `parent` that holds lines and that no process uses any more.

    Raises:
        OSError: one cannot be read.
    """
    # Without locks nobody knows whose they are.
    for folder in folders(parent) if sys.platform != "win32" else ():
        if (descriptor := _lock_trusted(folder)) is None:
            continue
        spool = Spool(folder, limit, descriptor)
        if spool.pending:
            yield spool
        else:
            spool.close()


def refuse_folder(parent: Path) -> str | None:
    """Return why spools cannot be kept below `parent`, to go on after its name, or None if they can."""
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_parent(parent)
        with tempfile.TemporaryFile(dir=parent):
            pass
    except FileError as error:
        return str(error)
    except OSError as error:
        return f"cannot be written: {error.strerror}"
    return next(
        (f"holds {folder.name}, which {reason}" for folder in folders(parent) if (reason := refuse_spool(folder))), None
    )


def _lock_trusted(folder: Path) -> int | None:
    """Return the same as `_lock`, but None also for a folder without lines, and for one that is not to be trusted."""
    try:
        check_folder(folder)
        return _lock(folder) if segments_in(folder) else None
    except FileError:
        return None


def _lock(folder: Path) -> int | None:
    """Return the descriptor of the position's file, whose lock it has, or None if another process has it."""
    descriptor = open_position(folder, create=True)
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
    return descriptor
