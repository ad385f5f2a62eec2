"""The header field `traceparent`, as strangers send it."""

import pytest

from tailsts.server.traces.traceparent import Parent, parse, render

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (GOOD, True),
        (f"00-{TRACE}-{SPAN}-00", False),
        # Flags that nobody knows yet change nothing.
        (f"00-{TRACE}-{SPAN}-fe", False),
        (f"00-{TRACE}-{SPAN}-ff", True),
        # Later versions begin as this one does.
        (f"01-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-comes.then", True),
    ],
)
def test_taken(text: str, sampled: bool) -> None:
    """W3C Trace Context 3.2: a field of this or a later version is read."""
    assert Parent(int(TRACE, 16), int(SPAN, 16), sampled) == parse(text)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "x",
        GOOD.upper(),
        f" {GOOD}",
        f"{GOOD} ",
        f"{GOOD}\n",
        f"{GOOD}-",
        f"{GOOD}-more",
        f"{GOOD},{GOOD}",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}0-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}",
        f"00_{TRACE}_{SPAN}_01",
        f"00-{'٤' * 32}-{SPAN}-01",
        f"01-{TRACE}-{SPAN}-01x",
        f"01-{TRACE}-{SPAN}-01-{'x' * 201}",
        f"01-{TRACE}-{SPAN}-01-a b",
    ],
)
def test_ignored(text: str | None) -> None:
    """A field that is malformed, empty or too long is as good as none."""
    assert parse(text) is None


def test_passed_on() -> None:
    """What is passed on is of version 00, sampled, and has all digits."""
    assert render(0xAB, 0xC) == "00-000000000000000000000000000000ab-000000000000000c-01"
