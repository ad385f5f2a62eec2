"""The adapter to Granian's protocol (RSGI 1.6): what our routes need of a request, and their answer sent."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

# Granian passes on the first three under these names, but does not declare it.
from granian.rsgi import HTTPProtocol, ProtocolClosed, ProtocolError, Scope  # type: ignore[attr-defined]

from tailsts.server.wire import Answer

# A body of some hundred bytes that is not there by then is an attack on memory, not a slow line.
BODY_SECONDS = 8.0
# An answer that was handed over is on its way within one such moment, of a busy machine too.
MOMENT_SECONDS = 0.5


# A body of some hundred bytes comes in one or two pieces; each costs us more than it costs the sender.
MAX_PIECES = 100


class BodyTooLargeError(Exception):
    """The body has more bytes, or comes in more pieces, than may be read."""


class BodyBrokenError(Exception):
    """The body did not come: the sender was too slow, or left."""


class Patience:
    """Breaks off reads that take too long. One timer for all: one for each would cost more than the read."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._reads: dict[Any, float] = {}
        self._watching = False

    async def wait_for(self, reading: Any, deadline: float) -> bytes:  # noqa: ANN401 - what Granian awaits
        """Return what `reading` brings until `deadline`, by the clock of the loop.

        Raises:
            asyncio.CancelledError: it took longer (by up to a quarter of `seconds`), or the task is cancelled.
        """
        loop = asyncio.get_running_loop()
        self._reads[reading] = deadline
        if not self._watching:
            self._watching = True
            loop.call_later(self.seconds / 4, self._watch, loop)
        try:
            body: bytes = await reading
        finally:
            del self._reads[reading]
        return body

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for reading, deadline in tuple(self._reads.items()):
            if deadline <= now:
                reading.cancel()
        self._watching = bool(self._reads)
        if self._watching:
            loop.call_later(self.seconds / 4, self._watch, loop)


class InHand:
    """The peers whose whole request is in hand, or was until a moment ago: their answer may be on its way out yet.

    Granian writes it in a thread of its own, and does not say when it has. One timer for all, as above.
    """

    def __init__(self) -> None:
        # 0 while it is in hand, then the moment from which on it was not.
        self._peers: dict[str, int] = {}
        self._moment = 1
        self._watching = False

    def take(self, peer: str) -> None:
        """Note that its whole request is in hand."""
        self._peers[peer] = 0

    def leave(self, peer: str) -> None:
        """Note that its answer was handed over."""
        self._peers[peer] = self._moment
        if not self._watching:
            self._watching = True
            loop = asyncio.get_running_loop()
            loop.call_later(MOMENT_SECONDS, self._forget, loop)

    def has(self, peer: str) -> bool:
        """Return whether its request is in hand."""
        return self._peers.get(peer) == 0

    def had(self, peer: str) -> bool:
        """Return whether its answer was handed over a moment ago, or is yet to be."""
        return peer in self._peers

    def _forget(self, loop: asyncio.AbstractEventLoop) -> None:
        before = self._moment
        self._moment += 1
        for peer in [peer for peer, left in self._peers.items() if 0 < left < before]:
            del self._peers[peer]
        self._watching = bool(self._peers)
        if self._watching:
            loop.call_later(MOMENT_SECONDS, self._forget, loop)


class Inbound:
    """One request, as far as it has been looked at. Header fields are copied by Granian at each look: once here."""

    __slots__ = ("_in_hand", "_patience", "_protocol", "headers", "method", "path", "peer")

    def __init__(self, scope: Scope, protocol: HTTPProtocol, patience: Patience, in_hand: InHand) -> None:
        self.method = scope.method
        self.path = scope.path
        self.headers = scope.headers
        self.peer = scope.client
        self._protocol = protocol
        self._patience = patience
        self._in_hand = in_hand

    def header_values(self, name: str) -> list[str]:
        """Return the values of all header fields of this name; those that are not ASCII are left out."""
        values: list[str] = self.headers.get_all(name)  # type: ignore[attr-defined]  # missing in its stubs
        return values

    def forwarded_for(self) -> list[str] | None:
        """Return the values of X-Forwarded-For, in their order; None if what is there cannot be read.

        Granian leaves out lines that are not ASCII, which a caller may bring about in the line that a proxy ends.
        """
        values = self.header_values("x-forwarded-for")
        return None if not values and "x-forwarded-for" in self.headers else values

    def single(self, name: str) -> str | None:
        """Return the value of the only header field of this name, None if there is none.

        It is "" if there are several, or if it is not ASCII: that is no value which anything of ours has.
        """
        values = self.header_values(name)
        if not values:
            return "" if name in self.headers else None
        return values[0] if len(values) == 1 else ""

    async def body(self, limit: int, length: int | None) -> bytes:
        """Read the body. `length` is what its Content-Length says, None if there is none.

        Raises:
            BodyTooLargeError: it is larger than `limit` bytes; the rest was not read.
            BodyBrokenError: it did not come in time, or the connection broke.
        """
        try:
            body = await self._bounded(limit, length)
        except (ProtocolError, ProtocolClosed):
            raise BodyBrokenError from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise BodyBrokenError from None
        # Until now the caller kept us waiting; from now on we keep the caller.
        self._in_hand.take(self.peer)
        return body

    async def _bounded(self, limit: int, length: int | None) -> bytes:
        # Piece by piece: read whole by Granian, each piece keeps a buffer of its own, and a byte takes kilobytes.
        body = bytearray()
        pieces = 0
        ended = False
        deadline = asyncio.get_running_loop().time() + self._patience.seconds
        stream = self._protocol.__aiter__()
        while len(body) != length:
            try:
                piece = await self._patience.wait_for(stream.__anext__(), deadline)
            except StopAsyncIteration:
                break
            # RFC 9112, section 8: half a message is none. Granian ends every body with an empty piece, and gives one
            # more before it where the connection or the framing broke (and for trailers, which nobody here needs).
            if ended:
                raise BodyBrokenError
            ended = not piece
            body += piece
            pieces += not ended
            if len(body) > limit or pieces > MAX_PIECES:
                raise BodyTooLargeError
        if length is not None and len(body) < length:
            raise BodyBrokenError
        return bytes(body)

    async def has_left(self) -> bool:
        """Return whether the connection is gone."""
        try:
            async with asyncio.timeout(0.01):
                await self._protocol.client_disconnect()
        except TimeoutError:
            return False
        return True


class Application:
    """What Granian calls for each request: hands it to `respond` and sends what comes back."""

    def __init__(self, respond: Callable[[Inbound], Awaitable[Answer]]) -> None:
        self.in_hand = InHand()
        self._respond = respond
        self._patience = Patience(BODY_SECONDS)

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        """Answer one request."""
        inbound = Inbound(scope, protocol, self._patience, self.in_hand)
        try:
            answer = await self._respond(inbound)
        finally:
            self.in_hand.leave(inbound.peer)
        protocol.response_str(answer.status, answer.headers, answer.text)
