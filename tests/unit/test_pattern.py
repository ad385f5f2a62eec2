"""Patterns: what they match, and which are refused."""

import pytest

from tailsts.policy.patterns.pattern import MAX_PATTERN_LENGTH, MAX_VALUE_BYTES, PatternError, compile_pattern


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("repo:o/r", "repo:o/r", True),
        ("repo:o/r", "xrepo:o/r", False),
        ("repo:o/r", "repo:o/ry", False),
        ("a|b", "b", True),
        ("a|b", "aEVIL", False),
        ("a|b", "EVILb", False),
        ("repo:o/r", "repo:o/r\n", False),
        ("^repo:o/r$", "repo:o/r\n", False),
        ("^repo:o/r$", "repo:o/r", True),
        ("a.b", "a\nb", False),
        ("[^/]+", "a\nb", True),
        ("é+", "éé", True),
        (".", "\U0001f600", True),
        ("repo:O/r", "repo:o/r", False),
        ("a", "", False),
        ("a*", "", True),
        ("a", "a\0", False),
    ],
)
def test_p01_whole_value(text: str, value: str, expected: bool) -> None:
    """P-01, P-02, P-04: the whole value has to match, in every branch, to the last newline and byte."""
    assert expected is compile_pattern(text).matches(value)


def test_p03_alone() -> None:
    """P-03: a pattern that is none by itself is refused, whatever it would be between parentheses."""
    with pytest.raises(PatternError, match=r"^it is not RE2: unexpected \)"):
        compile_pattern(r"token\.example\.com)|(")


def test_p05_linear() -> None:
    """P-05: a pattern that other engines need ages for is answered."""
    assert not compile_pattern("(a+)+b").matches("a" * MAX_VALUE_BYTES)


def test_longest_value() -> None:
    """A value of more bytes than any claim needs does not match, even where the pattern takes everything."""
    pattern = compile_pattern(".*")
    assert pattern.matches("é" * (MAX_VALUE_BYTES // 2))
    assert not pattern.matches("é" * (MAX_VALUE_BYTES // 2) + "e")


def test_half_a_character() -> None:
    """Half a surrogate pair matches nothing, and is no fault."""
    assert not compile_pattern(".*").matches("\ud800")


@pytest.mark.parametrize("text", ["(?i)a", "a(?s:.)", "(?-m:a)", "(?U)a", "x|(?i:a)", "[]](?i)a", r"\\(?i)a"])
def test_p08_flags(text: str) -> None:
    """P-08: flags are refused, wherever they stand."""
    with pytest.raises(PatternError, match=r"^it sets flags"):
        compile_pattern(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(?:a)", "a"),
        ("(?P<n>a)", "a"),
        ("(?<n>a)", "a"),
        ("[(?i)]", "?"),
        ("[](?i)]", "]"),
        ("[^](?i)]", "x"),
        (r"[\](?i)]", "?"),
        ("[[:alpha:](?i)]", "?"),
        (r"\(?i", "(i"),
        (r"\Q(?i)\E", "(?i)"),
    ],
)
def test_no_flags(text: str, value: str) -> None:
    """Groups without flags, and the characters of one in a class, a quotation or escaped, are fine."""
    assert compile_pattern(text).matches(value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        ("a" * (MAX_PATTERN_LENGTH + 1), "it is longer than 256 characters"),
        (r"(a)\1", r"it is not RE2: invalid escape sequence: \1"),
        ("a(?=b)", "it is not RE2: invalid perl operator: (?="),
        ("\x1b[2J[", r"it is not RE2: missing ]: [2J["),
        ("a\ud800", "it holds half a surrogate pair, which is no text"),
        (r"\pL{500}", r"it is too large: its repeats with counts, or its \p classes, multiply to too many steps"),
    ],
)
def test_refused(text: str, reason: str) -> None:
    """What is no pattern is refused, and the reason says why."""
    with pytest.raises(PatternError) as caught:
        compile_pattern(text)
    assert reason == str(caught.value)


def test_refused_text_is_shown_harmless() -> None:
    """Of a refused text a short part is shown, and nothing that steers a terminal."""
    with pytest.raises(PatternError) as caught:
        compile_pattern("(\x1b[2J" + "x" * 200)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 100


def test_longest_pattern() -> None:
    """A pattern of the greatest length is accepted."""
    text = "a" * MAX_PATTERN_LENGTH
    assert compile_pattern(text).matches(text)


@pytest.mark.parametrize("text", [".{1,255}", r"\pL+", r"[\w.-]{1,255}@[\w.-]{1,255}", "[^/]{1,255}/[^/]{1,255}"])
def test_large_enough(text: str) -> None:
    """The memory that a pattern gets is enough for what people write."""
    assert compile_pattern(text).text == text


def test_value() -> None:
    """Patterns are equal, and hash alike, by their text, which their repr shows; they cannot be changed."""
    one, same, other = compile_pattern("a+"), compile_pattern("a+"), compile_pattern("aa*")
    assert one == same
    assert hash(one) == hash(same)
    assert one not in {other, "a+"}
    assert repr(one) == "Pattern('a+')"
    with pytest.raises(AttributeError):
        one.text = "b"  # type: ignore[misc]
