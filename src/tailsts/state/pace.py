"""When somebody has come too often: the generic cell rate algorithm, one number for each key. Pure.

The number is the time at which all that was taken will be forgotten, in whole microseconds since the epoch. As a
whole number it is the same in Python, in SQLite and in the script that Redis runs. Each time that is taken puts it
off by `every`; it is never further away than `whole`. So a rate of 60 a minute is 60 at once, and then one each second.
"""

import msgspec

from tailsts.policy.rate import Rate

_MICRO = 1_000_000


class Pace(msgspec.Struct, frozen=True):
    """A rate in whole microseconds: one each `every`, and no more than fit into `whole` at once."""

    every: int
    whole: int


def pace_of(rate: Rate) -> Pace:
    """Return the pace. Rounded down, in favour of who comes; below 1000 a second that is less than a thousandth."""
    every = rate.seconds * _MICRO // rate.times
    return Pace(every, every * rate.times)


def micros(seconds: float) -> int:
    """Return seconds as whole microseconds."""
    return int(seconds * _MICRO)


def advance(kept: int | None, pace: Pace, now: int) -> tuple[int, int]:
    """Return the number to keep from `now` on, and how many microseconds it is too early: 0 if it was taken.

    A number further away than can be is from before the clock was set back. It counts as nothing left: whoever it
    is waits for one, and not for as long as the clock was set back.
    """
    held = min(max(kept or 0, now), now + pace.whole)
    early = held + pace.every - now - pace.whole
    return (held, early) if early > 0 else (held + pace.every, 0)


def retreat(kept: int, pace: Pace, now: int) -> int:
    """Return the number to keep when one that was taken came to nothing. What time has forgotten is not given again."""
    return max(kept - pace.every, now)


def whole_seconds(microseconds: int) -> int:
    """Return how many whole seconds to wait, rounded up."""
    return -(-microseconds // _MICRO)
