"""Laws of the explanation: it tells what the service does."""

from typing import Any

from hypothesis import given

from property.strategies import NOW, answers, claims_of_few, policy_lists, verified_tokens, wanted_of_few
from tailsts.oidc.rejected import Reason, Rejected
from tailsts.oidc.verify import LEEWAY, VerifiedToken
from tailsts.policy.decide import Answers, Consult, Grant, Refusal, Wanted, decide, facts_for
from tailsts.policy.explain import Case, Explanation, explain
from tailsts.policy.model import Generation, Policy, assemble

ALGORITHMS = ("RS256", "ES256")


def of_token(token: VerifiedToken, wanted: Wanted) -> Case:
    """Return the case that a verified token is."""
    return Case(token.claims, token.algorithm, wanted, NOW)


@given(verified_tokens, wanted_of_few, policy_lists, answers)
def test_the_verdict_is_that_of_the_service(
    token: VerifiedToken, wanted: Wanted, policies: list[Policy], said: Answers
) -> None:
    """For any policies, claims, requests and answers of agents, explain and the service come to one verdict."""
    generation = assemble(policies, "d")
    explanation = explain(generation, of_token(token, wanted), said)
    trusts = [trust for trust in generation.trusts_of(token.issuer) if token.algorithm in trust.algorithms]
    if token.expires_at + 60 <= NOW and trusts:
        assert explanation.reason == Reason.EXPIRED
    elif trusts:
        verdict = decide(trusts, token, wanted, NOW, said)
        assert explanation.verdict == verdict
        assert explanation.reason == (verdict.reason if isinstance(verdict, Refusal) else "granted")
        assert explanation.allowed == isinstance(verdict, Grant | Consult)
    else:
        assert isinstance(explanation.verdict, Rejected)


@given(claims_of_few(), wanted_of_few, policy_lists, answers)
def test_every_step_says_what_its_condition_says(
    claims: dict[str, Any], wanted: Wanted, policies: list[Policy], said: Answers
) -> None:
    """Each check of each policy of the issuer is there, in its order, and held exactly if its condition does."""
    generation = assemble(policies, "d")
    explanation = explain(generation, Case(claims, "RS256", wanted, NOW), said)
    # Of an expired token the checks are as of its end.
    now = claims["exp"] if claims["exp"] + LEEWAY <= NOW else NOW
    token = VerifiedToken(
        claims["iss"], claims["sub"], tuple(claims["aud"]), "RS256", claims["exp"], claims.get("iat"), claims
    )
    by_name = {policy.name: policy for policy in policies}
    for trace in explanation.traces:
        policy = by_name[trace.policy]
        facts = facts_for(policy, token, wanted, now)
        agents = [] if policy.opa is None else [(policy.opa.check, said.get(policy.name))]
        expected = [*((each.check, each.holds(facts)) for each in policy.conditions), *agents]
        assert [(step.check, step.held) for step in trace.steps] == expected


@given(verified_tokens, wanted_of_few, policy_lists, answers)
def test_the_policies_explained_are_those_of_the_issuer(
    token: VerifiedToken, wanted: Wanted, policies: list[Policy], said: Answers
) -> None:
    """Every policy of the issuer is explained, once, or the one that the request names; the nearest comes first."""
    explanation = explain(assemble(policies, "d"), of_token(token, wanted), said)
    mine = {policy.name for policy in policies if policy.issuer.matches(token.issuer)}
    if wanted.policy is not None:
        mine &= {wanted.policy}
    assert sorted(trace.policy for trace in explanation.traces) == sorted(mine)
    reached = [first_failed(explanation, at) for at in range(len(explanation.traces))]
    assert reached == sorted(reached, reverse=True)
    assert all(not step.hint or step.held is False for trace in explanation.traces for step in trace.steps)


def first_failed(explanation: Explanation, at: int) -> int:
    """Return the rank of the first check of a policy that failed, or one beyond all."""
    return next((step.rank for step in explanation.traces[at].steps if step.held is False), 100)


@given(verified_tokens, wanted_of_few, policy_lists)
def test_a_grant_comes_from_a_policy_without_a_failed_check(
    token: VerifiedToken, wanted: Wanted, policies: list[Policy]
) -> None:
    """What grants is explained without one failed check; where all fail, nothing is granted."""
    generation = assemble(policies, "d")
    said = {policy.name: True for policy in policies}
    for algorithm in ALGORITHMS:
        explanation = explain(generation, Case(token.claims, algorithm, wanted, NOW), said)
        held = {trace.policy for trace in explanation.traces if trace.held}
        if isinstance(explanation.verdict, Grant):
            assert explanation.verdict.policy in held
        elif isinstance(explanation.verdict, Refusal):
            assert able(generation, held, algorithm) == set()


def able(generation: Generation, names: set[str], algorithm: str) -> set[str]:
    """Return those of the policies whose trust takes tokens with the algorithm."""
    return {
        policy.name
        for trust in generation.all_trusts()
        if algorithm in trust.algorithms
        for policy in trust.policies
        if policy.name in names
    }
