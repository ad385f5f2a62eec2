"""What nobody knows the outcome of, since a state gave no answer: it is undone, so that whoever comes again is served.

And never so that a token is used twice, whatever comes late, twice, or in another order.
"""

import asyncio
import contextlib
import socket
import sqlite3
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from typing import Self

import pytest

from fakes.http import eventually_async
from fakes.redis_server import RedisServer
from tailsts.errors import StateUnavailableError
from tailsts.policy.rate import Rate
from tailsts.state.redis import RedisState
from tailsts.state.sqlite import SqliteState

NOW = time.time()
UNTIL = NOW + 665
ONE, TWO = Rate(1, 86400), Rate(2, 86400)


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """Return a server that may be harmed."""
    with RedisServer() as found:
        yield found


@pytest.fixture
async def states(redis: RedisServer) -> AsyncIterator[tuple[RedisState, RedisState]]:
    """Return the states of two machines at it, each with a connection."""
    made = RedisState(redis.url), RedisState(redis.url)
    for number, state in enumerate(made):
        await state.claim(f"before {number}", UNTIL, NOW, "before")
    yield made
    for state in made:
        await state.close()


class LossyProxy:
    """Passes everything on to a server and back, but resets a connection in place of the first answers to questions."""

    def __init__(self, server: RedisServer, lost: int) -> None:
        self.asked = 0
        self._lost = lost
        self.url = ""
        self._server = server
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Listen, meanwhile."""
        listening = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            listening.close()
            await asyncio.gather(*self._tasks)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        answers, questions = await asyncio.open_connection("127.0.0.1", self._server.port)
        while asked := await reader.read(65536):
            questions.write(asked)
            answer = await answers.read(65536)
            if b"\r\nEVAL\r\n" in asked:
                self.asked += 1
            if b"\r\nEVAL\r\n" in asked and self.asked <= self._lost:
                # SO_LINGER with 0 seconds: closing sends RST.
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                break
            writer.write(answer)
        questions.close()
        writer.close()


async def test_a_claim_in_a_server_that_hangs(redis: RedisServer, states: tuple[RedisState, RedisState]) -> None:
    """A claim that a hanging server had, and made later, is undone: the same token can be claimed, once, anywhere."""
    redis.pause()
    with pytest.raises(StateUnavailableError):
        await states[0].claim("one", UNTIL, NOW, "first")
    redis.resume()
    assert await states[0].claim("one", UNTIL, NOW, "second")
    assert not await states[1].claim("one", UNTIL, NOW, "third")


async def test_another_machine_after_a_hang(redis: RedisServer, states: tuple[RedisState, RedisState]) -> None:
    """It is undone though nobody comes again to the same machine."""
    redis.pause()
    with pytest.raises(StateUnavailableError):
        await states[0].claim("one", UNTIL, NOW, "first")
    redis.resume()
    await eventually_async(lambda: redis.say("EXISTS", "tailsts:claim:{one}") == ":0" and not len(states[0]._undoing))
    assert await states[1].claim("one", UNTIL, NOW, "second")


async def test_who_comes_again_while_it_hangs(redis: RedisServer, states: tuple[RedisState, RedisState]) -> None:
    """Who comes again before it could be undone is told to come later, never that the token was used."""
    redis.pause()
    for _ in range(3):
        with pytest.raises(StateUnavailableError):
            await states[0].claim("one", UNTIL, NOW, "first")
    redis.resume()
    assert await states[0].claim("one", UNTIL, NOW, "second")


async def test_many_at_once_while_it_hangs(redis: RedisServer, states: tuple[RedisState, RedisState]) -> None:
    """Of 40 presentations of a token while the server hangs none is granted; afterwards one is, of as many."""
    redis.pause()
    outcomes = await asyncio.gather(
        *(states[number % 2].claim("one", UNTIL, NOW, f"first {number}") for number in range(40)),
        return_exceptions=True,
    )
    assert all(isinstance(outcome, StateUnavailableError) for outcome in outcomes)
    redis.resume()
    await eventually_async(lambda: not any(len(state._undoing) for state in states))
    granted = await asyncio.gather(
        *(states[number % 2].claim("one", UNTIL, NOW, f"second {number}") for number in range(40))
    )
    assert granted.count(True) == 1


async def test_an_answer_that_is_lost(redis: RedisServer, states: tuple[RedisState, RedisState]) -> None:
    """A claim whose answer was lost was asked for once; it is undone, also if the answer to that is lost."""
    async with LossyProxy(redis, 3).running() as proxy:
        state = RedisState(proxy.url)
        with pytest.raises(StateUnavailableError):
            await state.claim("one", UNTIL, NOW, "first")
        await eventually_async(lambda: proxy.asked == 4)
        assert await states[1].claim("one", UNTIL, NOW, "second")
        assert not await state.claim("one", UNTIL, NOW, "third")
        await state.close()


async def test_what_is_given_back_twice(redis: RedisServer, states: tuple[RedisState, RedisState]) -> None:
    """A claim is given back though the server hangs; that this is done twice takes nothing from who came in between."""
    await states[0].claim("one", UNTIL, NOW, "first")
    redis.pause()
    await states[0].give_back("one", "first")
    redis.resume()
    await eventually_async(lambda: not len(states[0]._undoing))
    assert await states[1].claim("one", UNTIL, NOW, "second")
    await states[0].give_back("one", "first")
    assert not await states[0].claim("one", UNTIL, NOW, "third")


async def test_a_claim_that_comes_after_its_undoing(states: tuple[RedisState, RedisState]) -> None:
    """A claim that was on its way for so long that it was undone before it came claims nothing."""
    await states[1].give_back("one", "late")
    assert not await states[0].claim("one", UNTIL, NOW, "late")
    assert await states[0].claim("one", UNTIL, NOW, "in time")


async def test_a_use_in_a_server_that_hangs(redis: RedisServer, states: tuple[RedisState, RedisState]) -> None:
    """Uses that a hanging server counted later count no more: the whole rate is left."""
    redis.pause()
    outcomes = await asyncio.gather(
        *(states[number % 2].take("one", TWO, NOW, f"first {number}") for number in range(8)), return_exceptions=True
    )
    assert all(isinstance(outcome, StateUnavailableError) for outcome in outcomes)
    redis.resume()
    await eventually_async(lambda: not any(len(state._undoing) for state in states))
    waits = [await states[0].take("one", TWO, NOW, f"second {number}") for number in range(3)]
    assert [bool(wait) for wait in waits] == [False, False, True]


async def test_who_comes_again_for_a_use_that_is_not_undone_yet(
    redis: RedisServer, states: tuple[RedisState, RedisState]
) -> None:
    """Who comes again to the same machine is not told to wait for a use that came to nothing, undone yet or not."""
    assert await states[0].take("one", ONE, NOW, "first") == 0
    redis.say("CONFIG", "SET", "maxmemory", "1")
    await states[0].untake("one", ONE, NOW, "first")
    # So that some time is left until the next attempt to undo it.
    await asyncio.sleep(0.2)
    with pytest.raises(StateUnavailableError):
        await states[0].take("one", ONE, NOW, "second")
    redis.say("CONFIG", "SET", "maxmemory", "0")
    assert await states[0].take("one", ONE, NOW, "third") == 0
    assert await states[0].take("one", ONE, NOW, "fourth") > 0


async def test_a_use_that_comes_after_its_undoing(states: tuple[RedisState, RedisState]) -> None:
    """A use that was undone before it came is not counted; one that was never counted frees no other."""
    assert await states[0].take("one", TWO, NOW, "first") == 0
    await states[0]._untake("one", TWO, "late", is_known=False)
    assert await states[0].take("one", TWO, NOW, "late") == 0
    waits = [await states[0].take("one", TWO, NOW, f"second {number}") for number in range(2)]
    assert [bool(wait) for wait in waits] == [False, True]


async def test_a_use_is_undone_once(states: tuple[RedisState, RedisState]) -> None:
    """One use that is undone twice, and in doubt besides, frees one."""
    for mark in ("first", "second"):
        assert await states[0].take("one", TWO, NOW, mark) == 0
    for _ in range(2):
        await states[1].untake("one", TWO, NOW, "first")
        await states[1]._untake("one", TWO, "first", is_known=False)
    waits = [await states[0].take("one", TWO, NOW, f"third {number}") for number in range(2)]
    assert [bool(wait) for wait in waits] == [False, True]


async def test_rates_go_by_the_servers_clock(states: tuple[RedisState, RedisState]) -> None:
    """Machines whose clocks are an hour apart, or a day, share one rate."""
    waits = [
        await states[number % 2].take("one", Rate(3, 3600), NOW + hours * 3600, f"{number}")
        for number, hours in enumerate([0, 1, -1, 24, -24, 0])
    ]
    assert [bool(wait) for wait in waits] == [False, False, False, True, True, True]


async def test_at_the_end(redis: RedisServer, states: tuple[RedisState, RedisState]) -> None:
    """A service that stops undoes what it can; and does not wait for a server that is gone."""
    redis.pause()
    with pytest.raises(StateUnavailableError):
        await states[0].claim("one", UNTIL, NOW, "first")
    redis.resume()
    await states[0].close()
    assert await states[1].claim("one", UNTIL, NOW, "second")
    redis.pause()
    with pytest.raises(StateUnavailableError):
        await states[1].claim("two", UNTIL, NOW, "first")
    async with asyncio.timeout(10):
        await states[1].close()
    redis.resume()


class Held:
    """A file that another process writes to."""

    def __init__(self, path: Path) -> None:
        self._holder = sqlite3.connect(path, isolation_level=None)

    def __enter__(self) -> None:
        self._holder.execute("BEGIN IMMEDIATE")

    def __exit__(self, *_: object) -> None:
        self._holder.execute("ROLLBACK")
        self._holder.close()


@pytest.mark.parametrize("late", ["claim", "take"])
async def test_a_file_that_is_slow(tmp_path: Path, late: str) -> None:
    """What a thread did too late is undone: each token can be claimed, once, and the whole rate is left."""
    state = SqliteState(tmp_path / "state", monotonic=time.monotonic)
    rival = SqliteState(tmp_path / "state", monotonic=time.monotonic)
    keys = [f"{number}" for number in range(4)]
    asked: list[Awaitable[object]] = [state.claim(key, UNTIL, NOW, "first") for key in keys]
    # The first gives up waiting for the other process; whoever asked for the second gives up while it waits.
    asked.insert(1 if late == "take" else 2, state.take("one", TWO, NOW, "first"))
    with Held(tmp_path / "state"):
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(outcome, StateUnavailableError) for outcome in outcomes)
    assert len(state._undoing) >= 1
    await eventually_async(lambda: not len(state._undoing))
    assert [await rival.claim(key, UNTIL, NOW, "second") for key in keys] == [True] * 4
    assert [await state.claim(key, UNTIL, NOW, "third") for key in keys] == [False] * 4
    waits = [await rival.take("one", TWO, NOW, f"second {number}") for number in range(3)]
    assert [bool(wait) for wait in waits] == [False, False, True]
    await state.close()
    await rival.close()


async def test_who_comes_again_when_a_file_is_let_go(tmp_path: Path) -> None:
    """Who comes again to the same worker is not told to wait for a use that came to nothing, undone yet or not."""
    state = SqliteState(tmp_path / "state", monotonic=time.monotonic)
    assert await state.take("one", ONE, NOW, "first") == 0
    with Held(tmp_path / "state"):
        await state.untake("one", ONE, NOW, "first")
        assert len(state._undoing) == 1
    assert await state.take("one", ONE, NOW, "second") == 0
    assert await state.take("one", ONE, NOW, "third") > 0
    await state.close()
