"""Tailscale's token endpoint as a process of its own that fails as it is told to, under thousands of requests a second.

It grants what it is asked, in tokens that say so: tskey-api-soak17:dns+users. What it is to do comes as a word on its
standard input: well, unavailable, reset, slow, hang.
"""

import asyncio
import itertools
import json
import subprocess
import sys
from types import TracebackType
from typing import Literal, Self, cast
from urllib.parse import parse_qs

PATH = "/api/v2/oauth/token"
MARK = "tskey-api-soak"
SLOW = 0.05

Mood = Literal["well", "unavailable", "reset", "slow", "hang"]


class _Server:
    """What all connections share."""

    def __init__(self) -> None:
        self.mood = "well"
        self.number = itertools.count()
        self.hanging: set[asyncio.Transport] = set()

    def turn(self, mood: str) -> None:
        """Be in this mood from now on. Who was left hanging is hung up on."""
        self.mood = mood
        for transport in self.hanging:
            transport.abort()
        self.hanging.clear()


class _Connection(asyncio.Protocol):
    """One connection: requests in, one after the other, answers out."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not asyncio's own class.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._server.hanging.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        if len(rest) < length:
            return
        self._received = rest[length:]
        self._answer(rest[:length])

    def _answer(self, body: bytes) -> None:
        match self._server.mood:
            case "well":
                self._transport.write(self._granted(body))
            case "slow":
                asyncio.get_running_loop().call_later(SLOW, self._transport.write, self._granted(body))
            case "unavailable":
                self._transport.write(b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n")
            case "reset":
                self._transport.abort()
            case _:
                self._server.hanging.add(self._transport)

    def _granted(self, body: bytes) -> bytes:
        scope = parse_qs(body.decode(), strict_parsing=True)["scope"][0]
        token = f"{MARK}{next(self._server.number)}:{scope.replace(' ', '+')}"
        text = json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": 3600, "scope": scope}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)


class ChaoticTailscale:
    """The process."""

    def __init__(self) -> None:
        self._port = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate(timeout=10)

    @property
    def token_url(self) -> str:
        """Where tokens are asked for."""
        return f"http://127.0.0.1:{self._port}{PATH}"

    def turn(self, mood: Mood) -> None:
        """Have it behave like this from now on."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{mood}\n")
        self._process.stdin.flush()


async def _serve() -> None:
    loop, told = asyncio.get_running_loop(), _Server()
    server = await loop.create_server(lambda: _Connection(told), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - how it says where it is
    loop.add_reader(sys.stdin, lambda: told.turn(sys.stdin.readline().strip() or told.mood))
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve())
