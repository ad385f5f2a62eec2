"""The reader of patterns: its trees, and what it declines. That they agree with RE2 is a property test."""

import pytest

from tailsts.policy.patterns.pattern import PatternError, compile_pattern
from tailsts.policy.patterns.syntax import (
    ANY,
    MAX_DEPTH,
    Alternation,
    CharSet,
    Literal,
    Node,
    Repeat,
    Sequence,
    char_set,
    complement,
    parse,
)

A, B = Literal("a"), Literal("b")
AB = CharSet(((97, 98),))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", A),
        ("ab", Sequence((A, B))),
        ("", Sequence(())),
        ("a|b", Alternation((A, B))),
        ("a|", Alternation((A, Sequence(())))),
        (".", ANY),
        ("[a-b]", AB),
        ("[b]", B),
        ("[.]", Literal(".")),
        ("[^a]", complement(char_set((97, 97)))),
        ("[]a]", char_set((93, 93), (97, 97))),
        ("[a-]", char_set((45, 45), (97, 97))),
        (r"[\d-z]", char_set((48, 57), (45, 45), (122, 122))),
        ("[[:^ascii:]]", CharSet(((128, 0x10FFFF),))),
        (r"\d", CharSet(((48, 57),))),
        (r"\.", Literal(".")),
        (r"\_", Literal("_")),
        (r"\n", Literal("\n")),
        (r"\x61", A),
        (r"\x{1F600}", Literal("\U0001f600")),
        ("a*", Repeat(A, 0, None)),
        ("a+?", Repeat(A, 1, None)),
        ("a?", Repeat(A, 0, 1)),
        ("a{2}", Repeat(A, 2, 2)),
        ("a{2,}", Repeat(A, 2, None)),
        ("a{2,3}?", Repeat(A, 2, 3)),
        ("a{,3}", Sequence((A, *map(Literal, "{,3}")))),
        ("(ab)*", Repeat(Sequence((A, B)), 0, None)),
        ("a(?:ba)b", Sequence((A, B, A, B))),
        ("(?P<n>a)(?<m>b)", Sequence((A, B))),
        ("(a|b)", Alternation((A, B))),
        (r"^a|\Ab$", Alternation((A, B))),
        (r"a\z|^b", Alternation((A, B))),
    ],
)
def test_tree(text: str, expected: Node) -> None:
    """Each construct has its node; groups, lazy marks and anchors at the ends, which change nothing, leave no trace."""
    assert expected == parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "(?i)a",
        "(?i:a)",
        r"\pL",
        r"\p{Greek}",
        r"[\pL]",
        r"\Qa.b\E",
        r"\b",
        r"\B",
        r"\C",
        r"\07",
        r"\1",
        "a^b",
        "a$b",
        "(^a)",
        "(a$)",
        r"a\Ab",
        "^^a",
        "^*",
        "[[:nobody:]]",
        "[[:]]",
        "a{02}",
        "a{2",
    ],
)
def test_declined(text: str) -> None:
    """What RE2 has and the reader does not read is declined."""
    assert parse(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "(a",
        "a)",
        "(?:a",
        "*a",
        "a|+",
        "a**",
        "a*{2}",
        "a*??",
        "{2}",
        "a{3,2}",
        "a{1001}",
        "[a",
        "[]",
        "[b-a]",
        r"[a-\d]",
        "a\\",
        r"\é",
        r"\x{110000}",
        r"\xg",
        r"\y",
    ],
)
def test_not_re2(text: str) -> None:
    """What is not RE2 is declined as well."""
    with pytest.raises(PatternError):
        compile_pattern(text)
    assert parse(text) is None


def test_depth() -> None:
    """Groups are read to a depth, so that no pattern exhausts the stack."""
    assert parse("(" * MAX_DEPTH + "a" + ")" * MAX_DEPTH) == A
    assert parse("(" * 128 + ")" * 128) is None


def test_char_set() -> None:
    """A set is the same whatever the order, overlap or adjacency of the ranges that it is made of."""
    assert CharSet(((1, 9), (11, 12))) == char_set((11, 12), (5, 9), (1, 3), (4, 6), (2, 2))


@pytest.mark.parametrize("of", [ANY, AB, CharSet(()), CharSet(((0, 5), (0x10FFFF, 0x10FFFF)))])
def test_complement(of: CharSet) -> None:
    """The complement of the complement is the set itself, and together they are everything."""
    assert of == complement(complement(of))
    assert CharSet(((0, 0x10FFFF),)) == char_set(*of.ranges, *complement(of).ranges)
