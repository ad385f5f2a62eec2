"""What is asked of the state, whoever keeps it. Pure."""

from typing import Protocol

from tailsts.policy.rate import Rate

# A clock that was set back by less than this lets nobody use a token twice.
KEPT_LONGER = 3600


class State(Protocol):
    """Claims of tokens and rates. Times are in seconds since the epoch; keys are short texts that hold no secret.

    `mark` is a text that no other exchange has: by it, what one of them did is told from what another did.

    Where the state cannot be asked, `errors.StateUnavailableError` is raised, within about a second. Whatever was done
    all the same, because only the answer was lost or late, is undone in the background as soon as the state answers:
    for whoever asks again nothing was used up.
    """

    async def claim(self, key: str, until: float, now: float, mark: str) -> bool:
        """Return whether nobody had claimed `key`; from here to `until`, and somewhat longer, it is claimed.

        While an earlier claim that is to be undone may still hold, it is unavailable.
        """

    async def give_back(self, key: str, mark: str) -> None:
        """Let `key` be claimed again, if the claim is that of `mark`; later, if that cannot be done now."""

    async def take(self, key: str, rate: Rate, now: float, mark: str) -> int:
        """Return 0 and count it if `key` is within `rate`; else in how many seconds, at least 1, it will be."""

    async def untake(self, key: str, rate: Rate, now: float, mark: str) -> None:
        """Count what `take` counted for `mark` no more; later, if that cannot be done now."""

    async def close(self) -> None:
        """Let go of files and connections, after a last attempt to undo what is to be undone."""
