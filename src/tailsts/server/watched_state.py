"""The state, with what is to be seen of it: whether it can be asked, said once for each change."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from tailsts.errors import StateUnavailableError
from tailsts.policy.rate import Rate
from tailsts.state.memory import MemoryState
from tailsts.state.state import State

# An outage is seen, and that it is over, while nobody comes who needs the state.
ASK_SECONDS = 10.0
# Asked of nobody's behalf: a question as an exchange has it, since a server that is full or read-only answers others.
KEY = "watched"
RATE = Rate(1000, 1)

T = TypeVar("T")


class WatchedState:
    """A `State` that is somewhere else. `fault` is why the last question had no answer, None if it had one."""

    def __init__(self, state: State, now: Callable[[], float]) -> None:
        self.fault: str | None = None
        self._state = state
        self._now = now
        self._log = structlog.get_logger()

    async def claim(self, key: str, until: float, now: float, mark: str) -> bool:
        """Return whether nobody had claimed `key`; see `State`."""
        return await self._noted(self._state.claim(key, until, now, mark))

    async def give_back(self, key: str, mark: str) -> None:
        """Let `key` be claimed again. Says nothing of whether it can be asked: a failure is not told."""
        await self._state.give_back(key, mark)

    async def take(self, key: str, rate: Rate, now: float, mark: str) -> int:
        """Return 0, or how many seconds `key` is above its rate; see `State`."""
        return await self._noted(self._state.take(key, rate, now, mark))

    async def untake(self, key: str, rate: Rate, now: float, mark: str) -> None:
        """Count one no more. Says nothing of whether it can be asked, either."""
        await self._state.untake(key, rate, now, mark)

    async def close(self) -> None:
        """Let go of files and connections."""
        await self._state.close()

    async def follow(self) -> None:
        """Ask at once, and again and again, until cancelled."""
        while True:
            await self.ask()
            await asyncio.sleep(ASK_SECONDS)

    async def ask(self) -> None:
        """Ask, to know whether there is an answer."""
        try:
            # Each time with a mark of its own: what was undone once is not done again.
            await self.take(KEY, RATE, self._now(), f"{random.getrandbits(128):032x}")
        except StateUnavailableError:
            # It was said.
            return

    async def _noted(self, question: Awaitable[T]) -> T:
        try:
            answer = await question
        except StateUnavailableError as error:
            if self.fault is None:
                self._log.warning("the state cannot be asked", fault=str(error))
            self.fault = str(error)
            raise
        if self.fault is not None:
            self.fault = None
            self._log.info("the state can be asked again")
        return answer


def watched(state: State, now: Callable[[], float]) -> WatchedState | None:
    """Return the state to be watched, None for one in memory, which is always there."""
    return None if isinstance(state, MemoryState) else WatchedState(state, now)
