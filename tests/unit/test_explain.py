"""Explanations: why a request is allowed or denied."""

from typing import Any

import pytest

from fakes.judging import ISSUER, NOW, policy
from tailsts.oidc.rejected import Reason, Rejected
from tailsts.oidc.source import JwksUrl
from tailsts.policy.asked import Unfit, read_wanted
from tailsts.policy.condition import Check, OpaAllows
from tailsts.policy.decide import Consult, Grant, Refusal, Wanted
from tailsts.policy.explain import Case, Explanation, explain, usual_algorithm
from tailsts.policy.model import Bounds, Issuer, Policy, assemble
from tailsts.policy.observe import Observation
from tailsts.policy.patterns.pattern import compile_pattern
from tailsts.policy.rate import Rate
from tailsts.policy.trusted import TrustedIssuers

X = Wanted(("x",))
OPA = "http://127.0.0.1:8181/v1/data/tailsts/allow"
GOOD: dict[str, object] = {"iss": ISSUER, "sub": "s", "aud": "a", "iat": NOW, "exp": NOW + 300}


def explained(
    *policies: Policy,
    wanted: Wanted | Unfit = X,
    algorithm: str = "RS256",
    answers: dict[str, bool] | None = None,
    trusted: TrustedIssuers | None = None,
    **claims: Any,  # noqa: ANN401 - any JSON
) -> Explanation:
    """Explain the usual token with these claims, of which None leaves one out."""
    said = {name: value for name, value in {**GOOD, **claims}.items() if value is not None}
    generation = assemble(policies or [policy()], "d")
    return explain(generation, Case(said, algorithm, wanted, NOW), answers or {}, trusted)


def test_allowed() -> None:
    """What is allowed has the grant of the service, and every check of the policy, held."""
    found = explained()
    assert found.verdict == Grant("p", ("x",))
    assert (found.allowed, found.reason, found.hint) == (True, "granted", "")
    (trace,) = found.traces
    assert trace.held
    assert [(step.check, step.held, step.hint) for step in trace.steps] == [
        (check, True, "")
        for check in (Check.SUBJECT, Check.AUDIENCE, Check.ALGORITHM, Check.LIFETIME, Check.SCOPE, Check.TAG)
    ]
    assert trace.steps[0].seen == Observation("subject", '"s"', '"s"')


def test_denied() -> None:
    """What is denied has the refusal of the service, every check, and a hint beside those that failed."""
    found = explained(sub="S", aud="a/", wanted=Wanted(("z",)))
    assert isinstance(found.verdict, Refusal)
    assert (found.allowed, found.reason) == (False, "subject_not_allowed")
    (trace,) = found.traces
    assert not trace.held
    assert {step.check: bool(step.hint) for step in trace.steps if step.held is False} == {
        Check.SUBJECT: True,
        Check.AUDIENCE: True,
        Check.SCOPE: False,
    }


def test_the_nearest_miss_comes_first() -> None:
    """Policies are ordered by how far they got, then by how much is against them, then by name."""
    policies = [
        policy("a", subject="t"),
        policy("b", audiences=frozenset({"x"}), allowed_scopes=frozenset({"z"})),
        policy("c", allowed_scopes=frozenset({"z"})),
        policy("d", audiences=frozenset({"x"})),
        policy("e", audiences=frozenset({"y"})),
    ]
    found = explained(*policies)
    assert [trace.policy for trace in found.traces] == ["c", "d", "e", "b", "a"]
    assert explained(*policies, policy("z")).traces[0].policy == "z"


def test_a_named_policy_is_explained_alone() -> None:
    """A request that names its policy is explained by that one, or by none."""
    policies = [policy("a"), policy("b", subject="t")]
    found = explained(*policies, wanted=Wanted(("x",), policy="b"))
    assert ([trace.policy for trace in found.traces], found.reason) == (["b"], "subject_not_allowed")
    none = explained(*policies, wanted=Wanted(("x",), policy="c"))
    assert (none.traces, none.reason) == ((), "policy_not_allowed")
    assert none.hint == 'no policy is called "c"; for this issuer there are: a, b'
    many = explained(*(policy(f"p{number:02}") for number in range(12)), wanted=Wanted(("x",), policy="c"))
    assert many.hint.endswith(": p00, p01, p02, p03, p04, p05, p06, p07, p08, p09, and 2 more")
    assert found.hint == ""


REJECTED: list[tuple[dict[str, Any], Reason, str]] = [
    ({"iss": None}, Reason.CLAIM, ""),
    ({"iss": ""}, Reason.CLAIM, ""),
    ({"iss": 1}, Reason.CLAIM, ""),
    ({"sub": None}, Reason.CLAIM, ""),
    ({"sub": 1}, Reason.CLAIM, ""),
    ({"exp": None}, Reason.CLAIM, ""),
    ({"exp": "1"}, Reason.CLAIM, ""),
    ({"exp": True}, Reason.CLAIM, ""),
    ({"aud": 1}, Reason.CLAIM, ""),
    ({"nbf": "1"}, Reason.CLAIM, ""),
    ({"iss": "https://i/"}, Reason.UNKNOWN_ISSUER, '"https://i": they differ by a slash'),
    ({"iss": "https://zzz"}, Reason.UNKNOWN_ISSUER, ""),
    ({"exp": NOW - 7200}, Reason.EXPIRED, "expired 2 h ago; the checks below are as of then"),
    ({"nbf": NOW + 300}, Reason.NOT_YET_VALID, "valid only in 5 min: do the clocks agree?"),
    ({"iat": NOW + 300, "exp": NOW + 600}, Reason.ISSUED_IN_FUTURE, "issued 5 min in the future: do the clocks agree?"),
]


@pytest.mark.parametrize(("claims", "reason", "hint"), REJECTED)
def test_rejected(claims: dict[str, Any], reason: Reason, hint: str) -> None:
    """A token that would not be trusted is told so, with what may explain it."""
    found = explained(**claims)
    assert isinstance(found.verdict, Rejected)
    assert (found.allowed, found.reason) == (False, reason)
    assert found.hint.startswith(hint)
    assert bool(found.hint) is bool(hint)


@pytest.mark.parametrize(
    ("claims", "held"),
    [
        ({"exp": NOW - 7200, "iat": NOW - 7500}, True),
        ({"exp": NOW - 7200, "iat": NOW - 7500, "sub": "t"}, False),
        ({"nbf": NOW + 300}, True),
        ({"iat": NOW + 300, "exp": NOW + 600}, True),
    ],
)
def test_out_of_time_is_explained_as_of_its_time(claims: dict[str, Any], held: bool) -> None:
    """A token that is out of time is judged, beside that, as of a time at which it was not."""
    (trace,) = explained(**claims).traces
    assert trace.held is held


@pytest.mark.parametrize("claims", [{"exp": NOW - 1000, "nbf": NOW + 1000}, {"exp": NOW - 100, "aud": 1}, {"sub": ""}])
def test_what_no_time_makes_good_is_not_explained(claims: dict[str, Any]) -> None:
    """A token that is wrong at any time is judged under no policy."""
    found = explained(**claims)
    assert isinstance(found.verdict, Rejected)
    assert found.traces == ()


def test_algorithms() -> None:
    """An algorithm that no policy of the issuer names is a rejection; one that another names is that policy's miss."""
    only = explained(algorithm="ES256")
    assert only.reason == Reason.ALGORITHM
    other = explained(policy(), policy("q", algorithms=frozenset({"ES256"}), subject="t"), algorithm="ES256")
    assert other.reason == "algorithm_not_allowed"


@pytest.mark.parametrize(
    ("algorithms", "usual"),
    [([], "RS256"), (["RS256"], "RS256"), (["ES256", "RS256"], "RS256"), (["ES384", "EdDSA"], "ES384")],
)
def test_usual_algorithm(algorithms: list[str], usual: str) -> None:
    """Where only claims are known, RS256 is assumed if any policy takes it, else one that is taken."""
    policies = [policy(f"p{name}", algorithms=frozenset({name})) for name in algorithms]
    assert usual_algorithm(assemble(policies, "d").all_trusts()) == usual


def test_an_agent() -> None:
    """What an agent says is the last step: not asked, yes, or no."""
    asking = policy(opa_url=OPA)
    found = explained(asking)
    assert isinstance(found.verdict, Consult)
    assert (found.allowed, found.reason, found.traces[0].held) == (None, "", True)
    seen: list[tuple[bool | None, str]] = []
    asked: list[dict[str, bool]] = [{}, {"p": True}, {"p": False}]
    for answers in asked:
        step = explained(asking, answers=answers).traces[0].steps[-1]
        assert (step.check, step.rank, step.seen.expected) == (Check.OPA, OpaAllows.rank, f"{OPA} says true")
        seen.append((step.held, step.seen.actual))
    assert seen == [(None, "not asked"), (True, "it does"), (False, "it does not")]
    assert explained(asking, answers={"p": False}).reason == "opa_not_allowed"


def test_the_allow_list() -> None:
    """Issuers beyond an allow-list that enforces are rejected; one that watches changes no verdict."""
    others, ours = frozenset({"https://other"}), frozenset({ISSUER})
    assert explained(trusted=TrustedIssuers("enforce", others)).reason == Reason.UNTRUSTED_ISSUER
    assert explained(trusted=TrustedIssuers("audit", others)).allowed
    assert explained(trusted=TrustedIssuers("enforce", ours)).allowed


def test_an_allow_list_that_watches() -> None:
    """What an allow-list would refuse that only watches is said beside the verdict, as in the event."""
    others, ours = frozenset({"https://other"}), frozenset({ISSUER})
    assert explained(trusted=TrustedIssuers("audit", others)).would_refuse == Reason.UNTRUSTED_ISSUER
    assert explained(trusted=TrustedIssuers("audit", others), sub="t").would_refuse == Reason.UNTRUSTED_ISSUER
    for quiet in (TrustedIssuers("audit", ours), TrustedIssuers("enforce", others), None):
        assert explained(trusted=quiet).would_refuse == ""
    for iss in (None, "", 1):
        assert explained(trusted=TrustedIssuers("audit", others), iss=iss).would_refuse == ""


@pytest.mark.parametrize(
    ("asked", "reason", "hint"),
    [
        ({"scopes": ["x"], "tags": ["ci"]}, "bad_tag", '"ci": write tag:ci'),
        ({"scopes": ["x"], "tags": ["a b"]}, "bad_tag", '"a b" is none'),
        ({"scopes": ['dn"s']}, "bad_scope", '"dn\\"s" is none'),
        ({"scopes": ["x"], "policy": ""}, "bad_policy", ""),
        ({"scopes": ["x"] * 101}, "too_many_scopes", ""),
    ],
)
def test_what_is_no_request(asked: dict[str, object], reason: str, hint: str) -> None:
    """A request that the service answers before it looks at the token is denied for that reason, under no policy."""
    found = explained(wanted=read_wanted(asked), sub="t")
    assert (found.allowed, found.reason, found.hint, found.traces) == (False, reason, hint, ())


ONE, TWO = JwksUrl("https://one/jwks"), JwksUrl("https://two/jwks")


def under(found: Explanation) -> dict[str, tuple[str, str | None]]:
    """Return what it comes to under each source of keys: the kind of verdict, and the policy."""
    return {each.source: (type(each.verdict).__name__, getattr(each.verdict, "policy", None)) for each in found.under}


def test_i10_it_depends_on_whose_keys_signed() -> None:
    """I-10: of two clusters of one name each is judged alone; where they differ it cannot be told whether it passes."""
    policies = [policy("a", source=ONE), policy("b", source=TWO, allowed_scopes=frozenset({"y"}))]
    found = explained(*policies)
    assert (found.allowed, found.reason) == (None, "")
    assert under(found) == {"https://one/jwks": ("Grant", "a"), "https://two/jwks": ("Refusal", "b")}
    both = explained(*policies, wanted=Wanted(("y",)))
    assert (both.allowed, both.reason) == (True, "granted")
    assert under(both) == {"https://one/jwks": ("Grant", "a"), "https://two/jwks": ("Grant", "b")}
    neither = explained(*policies, wanted=Wanted(("z",)))
    assert (neither.allowed, neither.reason, neither.traces[0].policy) == (False, "scope_not_allowed", "a")
    named = explained(*policies, wanted=Wanted(("y",), policy="b"))
    assert (named.allowed, under(named)["https://one/jwks"]) == (None, ("Refusal", None))
    expired = explained(*policies, exp=NOW - 1000)
    assert (expired.reason, expired.under) == (Reason.EXPIRED, ())


def test_one_source_of_keys_by_two_names() -> None:
    """An issuer that is named, and matched by a pattern as well, has one source of keys: its discovery document."""
    matching = policy("m", issuer="", issuer_pattern=compile_pattern("https://[a-z]+"), subject="t")
    found = explained(policy("p"), matching)
    assert (found.allowed, found.under) == (True, ())


def test_signers_that_are_known() -> None:
    """Where it is known whose keys verify the token, these trusts alone count, together."""
    generation = assemble([policy("b", source=ONE), policy("a", source=TWO), policy("c", issuer="https://j")], "d")
    case = Case(GOOD, "RS256", X, NOW)
    trusts = generation.trusts_of(ISSUER)
    assert explain(generation, case, signers=trusts).verdict == Grant("a", ("x",))
    (one,) = (trust for trust in trusts if trust.source == ONE)
    alone = explain(generation, case, signers=[one])
    assert (alone.verdict, [trace.policy for trace in alone.traces]) == (Grant("b", ("x",)), ["b"])


def test_the_policy_that_the_service_names_comes_first() -> None:
    """Of many that are equally near, that one is the nearest which the audit log names: the one most like the token."""
    policies = [policy(f"p{n:02}", subject=f"repo:acme/app{n}:ref:refs/heads/main") for n in range(60)]
    found = explained(*policies, sub="repo:acme/app7:environment:prod")
    assert isinstance(found.verdict, Refusal)
    assert (found.verdict.policy, found.traces[0].policy, len(found.traces)) == ("p07", "p07", 60)


def test_bounds_are_not_judged() -> None:
    """What a policy asks beyond token and request is said, and changes no verdict: only the service remembers."""
    bounded = policy(single_use=True, rate_limit=Rate(1, 3600))
    found = explained(bounded)
    assert found.allowed
    assert found.traces[0].bounds == Bounds(single_use=True, rate=Rate(1, 3600))
    assert explained().traces[0].bounds is None


def test_an_issuer_that_a_pattern_nearly_matches() -> None:
    """A slash too many or too few is said of patterns of issuers, too."""
    matching = policy("m", issuer="", issuer_pattern=compile_pattern("https://[a-z]+\\.example"))
    found = explained(matching, iss="https://abc.example/")
    said = 'issuer_pattern /https://[a-z]+\\.example/ matches "https://abc.example": they differ by a slash at the end'
    assert found.hint == f"{said}, which only the token has"
    assert explained(matching, iss="https://abc.other").hint == ""


def test_issuers_of_a_pattern() -> None:
    """A policy whose issuers a pattern names is explained for each that matches."""
    pattern = compile_pattern("https://[a-z]+")
    matching = policy("m", issuer="", issuer_pattern=pattern)
    assert matching.issuer == Issuer("https://[a-z]+", pattern)
    assert explained(matching, iss="https://abc").verdict == Grant("m", ("x",))
    assert explained(matching, iss="https://abc/").reason == Reason.UNKNOWN_ISSUER


def test_lent_tags_are_seen() -> None:
    """Where the policy's tags go with a scope, these are what its checks see."""
    tagged = policy(allowed_scopes=frozenset({"auth_keys"}), allowed_tags=frozenset({"tag:b", "tag:a"}))
    found = explained(tagged, wanted=Wanted(("auth_keys",)))
    assert found.verdict == Grant("p", ("auth_keys",), ("tag:a", "tag:b"))
    assert found.traces[0].steps[-1].seen.actual == "tag:a, tag:b"
