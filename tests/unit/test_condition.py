"""What a policy can ask: each condition holds, or does not, for itself."""

from typing import Any

import pytest

from fakes.judging import NOW, verified
from tailsts.oidc.verify import LEEWAY
from tailsts.policy.cel.expression import compile_expression
from tailsts.policy.claims import Path, Scalar
from tailsts.policy.condition import (
    AgeAtMost,
    AlgorithmAmong,
    AudienceAmong,
    AudienceMatches,
    Check,
    ClaimIs,
    ClaimMatches,
    Condition,
    ExpressionHolds,
    Facts,
    LifetimeAtMost,
    OpaAllows,
    ScopesAmong,
    SubjectIs,
    SubjectMatches,
    TagsAmong,
    Within,
)
from tailsts.policy.patterns.pattern import compile_pattern

EVERY = (*Condition.__args__, OpaAllows)


def about(
    claims: dict[str, object] | None = None,
    *,
    scopes: tuple[str, ...] = ("x",),
    tags: tuple[str, ...] = (),
    now: float = NOW,
    **changes: Any,  # noqa: ANN401 - fields of a VerifiedToken
) -> Facts:
    """Return the usual facts, with these claims and changes."""
    subject = changes.pop("subject", "s")
    return Facts(verified(subject, claims, **changes), scopes, tags, now)


def claim_is(path: Path, *values: Scalar) -> ClaimIs:
    """Return the condition that the claim is one of these."""
    return ClaimIs(path, values)


def test_the_order_in_which_they_are_asked() -> None:
    """Each kind of condition has a rank of its own: telling ones first, those that cost much last."""
    assert sorted(kind.rank for kind in EVERY) == list(range(1, len(EVERY) + 1))
    assert [kind.check for kind in sorted(EVERY, key=lambda kind: kind.rank)][:5] == [
        Check.SUBJECT,
        Check.CLAIM,
        Check.SUBJECT,
        Check.CLAIM,
        Check.CONDITION,
    ]
    assert max(EVERY, key=lambda kind: kind.rank) is OpaAllows
    assert {kind.check for kind in EVERY} == set(Check) - {Check.POLICY}


@pytest.mark.parametrize(
    ("subject", "held"), [("s", True), ("S", False), ("s ", False), ("", False), ("s\n", False), ("ss", False)]
)
def test_subject(subject: str, held: bool) -> None:
    """A subject is compared as it is."""
    assert SubjectIs("s").holds(about(subject=subject)) is held


@pytest.mark.parametrize(
    ("pattern", "subject", "held"),
    [
        ("repo:o/r", "repo:o/r", True),
        ("repo:o/r", "xrepo:o/ry", False),
        ("a|b", "aEVIL", False),
        ("a|b", "b", True),
        ("repo:o/r", "repo:o/r\n", False),
        ("repo:o/r$", "repo:o/r\n", False),
        ("repo:o/[^/:]+:.*", "repo:o/r:ref", True),
        ("repo:o/[^/:]+:.*", "repo:o-evil/x:ref", False),
        (".*", "", True),
    ],
)
def test_p01_p02_p04_subject_pattern(pattern: str, subject: str, held: bool) -> None:
    """P-01, P-02, P-04: a pattern matches the whole subject or not at all, and a line feed is a character."""
    assert SubjectMatches(compile_pattern(pattern)).holds(about(subject=subject)) is held


VALUES: list[Scalar] = ["1", 1, 1.0, True, "true", "True", 0, 0.0, False, "", "false", 1.9]


@pytest.mark.parametrize("wanted", VALUES)
@pytest.mark.parametrize("actual", VALUES)
def test_j20_j21_types_are_strict(wanted: Scalar, actual: Scalar) -> None:
    """J-20, J-21: a boolean, a number, a fraction and a text are never each other, whatever they spell."""
    held = (type(wanted), wanted) == (type(actual), actual)
    assert claim_is(("n",), wanted).holds(about({"n": actual})) is held


@pytest.mark.parametrize("actual", [["main"], ["main", "dev"], [], {"main": "main"}, None, [["main"]]])
def test_j22_lists_never_equal_a_scalar(actual: object) -> None:
    """J-22: a list, an object or null is never one of the values, also if it holds one."""
    assert not claim_is(("ref",), "main", "dev").holds(about({"ref": actual}))
    assert not ClaimMatches(("ref",), compile_pattern(".*")).holds(about({"ref": actual}))


def test_any_of_several_values() -> None:
    """Several values: any of them, each with its type."""
    condition = claim_is(("ref",), "main", "dev", 7)
    assert [condition.holds(about({"ref": ref})) for ref in ("main", "dev", 7, "7", "other")] == [True] * 3 + [
        False
    ] * 2


@pytest.mark.parametrize("path", [("ref",), ("kubernetes.io", "namespace"), ("a", "b", "c")])
def test_j23_a_missing_claim(path: Path) -> None:
    """J-23: a claim that is not there is no value, matches no pattern, and is not equal to null."""
    without: list[dict[str, object]] = [
        {},
        {"kubernetes.io": {}},
        {"kubernetes.io": "namespace"},
        {"a": {"b": ["c"]}},
        {"a": None},
    ]
    for claims in without:
        assert not claim_is(path, "", "missing", False).holds(about(claims))
        assert not ClaimMatches(path, compile_pattern(".*")).holds(about(claims))


@pytest.mark.parametrize(
    ("path", "claims"),
    [
        (("kubernetes.io", "namespace"), {"kubernetes.io": {"namespace": "ci"}}),
        (("https://sts.amazonaws.com/", "aws_account"), {"https://sts.amazonaws.com/": {"aws_account": "ci"}}),
        (("oidc.circleci.com/project-id",), {"oidc.circleci.com/project-id": "ci"}),
        (("a", "b", "c", "d"), {"a": {"b": {"c": {"d": "ci"}}}}),
        (("",), {"": "ci"}),
    ],
)
def test_nested_claims(path: Path, claims: dict[str, object]) -> None:
    """A path names each level by itself: dots and slashes within a name are part of it."""
    assert claim_is(path, "ci").holds(about(claims))
    assert ClaimMatches(path, compile_pattern("c[a-z]")).holds(about(claims))
    assert not claim_is((".".join(path), ""), "ci").holds(about(claims))
    assert not claim_is((*path, "x"), "ci").holds(about(claims))


@pytest.mark.parametrize(
    ("audiences", "held"),
    [(("a",), True), (("b", "c"), True), (("z", "b"), True), ((), False), (("A",), False), (("a ", "ab"), False)],
)
def test_j18_audience(audiences: tuple[str, ...], held: bool) -> None:
    """J-18, J-19: one of the token's audiences is one of the policy's."""
    assert AudienceAmong(frozenset({"a", "b"})).holds(about(audiences=audiences)) is held


@pytest.mark.parametrize(
    ("audiences", "held"),
    [(("https://sts",), True), (("x", "https://sts"), True), ((), False), (("https://sts/",), False)],
)
def test_audience_pattern(audiences: tuple[str, ...], held: bool) -> None:
    """The pattern matches the whole of one of the audiences; of none, there is nothing to match."""
    assert AudienceMatches(compile_pattern("https?://[a-z]*")).holds(about(audiences=audiences)) is held


def test_algorithm() -> None:
    """The algorithm is one of those named, and not one that is like it."""
    condition = AlgorithmAmong(frozenset({"RS256", "ES256"}))
    assert [condition.holds(about(algorithm=name)) for name in ("RS256", "ES256", "RS512", "rs256")] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("issued_at", "expires_at", "held"),
    [
        (NOW, NOW + 600, True),
        (NOW, NOW + 601, False),
        (NOW - 500, NOW + 101, False),
        (NOW + LEEWAY, NOW + LEEWAY + 600, True),
        (NOW + 61, NOW + 661, False),
        (None, NOW + 660, True),
        (None, NOW + 661, False),
    ],
)
def test_lifetime(issued_at: float | None, expires_at: float, held: bool) -> None:
    """Counted from the token's issue, and from now."""
    assert LifetimeAtMost(600).holds(about(issued_at=issued_at, expires_at=expires_at)) is held


@pytest.mark.parametrize(
    ("issued_at", "held"), [(NOW, True), (NOW - 300, True), (NOW - 301, False), (NOW + 50, True), (None, False)]
)
def test_age(issued_at: float | None, held: bool) -> None:
    """Counted from the token's issue; one that does not say when it was issued is too old."""
    assert AgeAtMost(300).holds(about(issued_at=issued_at)) is held


@pytest.mark.parametrize(
    ("not_before", "not_after", "held"),
    [
        (None, None, True),
        (NOW, None, True),
        (NOW + 1, None, False),
        (None, NOW + 1, True),
        (None, NOW, False),
        (NOW - 1, NOW + 1, True),
        (NOW - 2, NOW - 1, False),
        (NOW + 1, NOW + 2, False),
    ],
)
def test_period(not_before: float | None, not_after: float | None, held: bool) -> None:
    """From its beginning, and until before its end: without leeway, since the clock is the server's own."""
    assert Within(not_before, not_after).holds(about()) is held


@pytest.mark.parametrize(
    ("wanted", "held"),
    [(("x",), True), (("x", "y"), True), (("x", "z"), False), (("X",), False), ((), False), (("x:read",), False)],
)
def test_u03_scopes(wanted: tuple[str, ...], held: bool) -> None:
    """U-03: all that is wanted is allowed, and nothing wanted is no request."""
    assert ScopesAmong(frozenset({"x", "y"})).holds(about(scopes=wanted)) is held
    assert not ScopesAmong(frozenset()).holds(about(scopes=wanted))


@pytest.mark.parametrize(
    ("wanted", "held"), [((), True), (("tag:a",), True), (("tag:a", "tag:b"), False), (("tag:A",), False)]
)
def test_u07_tags(wanted: tuple[str, ...], held: bool) -> None:
    """U-07: every tag that is wanted is allowed; where none is wanted there is nothing to allow."""
    assert TagsAmong(frozenset({"tag:a"})).holds(about(tags=wanted)) is held
    assert TagsAmong(frozenset()).holds(about(tags=wanted)) is (not wanted)


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("claims.ref == 'main'", True),
        ("claims.ref == 'dev'", False),
        ("claims.ref != 'dev'", True),
        ("claims.none != 'main'", False),
        ("!(claims.none == 'main')", False),
        ("claims.n == '1'", False),
        ("claims.ref > 3", False),
        ("'y' in scopes && size(tags) == 1", True),
        ("now > timestamp('2020-01-01T00:00:00Z')", True),
    ],
)
def test_j23_condition(text: str, held: bool) -> None:
    """J-23: only true is a yes: not an error, and a claim that is missing is one, also under a negation."""
    facts = about({"ref": "main", "n": 1}, scopes=("x", "y"), tags=("tag:a",))
    assert ExpressionHolds(compile_expression(text)).holds(facts) is held
