"""Laws of the decision: one policy allows all of it, or nobody gets anything."""

import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fakes.judging import verdict
from property.strategies import NOW, answers, policy_lists, verified_tokens, wanted_of_few
from tailsts.oidc.verify import VerifiedToken
from tailsts.policy.condition import Check, ScopesAmong, TagsAmong
from tailsts.policy.decide import Answers, Consult, Grant, Refusal, Wanted, decide, facts_for
from tailsts.policy.model import Policy, assemble


def by_name(policies: list[Policy]) -> list[Policy]:
    """Return them as a trust has them."""
    return sorted(policies, key=lambda policy: policy.name)


def allows(policy: Policy, token: VerifiedToken, wanted: Wanted, said: Answers) -> bool:
    """Return whether the policy alone, asked condition by condition, allows it."""
    facts = facts_for(policy, token, wanted, NOW)
    named = wanted.policy in {None, policy.name} and policy.issuer.matches(token.issuer)
    agreed = policy.opa is None or said.get(policy.name) is True
    return named and agreed and all(condition.holds(facts) for condition in policy.conditions)


@given(verified_tokens, wanted_of_few, policy_lists, answers)
def test_rights_never_add_up(token: VerifiedToken, wanted: Wanted, policies: list[Policy], said: Answers) -> None:
    """A grant is that of the first policy by name which alone allows all of it; without such a one there is none."""
    full = {policy.name: said.get(policy.name, False) for policy in policies}
    if verdict_or_none(token, wanted, policies, full) is None:
        return
    alone = [policy.name for policy in by_name(policies) if allows(policy, token, wanted, full)]
    found = verdict(token, wanted, policies, NOW, full)
    assert (found.policy if isinstance(found, Grant) else None) == (alone[0] if alone else None)


@given(verified_tokens, wanted_of_few, policy_lists)
def test_a_grant_keeps_every_word_of_its_policy(token: VerifiedToken, wanted: Wanted, policies: list[Policy]) -> None:
    """A grant holds exactly the wanted scopes, and tags that its policy allows: those wanted, or its own."""
    found = verdict_or_none(token, wanted, policies, {policy.name: True for policy in policies})
    if not isinstance(found, Grant):
        return
    (policy,) = (policy for policy in policies if policy.name == found.policy)
    (scopes,) = (condition for condition in policy.conditions if isinstance(condition, ScopesAmong))
    (tags,) = (condition for condition in policy.conditions if isinstance(condition, TagsAmong))
    assert found.scopes == wanted.scopes
    assert set(wanted.scopes) <= scopes.allowed
    assert set(found.tags) <= tags.allowed
    assert not wanted.tags or found.tags == wanted.tags
    assert found.tags or not tags.allowed or "auth_keys" not in wanted.scopes


@given(verified_tokens, wanted_of_few, policy_lists)
def test_a_refusal_names_the_nearest_miss(token: VerifiedToken, wanted: Wanted, policies: list[Policy]) -> None:
    """A refusal names the check at which the policy failed that got furthest, also where the index passed it over."""
    said = {policy.name: False for policy in policies}
    found = verdict_or_none(token, wanted, policies, said)
    if not isinstance(found, Refusal):
        return
    mine = [policy for policy in policies if policy.issuer.matches(token.issuer)]
    if wanted.policy is not None:
        mine = [policy for policy in mine if policy.name == wanted.policy]
        if not mine:
            assert found == Refusal(Check.POLICY, (), named=True)
            return
    failed = [
        next((each for each in policy.conditions if not each.holds(facts_for(policy, token, wanted, NOW))), policy.opa)
        for policy in mine
    ]
    furthest = max((condition for condition in failed if condition is not None), key=lambda condition: condition.rank)
    assert found.check is furthest.check
    assert [miss.policy for miss in found.misses if miss.policy not in {policy.name for policy in mine}] == []
    assert len({miss.policy for miss in found.misses}) == len(found.misses) >= 1


@given(verified_tokens, wanted_of_few, policy_lists, st.data())
def test_another_policy_takes_nothing_away(
    token: VerifiedToken, wanted: Wanted, policies: list[Policy], data: st.DataObject
) -> None:
    """What some policies grant, the same policies and others beside them grant too."""
    said = {policy.name: True for policy in policies}
    some = [policy for policy in policies if data.draw(st.booleans())]
    if some and isinstance(verdict_or_none(token, wanted, some, said), Grant):
        assert isinstance(verdict(token, wanted, policies, NOW, said), Grant)


def verdict_or_none(
    token: VerifiedToken, wanted: Wanted, policies: list[Policy], said: Answers
) -> Grant | Refusal | Consult | None:
    """Return the verdict, or None if no policy is of the token's issuer."""
    if not assemble(policies, "d").trusts_of(token.issuer):
        return None
    return verdict(token, wanted, policies, NOW, said)


@given(verified_tokens, wanted_of_few, policy_lists, st.data())
def test_a_further_condition_never_allows_more(
    token: VerifiedToken, wanted: Wanted, policies: list[Policy], data: st.DataObject
) -> None:
    """Policies of which one has a condition less allow all that they allow with it."""
    if not policies:
        return
    said = {policy.name: True for policy in policies}
    position = data.draw(st.integers(0, len(policies) - 1))
    chosen = policies[position]
    left_out = data.draw(st.integers(0, len(chosen.conditions) - 1))
    fewer = (*chosen.conditions[:left_out], *chosen.conditions[left_out + 1 :])
    wider = list(policies)
    wider[position] = msgspec.structs.replace(chosen, conditions=fewer)
    if isinstance(verdict_or_none(token, wanted, policies, said), Grant):
        assert isinstance(verdict_or_none(token, wanted, wider, said), Grant)


@given(verified_tokens, wanted_of_few, policy_lists)
def test_who_may_have_more_may_have_less(token: VerifiedToken, wanted: Wanted, policies: list[Policy]) -> None:
    """Whoever is granted several scopes, unconditionally, is granted each alone, and nobody is granted none."""
    plain = [
        msgspec.structs.replace(
            policy, opa=None, conditions=tuple(each for each in policy.conditions if each.check is not Check.CONDITION)
        )
        for policy in policies
    ]
    if isinstance(verdict_or_none(token, wanted, plain, {}), Grant):
        for scope in wanted.scopes:
            assert isinstance(verdict(token, msgspec.structs.replace(wanted, scopes=(scope,)), plain, NOW), Grant)
    nothing = msgspec.structs.replace(wanted, scopes=())
    assert not isinstance(verdict_or_none(token, nothing, plain, {}), Grant)


@given(policy_lists, st.randoms(use_true_random=False))
def test_p14_the_order_of_files_does_not_matter(policies: list[Policy], chance: random.Random) -> None:
    """P-14: policies that are read in another order are the same generation."""
    shuffled = list(policies)
    chance.shuffle(shuffled)
    assert assemble(shuffled, "d") == assemble(policies, "d")


@given(verified_tokens, wanted_of_few, policy_lists)
def test_no_token_is_judged_under_another_trust(token: VerifiedToken, wanted: Wanted, policies: list[Policy]) -> None:
    """A verdict under one trust names no policy of another: not in a grant, not in a miss, not in a question."""
    for trust in assemble(policies, "d").trusts_of(token.issuer):
        found = decide([trust], token, wanted, NOW)
        named = {miss.policy for miss in found.misses} if isinstance(found, Refusal) else {found.policy}
        assert named <= {policy.name for policy in policies if policy.source == trust.source}
