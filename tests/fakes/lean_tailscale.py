"""Tailscale's token endpoint as a process of its own, for tens of thousands of requests: nothing but speed.

It grants what it is asked, in tokens that say so, and answers in an order of its own, so that what belongs to one
exchange has every chance to meet what belongs to another. Run as a program, it says its port and serves.

A token says its scopes, its tags if some were asked for, and the OAuth client unless that is the usual one:
tskey-api-lean17:dns+users@tag:ci#k2. Whoever shares the process shares its clients: it asks none for a secret.
"""

import asyncio
import base64
import itertools
import json
import random
import subprocess
import sys
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs

PATH = "/api/v2/oauth/token"
# All tokens of it begin so: who looks for a leak looks for this.
MARK = "tskey-api-lean"
# That of fakes.tailscale, which a program in this folder cannot import.
USUAL_CLIENT = "k123456CNTRL"
# Seconds. One answer in four is late by up to this, and others overtake it.
LATE = 0.02


class _Connection(asyncio.Protocol):
    """One connection: requests in, one after the other, answers out."""

    number = itertools.count()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        if len(rest) < length:
            return
        self._received = rest[length:]
        # A choice of fate, not a secret.
        late = random.random() * LATE if random.random() < 0.25 else 0.0  # noqa: S311
        asyncio.get_running_loop().call_later(late, self._transport.write, _answer(head, rest[:length]))


def _answer(head: bytes, body: bytes) -> bytes:
    form = parse_qs(body.decode(), strict_parsing=True)
    scope = form["scope"][0]
    rights = scope.replace(" ", "+")
    answer = {"token_type": "Bearer", "expires_in": 3600, "scope": scope}
    if "tags" in form:
        answer["tags"] = form["tags"][0]
        rights += "@" + form["tags"][0].replace(" ", "+")
    client = _client(head)
    answer["access_token"] = f"{MARK}{next(_Connection.number)}:{rights}" + (
        "" if client == USUAL_CLIENT else f"#{client}"
    )
    text = json.dumps(answer).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)


def _client(head: bytes) -> str:
    basic = head.partition(b"uthorization: Basic ")[2].partition(b"\r\n")[0]
    return base64.b64decode(basic).decode().partition(":")[0]


class LeanTailscale:
    """The process."""

    def __init__(self) -> None:
        self._port = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True)
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


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - how it says where it is
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
