"""The rules of a key cache, as states and transitions: use, refetch, wait, serve stale, give up.

Pure: times are arguments, in seconds of a monotonic clock, so that a clock that jumps moves nothing here.
`tailsts.oidc.jwks` runs these rules. What they promise:

- A token with a known key never waits, as long as the last good key set is younger than `max_stale`.
- Requests cause at most one fetch per `cooldown`, however many unknown key ids they bring; the timer's fetches do
  not count against it, and theirs do not delay the timer's. So a flood cannot keep a new key from being learnt.
- "Unknown key" is only said when the last attempt to fetch succeeded; else nobody can tell.
"""

from enum import Enum, auto

import msgspec


class Rules(msgspec.Struct, frozen=True):
    """All in seconds."""

    # A withdrawn key is refused after the next refresh, so this bounds how long it still counts.
    refresh_after: float = 300.0
    # Between two fetches that requests with unknown keys cause. A new key is learnt at most this much late.
    cooldown: float = 10.0
    # How long the last good keys serve while the issuer cannot be reached.
    max_stale: float = 24 * 3600.0
    # The first wait after a failed fetch, doubled with each failure up to the last.
    first_retry: float = 1.0
    last_retry: float = 30.0


class Freshness(msgspec.Struct, frozen=True):
    """What is known of the cached keys' age. `None` where it has not happened yet."""

    fetched_at: float | None = None
    failed_at: float | None = None
    failures: int = 0
    demanded_at: float | None = None
    fetching: bool = False


class Verdict(Enum):
    """What to do for a request now."""

    USE = auto()
    FETCH = auto()
    WAIT = auto()
    UNKNOWN = auto()
    UNAVAILABLE = auto()


def assess(state: Freshness, rules: Rules, now: float, *, known: bool) -> Verdict:
    """Return what to do for a request whose key the cached set holds (`known`) or does not hold."""
    usable = is_usable(state, rules, now)
    if usable and known:
        return Verdict.USE
    if state.fetching:
        return Verdict.WAIT
    if state.demanded_at is None or now - state.demanded_at >= rules.cooldown:
        return Verdict.FETCH
    if usable and state.failures == 0:
        return Verdict.UNKNOWN
    return Verdict.UNAVAILABLE


def is_usable(state: Freshness, rules: Rules, now: float) -> bool:
    """Return whether the last good key set may still be used."""
    return state.fetched_at is not None and now - state.fetched_at <= rules.max_stale


def started(state: Freshness, now: float, *, demanded: bool) -> Freshness:
    """Return the state after a fetch began; `demanded` if a request caused it, not the timer."""
    return msgspec.structs.replace(state, fetching=True, demanded_at=now if demanded else state.demanded_at)


def succeeded(state: Freshness, now: float) -> Freshness:
    """Return the state after a fetch brought a usable key set."""
    return msgspec.structs.replace(state, fetching=False, fetched_at=now, failures=0)


def failed(state: Freshness, now: float) -> Freshness:
    """Return the state after a fetch brought none: the last good keys stay."""
    return msgspec.structs.replace(state, fetching=False, failed_at=now, failures=state.failures + 1)


def next_refresh(state: Freshness, rules: Rules, now: float) -> float:
    """Return in how many seconds the timer should fetch: 0 at first, soon after a failure, else in time."""
    if state.failures and state.failed_at is not None:
        wait = min(rules.first_retry * 2.0 ** min(state.failures - 1, 16), rules.last_retry)
        return max(0.0, state.failed_at + wait - now)
    if state.fetched_at is None:
        return 0.0
    return max(0.0, state.fetched_at + rules.refresh_after - now)


def retry_after(state: Freshness, rules: Rules, now: float) -> int:
    """Return after how many whole seconds a request that got no answer should come again (at least 1)."""
    return max(1, round(next_refresh(state, rules, now)))
