"""The bound on what a condition costs: monsters are refused, real tokens are not."""

import pytest

from tailsts.policy.cel.celtree import Call, Constant, Loop, Name, TreeError, read_tree
from tailsts.policy.cel.cost import BUDGET, Extent, measure
from tailsts.policy.cel.dialect import DialectError, refuse_dialect
from tailsts.policy.cel.expression import ExpressionError, Undecided, compile_expression

TOO_DEAR = Undecided("the condition would cost too much for this token")
REQUEST = (("devices:core:read",), ("tag:ci",), 1_755_351_300.0)

# The largest that GitLab writes: it leaves out the claim when there are more than 200 groups.
GITLAB: dict[str, object] = {
    "groups_direct": [f"some-company/some-department/some-team-{n}" for n in range(200)],
    "user_identities": [{"provider": "github", "extern_uid": "2435223452345"}],
    "project_path": "my-group/my-project",
    "runner_id": 1,
}
KUBERNETES: dict[str, object] = {
    "kubernetes.io": {"namespace": "ci", "node": {"name": "node-1"}, "pod": {"name": "a"}, "warnafter": 1_700_003_607},
    "aud": ["https://tailsts.example.com"],
}


@pytest.mark.parametrize(
    "text",
    [
        'claims.groups_direct.exists(g, g == "x")',
        'claims.groups_direct.exists(g, g.startsWith("some-company/") && g.endsWith("/x"))',
        'claims.groups_direct.exists(g, g.contains("admin"))',
        'claims.groups_direct.exists(g, g.matches("^(platform|infra|security)-[a-z0-9]+/deploy-(prod|stage)$"))',
        'claims.groups_direct.exists(g, ["a/b", "a/c", "a/d"].exists(p, g.startsWith(p)))',
        'claims.groups_direct.filter(g, g.startsWith("x")).size() > 0',
        'claims.groups_direct.map(g, g + "/x").exists(g, g in scopes)',
        "claims.groups_direct.exists(g, scopes.exists(s, s == g))",
        'claims.groups_direct.exists_one(g, g == "x")',
        'claims.groups_direct.exists(g, g == claims.project_path + "/x")',
        'claims.user_identities.exists(i, i.provider == "github" && i.extern_uid == "1")',
        'claims.exists(name, name.startsWith("x") && claims[name] == "y")',
    ],
)
def test_real_conditions_over_large_real_tokens_are_evaluated(text: str) -> None:
    """Nothing that somebody would write over what GitLab sends is refused, at load or later."""
    assert compile_expression(text).evaluate(GITLAB, *REQUEST) is False


def test_nested_claims_are_evaluated() -> None:
    """The same for what Kubernetes sends."""
    text = 'claims["kubernetes.io"].namespace == "ci" && claims["kubernetes.io"].exists(k, k == "pod")'
    assert compile_expression(text).evaluate(KUBERNETES, *REQUEST) is True


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("claims.l.map(x, x).size() > 0", {"l": [1] * 3_000}),
        ("claims.l.filter(x, true).size() > 0", {"l": [1] * 3_000}),
        ("claims.l.map(x, claims.s + claims.s).size() > 0", {"l": [1] * 2_000, "s": "x" * 8_000}),
        ("claims.l.map(x, claims.l + claims.l).size() > 0", {"l": [1] * 2_000}),
        ("claims.l.map(x, claims.l) == claims.l.map(x, claims.l)", {"l": [1] * 2_000}),
        ("claims.l.exists(x, claims.l != claims.l)", {"l": [1] * 3_000}),
        ("claims.l.exists(x, 2 in claims.l)", {"l": [1] * 3_000}),
        ("claims.l.exists(x, [claims.l, x] == [claims.l, x])", {"l": [1] * 3_000}),
        ("claims.l.exists(x, claims.s.contains(claims.t))", {"l": [1] * 2_000, "s": "a" * 5_000, "t": "a" * 2_500}),
        ("claims.l.exists(x, claims.s.size() < 0)", {"l": [1] * 4_000, "s": "é" * 4_000}),
        ("claims.l.exists(x, string(bytes(claims.s)) == 'a')", {"l": [1] * 3_000, "s": "é" * 4_000}),
        ("claims.l.exists(x, claims[claims.s] == 1)", {"l": [1] * 3_000, "s": "x" * 9_000}),
        ("claims.l.exists(x, claims.s.matches('^a{1,200}b'))", {"l": [1] * 3_000, "s": "a"}),
        ("claims.l.exists(x, x[0].map(y, y).size() < 0)", {"l": [[[1] * 2_000], *[1] * 2_000]}),
        ("(claims.b ? claims.l : dyn([1])).exists(x, 2 in claims.l)", {"l": [1] * 3_000, "b": True}),
        ("dyn(claims.l).exists(x, {'a': claims.l} == {'a': claims.l, 'b': claims.l})", {"l": [1] * 5_000}),
    ],
)
def test_an_author_cannot_make_a_large_token_dear(text: str, claims: dict[str, object]) -> None:
    """What would take from 70 milliseconds to many seconds decides nothing instead, and a small token is fine."""
    expression = compile_expression(text)
    assert expression.evaluate(claims, *REQUEST) == TOO_DEAR
    small = {name: "aa" if isinstance(value, str) else [1, 1] for name, value in claims.items()}
    assert expression.evaluate(small, *REQUEST) != TOO_DEAR


@pytest.mark.parametrize(
    "text",
    [
        "claims.a.exists(x, claims.b.exists(y, claims.c.exists(z, claims.d.matches('a{1,400}'))))",
        " || ".join(
            f"claims.a.matches('{letter}{{1,400}}')" for letter in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP"
        ),
    ],
)
def test_what_hardly_any_token_could_afford_is_refused_at_load(text: str) -> None:
    """Its author hears of it, not those whose exchanges it would deny."""
    with pytest.raises(ExpressionError, match="costs too much: take something out of the loops"):
        compile_expression(text)


def test_text_and_lists_beyond_any_token_are_measured() -> None:
    """What is claimed to hold for tokens of 16 KiB is not taken for granted of larger ones."""
    expression = compile_expression('claims.l.exists(x, x == "a")')
    assert expression.evaluate({"l": [1] * 5_000}, *REQUEST) is False
    assert expression.evaluate({"l": [1] * 50_000}, *REQUEST) == TOO_DEAR


def test_measures_each_level() -> None:
    """Elements and the longest text, of the whole and of what is below."""
    extent = measure({"a": ["x" * 50, {"k": 1}], "é" * 20: 2})
    levels = [extent, extent.element(), extent.element().element(), extent.element().element().element()]
    expected = [(2, 5, 80), (2, 3, 80), (1, 1, 50), (0, 0, 40)]
    assert expected == [(level.length, level.items, level.text) for level in levels]


def test_an_element_of_what_is_not_known_is_no_larger_than_all() -> None:
    """Where nothing is known of the elements, each may be nearly everything."""
    assert Extent(9, 9, 7) == Extent(3, 9, 7).element()
    known, unknown = Extent(2, 4, 7, Extent(2, 2, 7)), Extent(1, 9, 3)
    assert Extent(9, 9, 7) == known.either(unknown).element()
    assert Extent(2, 4, 7, Extent(2, 2, 7)) == known.either(Extent(0, 0, 0, Extent(0, 0, 40)))


def test_the_budget_is_in_nanoseconds() -> None:
    """Less than half of the 50 milliseconds that an evaluation may really take."""
    assert BUDGET == 20_000_000


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x12\x00",
        b"\x10\x01",
        b"\x12\x02\x20\x01",
        b"\x12\x04\x22\x02\x10\x01",
        b"\x12\x06\x22\x04\x12\x02\x0a\x00",
        b"\x12\x04\x22\x02\x52\x00",
        b"\x12\x04\x22\x02\x22\x00",
        b"\x13",
        b"\x12\xff",
        b"\x12\x08\x22\x06\x22\x04\x0a\x02\xff\xff",
        b"\x12\x06\x22\x04\x4a\x02\x42\x00",
    ],
)
def test_an_unknown_tree_is_an_error(raw: bytes) -> None:
    """If a new compiler writes what this reader does not know, nothing is guessed."""
    with pytest.raises(TreeError):
        read_tree(raw)


def test_only_known_functions_and_loops_are_let_through() -> None:
    """If a new compiler expands macros into something else, it is refused, not mispriced."""
    one = Constant(None, 0)
    with pytest.raises(DialectError, match="later may not be called in a condition"):
        refuse_dialect(Call("later", (one,)))
    with pytest.raises(DialectError, match="a loop may only count, collect or ask"):
        refuse_dialect(Loop("x", Name("scopes"), "@result", Name("tags"), one, one, one))
