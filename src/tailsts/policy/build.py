"""From a `Draft` and what the server adds to a `Policy`: its conditions, in the order in which they are asked. Pure."""

from collections.abc import Iterator

from tailsts.oidc.source import KeySource
from tailsts.policy.condition import (
    AgeAtMost,
    AlgorithmAmong,
    AudienceAmong,
    AudienceMatches,
    ClaimIs,
    ClaimMatches,
    Condition,
    ExpressionHolds,
    LifetimeAtMost,
    OpaAllows,
    ScopesAmong,
    SubjectIs,
    SubjectMatches,
    TagsAmong,
    Within,
)
from tailsts.policy.draft import Draft
from tailsts.policy.model import Bounds, Issuer, Policy

NO_BOUNDS = Bounds()


def build(
    draft: Draft, source: KeySource, server_audiences: tuple[str, ...], *, server_single_use: bool = False
) -> Policy:
    """Return the policy. `server_audiences` count where it names none; `server_single_use` whatever it says."""
    bounds = Bounds(draft.single_use or server_single_use, draft.rate_limit)
    pattern = draft.issuer_pattern
    return Policy(
        name=draft.name,
        issuer=Issuer(draft.issuer) if pattern is None else Issuer(pattern.text, pattern),
        source=source,
        algorithms=draft.algorithms,
        conditions=tuple(sorted(_conditions(draft, server_audiences), key=lambda condition: condition.rank)),
        tags=tuple(sorted(draft.allowed_tags)),
        tailnet=draft.tailnet,
        opa=None if draft.opa_url is None else OpaAllows(draft.opa_url),
        bounds=None if bounds == NO_BOUNDS else bounds,
    )


def _conditions(draft: Draft, server_audiences: tuple[str, ...]) -> Iterator[Condition]:
    yield from _who(draft)
    audiences = draft.audiences or frozenset(server_audiences)
    if draft.audience_pattern is not None:
        yield AudienceMatches(draft.audience_pattern)
    elif audiences:
        yield AudienceAmong(audiences)
    yield AlgorithmAmong(draft.algorithms)
    yield LifetimeAtMost(draft.max_lifetime)
    if draft.max_age is not None:
        yield AgeAtMost(draft.max_age)
    if draft.not_before is not None or draft.not_after is not None:
        yield Within(draft.not_before, draft.not_after)
    yield ScopesAmong(draft.allowed_scopes)
    # Also where no tag is allowed: then none may be asked for.
    yield TagsAmong(draft.allowed_tags)


def _who(draft: Draft) -> Iterator[Condition]:
    if draft.subject is not None:
        yield SubjectIs(draft.subject)
    if draft.subject_pattern is not None:
        yield SubjectMatches(draft.subject_pattern)
    for path, values in draft.claims:
        yield ClaimIs(path, values)
    for path, pattern in draft.claim_patterns:
        yield ClaimMatches(path, pattern)
    if draft.condition is not None:
        yield ExpressionHolds(draft.condition)
