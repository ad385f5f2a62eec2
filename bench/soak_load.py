"""The load of a soak: callers at a steady rate, and what each of them got, compared with what it may have got."""

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, cast

OK, UNAUTHORIZED, FORBIDDEN, TOO_MANY, BAD_GATEWAY, UNAVAILABLE = 200, 401, 403, 429, 502, 503
# The scopes that are asked for; each policy allows all but the last.
SCOPES = (
    ("dns:read",),
    ("auth_keys", "dns:read"),
    ("devices:core:read",),
    ("policy_file", "devices:core:read", "dns:read"),
)
NEVER = ("users",)
FEW = 6
TICK = 0.002

Kind = Literal["good", "denied", "forged", "used", "paced"]
# What all but the good ones get, whatever fails: nothing that fails is asked for them.
REFUSED: Mapping[Kind, int] = {"denied": FORBIDDEN, "forged": UNAUTHORIZED, "used": FORBIDDEN, "paced": TOO_MANY}


class Wish(NamedTuple):
    """A request: of which kind, for which scopes, and its bytes."""

    kind: Kind
    scopes: tuple[str, ...]
    request: bytes


class Got(NamedTuple):
    """What came of it: 0 for a status if the connection broke. Times are of the monotonic clock."""

    wish: Wish
    status: int
    decision: str
    text: str
    sent: float
    done: float


def wishes(tokens: Sequence[str], bounded: Mapping[Kind, str]) -> list[Wish]:
    """Return requests with these tokens: mostly good ones, some for a scope that is not allowed, some forged.

    And some with each of `bounded`, which have had by now what they may have.
    """
    found = [Wish("good", scopes, _request(token, scopes)) for token in tokens for scopes in SCOPES]
    found += [Wish("denied", NEVER, _request(token, NEVER)) for token in tokens[: len(tokens) // 3]]
    forged = [f"{token[:-20]}{token[-20:].swapcase()}" for token in tokens[: len(tokens) // 4]]
    found += [Wish("forged", SCOPES[0], _request(token, SCOPES[0])) for token in forged]
    found += [Wish(kind, SCOPES[0], _request(token, SCOPES[0])) for kind, token in bounded.items()] * FEW
    # A mix, not a secret.
    random.Random(1).shuffle(found)  # noqa: S311
    return found


def _request(token: str, scopes: tuple[str, ...]) -> bytes:
    body = json.dumps({"scopes": scopes})
    head = f"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


class Caller(asyncio.Protocol):
    """A connection. Tells of each request what came of it, and when it is free for another."""

    def __init__(self, got: Callable[[Got], None], free: Callable[["Caller"], None]) -> None:
        self._got = got
        self._free = free
        self._wish: Wish | None = None
        self._received = b""
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note where to write."""
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - as the protocol has it
        """Tell of a request that got no answer."""
        self.is_open = False
        if self._wish is not None:
            self._ended(0, "", "")

    def ask(self, wish: Wish) -> None:
        """Send a request. There must be none under way."""
        self._wish, self._sent = wish, time.monotonic()
        self._transport.write(wish.request)

    def data_received(self, data: bytes) -> None:
        """Read an answer."""
        self._received += data
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        fields = head.decode()
        if len(rest) < int(fields.partition("content-length: ")[2].split()[0]):
            return
        self._received = b""
        self._ended(int(fields.split(None, 2)[1]), fields.partition("x-decision-id: ")[2].split()[0], rest.decode())

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    def _ended(self, status: int, decision: str, text: str) -> None:
        wish, self._wish = self._wish, None
        if wish is None:
            raise ValueError("an answer that nobody asked for")
        self._got(Got(wish, status, decision, text, self._sent, time.monotonic()))
        self._free(self)


class Load:
    """Callers on so many connections. `got` is told of each request."""

    def __init__(self, port: int, connections: int, got: Callable[[Got], None]) -> None:
        self.wishes: list[Wish] = []
        self.asked = 0
        # Times at which a request was due and everybody was waiting.
        self.held_up = 0
        self._port = port
        self._connections = connections
        self._got = got
        self._idle: list[Caller] = []
        self._under_way = 0
        self._next = itertools.count()
        self._closed_loop = False

    async def begin(self) -> None:
        """Connect."""
        self._idle = [await self._connected() for _ in range(self._connections)]

    async def burst(self, seconds: float) -> float:
        """Ask as fast as there are answers; return how many came in a second."""
        before, started = self.asked, time.monotonic()
        self._closed_loop = True
        for caller in self._idle[:64]:
            self._idle.remove(caller)
            self._ask(caller)
        await asyncio.sleep(seconds)
        self._closed_loop = False
        rate = (self.asked - before) / (time.monotonic() - started)
        await self.settle()
        return rate

    async def steady(self, rate: float, until: float) -> None:
        """Ask so often in a second, until a time of the monotonic clock."""
        due, last = 0.0, time.monotonic()
        while (now := time.monotonic()) < until:
            due, last = due + (now - last) * rate, now
            while due >= 1:
                due -= 1
                if not self._idle:
                    self.held_up += 1
                    due = 0.0
                    break
                caller = self._idle.pop()
                self._ask(caller if caller.is_open else await self._connected())
            await asyncio.sleep(TICK)
        await self.settle()

    async def settle(self, seconds: float = 15.0) -> None:
        """Wait until all that is under way has an answer."""
        deadline = time.monotonic() + seconds
        while self._under_way and time.monotonic() < deadline:  # noqa: ASYNC110 - each answer would set an event
            await asyncio.sleep(0.01)

    async def end(self) -> None:
        """Hang up."""
        for caller in self._idle:
            if caller.is_open:
                caller.close()
        await asyncio.sleep(0.1)

    async def _connected(self) -> Caller:
        _, caller = await asyncio.get_running_loop().create_connection(
            lambda: Caller(self._got, self._free), "127.0.0.1", self._port
        )
        return caller

    def _ask(self, caller: Caller) -> None:
        self.asked += 1
        self._under_way += 1
        caller.ask(self.wishes[next(self._next) % len(self.wishes)])

    def _free(self, caller: Caller) -> None:
        self._under_way -= 1
        if self._closed_loop and caller.is_open:
            self._ask(caller)
        else:
            self._idle.append(caller)


class Window(NamedTuple):
    """A time in which something fails: what a good request may then be answered, and whether connections may break."""

    name: str
    begin: float
    end: float
    statuses: frozenset[int] = frozenset()
    may_break: bool = False


class Judge:
    """Counts what came of requests, and keeps what was not promised."""

    def __init__(self, mark: str) -> None:
        self.windows: list[Window] = []
        self.counts: Counter[tuple[str, int, str]] = Counter()
        self.wrong_scopes: list[str] = []
        self.unpromised: list[str] = []
        self.broken = 0
        self._mark = mark

    def see(self, got: Got) -> None:
        """Judge one."""
        during = [each for each in self.windows if got.sent <= each.end and got.done >= each.begin]
        self.counts[got.wish.kind, got.status, during[-1].name if during else "well"] += 1
        if not got.status:
            self.broken += 1
        if got.status == OK and not self._is_as_asked(got):
            self.wrong_scopes.append(f"asked {got.wish.scopes}, got {got.text[:80]}")
        if not self._is_promised(got, during):
            self.unpromised.append(f"{got.wish.kind}: {got.status} {got.text[:60]!r} at {got.done:.2f}")

    def _is_as_asked(self, got: Got) -> bool:
        number, _, scopes = got.text.removeprefix(self._mark).partition(":")
        return got.wish.kind == "good" and number.isdigit() and tuple(scopes.split("+")) == got.wish.scopes

    def _is_promised(self, got: Got, during: Sequence[Window]) -> bool:
        if not got.status:
            return any(each.may_break for each in during)
        if got.wish.kind != "good":
            return got.status == REFUSED[got.wish.kind]
        return got.status == OK or any(got.status in each.statuses for each in during)
