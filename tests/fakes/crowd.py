"""Many connections that mean ill, from one process: idle ones, slow ones, endless headers and bodies."""

import asyncio
import contextlib
import multiprocessing.spawn
from collections.abc import Callable, Iterable, Iterator, MutableSequence
from itertools import repeat
from types import TracebackType
from typing import Any, Self

_HEAD = b"POST / HTTP/1.1\r\nHost: sts\r\nAuthorization: Bearer a.b.c\r\n"

# What each sends at once, and then a piece of a second: none of them is ever a whole request.
FORMS: dict[str, Callable[[], Iterator[bytes]]] = {
    "idle": lambda: repeat(b""),
    "half a header": lambda: _then(_HEAD, repeat(b"")),
    "endless headers": lambda: _then(_HEAD, (b"X-%d: y\r\n" % number for number in range(10**6))),
    "a slow body": lambda: _then(_HEAD + b"Content-Length: 1000\r\n\r\n", repeat(b" ")),
    "endless chunks": lambda: _then(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", repeat(b"1\r\n \r\n")),
}


def _then(first: bytes, others: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from others


class Crowd:
    """So many connections to a port, in turn of the forms named. Whoever is cut off comes again, at once."""

    def __init__(self, port: int, count: int, forms: Iterable[str]) -> None:
        self.connected = 0
        self.most = 0
        self.cut_off = 0
        self._port = port
        self._count = count
        self._forms = [FORMS[name] for name in forms]
        self._members: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._members = [
            asyncio.create_task(self._be_one(self._forms[number % len(self._forms)])) for number in range(self._count)
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self._members:
            member.cancel()
        await asyncio.gather(*self._members, return_exceptions=True)

    async def _be_one(self, form: Callable[[], Iterator[bytes]]) -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=4096)
                self.connected += 1
                self.most = max(self.most, self.connected)
                try:
                    await self._pester(form(), reader, writer)
                finally:
                    self.connected -= 1
                    writer.transport.abort()
                self.cut_off += 1
            await asyncio.sleep(0.05)

    async def _pester(
        self, pieces: Iterator[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Send a piece each second until the other side has had enough."""
        for piece in pieces:
            writer.write(piece)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await reader.read()
                    return


class OtherCrowd:
    """A crowd in a process of its own: whoever looks how others fare must not be busy being it."""

    def __init__(self, port: int, count: int, forms: Iterable[str]) -> None:
        context = multiprocessing.get_context("spawn")
        self._seen: Any = context.Array("q", 3)
        self._process = context.Process(target=_be_a_crowd, args=(port, count, list(forms), self._seen), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.join()

    @property
    def connected(self) -> int:
        """How many are connected."""
        return int(self._seen[0])

    @property
    def most(self) -> int:
        """How many were, at most."""
        return int(self._seen[1])

    @property
    def cut_off(self) -> int:
        """How many were cut off, and came again."""
        return int(self._seen[2])


def _be_a_crowd(port: int, count: int, forms: list[str], seen: MutableSequence[int]) -> None:
    async def crowd_in() -> None:
        async with Crowd(port, count, forms) as crowd:
            while True:
                seen[:] = [crowd.connected, crowd.most, crowd.cut_off]
                await asyncio.sleep(0.1)

    asyncio.run(crowd_in())
