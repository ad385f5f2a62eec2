"""Laws of scopes: what is within what."""

from hypothesis import assume, given

from property.strategies import nearly_scopes, scope_names, scope_sets, scopes_and_asked
from tailsts.scopes import is_scope_token, is_within


@given(scope_names, scope_sets)
def test_within_itself(scope: str, others: frozenset[str]) -> None:
    """A scope is within any that hold it, and everything is within `all`."""
    assert is_within(scope, others | {scope})
    assert is_within(scope, others | {"all"})


@given(scope_names, scope_sets, scope_sets)
def test_more_is_never_less(scope: str, asked: frozenset[str], others: frozenset[str]) -> None:
    """What is within some scopes is within these and others."""
    if is_within(scope, asked):
        assert is_within(scope, asked | others)


@given(scope_names, scope_sets, scope_sets)
def test_within_what_is_within(scope: str, middle: frozenset[str], asked: frozenset[str]) -> None:
    """What is within scopes that are all within others is within those."""
    # "x:read:read" is no right of anybody's.
    assume(not scope.endswith(":read:read"))
    wider = middle | {scope.removesuffix(":read")}
    if is_within(scope, wider) and all(is_within(each, asked) for each in wider):
        assert is_within(scope, asked)


@given(scopes_and_asked())
def test_u05_nothing_else_is_within(pair: tuple[str, frozenset[str]]) -> None:
    """U-05: a right to write is within itself or `all`; one to read also within that to write, or `all:read`."""
    scope, asked = pair
    able = {scope, "all"}
    if scope.endswith(":read"):
        able |= {scope.removesuffix(":read"), "all:read"}
    assert is_within(scope, asked) is bool(able & asked)


@given(nearly_scopes | scope_names)
def test_u03_a_scope_token_stays_one(text: str) -> None:
    """U-03: what passes for a scope is one word wherever words are told apart by blanks, commas or quotes."""
    if is_scope_token(text):
        assert text.isascii()
        assert text.isprintable()
        assert text.split() == text.split(",") == text.split('"') == text.split("\\") == [text]
        assert 0 < len(text) <= 128
    else:
        assert not text or len(text) > 128 or not text.isascii() or set(text) & set(' ,"\\') or not text.isprintable()
