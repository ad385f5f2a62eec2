"""What every state promises, whoever keeps it."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fakes.hand_redis import HandRedis
from fakes.redis_server import RedisServer
from tailsts.policy.rate import Rate
from tailsts.state.opening import open_state
from tailsts.state.state import State

NOW = 1_800_000_000.0
UNTIL = NOW + 665
MARK = "mark"
A_MINUTE = Rate(60, 60)
THREE = Rate(3, 60)
DAY = 86400


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """Return a server for all tests of this file."""
    with RedisServer() as running:
        yield running


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def state(request: pytest.FixtureRequest, redis: RedisServer, tmp_path: Path) -> AsyncIterator[State]:
    """Return an empty state of each kind."""
    redis.say("FLUSHALL")
    names = {"memory": "memory", "sqlite": f"sqlite:{tmp_path / 'state'}"}
    kind = request.param
    opened = HandRedis(redis.url) if kind == "redis" else open_state(names[kind], monotonic=time.monotonic)
    yield opened
    await opened.close()


async def test_a_key_is_claimed_once(state: State) -> None:
    """The first claim of a key is granted, a second one is not; other keys are not touched."""
    assert await state.claim("one", UNTIL, NOW, MARK)
    assert not await state.claim("one", UNTIL, NOW, MARK)
    assert await state.claim("two", UNTIL, NOW, MARK)


async def test_one_of_fifty_wins(state: State) -> None:
    """Of 50 claims at once exactly one is granted."""
    granted = await asyncio.gather(*(state.claim("one", UNTIL, NOW, MARK) for _ in range(50)))
    assert granted.count(True) == 1


async def test_what_is_given_back_can_be_claimed(state: State) -> None:
    """A claim that was given back is free again, once. Nothing happens to what was never claimed."""
    await state.give_back("one", "nobody's")
    await state.claim("one", UNTIL, NOW, "first")
    await state.give_back("one", "first")
    assert await state.claim("one", UNTIL, NOW, "second")
    assert not await state.claim("one", UNTIL, NOW, "third")


async def test_only_who_claimed_it_can_give_it_back(state: State) -> None:
    """However late or often somebody gives back a claim of before, the one that came after it holds."""
    await state.claim("one", UNTIL, NOW, "first")
    await state.give_back("one", "first")
    await state.claim("one", UNTIL, NOW, "second")
    for mark in ("first", "first", "somebody else's"):
        await state.give_back("one", mark)
    assert not await state.claim("one", UNTIL, NOW, "third")


@pytest.mark.parametrize("step", [-3600, -60, 664, 665 + 3599, DAY])
async def test_a_clock_that_is_set_frees_no_claim(state: State, step: float) -> None:
    """A claim holds when the clock is set back by an hour, or forth by a day, and when it is set right again."""
    await state.claim("one", UNTIL, NOW, MARK)
    assert not await state.claim("one", UNTIL, NOW + step, MARK)
    # Others, which clear away what is over.
    for number in range(64):
        await state.claim(f"other {number}", UNTIL + step, NOW + step, MARK)
    assert not await state.claim("one", UNTIL, NOW, MARK)


async def test_as_many_at_once_as_the_rate_says(state: State) -> None:
    """A rate of 3 a minute is 3 at once, then none for 20 seconds. Being refused does not make that longer."""
    assert [await state.take("one", THREE, NOW, MARK) for _ in range(5)] == [0, 0, 0, 20, 20]
    assert await state.take("one", THREE, NOW + 19.5, MARK) == 1
    assert await state.take("one", THREE, NOW + 20, MARK) == 0
    assert await state.take("one", THREE, NOW + 20, MARK) == 20


async def test_what_came_to_nothing_is_not_counted(state: State) -> None:
    """One that is counted no more is free for another, at once; it does not free two."""
    await state.untake("one", THREE, NOW, "of nobody")
    assert [await state.take("one", THREE, NOW, f"{number}") for number in range(4)] == [0, 0, 0, 20]
    await state.untake("one", THREE, NOW + 1, "1")
    assert [await state.take("one", THREE, NOW + 1, f"again {number}") for number in range(2)] == [0, 19]


async def test_what_time_has_forgotten_is_not_given_again(state: State) -> None:
    """Uses that are counted no more long after never leave more than the whole rate."""
    for number in range(3):
        await state.take("one", THREE, NOW, f"{number}")
    for number in range(3):
        await state.untake("one", THREE, NOW + 50, f"{number}")
    assert [await state.take("one", THREE, NOW + 50, f"again {number}") for number in range(4)] == [0, 0, 0, 20]


async def test_all_is_forgotten_in_time(state: State) -> None:
    """Whoever did not come for a minute has the whole rate of a minute again, and no more."""
    for _ in range(3):
        await state.take("one", THREE, NOW, MARK)
    later = NOW + 60
    assert [await state.take("one", THREE, later, MARK) for _ in range(4)] == [0, 0, 0, 20]


async def test_takes_at_once_are_all_counted(state: State) -> None:
    """Of 100 that come at once, as many pass as the rate says."""
    waits = await asyncio.gather(*(state.take("one", A_MINUTE, NOW, MARK) for _ in range(100)))
    assert waits.count(0) == 60
    assert set(waits) == {0, 1}


async def test_rates_of_keys_are_their_own(state: State) -> None:
    """One key's rate is not another's, and a claim of the same name is something else."""
    assert await state.claim("one", UNTIL, NOW, MARK)
    for key in ("one", "two"):
        assert [await state.take(key, Rate(1, 1), NOW, MARK) for _ in range(2)] == [0, 1]
    assert await state.claim("two", UNTIL, NOW, MARK)
    assert not await state.claim("one", UNTIL, NOW, MARK)


async def test_a_clock_that_is_set_back_makes_nobody_wait_longer(state: State) -> None:
    """When the clock is set back by a day, the wait is that for one more, not a day; and only until it is over."""
    for _ in range(3):
        await state.take("one", THREE, NOW, MARK)
    assert await state.take("one", THREE, NOW - DAY, MARK) == 20
    assert await state.take("one", THREE, NOW - DAY + 20, MARK) == 0


async def test_another_rate_counts_at_once(state: State) -> None:
    """When a policy's rate changes, what was taken is kept within the new rate."""
    for _ in range(60):
        await state.take("one", A_MINUTE, NOW, MARK)
    assert await state.take("one", Rate(1, 1), NOW, MARK) == 1
    assert await state.take("one", Rate(1, 1), NOW + 1, MARK) == 0


@pytest.mark.parametrize("rate", [Rate(999_999, 1), Rate(7, 86400), Rate(1, 1), Rate(333, 60), Rate(999_999, 86400)])
async def test_no_rate_is_too_strange(state: State, rate: Rate) -> None:
    """Uneven rates are counted as well, and the wait is at least a second and never longer than the period."""
    waits = [await state.take("one", rate, NOW, MARK) for _ in range(12)]
    assert waits.count(0) == min(12, rate.times)
    assert all(1 <= wait <= rate.seconds for wait in waits if wait)


@pytest.mark.parametrize("key", ["", "'; DROP TABLE claims; --", "ключ\r\nDEL x", "k" * 1000, "a\0b", "{a}*?"])
async def test_keys_are_only_keys(state: State, key: str) -> None:
    """No key is read as anything else."""
    assert [await state.claim(key, UNTIL, NOW, MARK) for _ in range(2)] == [True, False]
    assert [await state.take(key, Rate(1, 60), NOW, MARK) for _ in range(2)] == [0, 60]
    await state.give_back(key, MARK)
    assert await state.claim(key, UNTIL, NOW, MARK)
    assert await state.claim("other", UNTIL, NOW, MARK)


async def test_a_claim_in_the_past(state: State) -> None:
    """A claim that is over before it begins is one nevertheless: nobody is let in twice by a clock that lags."""
    assert [await state.claim("one", NOW - 10, NOW, MARK) for _ in range(2)] == [True, False]
