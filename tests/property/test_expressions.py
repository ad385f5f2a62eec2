"""Laws of conditions: whatever is written and whatever is claimed, nothing is raised and no error is a yes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tailsts.policy.cel.expression import Expression, ExpressionError, Undecided, compile_expression

NAMES = ("a", "b", "kubernetes.io")

TEXTS = st.sampled_from(["", "a", "repo:acme/app", "é\U0001f600", "\0", "\x1b[2J", "2020-01-01T00:00:00Z"]) | st.text(
    max_size=5
)
CLAIM_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | TEXTS, inner, max_size=4),
    max_leaves=12,
)
CLAIMS = st.dictionaries(st.sampled_from(NAMES) | TEXTS, CLAIM_VALUES, max_size=4)
TIMES = st.floats() | st.floats(min_value=0, max_value=4e9)

ATOMS = st.sampled_from(
    [
        *(f"claims.{name}" for name in NAMES[:2]),
        'claims["kubernetes.io"]',
        "claims.a.b",
        "claims.a[0]",
        "claims[claims.b]",
        "claims",
        "scopes",
        "tags",
        "now",
        "x",
        "1",
        "-1",
        "18446744073709551615u",
        "1.5",
        "true",
        "null",
        '"a"',
        'b"a"',
        "[1, 'a']",
        '{"a": claims.a}',
        'duration("1h")',
        'timestamp("2020-01-01T00:00:00Z")',
    ]
)
UNARY = (
    "!({0})",
    "-({0})",
    "size({0})",
    "string({0})",
    "int({0})",
    "double({0})",
    "bytes({0})",
    "type({0})",
    "dyn({0})",
    "timestamp({0})",
    "duration({0})",
    "({0}).getFullYear()",
    '({0}).matches("^a+")',
    "({0}).map(x, x)",
)
BINARY = ("({0}) == ({1})", "({0}) != ({1})", "({0}) < ({1})", "({0}) + ({1})", "({0}) - ({1})", "({0}) / ({1})",
          "({0}) && ({1})", "({0}) || ({1})", "({0}) in ({1})", "({0})[{1}]", "({0}).startsWith({1})",
          "({0}).contains({1})", "({0}).exists(x, {1})", "({0}).all(x, {1})", "({0}).filter(x, {1})",
          "({0}).exists_one(x, {1})", "({0}) ? ({1}) : ({0})")  # fmt: skip


def _grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    unary = st.builds(lambda form, one: form.format(one), st.sampled_from(UNARY), inner)
    return unary | st.builds(lambda form, one, two: form.format(one, two), st.sampled_from(BINARY), inner, inner)


TERMS = st.recursive(ATOMS, _grow, max_leaves=6)
CONDITIONS = st.builds(
    lambda form, one, two: form.format(one, two),
    st.sampled_from(["dyn({0}) == dyn({1})", "dyn({0}) != dyn({1})", "dyn({0}) < dyn({1})", "[{0}].exists(x, {1})"]),
    TERMS,
    TERMS,
)


def _compiled(text: str) -> Expression | None:
    try:
        return compile_expression(text)
    except ExpressionError as error:
        message = str(error)
    assert message.isprintable()
    assert len(message) <= 200
    return None


@settings(max_examples=1_000)
@given(CONDITIONS, CLAIMS, TIMES)
def test_evaluation_never_raises(text: str, claims: dict[str, object], now: float) -> None:
    """A verdict is true, false or Undecided with a short printable reason, and the same when asked again."""
    expression = _compiled(text)
    if expression is None:
        return
    verdict = expression.evaluate(claims, ("a:b",), ("tag:c",), now)
    assert verdict is True or verdict is False or isinstance(verdict, Undecided)
    if isinstance(verdict, Undecided):
        assert verdict.reason.isprintable()
        assert len(verdict.reason) <= 200
    assert verdict == expression.evaluate(claims, ("a:b",), ("tag:c",), now)


@settings(max_examples=500)
@given(CONDITIONS, CLAIMS, TIMES)
def test_no_error_is_a_yes(text: str, claims: dict[str, object], now: float) -> None:
    """A condition and its opposite do not both hold, and both fail together."""
    expression, opposite = _compiled(text), _compiled(f"!({text})")
    if expression is None or opposite is None:
        return
    verdict = expression.evaluate(claims, ("a:b",), (), now)
    denied = opposite.evaluate(claims, ("a:b",), (), now)
    if isinstance(verdict, bool):
        assert denied is not verdict
    else:
        assert isinstance(denied, Undecided)


@given(CONDITIONS, CLAIMS, TIMES)
def test_what_is_not_there_is_not_true(text: str, claims: dict[str, object], now: float) -> None:
    """Asked for together with a claim that is not there, nothing holds."""
    expression = _compiled(f'({text}) && claims.absent == "x"')
    if expression is not None:
        claims.pop("absent", None)
        assert expression.evaluate(claims, (), (), now) is not True


@given(st.text(max_size=60))
def test_any_text_compiles_or_is_refused(text: str) -> None:
    """Compiling raises nothing but its own error."""
    _compiled(text)
