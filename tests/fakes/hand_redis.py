"""The state in Redis with a clock that a test sets: instead of the server's own, the time that is passed counts."""

from tailsts.policy.rate import Rate
from tailsts.state.redis import RedisState


class HandRedis(RedisState):
    """A state in Redis whose rates go by the time that each question names."""

    def __init__(self, url: str) -> None:
        self._at = 0.0
        super().__init__(url, clock=lambda: self._at)

    async def take(self, key: str, rate: Rate, now: float, mark: str) -> int:
        """Return 0, or how many seconds `key` is above its rate, at `now`."""
        self._at = now
        return await super().take(key, rate, now, mark)

    async def untake(self, key: str, rate: Rate, now: float, mark: str) -> None:
        """Count one no more, at `now`."""
        self._at = now
        await super().untake(key, rate, now, mark)
