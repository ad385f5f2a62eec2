"""The rules of a circuit: after failures in a row Tailscale is not asked for some seconds, then once, then again.

Pure: times are arguments, in seconds of a monotonic clock. `tailsts.tailscale.token_endpoint` runs these rules.
What they promise:

- It opens only while nothing but failures came back, for a second at least: a moment's failure of many requests in
  flight stops nobody.
- Whatever Tailscale answers below 500 closes it at once, whoever asked.
- While it is open, one request of each policy in `pause` seconds is let through. One that hangs does not keep the next
  from trying, and one policy's do not take the turns of another's.
- Failures of one policy's requests alone stop only that policy's requests: whoever finds something that Tailscale fails
  at does not keep others from their tokens.
"""

import math
from collections.abc import Mapping

import msgspec


class Rules(msgspec.Struct, frozen=True):
    """When it opens, and for how long; times in seconds."""

    failures: int = 5
    # From the beginning of the silence, or the first failure of the row, to the one that opens it.
    at_least: float = 1.0
    # What failed longer ago than this and did not open it is forgotten.
    forget: float = 60.0
    # Between two requests that are let through. Recovery is noticed at most this much late.
    pause: float = 3.0


class Circuit(msgspec.Struct, frozen=True):
    """The failures since the last answer. `policy` is whose requests failed, None if those of several did."""

    failures: int = 0
    began: float = 0.0
    policy: str | None = None
    open: bool = False
    # When requests of each policy that failed or tried may try again; those of any other may try at once.
    tries: Mapping[str, float] = {}


# Nothing has failed since the last answer. Compared by identity where each exchange passes.
CLOSED = Circuit()


def stops(state: Circuit, policy: str) -> bool:
    """Return whether an open circuit is in the way of this policy's requests, but for those that try."""
    return state.open and state.policy in {None, policy}


def wait(state: Circuit, policy: str, now: float) -> float:
    """Return in how many seconds a request of this policy may try; 0 if now.

    Each policy has its own turn: one whose requests always fail must not take the turns of all others.
    """
    return max(0.0, state.tries.get(policy, now) - now)


def tried(state: Circuit, rules: Rules, now: float, policy: str) -> Circuit:
    """Return the state after a request of this policy was let through an open circuit."""
    return msgspec.structs.replace(state, tries={**state.tries, policy: now + rules.pause})


def failed(state: Circuit, rules: Rules, now: float, policy: str, since: float) -> Circuit:
    """Return the state after a request of this policy got no answer, or one of a server that cannot.

    Nobody had an answer since the time `since`: at the earliest, since that request was sent.
    """
    if not state.failures or (not state.open and now - state.began > rules.forget):
        state = Circuit(began=since, policy=policy)
    count = state.failures + 1
    whose = policy if state.policy == policy else None
    # Once open, only a request that tries moves the time of the next.
    if state.open:
        return msgspec.structs.replace(state, failures=count, policy=whose)
    tries = {**state.tries, policy: now + rules.pause}
    opens = count >= rules.failures and now - state.began >= rules.at_least
    return msgspec.structs.replace(state, failures=count, policy=whose, tries=tries, open=opens)


def retry_after(state: Circuit, policy: str, now: float) -> int:
    """Return after how many whole seconds a request that was stopped should come again (at least 1)."""
    return max(1, math.ceil(wait(state, policy, now)))
