"""What is asked of the state, whoever keeps it. Pure."""

from typing import Protocol

from tailsts.policy.rate import Rate

# A clock that was set back by less than this lets nobody use a token twice.
KEPT_LONGER = 3600


class State(Protocol):
    """Claims of tokens and rates. Times are in seconds since the epoch; keys are short texts that hold no secret.

    Where the state cannot be asked, `errors.StateUnavailableError` is raised, within about a second.
    """

    async def claim(self, key: str, until: float, now: float) -> bool:
        """Return whether nobody had claimed `key`; from here to `until`, and somewhat longer, it is claimed.

        A claim whose answer was lost on the way holds: it is better to refuse a token than to take it twice.
        """

    async def give_back(self, key: str) -> None:
        """Let `key` be claimed again. Only who claimed it may ask. Where that fails, the claim stays until its time."""

    async def take(self, key: str, rate: Rate, now: float) -> int:
        """Return 0 and count it if `key` is within `rate`; else in how many seconds, at least 1, it will be."""

    async def close(self) -> None:
        """Let go of files and connections."""
