"""What is to be said about policies that lie beside each other, and about now. Pure.

Only `tailsts check` asks this: for the service it makes no difference.
"""

from collections.abc import Iterator, Mapping, Sequence

from tailsts.policy.claims import Path, Scalar, exactly
from tailsts.policy.condition import (
    AgeAtMost,
    AlgorithmAmong,
    AudienceAmong,
    AudienceMatches,
    ClaimIs,
    ClaimMatches,
    Condition,
    LifetimeAtMost,
    ScopesAmong,
    SubjectIs,
    SubjectMatches,
    TagsAmong,
    Within,
)
from tailsts.policy.finding import Page, Severity
from tailsts.policy.model import Generation, Policy, Trust
from tailsts.policy.patterns.language import surely_within
from tailsts.policy.patterns.pattern import Pattern
from tailsts.policy.patterns.syntax import parse
from tailsts.scopes import CARRY_TAGS

# Of the policies that begin with the same value, or with none, so many are compared with all that could be covered.
MAX_COMPARED = 16

_Exactly = tuple[Path, tuple[type, Scalar]]


def judge_together(generation: Generation, pages: Mapping[str, Page], now: float) -> None:
    """Note on the page of each policy that another one covers it, or that its time is over. `pages` are by name."""
    for policy in generation.policies:
        _judge_period(policy, pages[policy.name], now)
    for trust in generation.all_trusts():
        families = [family for family in generation.families if family is not trust and _has_keys_of(family, trust)]
        for policy, other in _covered(trust, families):
            message = f"allows nothing that {pages[other.name].file} does not allow as well"
            page = pages[policy.name]
            page.note(Severity.ADVICE, "covered", "", message, "remove one of the two")


def _judge_period(policy: Policy, page: Page, now: float) -> None:
    for condition in policy.conditions:
        if isinstance(condition, Within) and condition.not_after is not None and condition.not_after <= now:
            message = "is in the past: the policy allows nothing any more"
            page.note(Severity.ADVICE, "expired", "not_after", message, "remove the policy")


def _has_keys_of(family: Trust, trust: Trust) -> bool:
    """Return whether each token of `trust` is one of `family`, by the same keys: those that the issuer itself names."""
    return trust.issuer.pattern is None and family.source == trust.source and family.issuer.matches(trust.issuer.name)


def _covered(trust: Trust, families: Sequence[Trust]) -> Iterator[tuple[Policy, Policy]]:
    """Yield each policy that another one covers, with that one. Of two that allow the same, the later is covered."""
    filed: dict[_Exactly, list[Policy]] = {}
    wide: list[Policy] = []
    for policy in (*trust.policies, *(policy for family in families for policy in family.policies)):
        # Whatever covers another asks for less: all values that the other names for a claim are among its own. So it
        # is filed under each value of one claim, and looked for under one value of each claim.
        places = [filed.setdefault(value, []) for value in next(_exactly(policy), ())] or [wide]
        for found in places:
            if len(found) < MAX_COMPARED:
                found.append(policy)
    for policy in trust.policies:
        near = (other for values in _exactly(policy) for other in filed.get(values[0], ()))
        for other in (*wide, *near):
            if other is not policy and _covers(other, policy) and _goes_first(other, policy):
                yield policy, other
                break


def _exactly(policy: Policy) -> Iterator[tuple[_Exactly, ...]]:
    """Yield the values that the policy asks for, all of one claim together."""
    for condition in policy.conditions:
        if isinstance(condition, SubjectIs):
            yield ((("sub",), (str, condition.subject)),)
        elif isinstance(condition, ClaimIs):
            yield tuple((condition.path, exactly(value)) for value in condition.values)


def _goes_first(other: Policy, policy: Policy) -> bool:
    return other.name < policy.name or not _covers(policy, other)


def _covers(wide: Policy, policy: Policy) -> bool:
    """Return whether `wide` surely allows every request that `policy` allows, of the same trust."""
    if wide.tailnet != policy.tailnet or wide.opa not in {None, policy.opa} or wide.bounds not in {None, policy.bounds}:
        return False
    return not _lends_less(wide, policy) and all(_is_met(asked, policy.conditions) for asked in wide.conditions)


def _lends_less(wide: Policy, policy: Policy) -> bool:
    """Return whether a request without tags gets all tags of the client by `policy`, and only some by `wide`."""
    if policy.tags or not wide.tags:
        return False
    scopes = (condition.allowed for condition in policy.conditions if isinstance(condition, ScopesAmong))
    return any(not CARRY_TAGS.isdisjoint(allowed) for allowed in scopes)


def _is_met(asked: Condition, known: Sequence[Condition]) -> bool:
    """Return whether `asked` holds wherever all of `known` hold."""
    return any(condition.check is asked.check and _implies(condition, asked) for condition in known)


def _implies(known: Condition, asked: Condition) -> bool:
    match known, asked:
        case (SubjectIs(subject=text), SubjectMatches(pattern=pattern)):
            return pattern.matches(text)
        case (SubjectMatches(narrow), SubjectMatches(pattern)) | (AudienceMatches(narrow), AudienceMatches(pattern)):
            return _is_within(narrow, pattern)
        case (ClaimMatches(path, narrow), ClaimMatches(other, pattern)):
            return path == other and _is_within(narrow, pattern)
        # Never by ==, for which 1, 1.0 and True are the same.
        case (ClaimIs(), ClaimIs() | ClaimMatches()):
            return known.path == asked.path and _all_meet(known, asked)
        case (AudienceAmong(audiences=audiences), AudienceMatches(pattern=pattern)):
            return all(map(pattern.matches, audiences))
        case (Within(), Within()):
            return _lies_within(known, asked)
        case _:
            return known == asked or _is_less(known, asked)


def _is_within(narrow: Pattern, wide: Pattern) -> bool:
    nodes = parse(narrow.text), parse(wide.text)
    return narrow == wide or (nodes[0] is not None and nodes[1] is not None and surely_within(nodes[0], nodes[1]))


def _is_less(known: Condition, asked: Condition) -> bool:
    match known, asked:
        case (
            (AudienceAmong(audiences=few), AudienceAmong(audiences=many))
            | (AlgorithmAmong(algorithms=few), AlgorithmAmong(algorithms=many))
            | (ScopesAmong(allowed=few), ScopesAmong(allowed=many))
            | (TagsAmong(allowed=few), TagsAmong(allowed=many))
        ):
            return few <= many
        case (LifetimeAtMost(seconds=short), LifetimeAtMost(seconds=long)) | (
            AgeAtMost(seconds=short),
            AgeAtMost(seconds=long),
        ):
            return short <= long
        case _:
            return False


def _all_meet(known: ClaimIs, asked: ClaimIs | ClaimMatches) -> bool:
    if isinstance(asked, ClaimIs):
        return {exactly(value) for value in known.values} <= {exactly(value) for value in asked.values}
    return all(isinstance(text, str) and asked.pattern.matches(text) for text in known.values)


def _lies_within(inner: Within, outer: Within) -> bool:
    starts = outer.not_before is None or (inner.not_before is not None and inner.not_before >= outer.not_before)
    ends = outer.not_after is None or (inner.not_after is not None and inner.not_after <= outer.not_after)
    return starts and ends
