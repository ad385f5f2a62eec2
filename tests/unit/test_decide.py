"""The decision: who may have what."""

import pytest

from tailsts.oidc.source import Discovery, JwksUrl
from tailsts.oidc.verify import VerifiedToken
from tailsts.policy.decide import Check, Grant, Refusal, best, decide
from tailsts.policy.model import Policy, assemble

NOW = 1_800_000_000.0
DAY = 24 * 3600


def token(**changes: object) -> VerifiedToken:
    """Return a verified token, changed."""
    values = {
        "issuer": "https://i",
        "subject": "s",
        "audiences": ("a",),
        "algorithm": "RS256",
        "expires_at": NOW + 300,
        "issued_at": NOW,
        "claims": {},
    }
    return VerifiedToken(**{**values, **changes})  # type: ignore[arg-type]  # of the right types


def policy(name: str = "p", **changes: object) -> Policy:
    """Return a policy, changed."""
    values = {
        "name": name,
        "issuer": "https://i",
        "source": Discovery(),
        "algorithms": frozenset({"RS256"}),
        "subject": "s",
        "audiences": frozenset({"a"}),
        "allowed_scopes": frozenset({"x", "y"}),
        "max_lifetime": DAY,
    }
    return Policy(**{**values, **changes})  # type: ignore[arg-type]  # of the right types


def test_a_grant_is_what_was_asked() -> None:
    """All wanted scopes allowed: exactly these, in their order."""
    assert decide(token(), ("y", "x"), [policy()], NOW) == Grant("p", ("y", "x"))
    assert decide(token(), ("x",), [policy()], NOW) == Grant("p", ("x",))


@pytest.mark.parametrize(
    ("changes", "scopes", "check"),
    [
        ({"subject": "S"}, ("x",), Check.SUBJECT),
        ({"subject": "s "}, ("x",), Check.SUBJECT),
        ({"audiences": ("b",)}, ("x",), Check.AUDIENCE),
        ({"audiences": ()}, ("x",), Check.AUDIENCE),
        ({"audiences": ("A",)}, ("x",), Check.AUDIENCE),
        ({"algorithm": "RS512"}, ("x",), Check.ALGORITHM),
        ({"expires_at": NOW + DAY + 1}, ("x",), Check.LIFETIME),
        ({}, ("x", "z"), Check.SCOPE),
        ({}, ("X",), Check.SCOPE),
        ({}, (), Check.SCOPE),
    ],
)
def test_each_check(changes: dict[str, object], scopes: tuple[str, ...], check: Check) -> None:
    """Each check refuses by itself, and the refusal names it."""
    refusal = decide(token(**changes), scopes, [policy()], NOW)
    assert isinstance(refusal, Refusal)
    assert refusal.check is check
    assert refusal.reason == f"{check.name.lower()}_not_allowed"


def test_u09_another_services_audience() -> None:
    """U-09, J-19: a token that was made for another service is not for us; one for several, ours among them, is."""
    assert decide(token(audiences=("sts.amazonaws.com",)), ("x",), [policy()], NOW) == Refusal(Check.AUDIENCE, "p")
    assert isinstance(decide(token(audiences=("sts.amazonaws.com", "a")), ("x",), [policy()], NOW), Grant)


def test_without_subject_and_audience() -> None:
    """A policy that names no subject and no audience does not look at them: the behaviour of the seed."""
    open_policy = policy(subject=None, audiences=frozenset())
    assert isinstance(decide(token(subject="anybody", audiences=()), ("x",), [open_policy], NOW), Grant)


@pytest.mark.parametrize(
    ("issued_at", "expires_at", "limit", "granted"),
    [
        (NOW, NOW + DAY, DAY, True),
        (NOW, NOW + DAY + 1, DAY, False),
        (None, NOW + DAY + 60, DAY, True),
        (None, NOW + DAY + 61, DAY, False),
        (0, NOW + 300, DAY, False),
        (NOW - DAY, NOW + 300, DAY, False),
        (NOW + 59, NOW + 59 + DAY, DAY, True),
        (NOW, NOW + 36 * 3600, 36 * 3600, True),
        (NOW, NOW + 601, 600, False),
    ],
)
def test_j04_lifetime(issued_at: float | None, expires_at: float, limit: int, granted: bool) -> None:
    """J-03, J-04, J-07: a token's whole life is within the policy's limit, from its issue and from now."""
    verdict = decide(token(issued_at=issued_at, expires_at=expires_at), ("x",), [policy(max_lifetime=limit)], NOW)
    assert isinstance(verdict, Grant) is granted


def test_p14_the_first_by_name_wins_whole() -> None:
    """P-14: the first policy by name that allows all of it; the rights of several are never added up."""
    policies = [
        policy("a", allowed_scopes=frozenset({"x"})),
        policy("b", allowed_scopes=frozenset({"y"})),
        policy("c", allowed_scopes=frozenset({"x", "y"})),
        policy("d", allowed_scopes=frozenset({"x", "y"})),
    ]
    assert decide(token(), ("x", "y"), policies, NOW) == Grant("c", ("x", "y"))
    assert decide(token(), ("x", "y"), policies[:2], NOW) == Refusal(Check.SCOPE, "a")


def test_the_nearest_miss_is_named() -> None:
    """Of several policies that refuse, the refusal is that of the one that came nearest."""
    policies = [
        policy("a", audiences=frozenset({"b"})),
        policy("b", allowed_scopes=frozenset({"z"})),
        policy("c", subject="other"),
    ]
    assert decide(token(), ("x",), policies, NOW) == Refusal(Check.SCOPE, "b")
    assert decide(token(), ("x",), [], NOW) == Refusal(Check.SUBJECT, None)


def test_the_order_of_policies_does_not_matter() -> None:
    """Candidates come by name, whatever order the files were read in."""
    policies = [policy("c"), policy("a", subject=None), policy("b", subject=None), policy("d", subject="other")]
    for order in (policies, policies[::-1]):
        (trust,) = assemble(order, "d").trusts["https://i"]
        assert [found.name for found in trust.candidates("s")] == ["a", "b", "c"]
        assert [found.name for found in trust.candidates("other")] == ["a", "b", "d"]
        assert [found.name for found in trust.candidates("nobody")] == ["a", "b"]


def test_i10_a_trust_is_an_issuer_and_a_key_source() -> None:
    """I-10: two clusters with one issuer string and different keys are two trusts."""
    one, two = JwksUrl("https://one/jwks"), JwksUrl("https://two/jwks")
    policies = [
        policy("a", source=one),
        policy("b", source=two),
        policy("c", source=one, algorithms=frozenset({"ES256"})),
    ]
    trusts = assemble(policies, "d").trusts["https://i"]
    assert [(trust.source, sorted(trust.algorithms)) for trust in trusts] == [
        (one, ["ES256", "RS256"]),
        (two, ["RS256"]),
    ]
    assert [[found.name for found in trust.candidates("s")] for trust in trusts] == [["a", "c"], ["b"]]


def test_the_best_of_several_trusts() -> None:
    """Of verdicts under several trusts, the first grant by name counts, else the nearest miss."""
    grants: list[Grant | Refusal] = [Grant("b", ("x",)), Refusal(Check.SCOPE, "a"), Grant("a", ("x",))]
    assert best(grants) == Grant("a", ("x",))
    assert best([Refusal(Check.SUBJECT, None), Refusal(Check.LIFETIME, "p")]) == Refusal(Check.LIFETIME, "p")


@pytest.mark.parametrize("subject", ["аcme", "ACME", "acme\u200b", "ａｃｍｅ", "acme "])  # noqa: RUF001 - that is it
def test_p19_subjects_that_look_alike(subject: str) -> None:
    """P-19: a subject is compared as it is; letters that look alike, are wide or invisible are others."""
    assert decide(token(subject=subject), ("x",), [policy(subject="acme")], NOW) == Refusal(Check.SUBJECT, None)


def test_n15_an_issuer_with_a_slash_is_another_issuer() -> None:
    """N-15: issuers are compared byte for byte."""
    trusts = assemble([policy(issuer="https://i/")], "digest").trusts
    assert "https://i" not in trusts
    assert "https://i/" in trusts
