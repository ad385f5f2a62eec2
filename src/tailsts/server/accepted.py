"""The connections that were accepted on a port, as the kernel has them: the HTTP library tells nothing of them.

On Linux alone. They are files of this process, which the library opens and closes in threads of its own, so that a
number may stand for another file a moment later: it is only asked what it is, and one that is to be ended is ended
through a second descriptor, which stays what it is.
"""

import asyncio
import contextlib
import errno
import os
import socket
import stat
import struct
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

# So many are looked at before exchanges have their turn: a crowd at once would delay them by tens of milliseconds.
AT_ONCE = 50
# From tcp_info (linux/tcp.h): for how many milliseconds nothing was sent to the other side. It counts from the start if
# nothing ever was, and nothing that the other side sends makes it less.
_UNSENT = struct.Struct("=44xI")
_AT_ONCE = struct.pack("ii", 1, 0)


class Connection(NamedTuple):
    """One that was accepted, by its descriptor. That may stand for another one a moment later; `peer` tells."""

    descriptor: int
    peer: str
    unanswered_milliseconds: int


async def accepted(port: int) -> AsyncIterator[Connection]:
    """Yield the connections that are open.

    Raises:
        OSError: there is no file to spare, so nothing can be seen.
    """
    with os.scandir("/proc/self/fd") as entries:
        for number, entry in enumerate(entries, 1):
            if not number % AT_ONCE:
                await asyncio.sleep(0)
            # What is no connection, or has just gone.
            with contextlib.suppress(OSError), _borrowed(int(entry.name)) as handle:
                if peer := _peer(handle, port):
                    told = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _UNSENT.size)
                    yield Connection(int(entry.name), peer, *_UNSENT.unpack(told))


def hang_up(connection: Connection, port: int) -> bool:
    """End it, and return whether it was still there. The HTTP library sees the end, and closes it."""
    with contextlib.suppress(OSError), _second(connection.descriptor) as handle:
        if _peer(handle, port) == connection.peer:
            # Nothing of it stays in the kernel, where the next thousands would join it for a minute each.
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            handle.shutdown(socket.SHUT_RDWR)
            return True
    return False


# Copies of files that are no sockets: of what took a connection's number in between. Kept, hardly ever any.
_NEVER_CLOSED: list[int] = []


@contextlib.contextmanager
def _borrowed(descriptor: int) -> Iterator[socket.socket]:
    """Give what is open under this number, to be asked only: it may be another one at the next question.

    Nothing is closed. A process that closes any descriptor of a file loses all its record locks on it (fcntl(2)): those
    of SQLite, and of the turns.
    """
    # Of the larger kind of address; each says itself which it is.
    handle = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 0, descriptor)
    try:
        yield handle
    finally:
        handle.detach()


@contextlib.contextmanager
def _second(descriptor: int) -> Iterator[socket.socket]:
    """Give a second descriptor of a connection, which stays what it is."""
    copy = os.dup(descriptor)
    if not stat.S_ISSOCK(os.fstat(copy).st_mode):
        _NEVER_CLOSED.append(copy)
        raise OSError(errno.ENOTSOCK, "is no connection any more")
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 0, copy) as handle:
        yield handle


def _peer(handle: socket.socket, port: int) -> str:
    """Return who is at the other end, as Granian writes it; "" if it was not accepted on this port."""
    # The kernel gives a listener's port to no connection that we open.
    own = handle.getsockname()
    if not isinstance(own, tuple) or own[1] != port:
        return ""
    host, peer_port, *six = handle.getpeername()
    if not six:
        return f"{host}:{peer_port}"
    zone = f"%{six[1]}" if six[1] else ""
    return f"[{host.partition('%')[0]}{zone}]:{peer_port}"
