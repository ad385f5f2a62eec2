"""Conditions: what is compiled, what they say, and that nothing but true is a yes."""

import dataclasses
import math
from collections.abc import Mapping

import pytest

from tailsts.policy.cel.expression import Expression, ExpressionError, Undecided, _fault, compile_expression

NOW = 1_755_351_300.0  # 2025-08-16T13:35:00Z, a Saturday

CLAIMS: dict[str, object] = {
    "sub": "repo:acme/app",
    "n": 1,
    "f": 1.0,
    "digit": "1",
    "t": True,
    "null": None,
    "groups": ["a/b", "c"],
    "kubernetes.io": {"namespace": "ci"},
    "greatest": 2**63 - 1,
    "unsigned": 9_999_999_999_999_999_999,
    "least": -(2**63),
    "name": "hé\U0001f600",
    "iat": 1_755_351_253,
}


def said(text: str, claims: Mapping[str, object] = CLAIMS, *, now: float = NOW) -> bool | Undecided:
    """Return what a condition says of the claims and one request."""
    return compile_expression(text).evaluate(claims, ("devices:core:read",), ("tag:ci", "tag:x"), now)


def why(text: str, claims: Mapping[str, object] = CLAIMS, *, now: float = NOW) -> str:
    """Return why a condition decides nothing."""
    verdict = said(text, claims, now=now)
    assert isinstance(verdict, Undecided)
    return verdict.reason


def fault(text: str) -> str:
    """Return why a text is no condition."""
    with pytest.raises(ExpressionError) as raised:
        compile_expression(text)
    return str(raised.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('claims.sub == "repo:acme/app"', True),
        ('claims.sub == "repo:acme/ap"', False),
        ('claims["kubernetes.io"].namespace == "ci"', True),
        ('"a/b" in claims.groups', True),
        ('claims.groups.exists(g, g.startsWith("c"))', True),
        ('claims.groups.all(g, g == "c")', False),
        ('claims.groups.filter(g, g != "c").map(g, g + "!") == ["a/b!"]', True),
        ('claims.sub.matches("^repo:acme/[a-z]+$")', True),
        ('matches(claims.sub, "^acme")', False),
        ('scopes == ["devices:core:read"] && "tag:ci" in tags', True),
        ('now - timestamp(claims.iat) < duration("5m")', True),
        ('now.getDayOfWeek() == 6 && now.getHours("+02:00") == 15', True),
        ('now == timestamp("2025-08-16T13:35:00Z")', True),
        ("has(claims.sub) && !has(claims.absent)", True),
        ('"sub" in claims && !("absent" in claims)', True),
        ('claims.exists(name, name == "sub")', True),
        ('claims.absent == "x" || claims.n == 1', True),
        ('claims.absent == "x" && claims.n == 2', False),
        ("claims.greatest == 9223372036854775807 && claims.least < 0", True),
        ("claims.unsigned == 9999999999999999999u", True),
        ('claims.name.size() == 3 && claims.name == "h\\u00e9\\U0001F600"', True),
        ('claims["null"] == null', True),
        ("type(claims.n) == int && type(claims.unsigned) == uint", True),
        ("true", True),
    ],
)
def test_says_what_cel_says(text: str, *, expected: bool) -> None:
    """A condition over a token, a request and the time is true or false."""
    assert expected is said(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("claims.n == 1.0", True),
        ("claims.f == 1", True),
        ('claims.n == "1"', False),
        ("claims.digit == 1", False),
        ("claims.t == 1", False),
        ('claims.t == "true"', False),
        ("claims.groups == 1", False),
    ],
)
def test_compares_claims_as_documented(text: str, *, expected: bool) -> None:
    """Numbers are compared by value; other types are never equal."""
    assert expected is said(text)


@pytest.mark.parametrize("text", ["1 == 1.0", '1 == "1"', "true == 1"])
def test_literals_of_two_types_are_a_fault(text: str) -> None:
    """What is known to be nonsense at load is refused at load."""
    assert fault(text).startswith("line 1, column ")
    assert "found no matching overload for '_==_'" in fault(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "line 1, column 1: Syntax error: mismatched input '<EOF>'"),
        ("claims.a ==", "line 1, column 12: Syntax error"),
        ("a\nb", "line 2, column 1: Syntax error: extraneous input 'b' expecting <EOF>"),
        ("foo == 1", "line 1, column 1: undeclared reference to 'foo'"),
        ('"a".charAt(0) == "a"', "line 1, column 11: undeclared reference to 'charAt'"),
        ("1", "must be boolean, but is int: compare it with something"),
        ("claims.a", "must be boolean, but is dyn: compare it with something"),
        ("claims.t ? claims.t : claims.t", "must be boolean, but is dyn"),
        ("true" + " " * 4_093, "is longer than 4096 bytes"),
        ('"' + "é" * 2_047 + '" == ""', "is longer than 4096 bytes"),
        ('"\ud800" == ""', "is not Unicode text"),
        ("[" * 40 + "]" * 40 + " == []", "is nested too deep, or has too many terms in a row"),
        ("1+" * 40 + "1 == 1", "is nested too deep, or has too many terms in a row"),
        ("\x1b[31m", "line 1, column 1: Syntax error: token recognition error at: '?'"),
        ("google.protobuf.Int32Value{value: 1} == 1", "google.protobuf.Int32Value: messages cannot be made"),
        ("[1].all(claims, true)", "a loop's variable may not be named claims"),
        ("[1].all(a, [1].all(b, [1].all(c, [1].all(d, true))))", "loops are nested deeper than 3"),
        ('"a".matches(claims.x)', "the pattern of matches must be written out as a string"),
        ('"a".matches("a" + "b")', "the pattern of matches must be written out as a string"),
        ('"a".matches("(")', "not a pattern: missing ): ("),
        ('"a".matches("' + "a" * 257 + '")', "a pattern is longer than 256 characters"),
        ('"a".matches("(a{1,9}){1,99}(a{1,9}){1,9}")', "a pattern is too large: repeat less"),
        ('"a".matches("\\\\pL{300}")', "not a pattern: pattern too large"),
        ("now.getHours(claims.zone) == 1", "a time zone must be written out as a string"),
        ('now.getHours("/etc/localtime") == 1', "a time zone must be a name such as Europe/Berlin"),
        ('now.getHours("../UTC") == 1', "a time zone must be a name such as Europe/Berlin"),
        ('now.getHours("Europe/Atlantis") == 1', "the time zone Europe/Atlantis is not known on this machine"),
    ],
)
def test_says_what_is_wrong(text: str, expected: str) -> None:
    """A text that is no condition is refused with one short, printable line."""
    assert fault(text).startswith(expected)
    assert len(fault(text)) <= 200
    assert fault(text).isprintable()


def test_a_fault_without_a_place_is_said_as_it_is() -> None:
    """What the compiler says without a line loses only the library's wrapping."""
    assert _fault("INTERNAL: out of luck [INTERNAL]") == "out of luck"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("claims.absent == 1", 'Key not found in map : "absent"'),
        ('!(claims.absent == "x")', 'Key not found in map : "absent"'),
        ("claims.n / 0 == 1", "divide by zero"),
        ("claims.n && true", "No matching overload"),
        ("claims.greatest + 1 > 0", "integer overflow"),
        ('timestamp(claims.sub) < now || "a" == "b"', "String to Timestamp conversion failed"),
        ("claims.many.exists(x, claims.many.exists(y, x == y && x > 999))", "Iteration budget exceeded"),
    ],
)
def test_an_error_is_no_answer(text: str, expected: str) -> None:
    """An error of the evaluation is neither true nor false, and says why."""
    reason = why(text, {**CLAIMS, "many": list(range(200))})
    assert reason.startswith("the condition cannot be evaluated: ")
    assert expected in reason


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("admin\0x", "holds a zero character"),
        (["a", {"b\0": 1}], "holds a zero character"),
        ("\ud800", "cannot be evaluated"),
        (2**64, "cannot be evaluated"),
        ((1, 2), "cannot be evaluated"),
        (object(), "cannot be evaluated"),
    ],
)
def test_what_the_library_would_misread_is_no_answer(value: object, expected: str) -> None:
    """The binding ends strings at a zero character, so that "admin" with a tail would be equal to "admin"."""
    assert expected in why('claims.role != "guest"', {"role": value})


def test_a_written_escape_is_no_zero_character() -> None:
    """A claim that holds a backslash and the letters behind it is plain text."""
    assert said("claims.role == '\\\\u0000'", {"role": "\\u0000"}) is True
    assert isinstance(said("claims.role == 'x'", {"role": "\\\0"}), Undecided)


def test_claims_that_it_does_not_read_do_not_matter() -> None:
    """A condition is told only what it reads, whatever else the token holds."""
    claims = {"sub": "a", "odd": "\0", "huge": 10**30, "long": ["x"] * 100_000}
    assert said('claims.sub == "a" && claims["sub"] == "a" && "sub" in claims && !has(claims.gone)', claims) is True
    assert isinstance(said('claims.sub == "a" && claims.exists(name, name == "sub")', claims), Undecided)


def test_nesting_without_end_is_no_answer() -> None:
    """What would overflow a stack in the library never reaches it."""
    nested: object = 1
    for _ in range(100_000):
        nested = [nested]
    assert isinstance(said("claims.deep == 1", {"deep": nested}), Undecided)


@pytest.mark.parametrize("now", [math.nan, math.inf, -math.inf, 1e18, -1e18])
def test_a_time_beyond_the_calendar_is_no_answer(now: float) -> None:
    """Times that are none decide nothing, and matter only where they are asked for."""
    assert isinstance(said("now < timestamp('9999-12-31T23:59:59Z')", now=now), Undecided)
    assert said("true", now=now) is True


@pytest.mark.parametrize(("now", "year"), [(0.0, 1970), (253_402_300_799.0, 9999), (-62_135_510_400.0, 1)])
def test_times_at_the_ends_of_the_calendar(now: float, year: int) -> None:
    """From the second day of year 1 to the last of 9999 a time is what it is."""
    assert said(f"now.getFullYear() == {year}", now=now) is True


def test_reasons_are_short_and_printable() -> None:
    """What a stranger put into a claim cannot fill or forge a log."""
    reason = why("claims.map[claims.key] == 1", {"map": {}, "key": "\x1b[2J" + "x" * 9_000})
    assert len(reason) == 200
    assert reason.isprintable()
    assert reason.endswith("...")


def test_is_a_value() -> None:
    """Expressions are equal, hashed and shown by their text, and cannot be changed."""
    one, same, other = (compile_expression(text) for text in ("true", "true", "false"))
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert repr(one) == "Expression(text='true')"
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.text = "false"  # type: ignore[misc]


def test_names_its_patterns() -> None:
    """Others can judge what is given to matches."""
    expression: Expression = compile_expression('claims.a.matches("^a$") || claims.b.matches("b") || claims.c == "c"')
    assert {"^a$", "b"} == set(expression.patterns)
