"""A trust policy and what it belongs to. Frozen: a policy never changes, a folder is read into new ones."""

from collections.abc import Mapping, Sequence

import msgspec

from tailsts.oidc.source import KeySource

# How long a token may live unless its policy says otherwise. Workload tokens live minutes to hours; the longest
# usual ones, Kubernetes' for cloud roles, live a day.
DEFAULT_MAX_LIFETIME = 24 * 3600


class Policy(msgspec.Struct, frozen=True):
    """Who (issuer, subject, audience) may have which scopes.

    `subject` None: any subject of the issuer. `audiences` empty: the audience is not looked at; it holds the
    server's where the policy names none. `max_lifetime` is in seconds.
    """

    name: str
    issuer: str
    source: KeySource
    algorithms: frozenset[str]
    subject: str | None
    audiences: frozenset[str]
    allowed_scopes: frozenset[str]
    max_lifetime: int


class Trust(msgspec.Struct, frozen=True):
    """An issuer, one source of its keys, and the policies that rely on exactly this pair.

    Two clusters may share an issuer string and have different keys, so neither half alone names a trust. Policies
    are ordered by name: `by_subject` holds those that name a subject, `any_subject` those that do not.
    """

    issuer: str
    source: KeySource
    algorithms: frozenset[str]
    by_subject: Mapping[str, Sequence[Policy]]
    any_subject: Sequence[Policy]

    def candidates(self, subject: str) -> Sequence[Policy]:
        """Return the policies that this subject may come under, ordered by name."""
        named = self.by_subject.get(subject, ())
        if not named or not self.any_subject:
            return named or self.any_subject
        return sorted((*named, *self.any_subject), key=_name)


class Generation(msgspec.Struct, frozen=True):
    """All policies of a folder at one moment. `digest` is of their names and texts: 16 hexadecimal digits."""

    digest: str
    policies: Sequence[Policy]
    trusts: Mapping[str, Sequence[Trust]]


def assemble(policies: Sequence[Policy], digest: str) -> Generation:
    """Index `policies` by issuer, key source and subject, so that a decision does not grow with their number."""
    ordered = tuple(sorted(policies, key=_name))
    groups: dict[tuple[str, KeySource], list[Policy]] = {}
    for policy in ordered:
        groups.setdefault((policy.issuer, policy.source), []).append(policy)
    trusts: dict[str, list[Trust]] = {}
    for (issuer, source), members in groups.items():
        trusts.setdefault(issuer, []).append(_trust(issuer, source, members))
    return Generation(digest, ordered, {issuer: tuple(found) for issuer, found in trusts.items()})


def _trust(issuer: str, source: KeySource, policies: Sequence[Policy]) -> Trust:
    by_subject: dict[str, list[Policy]] = {}
    for policy in policies:
        if policy.subject is not None:
            by_subject.setdefault(policy.subject, []).append(policy)
    return Trust(
        issuer=issuer,
        source=source,
        algorithms=frozenset().union(*(policy.algorithms for policy in policies)),
        by_subject={subject: tuple(named) for subject, named in by_subject.items()},
        any_subject=tuple(policy for policy in policies if policy.subject is None),
    )


def _name(policy: Policy) -> str:
    return policy.name
