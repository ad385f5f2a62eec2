"""Where a claim is, and of what kind."""

from enum import Enum

import pytest

from tailsts.policy.claims import MISSING, exactly, kind, lookup, spelled

CLAIMS: dict[str, object] = {
    "sub": "s",
    "null": None,
    "a.b": 1,
    "a": {"b": {"c": [1]}, "": "empty"},
    "list": [{"x": 1}],
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (("sub",), "s"),
        (("null",), None),
        (("a.b",), 1),
        (("a", "b", "c"), [1]),
        (("a", ""), "empty"),
        ((), CLAIMS),
        (("none",), MISSING),
        (("SUB",), MISSING),
        (("sub", "x"), MISSING),
        (("null", "x"), MISSING),
        (("a", "b", "c", "0"), MISSING),
        (("list", "x"), MISSING),
        (("a", "b.c"), MISSING),
    ],
)
def test_lookup(path: tuple[str, ...], found: object) -> None:
    """A claim is found level by level, within objects alone; a missing one is told from one that is null."""
    assert lookup(CLAIMS, path) == found
    assert MISSING is not None


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (True, "a boolean"),
        (1, "an integer"),
        (1.0, "a number with a fraction"),
        ("1", "a string"),
        ([1], "a list"),
        ((1,), "a list"),
        ({"a": 1}, "an object"),
        (None, "null"),
        (MISSING, "missing"),
    ],
)
def test_kinds(value: object, name: str) -> None:
    """Types are named as people name them, and True is no number."""
    assert kind(value) == name


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("claims", "ref"), "claims.ref"),
        (("claims", "kubernetes.io", "namespace"), 'claims."kubernetes.io".namespace'),
        (("claims", "https://x/"), 'claims."https://x/"'),
        (("claims", 'a"b\n'), 'claims."a\\"b\\n"'),
        (("claims", ""), 'claims.""'),
        (("claims", "é"), 'claims."é"'),
    ],
)
def test_spelled(path: tuple[str, ...], text: str) -> None:
    """A path is spelt as a dotted key of TOML, on one line."""
    assert spelled(path) == text


def test_exactly() -> None:
    """What Python holds to be equal is told apart by its type."""
    assert len({exactly(1), exactly(1.0), exactly(True), exactly("1")}) == 4
    assert exactly("a") == exactly("a")


def test_missing_is_one() -> None:
    """There is one MISSING, which is no claim."""
    assert isinstance(MISSING, Enum)
