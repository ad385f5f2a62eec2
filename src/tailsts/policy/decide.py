"""From a `VerifiedToken` and what it wants to a `Grant`, or to a `Refusal`.

The only function that makes a `Grant`. Pure. The first policy, by name, that allows the whole request wins; rights
of several policies are never added up, so a policy means what it says whatever lies beside it.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from tailsts.oidc.verify import VerifiedToken
from tailsts.policy.claims import lookup
from tailsts.policy.condition import Check, ClaimIs, Condition, Facts, OpaAllows, SubjectIs
from tailsts.policy.index import shared_start
from tailsts.policy.model import DEFAULT_TAILNET, Bounds, Policy, Trust
from tailsts.scopes import CARRY_TAGS

# Of the policies that came nearest, so many are remembered with a refusal.
MAX_MISSES = 5


class Wanted(msgspec.Struct, frozen=True, gc=False):
    """What is wanted of the service: each scope and tag once, at least one scope.

    Without `tags`, scopes that need some get the policy's; without `policy`, any policy may grant the request.
    """

    scopes: tuple[str, ...]
    tags: tuple[str, ...] = ()
    policy: str | None = None


class Terms(msgspec.Struct, frozen=True, gc=False):
    """What bounds a grant, and whom: the subject of the issuer, and when its token expires (seconds since 1970)."""

    bounds: Bounds
    issuer: str
    subject: str
    expires_at: float


class Grant(msgspec.Struct, frozen=True, gc=False):
    """The permission to mint one access token of this tailnet, with exactly these scopes and tags, on these terms."""

    policy: str
    scopes: tuple[str, ...]
    tags: tuple[str, ...] = ()
    tailnet: str = DEFAULT_TAILNET
    terms: Terms | None = None


class Miss(msgspec.Struct, frozen=True):
    """The first condition of a policy that did not hold for these facts. None of it is for the caller to see."""

    policy: str
    condition: Condition | OpaAllows
    facts: Facts


class Refusal(msgspec.Struct, frozen=True):
    """Trusted, but not allowed. `check` is the one at which the policy that came nearest failed.

    `misses` are those of the nearest policies, the nearest first; empty only if the request named a policy (`named`)
    and there is none of that name.
    """

    check: Check
    misses: tuple[Miss, ...] = ()
    named: bool = False

    @property
    def reason(self) -> str:
        """The reason code of the audit log and the metrics."""
        return f"{self.check.name.lower()}_not_allowed"

    @property
    def policy(self) -> str | None:
        """The policy that came nearest."""
        return self.misses[0].policy if self.misses else None


class Consult(msgspec.Struct, frozen=True):
    """No verdict yet: `policy` would grant this, if the Open Policy Agent that it names agrees."""

    policy: str
    opa: OpaAllows
    facts: Facts


Answers = Mapping[str, bool]
NO_ANSWERS: Answers = {}


def decide(
    trusts: Sequence[Trust],
    token: VerifiedToken,
    wanted: Wanted,
    now: float,
    answers: Answers = NO_ANSWERS,
) -> Grant | Refusal | Consult:
    """Return the first policy's grant of all that is wanted, or the refusal of the one that came nearest.

    `trusts` are those whose keys verified the token. `answers` has what Open Policy Agents said so far, by policy:
    where one is missing that counts, it is asked for.
    """
    misses: list[Miss] = []
    for policy in candidates(trusts, token, wanted):
        seen = facts_for(policy, token, wanted, now)
        failed = _first_failed(policy, seen)
        if failed is None and policy.opa is not None:
            answer = answers.get(policy.name)
            if answer is None:
                return Consult(policy.name, policy.opa, seen)
            failed = None if answer else policy.opa
        if failed is None:
            return Grant(policy.name, wanted.scopes, seen.tags, policy.tailnet, _terms(policy, token))
        misses.append(Miss(policy.name, failed, seen))
    if wanted.policy is None:
        misses += _passed_over(trusts, token, wanted, now, {miss.policy for miss in misses})
    return _refusal(wanted, misses)


def _terms(policy: Policy, token: VerifiedToken) -> Terms | None:
    if policy.bounds is None:
        return None
    return Terms(policy.bounds, token.issuer, token.subject, token.expires_at)


def facts_for(policy: Policy, token: VerifiedToken, wanted: Wanted, now: float) -> Facts:
    """Return what `policy` is to judge. Scopes that carry tags get the policy's where the request names none."""
    lends = policy.tags and not wanted.tags and not CARRY_TAGS.isdisjoint(wanted.scopes)
    return Facts(token, wanted.scopes, policy.tags if lends else wanted.tags, now)


def candidates(trusts: Sequence[Trust], token: VerifiedToken, wanted: Wanted) -> Sequence[Policy]:
    """Return the policies that the request may come under, ordered by name."""
    if wanted.policy is not None:
        return [trust.by_name[wanted.policy] for trust in trusts if wanted.policy in trust.by_name]
    if len(trusts) == 1:
        return _found(trusts[0], token)
    return sorted((policy for trust in trusts for policy in _found(trust, token)), key=_name)


def _found(trust: Trust, token: VerifiedToken) -> list[Policy]:
    return [trust.policies[position] for position in trust.index.positions(token.claims)]


def _passed_over(
    trusts: Sequence[Trust], token: VerifiedToken, wanted: Wanted, now: float, judged: Collection[str]
) -> Iterator[Miss]:
    """Yield at what some failed that the index passed over: they were no candidates, but are part of the answer.

    All of them fail at the subject or a claim. Some of each kind are among these, those most like the token.
    """
    seen = set(judged)
    for trust in trusts:
        for position in trust.index.nearest(token.claims, MAX_MISSES):
            policy = trust.policies[position]
            if policy.name not in seen:
                seen.add(policy.name)
                facts = facts_for(policy, token, wanted, now)
                failed = _first_failed(policy, facts)
                assert failed is not None  # noqa: S101 - the index passes over nothing else: a law of the property tests
                yield Miss(policy.name, failed, facts)


def _first_failed(policy: Policy, facts: Facts) -> Condition | OpaAllows | None:
    for condition in policy.conditions:
        if not condition.holds(facts):
            return condition
    return None


def _refusal(wanted: Wanted, misses: list[Miss]) -> Refusal:
    nearest = tuple(sorted(misses, key=_distance)[:MAX_MISSES])
    check = nearest[0].condition.check if nearest else Check.POLICY
    return Refusal(check, nearest, wanted.policy is not None)


def _distance(miss: Miss) -> tuple[int, int, str]:
    return -miss.condition.rank, -likeness(miss.condition, miss.facts), miss.policy


def likeness(condition: Condition | OpaAllows, facts: Facts) -> int:
    """Return how much of the subject, or of a claim, is as a condition that did not hold wants it, from its start."""
    match condition:
        case SubjectIs(subject=subject):
            return shared_start(subject, facts.token.subject)
        case ClaimIs(path=path, values=values):
            actual = lookup(facts.token.claims, path)
            if isinstance(actual, str):
                return max(shared_start(value, actual) if isinstance(value, str) else 0 for value in values)
    return 0


def _name(policy: Policy) -> str:
    return policy.name
