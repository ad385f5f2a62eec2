"""What a pattern's strings are like."""

import pytest

from tailsts.policy.patterns.language import (
    NOTHING,
    can_be_made_of,
    can_match_char,
    characters,
    first_beyond,
    matches,
    matches_nothing,
    surely_within,
    unescaped_dots,
)
from tailsts.policy.patterns.syntax import CharSet, Node, char_set, parse

# A class that excludes everything.
VOID = r"[^\x00-\x{10FFFF}]"
DIGITS = char_set((48, 57))


def tree(text: str) -> Node:
    """Return the tree of a pattern that is read."""
    node = parse(text)
    assert node is not None
    return node


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", ((97, 97),)),
        ("a[0-9]*|b", ((48, 57), (97, 98))),
        ("(ab){0}c", ((99, 99),)),
        ("(ab){0,1}c", ((97, 99),)),
        (f"a{VOID}|b", ((98, 98),)),
        (f"a({VOID})?", ((97, 97),)),
        ("", ()),
    ],
)
def test_characters(text: str, expected: tuple[tuple[int, int], ...]) -> None:
    """The characters are those of strings that match, not of parts that can take part in none."""
    assert CharSet(expected) == characters(tree(text))


@pytest.mark.parametrize(
    ("text", "character", "expected"),
    [("a/b", "/", True), ("[^/]+", "/", False), (".*", "/", True), (".*", "\n", False), ("(a|b/)?", "/", True)],
)
def test_can_match_char(text: str, character: str, expected: bool) -> None:
    """A character can be matched if some string has it."""
    assert expected is can_match_char(tree(text), character)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("[0-9]+", None), ("[0-9a]+", "a"), ("[!-9]", "!"), ("[0-~]", ":"), ("[5-6]|[7-a]", ":"), ("", None)],
)
def test_first_beyond(text: str, expected: str | None) -> None:
    """The first character outside of a set is found, if there is one."""
    assert expected == first_beyond(tree(text), DIGITS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("[0-9a]+", True), ("[a-z]*", True), ("[a-z]+", False), ("a|1", True), ("1a", False), ("1a?2", True), ("", True)],
)
def test_can_be_made_of(text: str, expected: bool) -> None:
    """A pattern can be made of a set if one of its strings, the empty one too, has no other characters."""
    assert expected is can_be_made_of(tree(text), DIGITS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a*", True), ("a?b?", True), ("a+", False), ("a", False), ("(a|)", True), ("[ab]", False)],
)
def test_can_be_empty(text: str, expected: bool) -> None:
    """What can be made of no characters at all can be empty."""
    assert expected is can_be_made_of(tree(text), NOTHING)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", False),
        ("[ab]", False),
        (VOID, True),
        (f"a{VOID}", True),
        (f"a|{VOID}", False),
        (f"{VOID}|{VOID}b", True),
        (f"({VOID})*", False),
        (f"({VOID})+", True),
        ("", False),
    ],
)
def test_matches_nothing(text: str, expected: bool) -> None:
    """A pattern that asks for a character that there is none of matches nothing."""
    assert expected is matches_nothing(tree(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (".*@chainguard.dev", True),
        (r".*@chainguard\.dev", False),
        ("https://x.example/v2", True),
        ("(a|b.c)", True),
        ("(a.b)+", True),
        ("a[.]b", False),
        ("a.*b", False),
        ("a.+b", False),
        ("acme/.", False),
        ("a..b", False),
        ("a-.b", False),
        ("[ab].c", False),
        ("a", False),
        (r"\pLa.b", False),
    ],
)
def test_p07_unescaped_dots(text: str, expected: bool) -> None:
    """P-07: one dot for any character between two letters or digits is told from one that is meant."""
    assert expected is unescaped_dots(text)


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("a[0-9]{2,3}", "a123", True),
        ("a[0-9]{2,3}", "a1", False),
        ("(x|yz)*", "xyzx", True),
        ("(x|yz)*", "xy", False),
        ("(a?)+", "", True),
        ("(ab){1000}", "ab", False),
        (VOID, "a", False),
    ],
)
def test_matches(text: str, value: str, expected: bool) -> None:
    """A part of a pattern matches whole texts, as the pattern would alone."""
    assert expected is matches(tree(text), value)


@pytest.mark.parametrize(
    ("narrow", "wide", "expected"),
    [
        ("a|b", "a|b", True),
        ("refs/heads/main", "refs/.*", True),
        ("refs/heads/(main|v.*)", "refs/heads/.+", True),
        ("a(b|)", "a.+", False),
        ("refs/heads/.*", "refs/tags/.*", False),
        ("ab", "a[a-z]*", True),
        ("a1", "a[a-z]*", False),
        ("abc", "ab?", False),
        ("abc", "a.{2,}", False),
        ("abc", "a(bc)*", False),
        ("", "", True),
        ("a", "", False),
    ],
)
def test_surely_within(narrow: str, wide: str, expected: bool) -> None:
    """One pattern is within another where that is plain: they are the same, or the other goes on with anything."""
    assert expected is surely_within(tree(narrow), tree(wide))
