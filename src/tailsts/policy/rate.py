"""How often something may happen: so many times in so many seconds. Pure."""

import re

import msgspec

RATE_PATTERN = r"([1-9][0-9]{0,5})/(second|minute|hour|day)"

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_UNITS = {seconds: unit for unit, seconds in _SECONDS.items()}
_RATE = re.compile(RATE_PATTERN)


class Rate(msgspec.Struct, frozen=True):
    """`times` in `seconds`."""

    times: int
    seconds: int


class RateError(ValueError):
    """A text says no rate."""


def read_rate(text: str) -> Rate:
    """Return the rate that a text like `60/minute` says: so many a second, minute, hour or day.

    Raises:
        RateError: it says none.
    """
    found = _RATE.fullmatch(text)
    if found is None:
        raise RateError('is not a rate like "60/minute": up to 999999 a second, minute, hour or day')
    return Rate(int(found[1]), _SECONDS[found[2]])


def rate_text(rate: Rate) -> str:
    """Return the text that says it."""
    return f"{rate.times}/{_UNITS[rate.seconds]}"
