"""An HTTP server that does what a test tells it, byte for byte. Runs in a thread, so processes can reach it too."""

import asyncio
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Request:
    """What came in. Header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Raw:
    """Send these bytes, then hold the connection open (`then="hold"`), close it, or reset it."""

    data: bytes = b""
    then: str = "keep"


@dataclass(frozen=True)
class Drip:
    """Send these bytes one by one, with a pause in seconds between them."""

    data: bytes
    pause: float


@dataclass(frozen=True)
class Endless:
    """Send a head and then these bytes again and again, until the other side has had enough."""

    head: bytes
    data: bytes


@dataclass(frozen=True)
class Later:
    """Send the reply after a pause in seconds."""

    pause: float
    reply: "Reply"


Reply = Raw | Drip | Endless | Later

HANG = Raw(then="hold")
RESET = Raw(then="reset")
CLOSE = Raw(then="close")


def http(status: int, body: bytes, **headers: str) -> Raw:
    """Return a complete answer. Header names are given with underscores."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return Raw("\r\n".join([*lines, "", ""]).encode() + body)


@dataclass
class ScriptedServer:
    """Answers each request with what `respond` returns for it, and remembers them all."""

    respond: Callable[[Request], Reply]
    tls: ssl.SSLContext | None = None
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop)
        self._thread.join(10)

    def count(self, path: str) -> int:
        """Return how often `path` was asked for."""
        return sum(request.path == path for request in tuple(self.requests))

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        # What is still open closes by itself in a moment; a loop that is gone could not do it.
        self._loop.run_until_complete(asyncio.sleep(0.3 if self.tls else 0.01))
        self._loop.close()

    def _stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        self._stopping.set()

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        patience = {"ssl_handshake_timeout": 2.0, "ssl_shutdown_timeout": 0.1} if self.tls else {}
        self._server = await asyncio.start_server(
            self._connected, "127.0.0.1", self.port, ssl=self.tls, limit=2**20, **patience
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopping.wait()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while (request := await _read(reader)) is not None:
                self.requests.append(request)
                if not await _send(self.respond(request), writer):
                    break
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    start, *lines = head.split("\r\n")
    method, path, _ = start.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, path, headers, body)


async def _send(reply: Reply, writer: asyncio.StreamWriter) -> bool:
    """Send the reply; return whether the connection can be used again."""
    match reply:
        case Later(pause=pause, reply=after):
            await asyncio.sleep(pause)
            return await _send(after, writer)
        case Drip(data=data, pause=pause):
            for byte in data:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(pause)
            return False
        case Endless(head=head, data=data):
            writer.write(head)
            while True:
                writer.write(data)
                await writer.drain()
        case Raw(data=data, then=then):
            writer.write(data)
            await writer.drain()
            if then == "hold":
                await asyncio.sleep(3600)
            if then == "reset":
                # SO_LINGER with 0 seconds: closing sends RST.
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return then == "keep"


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until `condition` holds, and fail if it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


async def eventually_async(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Like `eventually`, in an event loop."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)
