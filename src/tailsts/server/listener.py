"""A port, served by Granian inside our own event loop."""

import asyncio
import socket
import sys
from collections.abc import Callable

from granian.constants import HTTPModes
from granian.http import HTTP1Settings
from granian.net import SocketHolder  # type: ignore[attr-defined]  # passed on, undeclared
from granian.server.embed import Server

from tailsts.errors import ConfigurationError
from tailsts.server import process
from tailsts.server.room import Room
from tailsts.server.rsgi import Application

BACKLOG = 4096
# Connections at a time; further ones wait in the backlog.
MAX_CONNECTIONS = 16_384
# At the port for probes and Prometheus.
ADMIN_CONNECTIONS = 256
# What one may come to hold of a request that it never ends (157 KB, with 62 of header fields and 16 of the body), and
# what part of the memory all of them may.
CONNECTION_BYTES = 160 * 1024
PART_OF_MEMORY = 2
# For logs, keys, policies and connections to issuers and Tailscale.
SPARE_FILES = 100
# A whole header block. The token alone may have 16 KiB; beyond this, the HTTP parser itself answers 431.
MAX_HEADER_BYTES = 64 * 1024
HEADER_MILLISECONDS = 10_000
# How long a caller may leave an answer unread before its connection is given up.
UNREAD_MILLISECONDS = 10_000
# How long what is in flight may take after SIGTERM, and the logs after that: within the 30 s that Kubernetes waits.
DRAIN_SECONDS = 25.0
FLUSH_SECONDS = 3.0


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to `host` and `port`, to nothing that another process is bound to as well.

    Raises:
        ConfigurationError: the port is taken, or the host is none of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except UnicodeError:
        raise ConfigurationError([f"cannot listen on {host}: it is not a host name"]) from None
    except OSError as error:
        raise ConfigurationError([f"cannot listen on {host}: {error.strerror}"]) from None
    try:
        # Granian's own sockets share a taken port silently (SO_REUSEPORT): half of the requests would go astray.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sys.platform == "linux":
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MILLISECONDS)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise ConfigurationError([f"cannot listen on {host}, port {port}: {error.strerror}"]) from None
    return listening


def connections_allowed(processes: int) -> int:
    """Return how many connections one of so many processes may have open: as memory and files go."""
    by_memory = process.memory_allowed() // processes // PART_OF_MEMORY // CONNECTION_BYTES
    return max(1, min(MAX_CONNECTIONS, process.files_allowed() - SPARE_FILES, by_memory))


class _EmbeddedServer(Server):
    """Granian's embeddable server on a socket that is bound already."""

    def __init__(self, application: Application, listening: socket.socket, connections: int) -> None:
        super().__init__(
            application,
            http=HTTPModes.http1,
            websockets=False,
            backlog=BACKLOG,
            backpressure=connections,
            http1_settings=HTTP1Settings(header_read_timeout=HEADER_MILLISECONDS, max_buffer_size=MAX_HEADER_BYTES),
            log_enabled=False,
        )
        self._listening = listening

    def _init_shared_socket(self) -> None:
        # From here on the socket belongs to Granian, which closes it when it stops accepting.
        descriptor = self._listening.detach()
        arguments = (descriptor, False, BACKLOG) if sys.platform == "linux" else (descriptor, False)
        self._shd = SocketHolder(*arguments)  # type: ignore[assignment]  # missing in its stubs


class Listener:
    """Serves `application` on a bound socket, from `start` to `drain`; one of so many `processes` that do.

    At most `allowed` connections may be open. On a port that is not public none is cut off to make room: none but
    operators reach it, and to look for a crowd there costs as much as all connections to the public one.
    """

    def __init__(
        self,
        application: Application,
        listening: socket.socket,
        processes: int = 1,
        is_proxy: Callable[[str], bool] = lambda _: False,
        *,
        public: bool = True,
    ) -> None:
        self.host, self.port = listening.getsockname()[:2]
        self.allowed = min(MAX_CONNECTIONS if public else ADMIN_CONNECTIONS, connections_allowed(processes))
        self._room = Room(self.port, self.allowed, application.in_hand, is_proxy) if public else None
        self._server = _EmbeddedServer(application, listening, self.allowed)
        self._serving: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None

    @property
    def connections(self) -> int:
        """How many are open on a public port, as it was within the last five seconds; on Linux alone, elsewhere 0."""
        return 0 if self._room is None else self._room.connections

    @property
    def cut_off(self) -> int:
        """How many had to go because too many were open."""
        return 0 if self._room is None else self._room.cut_off

    def start(self) -> None:
        """Begin to accept connections, in the running event loop."""
        self._serving = asyncio.create_task(self._server.serve())
        if self._room is not None:
            self._keeping = asyncio.create_task(self._room.keep())

    async def drain(self, seconds: float) -> bool:
        """Stop accepting, finish what is in flight for at most `seconds`; return whether all of it was finished."""
        if self._serving is None:
            return True
        self._server.stop()  # type: ignore[no-untyped-call]
        if self._keeping is not None:
            self._keeping.cancel()
        done, _ = await asyncio.wait({self._serving}, timeout=seconds)
        return bool(done)
