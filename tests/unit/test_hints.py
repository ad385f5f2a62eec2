"""Hints: what probably went wrong."""

from typing import Any

import pytest

from fakes.judging import NOW, verified
from tailsts.policy.cel.expression import compile_expression
from tailsts.policy.claims import Scalar
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
from tailsts.policy.hints import duration, hint, near_issuer
from tailsts.policy.patterns.pattern import compile_pattern

SLASH_POLICY = "they differ by a slash at the end, which only the policy has"
SLASH_TOKEN = "they differ by a slash at the end, which only the token has"
CASE = "they differ by case, and are compared exactly"
WITH_IDS = (
    "the token has GitHub's subject with ids, which repositories have that were created, renamed or moved since "
    'July 2026: pin repository_id = "2" and repository_owner_id = "1" in [claims] instead'
)
WITHOUT_IDS = (
    "the token has GitHub's subject without ids: pin repository_id and repository_owner_id in [claims] instead"
)
WHOLE = "a pattern matches the whole of the subject, from its first to its last character"
OTHER = "the token was made for another service{}: ask its issuer for one with ours"


def facts(claims: dict[str, object] | None = None, scopes: tuple[str, ...] = ("x",), **changes: Any) -> Facts:  # noqa: ANN401
    """Return the usual facts, with these claims and changes."""
    return Facts(verified(changes.pop("subject", "s"), claims, **changes), scopes, (), NOW)


@pytest.mark.parametrize(
    ("expected", "actual", "said"),
    [
        ("https://a/", "https://a", SLASH_POLICY),
        ("https://a", "https://a/", SLASH_TOKEN),
        ("repo:Acme/r", "repo:acme/r", CASE),
        ("s", " s", "they differ by blanks at the ends"),
        ("https://a", "a", "the token has it without https://"),
        ("repo:o/r:ref:refs/heads/main", "repo:o@1/r@2:ref:refs/heads/main", WITH_IDS),
        ("repo:o/r:environment:prod", "repo:o@1/r@2:ref:refs/heads/main", WITH_IDS + "; what follows differs too"),
        ("repo:o@1/r@2:ref:refs/heads/main", "repo:o/r:ref:refs/heads/main", WITHOUT_IDS),
        ("repo:o@1/r@2:ref:refs/heads/main", "repo:p/r:ref:refs/heads/main", ""),
        (
            "repo:o/*:ref:refs/heads/main",
            "repo:o/r:ref:refs/heads/main",
            "* stands for itself in subject: write a subject_pattern",
        ),
        (
            "repo:o/r:environment:prod",
            "repo:o/r:ref:refs/heads/main",
            "the same repository, but the job names no environment",
        ),
        (
            "repo:o/r:ref:refs/heads/main",
            "repo:o/r:environment:prod",
            "the same repository; a job with an environment has that in its subject, and not its ref",
        ),
        ("repo:o/r:ref:refs/heads/main", "repo:o/r:pull_request", "the same repository, from somewhere else in it"),
        ("repo:o/r:environment:a", "repo:o/r:environment:b", "the same repository, from somewhere else in it"),
        ("repo:o/r:ref:refs/heads/main", "repo:o/q:ref:refs/heads/main", ""),
        ("a:b:c", "a:b:d", ""),
        ("s", "t", ""),
        ("s", "s", ""),
    ],
)
def test_i05_i09_subjects(expected: str, actual: str, said: str) -> None:
    """I-02, I-05, I-09: a subject that is nearly the same is told by what differs."""
    assert hint(SubjectIs(expected), facts(subject=actual)) == said


@pytest.mark.parametrize(
    ("pattern", "actual", "said"),
    [
        (r"repo:o/r:.*", "repo:o@1/r@2:ref:refs/heads/main", WITH_IDS),
        (r"repo:o/[a-z]+:.*", "repo:o@1/r@2:ref:refs/heads/main", WITH_IDS),
        (r"repo:o/r:.*", "repo:p@1/r@2:ref:refs/heads/main", WHOLE),
        (r"repo:o/r:.*", "xrepo:o/r:ref:refs/heads/main", WHOLE),
    ],
)
def test_subject_patterns(pattern: str, actual: str, said: str) -> None:
    """A subject that a pattern misses: GitHub's form with ids, or a pattern that is taken for a search."""
    assert hint(SubjectMatches(compile_pattern(pattern)), facts(subject=actual)) == said


@pytest.mark.parametrize(
    ("value", "actual", "said"),
    [
        ("true", True, "same text, other type: the policy has a string, the token a boolean"),
        (True, "true", "same text, other type: the policy has a boolean, the token a string"),
        ("1", 1, "same text, other type: the policy has a string, the token an integer"),
        (1, "1", "same text, other type: the policy has an integer, the token a string"),
        (1.0, "1.0", "same text, other type: the policy has a number with a fraction, the token a string"),
        ("main", ["main"], 'the claim is a list: write a condition, like "x" in claims.ref'),
        ("Main", "main", CASE),
        ("https://a", "https://a/", SLASH_TOKEN),
        ("main", "dev", ""),
        (1, 2, ""),
        (1, {}, ""),
    ],
)
def test_i12_claims(value: Scalar, actual: object, said: str) -> None:
    """I-12, J-20, J-22: another type, a list, another case."""
    assert hint(ClaimIs(("ref",), ("zzz", value)), facts({"ref": actual})) == said


@pytest.mark.parametrize(
    ("path", "claims", "said"),
    [
        (("ref",), {}, "the token has no such claim"),
        (("REF",), {"ref": 1}, 'the token has "ref": names of claims are compared with their case'),
        (("a", "B"), {"a": {"b": 1}}, 'the token has "b": names of claims are compared with their case'),
        (("a", "b"), {"a": 1}, "the token has no such claim"),
        (("a", "b"), {"a.b": 1}, 'the token has a claim whose name has dots in it: write "a.b" in quotes'),
        (("a", "b"), {}, "the token has no such claim"),
    ],
)
def test_missing_claims(path: tuple[str, ...], claims: dict[str, object], said: str) -> None:
    """A claim that is not there, but one that is spelt in nearly the same way."""
    assert hint(ClaimIs(path, ("x",)), facts(claims)) == said
    assert hint(ClaimMatches(path, compile_pattern("x")), facts(claims)) == said


@pytest.mark.parametrize(
    ("actual", "said"),
    [
        ("dev", "a pattern matches the whole of the claim, from its first to its last character"),
        (1, "a pattern is for a string, and the claim is an integer"),
        (["a"], 'the claim is a list: write a condition, like "x" in claims.ref'),
    ],
)
def test_claim_patterns(actual: object, said: str) -> None:
    """A pattern is for the whole of a string."""
    assert hint(ClaimMatches(("ref",), compile_pattern("x")), facts({"ref": actual})) == said


@pytest.mark.parametrize(
    ("audiences", "said"),
    [
        ((), "the token has no audience: ask its issuer for one with ours"),
        (("https://sts.example.com/",), SLASH_TOKEN),
        (("x", "sts.example.com"), "the token has it without https://"),
        (("HTTPS://sts.example.com",), CASE),
        (("https://github.com/acme",), OTHER.format(" (GitHub's default)")),
        (("sts.amazonaws.com",), OTHER.format(" (AWS STS)")),
        (("https://buildkite.com/acme",), OTHER.format(" (Buildkite's default)")),
        (("https://fly.io/acme",), OTHER.format(" (Fly.io's default)")),
        (("ari:cloud:bitbucket::workspace/1",), OTHER.format(" (Bitbucket's default)")),
        (("//iam.googleapis.com/projects/1",), OTHER.format(" (Google Cloud)")),
        (("https://kubernetes.default.svc.cluster.local",), OTHER.format(" (the Kubernetes API server's own)")),
        (("api://AzureADTokenExchange",), OTHER.format(" (Microsoft Entra)")),
        (("octo-sts.dev",), OTHER.format(" (another service)")),
        (
            ("9b5e4c1a-7d20-4f6b-8c31-2ea90f5d4b17",),
            OTHER.format(" (the id of an organisation or application)"),
        ),
        (("https://other.example.com",), OTHER.format("")),
    ],
)
def test_u09_audiences(audiences: tuple[str, ...], said: str) -> None:
    """U-09: for whom the token was made, where that is known."""
    assert hint(AudienceAmong(frozenset({"https://sts.example.com"})), facts(audiences=audiences)) == said


def test_audience_patterns() -> None:
    """A pattern of audiences has no twin to be compared with."""
    condition = AudienceMatches(compile_pattern("x"))
    assert hint(condition, facts(audiences=("https://x/",))) == OTHER.format("")
    assert hint(condition, facts(audiences=())) == "the token has no audience: ask its issuer for one with ours"


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (("dns",), "only dns:read is allowed, not dns"),
        (("dns:read", "acls"), "acls is an old name: ask for policy_file"),
        (("users",), ""),
        (("users", "dns"), "only dns:read is allowed, not dns"),
    ],
)
def test_scopes(wanted: tuple[str, ...], said: str) -> None:
    """A scope that is nearly allowed, or has a newer name."""
    assert hint(ScopesAmong(frozenset({"dns:read"})), facts(scopes=wanted)) == said


def test_tags() -> None:
    """A policy without tags allows none."""
    assert hint(TagsAmong(frozenset()), facts()) == "the policy has no allowed_tags, so no tag may be asked for"
    assert hint(TagsAmong(frozenset({"tag:a"})), facts()) == ""


@pytest.mark.parametrize(
    ("condition", "changes", "said"),
    [
        (LifetimeAtMost(600), {"expires_at": NOW + 900}, "it lives 5 min too long: ask the issuer for a shorter one"),
        (
            LifetimeAtMost(600),
            {"expires_at": NOW + 690, "issued_at": None},
            "it lives 90 s too long: ask the issuer for a shorter one",
        ),
        (LifetimeAtMost(600), {"issued_at": NOW + 100}, ""),
        (AgeAtMost(60), {"issued_at": NOW - 3 * 86400 - 60}, "too old by 3 d"),
        (AgeAtMost(60), {"issued_at": None}, ""),
    ],
)
def test_times(condition: Condition, changes: dict[str, Any], said: str) -> None:
    """By how much a token lives too long, or is too old."""
    assert hint(condition, facts(**changes)) == said


@pytest.mark.parametrize(
    "condition",
    [
        AlgorithmAmong(frozenset({"ES256"})),
        ExpressionHolds(compile_expression("false")),
        Within(NOW + 1, None),
        OpaAllows("http://127.0.0.1/"),
    ],
)
def test_what_explains_itself(condition: Condition | OpaAllows) -> None:
    """Nothing is guessed where expected and actual say it all."""
    assert hint(condition, facts()) == ""


@pytest.mark.parametrize(
    ("issuer", "said"),
    [
        ("https://a.example.com/", f'"https://a.example.com": {SLASH_TOKEN}'),
        ("https://A.example.com", f'"https://a.example.com": {CASE}'),
        ("a.example.com", '"https://a.example.com": the token has it without https://'),
        ("https://b.example.com", ""),
        ("", ""),
    ],
)
def test_n15_issuers(issuer: str, said: str) -> None:
    """N-15: an issuer that is not named, but one is that is nearly it."""
    assert near_issuer(issuer, ["https://zzz.example.com", "https://a.example.com"]) == said


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (172_800, "2 d")],
)
def test_durations(seconds: float, text: str) -> None:
    """A duration is told in the largest unit that keeps it readable."""
    assert duration(seconds) == text
