"""The decision: who may have what."""

import pytest

from fakes.judging import ISSUER, NOW, policy, verdict, verified
from tailsts.oidc.source import JwksUrl
from tailsts.policy.condition import Check, OpaAllows
from tailsts.policy.decide import MAX_MISSES, Consult, Grant, Refusal, Wanted, candidates
from tailsts.policy.model import Policy, assemble

DAY = 24 * 3600
X = Wanted(("x",))


def refused(found: Grant | Refusal | Consult) -> tuple[Check, str | None]:
    """Return the check and the nearest policy of a refusal."""
    assert isinstance(found, Refusal)
    return found.check, found.policy


def names(policies: list[Policy], subject: str, **claims: object) -> list[str]:
    """Return the names of the candidates for a token."""
    trusts = assemble(policies, "d").trusts_of(ISSUER)
    return [found.name for found in candidates(trusts, verified(subject, claims), X)]


def test_a_grant_is_what_was_asked() -> None:
    """All wanted scopes allowed: exactly these, in their order."""
    assert verdict(verified(), Wanted(("y", "x")), [policy()]) == Grant("p", ("y", "x"))
    assert verdict(verified(), X, [policy()]) == Grant("p", ("x",))


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
    refusal = verdict(verified(**changes), Wanted(scopes), [policy()])  # type: ignore[arg-type]  # of the right types
    assert isinstance(refusal, Refusal)
    assert refusal.check is check
    assert refusal.reason == f"{check.name.lower()}_not_allowed"


def test_u09_another_services_audience() -> None:
    """U-09, J-19: a token that was made for another service is not for us; one for several, ours among them, is."""
    assert refused(verdict(verified(audiences=("sts.amazonaws.com",)), X, [policy()])) == (Check.AUDIENCE, "p")
    assert isinstance(verdict(verified(audiences=("sts.amazonaws.com", "a")), X, [policy()]), Grant)


def test_without_subject_and_audience() -> None:
    """A policy that names no subject and no audience does not look at them: the behaviour of the seed."""
    open_policy = policy(subject=None, audiences=frozenset())
    assert isinstance(verdict(verified("anybody", audiences=()), X, [open_policy]), Grant)


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
    token = verified(issued_at=issued_at, expires_at=expires_at)
    assert isinstance(verdict(token, X, [policy(max_lifetime=limit)]), Grant) is granted


def test_p14_the_first_by_name_wins_whole() -> None:
    """P-14: the first policy by name that allows all of it; the rights of several are never added up."""
    policies = [
        policy("a", allowed_scopes=frozenset({"x"})),
        policy("b", allowed_scopes=frozenset({"y"})),
        policy("c", allowed_scopes=frozenset({"x", "y"})),
        policy("d", allowed_scopes=frozenset({"x", "y"})),
    ]
    assert verdict(verified(), Wanted(("x", "y")), policies) == Grant("c", ("x", "y"))
    assert refused(verdict(verified(), Wanted(("x", "y")), policies[:2])) == (Check.SCOPE, "a")


def test_the_nearest_misses_are_named() -> None:
    """Of several policies that refuse, some that came nearest are remembered, the nearest first."""
    policies = [
        policy("a", audiences=frozenset({"b"})),
        policy("b", allowed_scopes=frozenset({"z"})),
        policy("c", subject="other"),
        policy("d", subject=None, claims=((("ref",), ("main",)),)),
    ]
    refusal = verdict(verified(), X, policies)
    assert refused(refusal) == (Check.SCOPE, "b")
    assert isinstance(refusal, Refusal)
    assert [miss.policy for miss in refusal.misses] == ["b", "a", "d", "c"]
    many = [policy(f"p{number}", allowed_scopes=frozenset({"z"})) for number in range(9)]
    found = verdict(verified(), X, many)
    assert isinstance(found, Refusal)
    assert [miss.policy for miss in found.misses] == [f"p{number}" for number in range(MAX_MISSES)]


def test_policies_that_are_passed_over_still_say_at_what() -> None:
    """Where no policy is a candidate, the refusal names the check at which they would have failed, and few of them."""
    by_claim = policy("q", subject=None, claims=((("ref",), ("main",)),))
    assert refused(verdict(verified("t"), X, [policy()])) == (Check.SUBJECT, "p")
    assert refused(verdict(verified("t"), X, [policy(), by_claim])) == (Check.CLAIM, "q")
    many = [policy(f"p{number:03}") for number in range(200)]
    assert refused(verdict(verified("t"), X, many)) == (Check.SUBJECT, "p000")
    assert refused(verdict(verified("t"), X, [*many, by_claim])) == (Check.CLAIM, "q")


def test_the_order_of_policies_does_not_matter() -> None:
    """Candidates come by name, whatever order the files were read in."""
    policies = [policy("c"), policy("a", subject=None), policy("b", subject=None), policy("d", subject="other")]
    for order in (policies, policies[::-1]):
        assert names(order, "s") == ["a", "b", "c"]
        assert names(order, "other") == ["a", "b", "d"]
        assert names(order, "nobody") == ["a", "b"]


def test_a_policy_without_subject_is_found_by_a_claim() -> None:
    """A policy that asks for exact values of claims is a candidate for tokens with such a value, of its very type."""
    policies = [
        policy("a", subject=None, claims=((("id",), ("1", "2")), (("owner",), ("acme",)))),
        policy("b", subject=None, claims=((("id",), ("3",)), (("owner",), ("acme",)))),
        policy("c", subject=None, claims=((("deep", "x"), (True,)),)),
        policy("d", subject=None),
    ]
    assert names(policies, "s", id="1") == ["a", "d"]
    assert names(policies, "s", id="2", owner="other") == ["a", "d"]
    assert names(policies, "s", id="3", deep={"x": True}) == ["b", "c", "d"]
    assert names(policies, "s", id=3, deep={"x": 1}) == ["d"]
    assert names(policies, "s", id=["1"], deep=True) == ["d"]


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
    assert [[found.name for found in candidates([trust], verified(), X)] for trust in trusts] == [["a", "c"], ["b"]]


def test_several_trusts_are_judged_as_one_list() -> None:
    """Under several trusts, the first policy by name that grants it counts, whichever trust it belongs to."""
    one, two = JwksUrl("https://one/jwks"), JwksUrl("https://two/jwks")
    policies = [policy("b", source=one), policy("a", source=two), policy("c", source=two)]
    assert verdict(verified(), X, policies) == Grant("a", ("x",))
    assert refused(verdict(verified(), Wanted(("z",)), policies)) == (Check.SCOPE, "a")


def test_a_named_policy_alone_counts() -> None:
    """A request that names its policy is granted by that one or by none, and one that does not exist is none."""
    policies = [policy("a"), policy("b"), policy("c", subject="t")]
    assert verdict(verified(), Wanted(("x",), policy="b"), policies) == Grant("b", ("x",))
    assert refused(verdict(verified(), Wanted(("z",), policy="b"), policies)) == (Check.SCOPE, "b")
    assert refused(verdict(verified(), Wanted(("x",), policy="c"), policies)) == (Check.SUBJECT, "c")
    assert refused(verdict(verified(), Wanted(("x",), policy="d"), policies)) == (Check.POLICY, None)


@pytest.mark.parametrize("named", ["b", "d", None])
def test_a_refusal_knows_whether_its_policy_was_named(named: str | None) -> None:
    """Whoever names a policy is told less than others: the refusal says so, whether there is such a policy or not."""
    refusal = verdict(verified(), Wanted(("z",), policy=named), [policy("a"), policy("b")])
    assert isinstance(refusal, Refusal)
    assert refusal.named is (named is not None)


def test_of_few_policies_each_is_judged_at_its_time() -> None:
    """A policy that the index passed over is judged by the same clock as the others, so that its miss is right."""
    over = policy("a", subject="t", not_after=NOW - 1)
    refusal = verdict(verified("t"), X, [over, policy("b", subject="u")])
    assert refused(refusal) == (Check.PERIOD, "a")
    assert isinstance(refusal, Refusal)
    assert [miss.facts.now for miss in refusal.misses] == [NOW, NOW]


TAGS = frozenset({"tag:b", "tag:a"})


@pytest.mark.parametrize(
    ("scopes", "tags", "allowed", "granted"),
    [
        (("auth_keys",), (), TAGS, ("tag:a", "tag:b")),
        (("devices:core", "dns"), (), TAGS, ("tag:a", "tag:b")),
        (("all",), (), TAGS, ("tag:a", "tag:b")),
        (("auth_keys",), ("tag:b",), TAGS, ("tag:b",)),
        (("dns",), (), TAGS, ()),
        (("dns",), ("tag:a",), TAGS, ("tag:a",)),
        (("auth_keys",), (), frozenset(), ()),
        (("auth_keys",), ("tag:c",), TAGS, None),
        (("auth_keys",), ("tag:a", "tag:c"), TAGS, None),
        (("dns",), ("tag:a",), frozenset(), None),
    ],
)
def test_u07_tags(
    scopes: tuple[str, ...], tags: tuple[str, ...], allowed: frozenset[str], granted: tuple[str, ...] | None
) -> None:
    """U-07: tags are those asked for, all allowed; scopes that need some get the policy's if none are asked for."""
    tagged = policy(allowed_scopes=frozenset({"auth_keys", "devices:core", "dns", "all"}), allowed_tags=allowed)
    found = verdict(verified(), Wanted(scopes, tags), [tagged])
    if granted is None:
        assert refused(found) == (Check.TAG, "p")
    else:
        assert found == Grant("p", scopes, granted)


def test_the_tailnet_is_the_policys() -> None:
    """A grant names the tailnet of the policy that gave it."""
    assert verdict(verified(), X, [policy(tailnet="prod")]) == Grant("p", ("x",), (), "prod")


def test_an_agent_is_asked_last_and_only_if_it_counts() -> None:
    """A policy that asks an Open Policy Agent grants what it allows only if the agent agrees; else the next one may."""
    opa = "http://127.0.0.1:8181/v1/data/tailsts/allow"
    policies = [policy("a", opa_url=opa), policy("b", opa_url=opa, allowed_scopes=frozenset({"x"}))]
    question = verdict(verified(), X, policies)
    assert isinstance(question, Consult)
    assert (question.policy, question.opa) == ("a", OpaAllows(opa))
    assert verdict(verified(), X, policies, answers={"a": True}) == Grant("a", ("x",))
    second = verdict(verified(), X, policies, answers={"a": False})
    assert isinstance(second, Consult)
    assert second.policy == "b"
    assert verdict(verified(), X, policies, answers={"a": False, "b": True}) == Grant("b", ("x",))
    assert refused(verdict(verified(), X, policies, answers={"a": False, "b": False})) == (Check.OPA, "a")
    # Nothing is asked about what the policy itself does not allow.
    assert refused(verdict(verified(), Wanted(("z",)), policies)) == (Check.SCOPE, "a")


@pytest.mark.parametrize("subject", ["аcme", "ACME", "acme\u200b", "ａｃｍｅ", "acme "])  # noqa: RUF001 - that is it
def test_p19_subjects_that_look_alike(subject: str) -> None:
    """P-19: a subject is compared as it is; letters that look alike, are wide or invisible are others."""
    assert refused(verdict(verified(subject), X, [policy(subject="acme")])) == (Check.SUBJECT, "p")


def test_n15_an_issuer_with_a_slash_is_another_issuer() -> None:
    """N-15: issuers are compared byte for byte."""
    trusts = assemble([policy(issuer="https://i/")], "digest").trusts
    assert "https://i" not in trusts
    assert "https://i/" in trusts


@pytest.mark.parametrize("count", [1, 10, 51, 1000])
def test_the_likest_of_many_are_named(count: int) -> None:
    """However many policies there are, a refusal says at what those failed that are most like the token."""
    policies = [
        policy(f"p{number:03}", subject=f"repo:acme/app{number}:ref:refs/heads/main") for number in range(count)
    ]
    refusal = verdict(verified(f"repo:acme/app{count - 1}:environment:prod"), X, policies)
    assert isinstance(refusal, Refusal)
    assert (refusal.check, refusal.policy) == (Check.SUBJECT, f"p{count - 1:03}")
    assert len(refusal.misses) == min(count, MAX_MISSES)
    by_id = [policy(f"p{n:03}", subject=None, claims=((("repository",), (f"acme/app{n}",)),)) for n in range(count)]
    refusal = verdict(verified(claims={"repository": f"acme/app{count - 1}-x"}), X, by_id)
    assert refused(refusal) == (Check.CLAIM, f"p{count - 1:03}")
    others: list[dict[str, object]] = [{}, {"repository": 7}, {"repository": "?"}]
    for claims in others:
        refusal = verdict(verified(claims=claims), X, by_id)
        assert isinstance(refusal, Refusal)
        assert (refusal.check, len(refusal.misses)) == (Check.CLAIM, min(count, MAX_MISSES))


def test_each_miss_is_there_once() -> None:
    """A policy that is near by several of its values is named once."""
    several = policy("p", subject=None, claims=((("repository",), ("acme/a", "acme/b")),))
    refusal = verdict(verified(claims={"repository": "acme/c"}), X, [several])
    assert isinstance(refusal, Refusal)
    assert [miss.policy for miss in refusal.misses] == ["p"]
