"""What a use of a rate leaves in Redis: nothing for who comes again and again while Tailscale fails."""

import time
from collections.abc import AsyncIterator, Iterator

import pytest

from fakes.redis_server import RedisServer
from tailsts.policy.rate import Rate
from tailsts.state.pace import pace_of
from tailsts.state.redis import RedisState
from tailsts.state.scripts import TAKE, UNTAKE, Script

NOW = time.time()
TWO, THREE = Rate(2, 86400), Rate(3, 86400)
# What is asked of Redis for one use: to count it; to undo it, its answer having come; to undo it, its answer lost.
COUNT, UNDO, UNDO_IN_DOUBT = "count", "undo", "undo in doubt"
# A minute goes by.
FORGET = "forget"
# What Redis says of the life of a key that is not there.
GONE = -2


@pytest.fixture(scope="module")
def running() -> Iterator[RedisServer]:
    """Return a server for all tests of this file."""
    with RedisServer() as found:
        yield found


@pytest.fixture
def redis(running: RedisServer) -> RedisServer:
    """Return it, empty."""
    running.say("FLUSHALL")
    return running


@pytest.fixture
async def state(redis: RedisServer) -> AsyncIterator[RedisState]:
    """Return the state there."""
    made = RedisState(redis.url)
    yield made
    await made.close()


async def test_mintings_that_fail(redis: RedisServer, state: RedisState) -> None:
    """A hundred uses that come to nothing leave one key: that of the rate, of which nothing is used up."""
    for number in range(100):
        mark = f"mark {number}"
        assert await state.claim("token", NOW + 600, NOW, mark)
        assert await state.take("one", TWO, NOW, mark) == 0
        await state.untake("one", TWO, NOW, mark)
        await state.give_back("token", mark)
    assert redis.say("DBSIZE") == ":1"
    waits = [await state.take("one", TWO, NOW, f"after {number}") for number in range(3)]
    assert [bool(wait) for wait in waits] == [False, False, True]


def asked(redis: RedisServer, script: Script, mark: str, *more: str) -> str:
    """Run the script for a use of a rate of three a day."""
    pace = pace_of(THREE)
    return redis.say("EVAL", script, "2", "rate", mark, f"{int(NOW * 1e6)}", f"{pace.every}", f"{pace.whole}", *more)


@pytest.mark.parametrize(
    ("order", "left", "life"),
    [
        ([COUNT], 1, 60),
        ([COUNT, UNDO], 2, GONE),
        ([COUNT, UNDO, UNDO], 2, GONE),
        ([COUNT, UNDO_IN_DOUBT], 2, GONE),
        ([COUNT, UNDO_IN_DOUBT, UNDO_IN_DOUBT], 2, 3600),
        ([COUNT, UNDO, UNDO_IN_DOUBT], 2, 3600),
        ([UNDO_IN_DOUBT, COUNT], 2, 3600),
        ([UNDO_IN_DOUBT, COUNT, UNDO_IN_DOUBT], 2, 3600),
        ([UNDO, UNDO], 2, GONE),
        ([COUNT, FORGET, UNDO], 1, GONE),
    ],
)
def test_a_use_is_undone_once(redis: RedisServer, order: list[str], left: int, life: int) -> None:
    """In whatever order it arrives, and how often: no more is undone than one's own use, and none is counted late.

    After a minute a use counts. Only who lost an answer may leave a key for an hour: what was asked may come late.
    """
    assert asked(redis, TAKE, "another's") == ":0"
    more = {UNDO: "1", UNDO_IN_DOUBT: "0"}
    for each in order:
        if each == COUNT:
            asked(redis, TAKE, "mine")
        elif each == FORGET:
            redis.say("DEL", "mine")
        else:
            asked(redis, UNTAKE, "mine", more[each])
    assert int(redis.say("TTL", "mine").removeprefix(":")) in {life, life - 1}
    assert [asked(redis, TAKE, f"after {number}") for number in range(3)].count(":0") == left
