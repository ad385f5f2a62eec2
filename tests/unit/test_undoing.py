"""What is to be undone: until it is, within bounds, and one after the other."""

import asyncio
import contextlib

import pytest

from fakes.http import eventually_async
from tailsts.errors import StateUnavailableError
from tailsts.state.undoing import MOST, InDoubtError, Undoing

AWAY = StateUnavailableError("away", retry_after=1)
BUG = KeyError("a bug")


class Work:
    """Something to undo, that fails as often as it is told to."""

    def __init__(self, failures: int = 0, failure: Exception = AWAY) -> None:
        self.failures = failures
        self.failure = failure
        self.done = 0

    async def __call__(self) -> None:
        """Undo it."""
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise self.failure
        self.done += 1


async def test_it_is_tried_until_it_is_done() -> None:
    """What fails is tried again, and the others meanwhile."""
    undoing, stubborn, easy = Undoing(), Work(3), Work(1)
    for work in (stubborn, easy):
        await undoing.now_or_later("key", work)
    await eventually_async(lambda: len(undoing) == 0)
    assert (stubborn.done, easy.done) == (1, 1)
    await undoing.close()


async def test_only_what_is_in_doubt() -> None:
    """What has an answer, and what failed for sure, is not undone; what is in doubt, or broken off, is."""
    undoing, works = Undoing(), [Work() for _ in range(4)]
    endings = [None, AWAY, InDoubtError("lost", retry_after=1), asyncio.CancelledError()]
    for work, ending in zip(works, endings, strict=True):
        with contextlib.suppress(StateUnavailableError, asyncio.CancelledError), undoing.if_in_doubt("key", work):
            if ending is not None:
                raise ending
    await eventually_async(lambda: len(undoing) == 0)
    assert [work.done for work in works] == [0, 0, 1, 1]
    await undoing.close()


async def test_who_comes_next() -> None:
    """Whoever asks for the same has it undone first, or is told to come later; others are not held up."""
    undoing, work = Undoing(), Work(1_000_000)
    await undoing.now_or_later("one", work)
    await undoing.settle("two")
    with pytest.raises(StateUnavailableError):
        await undoing.settle("one")
    work.failures = 0
    await undoing.settle("one")
    assert len(undoing) == 0
    assert work.done >= 1
    await undoing.close()


async def test_who_comes_next_does_not_wait_for_long() -> None:
    """What takes long is not waited for longer than a second or so."""
    undoing, hanging = Undoing(), asyncio.Event()

    async def hang() -> None:
        await hanging.wait()

    with pytest.raises(InDoubtError), undoing.if_in_doubt("one", hang):
        raise InDoubtError("lost", retry_after=1)
    async with asyncio.timeout(10):
        with pytest.raises(StateUnavailableError, match="not undone yet"):
            await undoing.settle("one")
        await undoing.close()
    assert len(undoing) == 1


async def test_no_more_than_so_much() -> None:
    """Of more than fit, what came last is left as it is."""
    undoing, works = Undoing(), [Work(1_000_000) for _ in range(MOST + 5)]
    for work in works:
        await undoing.now_or_later("key", work)
    assert len(undoing) == MOST
    for work in works:
        work.failures = 0
    await undoing.close()
    assert [bool(work.done) for work in works] == [True] * MOST + [False] * 5


async def test_no_longer_than_so_long() -> None:
    """What cannot be undone in time is given up."""
    undoing, work = Undoing(longest=0.2), Work(1_000_000)
    await undoing.now_or_later("key", work)
    await eventually_async(lambda: len(undoing) == 0)
    assert work.done == 0
    await undoing.close()


async def test_broken_off() -> None:
    """What is broken off while it is undone is undone later; when it is closed nothing is begun any more."""
    undoing, works = Undoing(), (Work(), Work())
    for work in works:
        undone = asyncio.create_task(undoing.now_or_later("key", work))
        await asyncio.sleep(0)
        undone.cancel()
        await asyncio.wait([undone])
        assert undone.cancelled()
        await undoing.close()
    assert [work.done for work in works] == [1, 1]


async def test_a_bug_holds_up_nothing() -> None:
    """What fails in a way that nobody has thought of keeps no other waiting, and is tried again itself."""
    undoing, others, broken = Undoing(), [Work(), Work()], Work(2, BUG)
    for work in (broken, *others):
        with contextlib.suppress(InDoubtError), undoing.if_in_doubt("key", work):
            raise InDoubtError("lost", retry_after=1)
    await eventually_async(lambda: len(undoing) == 0)
    assert [work.done for work in (broken, *others)] == [1, 1, 1]
    await undoing.close()


async def test_many_who_come_next() -> None:
    """Of many who ask for the same at once one undoes it, and the others wait for that."""
    undoing, work = Undoing(), Work(1)
    await undoing.now_or_later("one", work)
    await asyncio.gather(*(undoing.settle("one") for _ in range(20)))
    # In the background it was perhaps begun as well.
    assert work.done <= 2
    await undoing.close()
