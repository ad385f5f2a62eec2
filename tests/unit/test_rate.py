"""Rates, from their text and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailsts.policy.rate import Rate, RateError, rate_text, read_rate


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1/second", Rate(1, 1)),
        ("60/minute", Rate(60, 60)),
        ("5/hour", Rate(5, 3600)),
        ("999999/day", Rate(999999, 86400)),
    ],
)
def test_read(text: str, expected: Rate) -> None:
    """A rate is so many a second, minute, hour or day."""
    assert read_rate(text) == expected


@pytest.mark.parametrize(
    "text", ["", "60", "0/minute", "01/minute", "-1/minute", "1/week", "1/minutes", "1 /minute", "1/m\n"]
)
def test_nothing_else_is_a_rate(text: str) -> None:
    """What is not written like this is refused, and not guessed."""
    with pytest.raises(RateError):
        read_rate(text)


@given(st.builds(Rate, st.integers(1, 999_999), st.sampled_from([1, 60, 3600, 86400])))
def test_text(rate: Rate) -> None:
    """The text of a rate says that rate."""
    assert read_rate(rate_text(rate)) == rate
