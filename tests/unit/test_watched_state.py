"""A state that is watched, in a real Redis: whether it can be asked is said once for each change."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import structlog
from structlog.testing import LogCapture

from fakes.http import eventually_async
from fakes.redis_server import RedisServer
from tailsts.errors import StateUnavailableError
from tailsts.policy.rate import Rate
from tailsts.server.watched_state import WatchedState, watched
from tailsts.state.opening import open_state
from tailsts.state.redis import RedisState

NOW = 1_800_000_000.0
MARK = "mark"
AWAY, BACK = "the state cannot be asked", "the state can be asked again"


@pytest.fixture(autouse=True)
def log() -> Iterator[LogCapture]:
    """Return what is said."""
    captured = LogCapture()
    structlog.configure(processors=[captured])
    yield captured
    structlog.reset_defaults()


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """Return a server that may be killed."""
    with RedisServer() as running:
        yield running


@pytest.fixture
async def state(redis: RedisServer) -> AsyncIterator[WatchedState]:
    """Return the state in it, watched, with a password in its address."""
    redis.say("CONFIG", "SET", "requirepass", "hunter2")
    url = redis.url.replace("//", "//:hunter2@")
    made = watched(open_state(url, monotonic=time.monotonic), lambda: NOW)
    assert made is not None
    yield made
    await made.close()


def events(log: LogCapture) -> list[tuple[str, str]]:
    """Return what was said."""
    return [(entry["log_level"], entry["event"]) for entry in log.entries]


async def test_answers_pass_unchanged(state: WatchedState, log: LogCapture) -> None:
    """What is watched answers as what it watches does, and says nothing."""
    assert [await state.claim("a", NOW + 60, NOW, MARK) for _ in range(2)] == [True, False]
    await state.give_back("a", MARK)
    assert await state.claim("a", NOW + 60, NOW, MARK)
    assert [await state.take("b", Rate(1, 60), NOW, MARK) for _ in range(2)] == [0, 60]
    assert state.fault is None
    assert events(log) == []


async def test_each_change_is_said_once(state: WatchedState, redis: RedisServer, log: LogCapture) -> None:
    """A server that is gone is said once, by host and port and never by password; so is its return."""
    redis.kill()
    for _ in range(3):
        with pytest.raises(StateUnavailableError):
            await state.claim("a", NOW + 60, NOW, MARK)
    assert state.fault == f"the state server 127.0.0.1:{redis.port} cannot be asked: ConnectionError"
    assert log.entries == [{"event": AWAY, "log_level": "warning", "fault": state.fault}]
    redis.start()
    redis.say("CONFIG", "SET", "requirepass", "hunter2")
    for _ in range(3):
        assert await state.take("b", Rate(9, 60), NOW, MARK) == 0
    assert events(log) == [("warning", AWAY), ("info", BACK)]
    await eventually_async(lambda: state.fault is None)


async def test_it_is_asked_at_once(state: WatchedState, redis: RedisServer, log: LogCapture) -> None:
    """Who follows it knows that it is gone though nobody needs it."""
    redis.kill()
    following = asyncio.create_task(state.follow())
    await eventually_async(lambda: state.fault is not None)
    following.cancel()
    assert events(log) == [("warning", AWAY)]


async def test_a_full_server_is_no_good_one(state: WatchedState, redis: RedisServer, log: LogCapture) -> None:
    """It is asked as an exchange asks: a server that answers and takes nothing is not taken for one that is well."""
    await state.ask()
    # With a password, each command needs a connection that has said it.
    redis.kill()
    redis.start()
    redis.say("CONFIG", "SET", "maxmemory", "1")
    redis.say("CONFIG", "SET", "requirepass", "hunter2")
    await state.ask()
    await state.ask()
    assert state.fault is not None
    assert state.fault.endswith("OutOfMemoryError")
    assert events(log) == [("warning", AWAY)]


def test_memory_is_not_watched() -> None:
    """A state in memory is always there: nothing is put before it."""
    assert watched(open_state("memory", monotonic=time.monotonic), lambda: NOW) is None


async def test_it_is_asked_truly_after_a_hang(redis: RedisServer) -> None:
    """What hung and was undone does not make later questions empty ones: a server that takes nothing is seen."""
    inner = RedisState(redis.url)
    state = WatchedState(inner, lambda: NOW)
    await state.ask()
    redis.pause()
    await state.ask()
    faults = [state.fault]
    redis.resume()
    await eventually_async(lambda: not len(inner._undoing))
    await state.ask()
    faults.append(state.fault)
    redis.say("CONFIG", "SET", "maxmemory", "1")
    await state.ask()
    faults.append(state.fault)
    await state.close()
    assert [fault and fault.rpartition(" ")[2] for fault in faults] == ["TimeoutError", None, "OutOfMemoryError"]
