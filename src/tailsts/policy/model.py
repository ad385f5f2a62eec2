"""A trust policy and what it belongs to. Frozen: a policy never changes, a folder is read into new ones."""

from collections.abc import Mapping, Sequence

import msgspec

from tailsts.oidc.source import KeySource
from tailsts.policy.condition import Condition, OpaAllows
from tailsts.policy.index import Index, index
from tailsts.policy.issuers import refuse_issuer
from tailsts.policy.patterns.pattern import Pattern
from tailsts.policy.rate import Rate

# How long a token may live unless its policy says otherwise. Workload tokens live minutes to hours; the longest
# usual ones, Kubernetes' for cloud roles, live a day.
DEFAULT_MAX_LIFETIME = 24 * 3600
# The tailnet of the credential that the command line names.
DEFAULT_TAILNET = "default"


class Issuer(msgspec.Struct, frozen=True, gc=False):
    """Whose tokens: the `iss` that is named byte for byte, or those that `pattern` matches. `name` is its text."""

    name: str
    pattern: Pattern | None = None

    def matches(self, issuer: str) -> bool:
        """Return whether a token with this `iss` is meant."""
        if self.pattern is None:
            return issuer == self.name
        # A pattern fixes the shape of what it matches, not all that an issuer has to be.
        return self.pattern.matches(issuer) and refuse_issuer(issuer) is None


class Bounds(msgspec.Struct, frozen=True, gc=False):
    """What a policy asks beyond the token and the request: that a token is used once; how often one subject may."""

    single_use: bool = False
    rate: Rate | None = None


class Policy(msgspec.Struct, frozen=True, gc=False):
    """Who may have which scopes and tags of which tailnet.

    All `conditions` must hold, in their order; then `opa`, if there is one, must agree. `tags` go with scopes that need
    some when the request names none; empty: nothing is said about tags. `bounds` are None where there are none.
    """

    name: str
    issuer: Issuer
    source: KeySource
    algorithms: frozenset[str]
    conditions: tuple[Condition, ...]
    tags: tuple[str, ...] = ()
    tailnet: str = DEFAULT_TAILNET
    opa: OpaAllows | None = None
    bounds: Bounds | None = None


class Trust(msgspec.Struct, frozen=True):
    """An issuer, one source of its keys, and the policies that rely on exactly this pair.

    Two clusters may share an issuer string and have different keys, so neither half alone names a trust. `policies`
    are ordered by name; `index` finds those that a token may come under.
    """

    issuer: Issuer
    source: KeySource
    algorithms: frozenset[str]
    policies: Sequence[Policy]
    by_name: Mapping[str, Policy]
    index: Index


class Generation(msgspec.Struct, frozen=True):
    """All policies at one moment. `digest` names it: of the policies' names and texts, or the commit they are from.

    `trusts` has the trusts of the issuers that are named, by name; `families` those of issuers that a pattern names.
    """

    digest: str
    policies: Sequence[Policy]
    trusts: Mapping[str, Sequence[Trust]]
    families: Sequence[Trust] = ()

    def all_trusts(self) -> Sequence[Trust]:
        """Return every trust."""
        return (*(trust for found in self.trusts.values() for trust in found), *self.families)

    def trusts_of(self, issuer: str) -> Sequence[Trust]:
        """Return the trusts that a token with this `iss` may come under."""
        matching = tuple(trust for trust in self.families if trust.issuer.matches(issuer))
        return (*self.trusts.get(issuer, ()), *matching)


def assemble(policies: Sequence[Policy], digest: str) -> Generation:
    """Index `policies` by issuer, key source and claims, so that a decision does not grow with their number."""
    ordered = tuple(sorted(policies, key=_name))
    groups: dict[tuple[Issuer, KeySource], list[Policy]] = {}
    for policy in ordered:
        groups.setdefault((policy.issuer, policy.source), []).append(policy)
    trusts: dict[str, list[Trust]] = {}
    families: list[Trust] = []
    for (issuer, source), members in groups.items():
        found = families if issuer.pattern is not None else trusts.setdefault(issuer.name, [])
        found.append(_trust(issuer, source, members))
    return Generation(digest, ordered, {issuer: tuple(found) for issuer, found in trusts.items()}, tuple(families))


def _trust(issuer: Issuer, source: KeySource, policies: Sequence[Policy]) -> Trust:
    return Trust(
        issuer=issuer,
        source=source,
        algorithms=frozenset().union(*(policy.algorithms for policy in policies)),
        policies=tuple(policies),
        by_name={policy.name: policy for policy in policies},
        index=index([policy.conditions for policy in policies]),
    )


def _name(policy: Policy) -> str:
    return policy.name
