"""A folder that is watched by a test, and a system that gives no notifications of changes."""

import asyncio
import contextlib
import ctypes
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from tailsts.policy.places import watch
from tailsts.policy.places.watch import changes

# Longer than a change may take to be told, shorter than the look that makes sure.
SOON = 3.0


class Watched:
    """What was told of a folder so far."""

    def __init__(self) -> None:
        self.told = 0
        self.said: list[str] = []
        self.stop = asyncio.Event()
        self._event = asyncio.Event()

    async def collect(self, folder: Path, since: watch.View | None, safety: float) -> None:
        """Count what is told until the end."""
        async for _ in changes(folder, self.stop, self.said.append, since=since, safety=safety):
            self.told += 1
            self._event.set()

    async def tells(self, seconds: float = SOON) -> bool:
        """Return whether something is told in time, and wait until that is all."""
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return False
        await asyncio.sleep(watch.LONGEST_SECONDS + 2 * watch.QUIET_SECONDS)
        self._event.clear()
        return True


@asynccontextmanager
async def watching(
    folder: Path, since: watch.View | None = None, *, safety: float = watch.SAFETY_SECONDS
) -> AsyncIterator[Watched]:
    """Watch a folder, from a moment on at which it listens."""
    watched = Watched()
    task = asyncio.create_task(watched.collect(folder, since, safety))
    await asyncio.sleep(0.3)
    try:
        yield watched
    finally:
        watched.stop.set()
        await asyncio.wait_for(task, SOON)


@contextlib.contextmanager
def no_notifications() -> Iterator[None]:
    """Use up what the operating system gives a user of notifications, and what others give back meanwhile."""
    library = ctypes.CDLL(None)
    taken: list[int] = []
    ended = threading.Event()

    def take() -> None:
        while not ended.wait(0.002):
            while (descriptor := library.inotify_init1(0)) >= 0 and len(taken) < 10_000:
                taken.append(descriptor)

    taking = threading.Thread(target=take)
    taking.start()
    time.sleep(0.2)
    try:
        yield
    finally:
        ended.set()
        taking.join()
        for descriptor in taken:
            os.close(descriptor)
