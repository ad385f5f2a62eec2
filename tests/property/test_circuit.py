"""The laws of the circuit to Tailscale, whatever fails and whenever."""

from hypothesis import given
from hypothesis import strategies as st

from tailsts.tailscale.circuit import CLOSED, Circuit, Rules, failed, stops, tried, wait

RULES = Rules(pause=3)
# Whole seconds, so that sums are exact.
STEPS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from("ab")), max_size=50)


def after(steps: list[tuple[int, str]]) -> tuple[Circuit, int]:
    """Return the state and the time after requests of these policies failed, so many seconds one after the other."""
    state, now = CLOSED, 0
    for seconds, policy in steps:
        now += seconds
        if stops(state, policy):
            if wait(state, policy, now):
                continue
            state = tried(state, RULES, now, policy)
        state = failed(state, RULES, now, policy, now)
    return state, now


@given(STEPS, st.integers(0, 10))
def test_nobody_is_stopped_for_longer_than_the_pause(steps: list[tuple[int, str]], later: int) -> None:
    """Whatever failed, each policy may try within three seconds of the last event."""
    state, now = after(steps)
    for policy in "abc":
        assert wait(state, policy, now + later) <= max(0, RULES.pause - later)


@given(STEPS)
def test_it_never_opens_without_a_row(steps: list[tuple[int, str]]) -> None:
    """Whoever is stopped, is stopped after five failures at least."""
    state, _ = after(steps)
    assert state.failures >= RULES.failures or not any(stops(state, policy) for policy in "ab")


@given(STEPS)
def test_whose_requests_did_not_fail_is_not_stopped(steps: list[tuple[int, str]]) -> None:
    """As long as the requests of one policy alone fail, no other policy's are stopped."""
    state, _ = after([(seconds, "a") for seconds, _ in steps])
    assert not stops(state, "b")
