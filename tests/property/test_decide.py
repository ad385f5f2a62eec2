"""Laws of the decision: one policy allows all of it, or nobody gets anything."""

import random

from hypothesis import given
from hypothesis import strategies as st

from property.strategies import NOW, policy_lists, verified_tokens, wanted_of_few
from tailsts.oidc.verify import VerifiedToken
from tailsts.policy.decide import Check, Grant, Refusal, best, decide
from tailsts.policy.model import Policy, assemble


def by_name(policies: list[Policy]) -> list[Policy]:
    """Return them as a trust has them."""
    return sorted(policies, key=lambda policy: policy.name)


@given(verified_tokens, wanted_of_few, policy_lists)
def test_rights_never_add_up(token: VerifiedToken, wanted: tuple[str, ...], policies: list[Policy]) -> None:
    """A grant is that of the first policy by name which alone allows all of it; without such a one there is none."""
    alone = [policy.name for policy in by_name(policies) if isinstance(decide(token, wanted, [policy], NOW), Grant)]
    verdict = decide(token, wanted, by_name(policies), NOW)
    assert (verdict.policy if isinstance(verdict, Grant) else None) == (alone[0] if alone else None)


@given(verified_tokens, wanted_of_few, policy_lists)
def test_a_grant_keeps_every_word_of_its_policy(
    token: VerifiedToken, wanted: tuple[str, ...], policies: list[Policy]
) -> None:
    """A grant holds exactly what was wanted, and its policy says yes to each single thing about it."""
    verdict = decide(token, wanted, by_name(policies), NOW)
    if isinstance(verdict, Refusal):
        return
    (policy,) = (policy for policy in policies if policy.name == verdict.policy)
    assert verdict.scopes == wanted
    assert set(wanted) <= policy.allowed_scopes
    assert policy.subject in {None, token.subject}
    assert not policy.audiences or policy.audiences & set(token.audiences)
    assert token.algorithm in policy.algorithms
    assert token.issued_at is None or token.expires_at - token.issued_at <= policy.max_lifetime
    assert token.expires_at - NOW <= policy.max_lifetime + 60


@given(verified_tokens, wanted_of_few, policy_lists)
def test_a_refusal_names_the_nearest_miss(
    token: VerifiedToken, wanted: tuple[str, ...], policies: list[Policy]
) -> None:
    """A refusal is that of the policy which came nearest, the first of them by name."""
    verdict = decide(token, wanted, by_name(policies), NOW)
    if isinstance(verdict, Grant):
        return
    misses = [decide(token, wanted, [policy], NOW) for policy in by_name(policies)]
    checks = [miss.check for miss in misses if isinstance(miss, Refusal)]
    assert verdict.check == max(checks, default=Check.SUBJECT)
    assert verdict in [*misses, Refusal(Check.SUBJECT, None)]


@given(verified_tokens, wanted_of_few, policy_lists, st.data())
def test_another_policy_takes_nothing_away(
    token: VerifiedToken, wanted: tuple[str, ...], policies: list[Policy], data: st.DataObject
) -> None:
    """What some policies grant, the same policies and others beside them grant too."""
    some = [policy for policy in policies if data.draw(st.booleans())]
    if isinstance(decide(token, wanted, by_name(some), NOW), Grant):
        assert isinstance(decide(token, wanted, by_name(policies), NOW), Grant)


@given(verified_tokens, wanted_of_few, policy_lists)
def test_who_may_have_more_may_have_less(token: VerifiedToken, wanted: tuple[str, ...], policies: list[Policy]) -> None:
    """Whoever is granted several scopes is granted each of them alone, and nobody is granted none."""
    ordered = by_name(policies)
    if isinstance(decide(token, wanted, ordered, NOW), Grant):
        assert all(isinstance(decide(token, (scope,), ordered, NOW), Grant) for scope in wanted)
    assert isinstance(decide(token, (), ordered, NOW), Refusal)


@given(policy_lists, st.randoms(use_true_random=False))
def test_p14_the_order_of_files_does_not_matter(policies: list[Policy], chance: random.Random) -> None:
    """P-14: policies that are read in another order are the same generation."""
    shuffled = list(policies)
    chance.shuffle(shuffled)
    assert assemble(shuffled, "d") == assemble(policies, "d")


@given(verified_tokens, wanted_of_few, policy_lists)
def test_the_index_changes_no_decision(token: VerifiedToken, wanted: tuple[str, ...], policies: list[Policy]) -> None:
    """A trust's candidates for a subject come to the same verdict as all of its policies, one after the other."""
    for trusts in assemble(policies, "d").trusts.values():
        for trust in trusts:
            mine = [found for found in policies if (found.issuer, found.source) == (trust.issuer, trust.source)]
            candidates = [policy for policy in by_name(mine) if policy.subject in {None, token.subject}]
            assert list(trust.candidates(token.subject)) == candidates
            found = decide(token, wanted, candidates, NOW)
            assert found == decide(token, wanted, by_name(mine), NOW)
            assert trust.algorithms == frozenset().union(*(policy.algorithms for policy in mine))


@given(verified_tokens, wanted_of_few, st.lists(policy_lists, min_size=1, max_size=3))
def test_several_trusts_never_add_up(token: VerifiedToken, wanted: tuple[str, ...], trusts: list[list[Policy]]) -> None:
    """Of verdicts under several trusts one counts, as it is: a grant if there is one, else the nearest miss."""
    verdicts = [decide(token, wanted, by_name(policies), NOW) for policies in trusts]
    verdict = best(verdicts)
    assert verdict in verdicts
    assert isinstance(verdict, Grant) is any(isinstance(each, Grant) for each in verdicts)
    if isinstance(verdict, Refusal):
        assert verdict.check == max(each.check for each in verdicts if isinstance(each, Refusal))
