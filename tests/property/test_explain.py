"""Laws of the explanation: it tells what the service does."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given

from property.strategies import NOW, answers, claims_of_few, policy_lists, verified_tokens, wanted_of_few
from tailsts.oidc.rejected import Reason, Rejected
from tailsts.oidc.verify import LEEWAY, VerifiedToken
from tailsts.policy.decide import Answers, Consult, Grant, Refusal, Wanted, decide, facts_for
from tailsts.policy.explain import Case, Explanation, by_keys, explain
from tailsts.policy.model import Generation, Policy, Trust, assemble

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
    trusts = generation.trusts_of(token.issuer)
    assert explanation.verdict == verdict_of(trusts, token, wanted, said)
    for source, signers in by_keys(trusts).items():
        alone = [verdict_of(signers, token, wanted, said)]
        assert [each.verdict for each in explanation.under if each.source == source] == alone * bool(explanation.under)
    kinds = {type(verdict) for verdict in explanation.verdicts}
    if Consult in kinds or (Grant in kinds and len(kinds) > 1):
        assert explanation.allowed is None
    else:
        assert explanation.allowed is (kinds == {Grant})


def verdict_of(
    trusts: Sequence[Trust], token: VerifiedToken, wanted: Wanted, said: Answers
) -> Grant | Refusal | Consult | Rejected:
    """Return the verdict of the service, if the keys of all of these verify the token."""
    able = [trust for trust in trusts if token.algorithm in trust.algorithms]
    if not trusts:
        return Rejected(Reason.UNKNOWN_ISSUER, "no policy names this issuer")
    if not able:
        return Rejected(Reason.ALGORITHM, "no policy of this issuer names the algorithm")
    if token.expires_at + LEEWAY <= NOW:
        return Rejected(Reason.EXPIRED, "the token has expired")
    return decide(able, token, wanted, NOW, said)


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
    """Every policy of the issuer is explained, once, or the one that the request names; the nearest comes first.

    The very first is the one that the service names.
    """
    explanation = explain(assemble(policies, "d"), of_token(token, wanted), said)
    mine = {policy.name for policy in policies if policy.issuer.matches(token.issuer)}
    if wanted.policy is not None:
        mine &= {wanted.policy}
    assert sorted(trace.policy for trace in explanation.traces) == sorted(mine)
    named = isinstance(explanation.verdict, Refusal) and explanation.verdict.policy is not None
    if isinstance(explanation.verdict, Refusal) and named:
        assert explanation.traces[0].policy == explanation.verdict.policy
    reached = [first_failed(explanation, at) for at in range(named, len(explanation.traces))]
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
