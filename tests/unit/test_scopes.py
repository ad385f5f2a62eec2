"""Scopes: their form, and when one is within another."""

import pytest

from tailsts.scopes import KNOWN, LEGACY, is_scope_token, is_within


@pytest.mark.parametrize("text", ["devices:core:read", "all", "!", "a" * 128, "x/y~z[]"])
def test_scope_tokens(text: str) -> None:
    """RFC 6749, A.4: visible ASCII but quotation mark and backslash."""
    assert is_scope_token(text)


@pytest.mark.parametrize(
    "text", ["", " ", "a b", "a,b", "a\tb", "a\n", 'a"b', "a\\b", "é", "\0", "a" * 129, "\x7f", "\ud800"]
)
def test_no_scope_tokens(text: str) -> None:
    """U-03: blanks, commas, quotes, control characters, other alphabets and overlong texts are no scopes."""
    assert not is_scope_token(text)


@pytest.mark.parametrize(
    ("granted", "asked", "expected"),
    [
        ("dns", {"dns"}, True),
        ("dns:read", {"dns"}, True),
        ("dns", {"dns:read"}, False),
        ("dns:read", {"all:read"}, True),
        ("dns", {"all:read"}, False),
        ("anything", {"all"}, True),
        ("all", {"dns"}, False),
        ("devices:core:read", {"devices"}, False),
        ("DNS", {"dns"}, False),
    ],
)
def test_within(granted: str, asked: set[str], expected: bool) -> None:
    """U-05: writing implies reading, `all` implies everything, and nothing else is implied."""
    assert is_within(granted, frozenset(asked)) is expected


def test_the_catalogue() -> None:
    """The catalogue holds proper scopes, and none that is legacy."""
    assert all(is_scope_token(scope) for scope in KNOWN)
    assert not KNOWN & LEGACY.keys()
    assert {"devices:core:read", "auth_keys", "logs:configuration:read", "all"} <= KNOWN
