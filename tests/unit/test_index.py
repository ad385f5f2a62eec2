"""The index: whom it leaves out would have failed just there."""

from fakes.judging import ISSUER, NOW, policy, verified
from tailsts.policy.claims import Path, Scalar
from tailsts.policy.condition import Check, Condition, Facts
from tailsts.policy.index import Index, index
from tailsts.policy.model import Policy, assemble
from tailsts.policy.patterns.pattern import compile_pattern

Claims = tuple[tuple[Path, tuple[Scalar, ...]], ...]


def by_claims(name: str, *claims: tuple[Path, tuple[Scalar, ...]], subject: str | None = None) -> Policy:
    """Return a policy that asks for these claims."""
    return policy(name, subject=subject, claims=claims)


def of(*policies: Policy) -> Index:
    """Return the index of these."""
    return index([each.conditions for each in policies])


def filed(found: Index) -> dict[Path, dict[Scalar, list[int]]]:
    """Return the positions by path and value, without the types."""
    return {path: {key[1]: list(at) for key, at in files.items()} for path, files in found.by_value}


def test_a_subject_goes_before_claims() -> None:
    """A policy that names a subject is filed under it, whatever claims it names as well."""
    found = of(policy(), by_claims("q", (("ref",), ("main",)), subject="t"))
    assert filed(found) == {("sub",): {"s": [0], "t": [1]}}
    assert list(found.others) == []


def test_the_claim_that_tells_policies_apart() -> None:
    """Of several claims that one counts which has the most different values among all policies."""
    policies = [by_claims(f"p{n}", (("owner",), ("acme",)), (("id",), (str(n),))) for n in range(10)]
    found = of(*policies)
    assert filed(found) == {("id",): {str(n): [n] for n in range(10)}}


def test_policies_that_are_filed_nowhere() -> None:
    """Policies that name neither a subject nor an exact claim are candidates for every token."""
    patterned = policy("q", subject=None, subject_pattern=compile_pattern("s|t"))
    found = of(policy("p", subject=None), patterned, policy("r"))
    assert list(found.others) == [0, 1]
    assert [list(found.positions({"sub": name})) for name in ("s", "t")] == [[0, 1, 2], [0, 1]]


def test_no_policy() -> None:
    """Of no policies there is no candidate; and one without any condition is one for everybody."""
    assert list(index([]).positions({"sub": "s"})) == []
    assert list(index([()]).positions({})) == [0]


def test_one_policy_under_several_values() -> None:
    """A policy that allows several values is a candidate for each, once, and by its type."""
    found = of(by_claims("p", (("n",), (1, True, "1", 1.0))), by_claims("q", (("n",), (1,))))
    values: list[object] = [1, True, "1", 1.0, 2, None, [1], {}]
    assert [list(found.positions({"n": value})) for value in values] == [
        [0, 1],
        [0],
        [0],
        [0],
        [],
        [],
        [],
        [],
    ]


def test_candidates_of_several_files_are_in_order() -> None:
    """Positions that come from several values, and those filed nowhere, are in the order of the policies."""
    found = of(
        by_claims("a", (("x",), (1,))),
        policy("b", subject=None),
        policy("c", subject="s"),
        by_claims("d", (("x",), (1,))),
    )
    assert list(found.positions({"sub": "s", "x": 1})) == [0, 1, 2, 3]
    assert list(found.positions({"sub": "s"})) == [1, 2]
    assert list(found.positions({"sub": "t"})) == [1]


def test_who_is_passed_over_would_have_failed_there() -> None:
    """Each policy that is no candidate has a condition on the subject or a claim that does not hold."""
    policies = [
        policy("a"),
        by_claims("b", (("ref",), ("main",)), (("deep", "x"), (1,))),
        by_claims("c", (("ref",), ("dev",))),
        by_claims("d", (("deep", "x"), (2,)), subject="t"),
    ]
    found = of(*policies)
    tokens: list[tuple[str, dict[str, object]]] = [
        ("s", {}),
        ("t", {"deep": {"x": 2}}),
        ("u", {"ref": "main"}),
        ("u", {"ref": "main", "deep": {"x": 1}}),
        ("u", {"ref": ["dev"]}),
    ]
    for subject, claims in tokens:
        token = verified(subject, claims)
        facts = Facts(token, ("x",), (), NOW)
        left_out = set(range(len(policies))) - set(found.positions(token.claims))
        for position in left_out:
            assert {first_failed(policies[position], facts).check} <= {Check.SUBJECT, Check.CLAIM}


def first_failed(each: Policy, facts: Facts) -> Condition:
    """Return the first condition that does not hold."""
    return next(condition for condition in each.conditions if not condition.holds(facts))


def nearest(found: Index, count: int, **claims: object) -> list[int]:
    """Return the positions that come nearest to these claims."""
    return list(found.nearest(claims, count))


def test_the_nearest_of_those_that_are_passed_over() -> None:
    """Of policies that are filed under a text, those come first whose text begins most like the token's."""
    found = of(*(policy(name, subject=name) for name in ("ab", "abc", "abde", "abdf", "b", "zz")))
    assert nearest(found, 9, sub="abd") == [2, 3, 1, 0, 4, 5]
    assert nearest(found, 2, sub="abdf") == [2, 1]
    assert nearest(found, 2, sub="zzz") == [5, 4]
    assert nearest(found, 2, sub="") == [0, 1]
    # A token without it, or with something else in its place, is as far from each.
    assert nearest(found, 3) == nearest(found, 3, sub=1) == [0, 1, 2]


def test_some_of_each_kind_are_nearest() -> None:
    """Each path has some among the nearest: of texts the likest, then of the others, and never those that match."""
    policies = [by_claims(f"i{n}", (("id",), (n, f"x{n}"))) for n in range(4)]
    found = of(*policies, policy("s", subject="s"), policy("t", subject="t"))
    assert nearest(found, 2, sub="t", id="x2") == [1, 0, 4]
    assert nearest(found, 9, sub="u", id="y") == [3, 2, 1, 0, 0, 1, 2, 3, 5, 4]
    assert nearest(found, 2, id=True) == [0, 0, 4, 5]


def test_ten_thousand_policies_by_a_claim() -> None:
    """Of 10,000 policies that pin an id, one is a candidate: a decision does not grow with their number."""
    policies = [by_claims(f"p{n}", (("owner",), ("acme",)), (("id",), (str(n),))) for n in range(10_000)]
    (trust,) = assemble(policies, "d").trusts_of(ISSUER)
    (position,) = trust.index.positions({"sub": "s", "id": "4711", "owner": "acme"})
    assert trust.policies[position].name == "p4711"
