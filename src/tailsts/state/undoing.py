"""Undoes what was done at a state for nothing, as soon as the state answers.

Also what only may have been done: a question whose answer is lost or late may have been carried out, or may be later.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator

from tailsts.errors import StateUnavailableError

# More wait at no time, and none for longer (seconds): what is not undone by then counts as used.
MOST = 1000
LONGEST = 600.0
# Seconds between two attempts, when one fails at once.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
# Seconds for what somebody waits for, and for all that is left at the end.
_SETTLED_WITHIN = 1.0
_AT_THE_END = 2.0

# Raises StateUnavailableError if there was no answer. Does nothing that was done already.
Undo = Callable[[], Awaitable[None]]


class InDoubtError(StateUnavailableError):
    """There was no answer, and nobody knows whether that which was asked for was done."""


class Undoing:
    """What is to be undone at one state: the oldest first, one after the other, so that a state recovers in peace."""

    def __init__(self, longest: float = LONGEST) -> None:
        self._longest = longest
        # What each is about, and until when it is tried.
        self._waiting: dict[Undo, tuple[str, float]] = {}
        self._task: asyncio.Task[None] | None = None
        self._settling = asyncio.Lock()
        self._closed = False

    def __len__(self) -> int:
        """Return how much is to be undone."""
        return len(self._waiting)

    @contextlib.contextmanager
    def if_in_doubt(self, key: str, undo: Undo) -> Iterator[None]:
        """Undo what is begun within, should nobody learn what came of it. It is about `key`."""
        try:
            yield
        except (InDoubtError, asyncio.CancelledError):
            self._add(key, undo)
            raise

    async def now_or_later(self, key: str, undo: Undo) -> None:
        """Undo what is about `key`."""
        try:
            await undo()
        except StateUnavailableError:
            self._add(key, undo)
        except asyncio.CancelledError:
            self._add(key, undo)
            raise

    async def settle(self, key: str) -> None:
        """Undo now what is about `key`: whoever asks for it next must not be told what is not so.

        Raises:
            StateUnavailableError: that is not possible now.
        """
        if not self._waiting:
            return
        try:
            # One asker after the other: what one has undone, those who wait need not undo again.
            async with asyncio.timeout(_SETTLED_WITHIN), self._settling:
                for undo in [undo for undo, (about, _) in self._waiting.items() if about == key]:
                    await undo()
                    self._waiting.pop(undo, None)
        except TimeoutError:
            raise StateUnavailableError("what was begun before is not undone yet", retry_after=1) from None

    async def close(self) -> None:
        """Try once more to undo what is left, and then no more."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_AT_THE_END):
                for undo in list(self._waiting):
                    # What is wrong may be its own, such as a key that another program has spoilt: the others are tried.
                    with contextlib.suppress(Exception):
                        await undo()
                        self._waiting.pop(undo, None)

    def _add(self, key: str, undo: Undo) -> None:
        if len(self._waiting) < MOST:
            self._waiting[undo] = key, asyncio.get_running_loop().time() + self._longest
        if self._task is None and not self._closed:
            self._task = asyncio.create_task(self._work())

    async def _work(self) -> None:
        pause = _SHORTEST_PAUSE
        try:
            while self._waiting:
                undo = next(iter(self._waiting))
                if await self._is_undone(undo):
                    pause = _SHORTEST_PAUSE
                else:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            self._task = None

    async def _is_undone(self, undo: Undo) -> bool:
        try:
            await undo()
        except Exception:  # noqa: BLE001 - a bug in one must not keep all others waiting
            # To the end with it, if its time is not over.
            entry = self._waiting.pop(undo, None)
            if entry is not None and asyncio.get_running_loop().time() < entry[1]:
                self._waiting[undo] = entry
            return False
        self._waiting.pop(undo, None)
        return True
