"""Which entries of an audit log are asked for."""

import datetime as dt
from typing import Any

import pytest

from tailsts.auditing.entries import Entry, Kind
from tailsts.auditing.selection import MomentError, Selection, logged_moment

NOW = dt.datetime(2026, 11, 24, 18, 0, 0, 123456, tzinfo=dt.UTC)
ENTRY = Entry(
    "2026-11-24T18:00:00.123Z",
    "0f",
    "refused",
    "scope_not_allowed",
    verified=True,
    issuer="https://i",
    subject="repo:acme/infra:ref:refs/heads/main",
    policy="infra",
)


@pytest.mark.parametrize(
    ("selection", "has"),
    [
        ({}, True),
        ({"kinds": frozenset({Kind.DENIED, Kind.FAILED})}, True),
        ({"kinds": frozenset({Kind.GRANTED})}, False),
        ({"policies": frozenset({"infra", "x"})}, True),
        ({"policies": frozenset({"x"})}, False),
        ({"issuers": frozenset({"https://i"})}, True),
        ({"issuers": frozenset({"https://i/"})}, False),
        ({"reasons": frozenset({"scope_not_allowed"})}, True),
        ({"reasons": frozenset({"granted"})}, False),
        ({"subjects": ("x", "repo:acme/infra:ref:refs/heads/main")}, True),
        ({"subjects": ("repo:acme/infra",)}, False),
        ({"subjects": ("repo:acme/*",)}, True),
        ({"subjects": ("*",)}, True),
        ({"subjects": ("*main", "repo:*:ref", "repo:acme/infr?*")}, False),
        ({"since": "2026-11-24T18:00:00.123Z"}, True),
        ({"since": "2026-11-24T18:00:00.124Z"}, False),
        ({"until": "2026-11-24T18:00:00.124Z"}, True),
        ({"until": "2026-11-24T18:00:00.123Z"}, False),
        ({"policies": frozenset({"infra"}), "reasons": frozenset({"granted"})}, False),
    ],
)
def test_selection(selection: dict[str, Any], has: bool) -> None:
    """An entry must have one of each kind that is asked for; a * at the end of a subject stands for any end."""
    assert Selection(**selection).has(ENTRY) is has


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-24T18:00:00.123Z", "2026-11-24T18:00:00.123Z"),
        ("2026-11-24t19:00:00+01:00", "2026-11-24T18:00:00.000Z"),
        (" 2026-11-24 18:00:00z ", "2026-11-24T18:00:00.000Z"),
        ("2026-11-24", "2026-11-24T00:00:00.000Z"),
        ("90s", "2026-11-24T17:58:30.123Z"),
        ("30m", "2026-11-24T17:30:00.123Z"),
        ("2h", "2026-11-24T16:00:00.123Z"),
        ("7d", "2026-11-17T18:00:00.123Z"),
    ],
)
def test_moments(text: str, moment: str) -> None:
    """A moment is a time with its offset, a day in UTC, or so long ago."""
    assert logged_moment(text, NOW) == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "0h",
        "120",
        "2w",
        "2026-11-24T18:00:00",
        "2026-13-01",
        "2026-11-24T25:00:00Z",
        "2026-11-24T18:00Z",
        "999999999d",
        "0001-01-01T00:00:00+01:00",
        "-1h",
    ],
)
def test_what_is_no_moment(text: str) -> None:
    """Anything else is none, above all a time of which nobody knows where."""
    with pytest.raises(MomentError, match="is not a moment: like 2026-11-24T18:00:00Z"):
        logged_moment(text, NOW)
