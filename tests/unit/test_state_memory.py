"""The state in memory: its bounds, and its two clocks."""

import pytest

from tailsts.errors import StateUnavailableError
from tailsts.policy.rate import Rate
from tailsts.state.memory import MemoryState

NOW = 1_800_000_000.0
MARK = "mark"
DAY = 86400


class Clock:
    """A clock that nobody sets but the test."""

    def __init__(self) -> None:
        self.steady = 50.0

    def __call__(self) -> float:
        """Return its time."""
        return self.steady


async def test_a_claim_ends_by_both_clocks() -> None:
    """A claim is over an hour after its time by both clocks, and not if only one of them says so."""
    clock = Clock()
    state = MemoryState(monotonic=clock)
    await state.claim("one", NOW + 60, NOW, MARK)
    for passed, steady in ((DAY, 0), (0, DAY), (3659, 3660), (3660, 3659)):
        clock.steady = 50 + steady
        assert not await state.claim("one", NOW + 60, NOW + passed, MARK)
    clock.steady = 50 + 3660
    assert await state.claim("one", NOW + DAY, NOW + 3660, MARK)


async def test_nothing_is_forgotten_for_want_of_room() -> None:
    """When it is full, a new claim is unavailable, and all that were made hold; what is over makes room."""
    clock = Clock()
    state = MemoryState(monotonic=clock, most=100)
    for number in range(100):
        assert await state.claim(f"{number}", NOW + 60, NOW, MARK)
    with pytest.raises(StateUnavailableError) as found:
        await state.claim("new", NOW + 60, NOW, MARK)
    assert found.value.retry_after == 5
    assert not any([await state.claim(f"{number}", NOW + 60, NOW, MARK) for number in range(100)])
    clock.steady += 3660
    assert await state.claim("new", NOW + 7200, NOW + 3660, MARK)


async def test_a_claim_that_was_given_back_makes_room() -> None:
    """What was given back takes up no room."""
    state = MemoryState(monotonic=Clock(), most=1)
    for number in range(10):
        assert await state.claim(f"{number}", NOW + 60, NOW, MARK)
        await state.give_back(f"{number}", MARK)
    assert len(state) == 0


async def test_rates_are_bounded() -> None:
    """When it holds as many rates as it may, those go on, and a new one is unavailable until one is over."""
    state = MemoryState(monotonic=Clock(), most=100)
    rate = Rate(1, 60)
    for number in range(100):
        assert await state.take(f"{number}", rate, NOW, MARK) == 0
    with pytest.raises(StateUnavailableError):
        await state.take("new", rate, NOW, MARK)
    assert await state.take("7", rate, NOW, MARK) == 60
    assert await state.take("new", rate, NOW + 60, MARK) == 0


async def test_memory_stays_flat() -> None:
    """While 200,000 claims and rates of different lengths come and go, those that live are all that is kept."""
    clock = Clock()
    state = MemoryState(monotonic=clock)
    most = 0
    for number in range(100_000):
        clock.steady += 1
        now = NOW + number
        await state.claim(f"{number}", now + (60, 600, 6000)[number % 3], now, MARK)
        await state.take(f"{number}", Rate(1, 60), now, MARK)
        most = max(most, len(state))
    # A third each for 3660, 4200 and 9600 seconds, and the rates of a minute; and what nobody looked at yet.
    assert most < 4 / 3 * ((3660 + 4200 + 9600) / 3 + 60)
