"""Whether some process has a file open for writing, where the operating system tells."""

import errno
import os
import signal
import sys
from pathlib import Path

# Their clients grant a lease only if the server lets them, whoever writes: "no" says nothing there.
REMOTE = frozenset({b"cifs", b"nfs", b"nfs4", b"smb3"})
_MOUNTS = Path("/proc/self/mountinfo")


def has_writer(path: str) -> bool | None:
    """Return whether some process has the file open for writing; None where that cannot be told."""
    return _has_writer(path) if sys.platform == "linux" else None


def _has_writer(path: str) -> bool | None:
    """Ask Linux for a lease.

    It lets a file's owner, and who has CAP_LEASE, lease it for reading if nobody has it open for writing. Who opens it
    so meanwhile has to wait; so it is given back at once.
    """
    import fcntl  # noqa: PLC0415 - not everywhere

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        # A signal asks for it back, which would end the process. This one is ignored unless somebody asks for it.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return True if error.errno == errno.EAGAIN and not _is_remote(descriptor) else None
    else:
        return False
    finally:
        os.close(descriptor)


def _is_remote(descriptor: int) -> bool:
    # Without /proc, nobody says so.
    mounts = _MOUNTS.read_bytes() if _MOUNTS.exists() else b""
    return is_remote(os.fstat(descriptor).st_dev, mounts)


def is_remote(device: int, mounts: bytes) -> bool:
    """Return whether files of this device are another machine's, by what is in /proc/self/mountinfo.

    A path in it may be of any bytes: Linux writes only spaces, tabs, line feeds and backslashes in another way.
    """
    number = b"%d:%d" % (os.major(device), os.minor(device))
    for line in mounts.split(b"\n"):
        # proc(5): number, parent, device, root, place, options, any number of others, "-", kind, ...
        before, _, after = line.partition(b" - ")
        if before.split(b" ", 3)[2:3] == [number]:
            return after.partition(b" ")[0] in REMOTE
    return False
