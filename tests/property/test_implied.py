"""Law of conditions: what is said to be implied by one holds for all claims for which it is true."""

from hypothesis import event, given
from hypothesis import strategies as st

from tailsts.policy.cel.expression import compile_expression
from tailsts.policy.claims import MISSING, lookup

PATHS = st.sampled_from(["claims.a", "claims.b", 'claims["c"].d', "claims.c.d"])
CONSTANTS = st.sampled_from(['"x"', '"y"', '""', "true", "false", "1", "1.0", "null"])
LISTS = st.lists(CONSTANTS | PATHS, max_size=3).map(lambda items: f"[{', '.join(f'dyn({one})' for one in items)}]")
LEAVES = st.one_of(
    st.builds("{} == {}".format, PATHS, CONSTANTS),
    st.builds("{} == {}".format, CONSTANTS, PATHS),
    st.builds("{} != {}".format, PATHS, CONSTANTS),
    st.builds("{} in [{}]".format, PATHS, st.lists(st.sampled_from(['"x"', '"y"']), max_size=2).map(", ".join)),
    st.builds("{} in {}".format, PATHS, LISTS),
    st.sampled_from(["true", "false", "claims.a == claims.b", "has(claims.a)", "has(claims.c.d) == true"]),
    st.sampled_from(["!claims.a", "claims.a == true", '"a" in claims']),
)
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds("({} && {})".format, inner, inner),
        st.builds("({} || {})".format, inner, inner),
        st.builds("(claims.b && {})".format, inner),
        st.builds("!({})".format, inner),
        st.builds("({} ? {} : {})".format, inner, inner, inner),
    ),
    max_leaves=6,
)
VALUES = st.sampled_from(["x", "y", "", True, False, 1, 1.0, None])
CLAIMS = st.fixed_dictionaries({}, optional={"a": VALUES, "b": VALUES, "c": st.fixed_dictionaries({"d": VALUES})})


@given(CONDITIONS, st.lists(CLAIMS, min_size=1, max_size=8))
def test_what_is_implied(text: str, tokens: list[dict[str, object]]) -> None:
    """Where the condition is true, each claim of which that is said has one of its values, and "never" is not said."""
    condition = compile_expression(text)
    for claims in tokens:
        if condition.evaluate(claims, (), (), 0.0) is not True:
            continue
        event(f"implied: {len(condition.implied or ())}")
        assert condition.implied is not None
        for path, values in condition.implied.items():
            actual = lookup(claims, path)
            assert actual is not MISSING
            assert any(type(value) is type(actual) and value == actual for value in values)
