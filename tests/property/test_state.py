"""Laws of rates, and that every state follows them alike."""

import asyncio
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.hand_redis import HandRedis
from fakes.redis_server import RedisServer
from tailsts.policy.rate import Rate
from tailsts.state.memory import MemoryState
from tailsts.state.pace import advance, micros, pace_of, retreat, whole_seconds
from tailsts.state.sqlite import SqliteState
from tailsts.state.state import State

START = 1_800_000_000
rates = st.builds(Rate, st.integers(1, 999_999), st.sampled_from([1, 60, 3600, 86400]))
slow_rates = st.builds(Rate, st.integers(1, 100), st.sampled_from([1, 60, 3600, 86400]))
# Mostly little, so that rates are met; in milliseconds, whole ones among them.
pauses = st.integers(0, 50) | st.integers(0, 100_000) | st.sampled_from([0, 0, 0, 1000, 60_000, 3_600_000])
steps_of_clocks = pauses | st.sampled_from([-3_600_000, 86_400_000, -1])


def moments(waits: list[int]) -> list[float]:
    """Return the times, when each comes so many milliseconds after the one before."""
    return [START + milliseconds / 1000 for milliseconds in itertools.accumulate(waits)]


def taken(rate: Rate, times: list[float]) -> list[float]:
    """Return those of the times at which one was within the rate."""
    pace, kept, passed = pace_of(rate), None, []
    for time in times:
        kept, early = advance(kept, pace, micros(time))
        if not early:
            passed.append(time)
    return passed


@given(slow_rates, st.lists(pauses, max_size=300))
def test_no_period_has_more_than_twice_the_rate(rate: Rate, waits: list[int]) -> None:
    """As many as the rate says at once, and one more each time that its part of the period is over: no more."""
    passed = taken(rate, moments(waits))
    every = rate.seconds / rate.times
    for first, later in itertools.combinations(range(len(passed)), 2):
        allowed = rate.times + (passed[later] - passed[first]) / every
        # Rounding is in favour of who comes: a millionth of a second for each.
        assert later - first + 1 <= allowed * 1.001 + 1e-3


@given(rates, st.lists(pauses, max_size=50))
def test_who_keeps_to_the_rate_is_never_refused(rate: Rate, waits: list[int]) -> None:
    """Whoever leaves the time of one between any two always passes, whatever more time there is."""
    every = 1000 * rate.seconds / rate.times
    times = moments([int(every + 1 + wait) for wait in waits])
    assert taken(rate, times) == times


@given(rates, st.lists(steps_of_clocks, max_size=50))
def test_the_wait_is_true(rate: Rate, waits: list[int]) -> None:
    """Whoever is refused passes after the seconds that were said, and was not told more than a second too many.

    The wait is never longer than the time of one, whatever the clock does, or the period if it is shorter.
    """
    pace, kept = pace_of(rate), None
    for time in moments(waits):
        now = micros(time)
        kept, early = advance(kept, pace, now)
        if not early:
            continue
        seconds = whole_seconds(early)
        assert 1 <= seconds <= max(1, -(-rate.seconds // rate.times))
        assert advance(kept, pace, now + seconds * 1_000_000)[1] == 0
        assert advance(kept, pace, now + early - 1)[1] == 1


@given(rates, st.integers(0, 10**7), steps_of_clocks)
def test_what_came_to_nothing_was_never_counted(rate: Rate, ahead: int, wait: int) -> None:
    """To take one and to undo it at once changes nothing; later, it never leaves more than the whole rate."""
    pace, now = pace_of(rate), micros(START)
    kept = now + min(ahead, pace.whole)
    taken_one, early = advance(kept, pace, now)
    if early:
        return
    assert retreat(taken_one, pace, now) == kept
    later = now + 1000 * wait
    assert later <= retreat(taken_one, pace, later)
    assert retreat(taken_one, pace, later) <= max(taken_one, later)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """Return a server for the whole file."""
    with RedisServer() as running:
        yield running


@given(st.lists(st.tuples(slow_rates | rates, steps_of_clocks, st.booleans()), max_size=30))
@settings(max_examples=40)
def test_all_states_agree(redis: RedisServer, asked: list[tuple[Rate, int, bool]]) -> None:
    """Whatever is asked for one key, or came to nothing, and whatever the clock does, all states answer the same."""
    redis.say("FLUSHALL")
    answers = asyncio.run(_answers(redis.url, asked))
    assert answers["sqlite"] == answers["memory"]
    assert answers["redis"] == answers["memory"]


async def _answers(url: str, asked: list[tuple[Rate, int, bool]]) -> dict[str, list[int]]:
    times = moments([wait for _, wait, _ in asked])
    with tempfile.TemporaryDirectory() as folder:
        states: dict[str, State] = {
            "memory": MemoryState(monotonic=lambda: 0.0),
            "sqlite": SqliteState(Path(folder) / "state", monotonic=lambda: 0.0),
            "redis": HandRedis(url),
        }
        answers: dict[str, list[int]] = {name: [] for name in states}
        for number, ((rate, _, comes_to_nothing), time) in enumerate(zip(asked, times, strict=True)):
            for name, state in states.items():
                answers[name].append(await state.take("one", rate, time, f"{number}"))
                if comes_to_nothing and not answers[name][-1]:
                    await state.untake("one", rate, time + 0.5, f"{number}")
        for state in states.values():
            await state.close()
    return answers
