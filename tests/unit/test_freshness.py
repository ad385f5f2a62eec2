"""The rules of the key cache, one by one; their laws are in tests/property."""

import pytest

from tailsts.oidc.freshness import (
    Freshness,
    Rules,
    Verdict,
    assess,
    failed,
    is_usable,
    next_refresh,
    retry_after,
    started,
    succeeded,
)

RULES = Rules()
FETCHED = succeeded(started(Freshness(), 0, demanded=False), 1)


def test_before_anything_was_fetched() -> None:
    """Without keys, a request has them fetched, or waits for the fetch that is under way."""
    assert assess(Freshness(), RULES, 0, known=False) is Verdict.FETCH
    assert assess(started(Freshness(), 0, demanded=False), RULES, 0, known=False) is Verdict.WAIT
    assert next_refresh(Freshness(), RULES, 0) == 0


def test_a_known_key_is_used_at_once() -> None:
    """A known key never waits, not even while a fetch is under way or when the last one failed."""
    for state in (FETCHED, started(FETCHED, 2, demanded=True), failed(started(FETCHED, 2, demanded=True), 7)):
        assert assess(state, RULES, 100, known=True) is Verdict.USE


def test_unknown_keys_share_one_fetch_per_cooldown() -> None:
    """The first unknown key has the keys fetched; until the cool-down is over, the next ones are just unknown."""
    assert assess(FETCHED, RULES, 100, known=False) is Verdict.FETCH
    demanded = succeeded(started(FETCHED, 100, demanded=True), 101)
    assert assess(demanded, RULES, 109.9, known=False) is Verdict.UNKNOWN
    assert assess(demanded, RULES, 110, known=False) is Verdict.FETCH


def test_the_timer_does_not_use_up_the_cooldown() -> None:
    """A fetch by the timer just now does not keep a request with a new key from having one."""
    timed = succeeded(started(FETCHED, 100, demanded=False), 101)
    assert assess(timed, RULES, 101, known=False) is Verdict.FETCH


def test_unknown_is_not_said_after_a_failure() -> None:
    """While the issuer cannot be asked, nobody can tell that a key is unknown."""
    state = failed(started(FETCHED, 100, demanded=True), 105)
    assert assess(state, RULES, 106, known=False) is Verdict.UNAVAILABLE


def test_stale_keys_serve_for_a_day() -> None:
    """The last good keys serve for 24 hours of failures, and not longer."""
    state = failed(started(FETCHED, 50, demanded=True), 55)
    day = 24 * 3600
    assert is_usable(state, RULES, 1 + day)
    assert not is_usable(state, RULES, 2 + day)
    assert assess(state, RULES, 1 + day, known=True) is Verdict.USE
    assert assess(state, RULES, 2 + day, known=True) is Verdict.FETCH
    assert assess(started(state, 2 + day, demanded=True), RULES, 2 + day, known=True) is Verdict.WAIT


def test_refresh_in_time() -> None:
    """Keys are fetched anew after five minutes, so that a withdrawn one is refused within fifteen."""
    assert next_refresh(FETCHED, RULES, 1) == 300
    assert next_refresh(FETCHED, RULES, 301) == 0
    assert next_refresh(FETCHED, RULES, 999) == 0
    assert RULES.refresh_after <= 15 * 60


@pytest.mark.parametrize(("failures", "wait"), [(1, 1), (2, 2), (3, 4), (5, 16), (6, 30), (100, 30)])
def test_retries_back_off(failures: int, wait: float) -> None:
    """After failures the timer waits twice as long each time, and at most 30 seconds."""
    state = FETCHED
    for _ in range(failures):
        state = failed(started(state, 9, demanded=False), 10)
    assert next_refresh(state, RULES, 10) == wait
    assert retry_after(state, RULES, 10) == wait
    assert next_refresh(state, RULES, 9.5 + wait) == 0.5
    assert [next_refresh(state, RULES, 10 + wait + late) for late in (0, 0.5, 999)] == [0, 0, 0]
    assert succeeded(started(state, 11, demanded=False), 12).failures == 0


def test_a_success_ends_the_retries() -> None:
    """An issuer that failed once and answers again is asked as rarely as before, not at once and for ever."""
    state = succeeded(failed(started(FETCHED, 9, demanded=False), 10), 12)
    assert next_refresh(state, RULES, 12) == 300
    assert next_refresh(state, RULES, 300) == 12


def test_an_outage_may_last() -> None:
    """After thousands of failures, a day and more of them, the timer still waits 30 seconds."""
    assert next_refresh(Freshness(failures=100_000, failed_at=10), RULES, 10) == 30


def test_old_keys_say_nothing_of_a_key_that_they_lack() -> None:
    """Keys that are too old to be used are too old to call a key unknown as well."""
    rules = Rules(cooldown=10, max_stale=5)
    demanded = succeeded(started(FETCHED, 100, demanded=True), 101)
    assert assess(demanded, rules, 106, known=False) is Verdict.UNKNOWN
    assert assess(demanded, rules, 107, known=False) is Verdict.UNAVAILABLE


def test_retry_after_is_at_least_a_second() -> None:
    """Nobody is told to come again after no time at all."""
    assert retry_after(Freshness(), RULES, 0) == 1
