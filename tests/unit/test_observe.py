"""Expected and actual, side by side."""

import json

import msgspec
import pytest

from fakes.judging import NOW, verified
from tailsts.policy.cel.expression import compile_expression
from tailsts.policy.condition import (
    AgeAtMost,
    AlgorithmAmong,
    AudienceAmong,
    AudienceMatches,
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
from tailsts.policy.observe import MAX_SHOWN, Observation, cut, moment, observe, record, shown
from tailsts.policy.patterns.pattern import compile_pattern

CLAIMS: dict[str, object] = {
    "ref": "main",
    "n": 1,
    "flag": True,
    "part": 1.5,
    "list": ["main"],
    "nothing": None,
    "kubernetes.io": {"namespace": "ci"},
}
TOKEN = verified("s", CLAIMS, audiences=("a", "c"), expires_at=NOW + 900, issued_at=NOW - 100)
FACTS = Facts(TOKEN, ("x", "z"), ("tag:a", "tag:c"), NOW)
WITHOUT_IAT = Facts(verified(audiences=(), issued_at=None), ("x",), (), NOW)
ANY = compile_pattern("d.*")


@pytest.mark.parametrize(
    ("condition", "seen"),
    [
        (SubjectIs("t"), Observation("subject", '"t"', '"s"')),
        (SubjectMatches(ANY), Observation("subject_pattern", "/d.*/", '"s"')),
        (AudienceAmong(frozenset({"b"})), Observation("audience", '"b"', '"a", "c"')),
        (AudienceAmong(frozenset({"d", "b"})), Observation("audience", 'one of "b", "d"', '"a", "c"')),
        (AudienceMatches(ANY), Observation("audience_pattern", "/d.*/", '"a", "c"')),
        (AlgorithmAmong(frozenset({"ES256"})), Observation("algorithm", '"ES256"', '"RS256"')),
        (LifetimeAtMost(600), Observation("max_lifetime", "at most 600 s", "1000 s from iat to exp")),
        (AgeAtMost(60), Observation("max_age", "at most 60 s", "100 s since iat")),
        (
            ScopesAmong(frozenset({"y", "x"})),
            Observation("allowed_scopes", "within x, y", "x, z", "not allowed: z"),
        ),
        (ScopesAmong(frozenset({"x", "z"})), Observation("allowed_scopes", "within x, z", "x, z")),
        (
            TagsAmong(frozenset({"tag:a"})),
            Observation("allowed_tags", "within tag:a", "tag:a, tag:c", "not allowed: tag:c"),
        ),
        (
            TagsAmong(frozenset()),
            Observation("allowed_tags", "none", "tag:a, tag:c", "not allowed: tag:a, tag:c"),
        ),
        (OpaAllows("http://127.0.0.1/x"), Observation("opa", "http://127.0.0.1/x says true", "it does not")),
    ],
)
def test_each_condition(condition: Condition | OpaAllows, seen: Observation) -> None:
    """Each condition says what it wants, and what it was given."""
    assert observe(condition, FACTS) == seen


@pytest.mark.parametrize(
    ("condition", "seen"),
    [
        (ClaimIs(("ref",), ("dev",)), Observation("claims.ref", '"dev"', '"main"')),
        (ClaimIs(("ref",), ("dev", "x")), Observation("claims.ref", 'one of "dev", "x"', '"main"')),
        (
            ClaimIs(("n",), ("1",)),
            Observation("claims.n", '"1"', "1", "the policy has a string, the token an integer"),
        ),
        (
            ClaimIs(("flag",), ("true", 1)),
            Observation(
                "claims.flag", 'one of "true", 1', "true", "the policy has a string or an integer, the token a boolean"
            ),
        ),
        (
            ClaimIs(("part",), (1,)),
            Observation("claims.part", "1", "1.5", "the policy has an integer, the token a number with a fraction"),
        ),
        (
            ClaimIs(("list",), ("main", "x")),
            Observation("claims.list", 'one of "main", "x"', '["main"]', "the policy has a string, the token a list"),
        ),
        (
            ClaimIs(("nothing",), (False,)),
            Observation("claims.nothing", "false", "null", "the policy has a boolean, the token null"),
        ),
        (ClaimIs(("none",), ("x",)), Observation("claims.none", '"x"', "missing")),
        (
            ClaimIs(("kubernetes.io", "namespace"), ("prod",)),
            Observation('claims."kubernetes.io".namespace', '"prod"', '"ci"'),
        ),
        (
            ClaimIs(("kubernetes.io",), ("ci",)),
            Observation(
                'claims."kubernetes.io"', '"ci"', '{"namespace":"ci"}', "the policy has a string, the token an object"
            ),
        ),
        (ClaimMatches(("ref",), ANY), Observation("claim_patterns.ref", "/d.*/", '"main"')),
        (
            ClaimMatches(("n",), ANY),
            Observation("claim_patterns.n", "/d.*/", "1", "the policy has a string, the token an integer"),
        ),
        (ClaimMatches(("none",), ANY), Observation("claim_patterns.none", "/d.*/", "missing")),
    ],
)
def test_i12_claims(condition: Condition, seen: Observation) -> None:
    """I-12: a claim is shown with the key that asks for it, and both types where they differ."""
    assert observe(condition, FACTS) == seen


@pytest.mark.parametrize(
    ("condition", "key", "expected"),
    [
        (Within(NOW + 60, None), "not_before", "from 2027-01-15T08:01:00Z"),
        (Within(None, NOW), "not_after", "before 2027-01-15T08:00:00Z"),
        (Within(NOW + 60, NOW + 120), "not_before", "from 2027-01-15T08:01:00Z before 2027-01-15T08:02:00Z"),
        (Within(NOW - 60, NOW), "not_after", "from 2027-01-15T07:59:00Z before 2027-01-15T08:00:00Z"),
    ],
)
def test_period(condition: Within, key: str, expected: str) -> None:
    """A period is shown as dates, under the key that keeps the policy from being in force."""
    assert observe(condition, FACTS) == Observation(key, expected, "2027-01-15T08:00:00Z")


def test_what_a_token_does_not_have() -> None:
    """What is missing is said to be: no audience, no iat, no tags."""
    assert observe(AudienceAmong(frozenset({"a"})), WITHOUT_IAT).actual == "none"
    assert observe(AgeAtMost(60), WITHOUT_IAT).actual == "no iat"
    assert observe(LifetimeAtMost(60), WITHOUT_IAT).actual == "300 s from now to exp"
    assert observe(TagsAmong(frozenset({"tag:a"})), WITHOUT_IAT) == Observation("allowed_tags", "within tag:a", "none")


@pytest.mark.parametrize(
    ("text", "actual", "detail"),
    [
        ("claims.ref == 'dev'", "false", ""),
        ("claims.ref == 'main'", "true", ""),
        ("claims.none == 'main'", "cannot be evaluated", "the condition cannot be evaluated: "),
    ],
)
def test_condition(text: str, actual: str, detail: str) -> None:
    """A CEL expression is shown with what it came to, and why if it came to nothing."""
    seen = observe(ExpressionHolds(compile_expression(text)), FACTS)
    assert (seen.key, seen.expected, seen.actual) == ("condition", text, actual)
    assert seen.detail.startswith(detail)
    assert bool(seen.detail) == bool(detail)


def test_what_the_audit_log_keeps() -> None:
    """Of a miss the log keeps the policy, the check and both sides, each short; what is empty is left out."""
    assert record("p", SubjectIs("t"), FACTS) == {
        "policy": "p",
        "check": "subject",
        "key": "subject",
        "expected": '"t"',
        "actual": '"s"',
    }
    long = Facts(verified("s" * 5000, {"ref": "x" * 5000}), tuple(f"s{n}" for n in range(1000)), (), NOW)
    conditions: list[Condition] = [
        SubjectIs("t" * 1024),
        ClaimIs(("ref",), tuple("y" * 1024 for _ in range(9))),
        ScopesAmong(frozenset(f"t{n}" for n in range(1000))),
    ]
    for condition in conditions:
        row = record("p" * 300, condition, long)
        assert max(map(len, row.values())) <= MAX_SHOWN + 3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\n\u2028", '"a\\n\u2028"'),
        (1.0, "1.0"),
        (None, "null"),
        ([1, "a"], '[1,"a"]'),
        ("x" * 300, '"' + "x" * 255 + "..."),
    ],
)
def test_values_are_shown_as_json(value: object, text: str) -> None:
    """A claim is shown as JSON, and its beginning if it is long."""
    assert shown(value) == text


def test_what_fits_is_not_cut() -> None:
    """A text of the greatest length is shown whole."""
    assert (cut("x" * 256), cut("x" * 257)) == ("x" * 256, "x" * 256 + "...")


def test_moments_beyond_the_calendar() -> None:
    """A time that no calendar has is shown as a number of seconds."""
    assert moment(0) == "1970-01-01T00:00:00Z"
    assert moment(1e18) == "1000000000000000000 s since the epoch"


def test_an_observation_as_json() -> None:
    """An observation is written without the detail that it does not have."""
    assert json.loads(msgspec.json.encode(observe(SubjectIs("t"), FACTS))) == {
        "key": "subject",
        "expected": '"t"',
        "actual": '"s"',
    }
