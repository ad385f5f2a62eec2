"""State in Redis or Valkey: for several machines. Needs the extra `redis`."""

import asyncio
import contextlib
import math
from collections.abc import Awaitable
from typing import TypeVar
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from tailsts.errors import StateUnavailableError
from tailsts.policy.rate import Rate
from tailsts.state.pace import micros, pace_of, whole_seconds
from tailsts.state.state import KEPT_LONGER

# Seconds for one question, whatever it waits for: a connection, a handshake, an answer.
_DEADLINE = 1.0
# Enough for thousands of questions a second; others wait for one of these, within the deadline.
_CONNECTIONS = 16
_PREFIX = "tailsts:"
_PORT = 6379

# pace.advance(), where nobody comes between reading and writing. Whole numbers up to 2**53 are exact in Lua.
_TAKE = """
local now, every, whole = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local held = math.min(math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now), now + whole)
local early = held + every - now - whole
if early <= 0 then
  held = held + every
  early = 0
end
local life = string.format('%.0f', math.ceil((held - now) / 1000) + 1000)
redis.call('SET', KEYS[1], string.format('%.0f', held), 'PX', life)
return early
"""

T = TypeVar("T")


class RedisState:
    """Claims and rates at `url`. Connects when it is first asked, and anew after each failure."""

    def __init__(self, url: str, *, extra_roots: tuple[bytes, ...] = ()) -> None:
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
        self._redis = Redis(connection_pool=self._pool)
        self._place = _place(url)

    async def claim(self, key: str, until: float, now: float) -> bool:
        """Return whether nobody had claimed `key`; see `State`."""
        life = max(1, math.ceil(until - now)) + KEPT_LONGER
        return await self._asked(self._redis.set(f"{_PREFIX}claim:{key}", 1, nx=True, ex=life)) is True

    async def give_back(self, key: str) -> None:
        """Let `key` be claimed again, if Redis can be asked."""
        with contextlib.suppress(StateUnavailableError):
            await self._asked(self._redis.delete(f"{_PREFIX}claim:{key}"))

    async def take(self, key: str, rate: Rate, now: float) -> int:
        """Return 0, or how many seconds `key` is above its rate; see `State`."""
        pace = pace_of(rate)
        early = await self._asked(
            self._redis.eval(_TAKE, 1, f"{_PREFIX}rate:{key}", str(micros(now)), str(pace.every), str(pace.whole))
        )
        if type(early) is not int:
            raise StateUnavailableError(f"the state server {self._place} answers what is no number", retry_after=1)
        return whole_seconds(early)

    async def close(self) -> None:
        """Close the connections."""
        with contextlib.suppress(RedisError, OSError):
            await self._pool.disconnect()

    async def _asked(self, question: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(_DEADLINE):
                return await question
        except (RedisError, OSError, ValueError, RecursionError) as error:
            # Also what the client makes of an answer that is none of Redis'.
            # Not its words: whatever they quote. The kinds tell refused, too slow, wrong password, full and read-only.
            fault = f"the state server {self._place} cannot be asked: {type(error).__name__}"
            raise StateUnavailableError(fault, retry_after=1) from None


def _place(url: str) -> str:
    """Return host and port, and nothing that stands before them."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return f"{f'[{host}]' if ':' in host else host}:{parts.port or _PORT}"
