"""State in Redis or Valkey: for several machines. Needs the extra `redis`."""

import asyncio
import contextlib
import math
from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from tailsts.errors import StateUnavailableError
from tailsts.policy.rate import Rate
from tailsts.state.pace import micros, pace_of, whole_seconds
from tailsts.state.scripts import CLAIM, GIVE_BACK, TAKE, UNTAKE, Script
from tailsts.state.state import KEPT_LONGER
from tailsts.state.undoing import InDoubtError, Undoing

# Seconds for one question, whatever it waits for: a connection, a handshake, an answer.
_DEADLINE = 1.0
# Enough for thousands of questions a second; others wait for one of these, within the deadline.
_CONNECTIONS = 16
_PREFIX = "tailsts:"
_PORT = 6379


class RedisState:
    """Claims and rates at `url`. Connects when it is first asked, and anew after each failure.

    Rates go by the server's clock, which is one for all machines, unless `clock` gives the time (since the epoch).
    """

    def __init__(
        self, url: str, *, extra_roots: tuple[bytes, ...] = (), clock: Callable[[], float] | None = None
    ) -> None:
        tls: dict[str, object] = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
        if extra_roots:
            tls["ssl_ca_data"] = b"\n".join(extra_roots).decode("ascii")
        self._pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=_DEADLINE,
            socket_connect_timeout=_DEADLINE,
            socket_timeout=_DEADLINE,
            # A question that is asked again would find the claim that it made itself.
            retry=Retry(NoBackoff(), 0),
            # Every server speaks it, and sends nothing that was not asked for.
            protocol=2,
            **(tls if url.startswith("rediss:") else {}),
        )
        self._place = _place(url)
        self._clock = clock
        self._undoing = Undoing()

    async def claim(self, key: str, until: float, now: float, mark: str) -> bool:
        """Return whether nobody had claimed `key`; see `State`."""
        await self._undoing.settle(key)
        life = max(1, math.ceil(until - now)) + KEPT_LONGER
        with self._undoing.if_in_doubt(key, partial(self._give_back, key, mark)):
            return await self._run(CLAIM, _keys("claim", "unclaimed", key, mark), mark, life) == 1

    async def give_back(self, key: str, mark: str) -> None:
        """Let `key` be claimed again; see `State`."""
        await self._undoing.now_or_later(key, partial(self._give_back, key, mark))

    async def take(self, key: str, rate: Rate, now: float, mark: str) -> int:  # noqa: ARG002 - the server has a clock
        """Return 0, or how many seconds `key` is above its rate; see `State`."""
        await self._undoing.settle(key)
        with self._undoing.if_in_doubt(key, partial(self._untake, key, rate, mark, is_known=False)):
            return whole_seconds(await self._run(TAKE, _keys("rate", "taken", key, mark), *self._paced(rate)))

    async def untake(self, key: str, rate: Rate, now: float, mark: str) -> None:  # noqa: ARG002 - as was just said
        """Count one no more; see `State`."""
        await self._undoing.now_or_later(key, partial(self._untake, key, rate, mark, is_known=True))

    async def close(self) -> None:
        """Close the connections, after a last attempt to undo what is to be undone."""
        await self._undoing.close()
        with contextlib.suppress(RedisError, OSError):
            await self._pool.disconnect()

    async def _give_back(self, key: str, mark: str) -> None:
        await self._run(GIVE_BACK, _keys("claim", "unclaimed", key, mark), mark)

    async def _untake(self, key: str, rate: Rate, mark: str, *, is_known: bool) -> None:
        await self._run(UNTAKE, _keys("rate", "taken", key, mark), *self._paced(rate), int(is_known))

    def _paced(self, rate: Rate) -> tuple[str, int, int]:
        pace = pace_of(rate)
        return "" if self._clock is None else str(micros(self._clock())), pace.every, pace.whole

    async def _run(self, script: Script, keys: tuple[str, ...], *words: str | int) -> int:
        answer = await self._asked("EVAL", script, len(keys), *(_PREFIX + key for key in keys), *words)
        if type(answer) is not int:
            raise InDoubtError(f"the state server {self._place} answers what is no number", retry_after=1)
        return answer

    async def _asked(self, *words: str | int) -> object:
        kind = StateUnavailableError
        try:
            async with asyncio.timeout(_DEADLINE):
                connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]  # it says no types
                try:
                    # From here on it may be carried out, unless the server says otherwise.
                    kind = InDoubtError
                    await connection.send_command(*words)
                    return await connection.read_response()
                finally:
                    await self._pool.release(connection)
        except (RedisError, OSError, ValueError, RecursionError) as error:
            # Also what the client makes of an answer that is none of Redis'.
            # Not its words: whatever they quote. The kinds tell refused, too slow, wrong password, full and read-only.
            fault = f"the state server {self._place} cannot be asked: {type(error).__name__}"
            if isinstance(error, ResponseError):
                kind = StateUnavailableError
            raise kind(fault, retry_after=1) from None


def _keys(about: str, of_mark: str, key: str, mark: str) -> tuple[str, str]:
    """Return both keys of a script; a cluster keeps what has the same part in braces in one place."""
    return f"{about}:{{{key}}}", f"{of_mark}:{{{key}}}:{mark}"


def _place(url: str) -> str:
    """Return host and port, and nothing that stands before them."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return f"{f'[{host}]' if ':' in host else host}:{parts.port or _PORT}"
