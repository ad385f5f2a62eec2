"""From a `VerifiedToken` and the scopes that it wants to a `Grant`, or to a `Refusal`.

The only function that makes a `Grant`. Pure. The first policy, by name, that allows the whole request wins; rights
of several policies are never added up, so a policy means what it says whatever lies beside it.
"""

from collections.abc import Sequence
from enum import IntEnum

import msgspec

from tailsts.oidc.verify import LEEWAY, VerifiedToken
from tailsts.policy.model import Policy


class Check(IntEnum):
    """The checks of a policy, in the order in which they are made. A higher one that fails is a nearer miss."""

    SUBJECT = 1
    AUDIENCE = 2
    ALGORITHM = 3
    LIFETIME = 4
    SCOPE = 5


class Grant(msgspec.Struct, frozen=True, gc=False):
    """The permission to mint one access token with exactly these scopes."""

    policy: str
    scopes: tuple[str, ...]


class Refusal(msgspec.Struct, frozen=True):
    """Trusted, but not allowed. `check` is the one at which the policy that came nearest, `policy`, failed."""

    check: Check
    policy: str | None

    @property
    def reason(self) -> str:
        """The reason code of the audit log and the metrics."""
        return f"{self.check.name.lower()}_not_allowed"


def decide(
    token: VerifiedToken,
    wanted: tuple[str, ...],
    policies: Sequence[Policy],
    now: float,
) -> Grant | Refusal:
    """Return the first policy's grant of all `wanted` scopes, or the refusal of the one that came nearest.

    `policies` are those of the trust whose keys verified the token, ordered by name. `wanted` holds each scope once.
    """
    nearest = Refusal(Check.SUBJECT, None)
    for policy in policies:
        failed = _first_failed(policy, token, wanted, now)
        if failed is None:
            return Grant(policy.name, wanted)
        if failed > nearest.check:
            nearest = Refusal(failed, policy.name)
    return nearest


def best(verdicts: Sequence[Grant | Refusal]) -> Grant | Refusal:
    """Return the verdict that counts among those of several trusts: the first grant by name, else the nearest miss."""
    grants = [verdict for verdict in verdicts if isinstance(verdict, Grant)]
    if grants:
        return min(grants, key=lambda grant: grant.policy)
    return max((verdict for verdict in verdicts if isinstance(verdict, Refusal)), key=lambda refusal: refusal.check)


def _first_failed(policy: Policy, token: VerifiedToken, wanted: tuple[str, ...], now: float) -> Check | None:
    if policy.subject is not None and policy.subject != token.subject:
        return Check.SUBJECT
    # RFC 7519, 4.1.3: one of the token's audiences must be one of ours.
    if policy.audiences and policy.audiences.isdisjoint(token.audiences):
        return Check.AUDIENCE
    if token.algorithm not in policy.algorithms:
        return Check.ALGORITHM
    if _lives_too_long(token, policy.max_lifetime, now):
        return Check.LIFETIME
    if not wanted or not policy.allowed_scopes.issuperset(wanted):
        return Check.SCOPE
    return None


def _lives_too_long(token: VerifiedToken, limit: int, now: float) -> bool:
    # From its issue, so that an old token with a far expiry does not pass late in its life; and from now, so that
    # an issuer that leaves iat out gains nothing by it.
    if token.issued_at is not None and token.expires_at - token.issued_at > limit:
        return True
    return token.expires_at - now > limit + LEEWAY
