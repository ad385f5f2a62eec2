"""Explanations where Open Policy Agents are asked: what is granted whatever they say, and that one says nothing."""

from fakes.judging import ISSUER, NOW, policy
from tailsts.oidc.source import JwksUrl
from tailsts.policy.decide import NO_ANSWERS, Answers, Consult, Grant, Wanted
from tailsts.policy.explain import Case, Explanation, explain, unanswered
from tailsts.policy.model import Policy, assemble

OPA = "http://127.0.0.1:8181/v1/data/tailsts/allow"
ONE, TWO = JwksUrl("https://one/jwks"), JwksUrl("https://two/jwks")
CASE = Case({"iss": ISSUER, "sub": "s", "aud": "a", "iat": NOW, "exp": NOW + 300}, "RS256", Wanted(("x",)), NOW)
GRANTED = Grant("z", ("x",))


def explained(*policies: Policy, answers: Answers = NO_ANSWERS) -> Explanation:
    """Explain the usual token."""
    return explain(assemble(policies, "d"), CASE, answers)


def test_what_another_policy_grants() -> None:
    """If an agent is to be asked first, what a policy grants without one is granted in any case: that is an answer."""
    asking = [policy("a", opa_url=OPA), policy("b", opa_url=OPA)]
    alone = explained(*asking)
    assert (type(alone.verdict), alone.otherwise, alone.allowed, alone.reason) == (Consult, None, None, "")
    beside = explained(*asking, policy("z"))
    assert isinstance(beside.verdict, Consult)
    assert (beside.verdict.policy, beside.otherwise, beside.allowed, beside.reason) == ("a", GRANTED, True, "granted")
    # Nothing is "otherwise" where it is known.
    for answers in ({"a": True}, {"a": False, "b": False}):
        known = explained(*asking, policy("z"), answers=answers)
        assert (type(known.verdict), known.otherwise) == (Grant, None)
    refused = explained(*asking, policy("z", subject="t"))
    assert (refused.otherwise, refused.allowed) == (None, None)


def test_what_an_agent_has_said_already() -> None:
    """An agent that has agreed grants it if the one before it does not."""
    found = explained(policy("a", opa_url=OPA), policy("z", opa_url=OPA), answers={"z": True})
    assert isinstance(found.verdict, Consult)
    assert (found.otherwise, found.allowed) == (GRANTED, True)


def test_i10_what_another_policy_grants_under_each_source_of_keys() -> None:
    """I-10: of each source of keys it is known what is granted in any case; if that is so of all, it is allowed."""
    asking = policy("a", source=ONE, opa_url=OPA)
    other = policy("c", source=TWO)
    either = explained(asking, policy("z", source=ONE), other)
    assert [(each.source, each.otherwise) for each in either.under] == [(ONE.url, GRANTED), (TWO.url, None)]
    assert (either.allowed, either.reason) == (True, "granted")
    # What keys of another source verify is no way out.
    untold = explained(asking, other)
    assert ([each.otherwise for each in untold.under], untold.allowed) == ([None, None], None)


def test_an_agent_that_gives_no_answer() -> None:
    """No answer is no "no": neither holds nor fails, and that is said; of those who answered, what they said."""
    asking = [policy("a", opa_url=OPA), policy("b", opa_url=OPA), policy("z")]
    found = explained(*asking, answers={"a": False, "b": False})
    silent = unanswered(found, ["a"])
    last = {trace.policy: trace.steps[-1] for trace in silent.traces}
    assert [(last[name].held, last[name].seen.actual) for name in "ab"] == [
        (None, "it gave no answer"),
        (False, "it does not"),
    ]
    assert (silent.verdict, last["z"].held) == (GRANTED, True)
    assert last["a"].seen.expected == last["b"].seen.expected == f"{OPA} says true"
