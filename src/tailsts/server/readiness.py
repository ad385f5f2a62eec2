"""Whether the service can do its work now, in detail: for the admin listener alone."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from tailsts.oidc.jwks import KeyCache
from tailsts.oidc.source import describe
from tailsts.policy.model import Generation

Status = Literal["ready", "degraded", "not ready"]


class TrustState(msgspec.Struct, frozen=True):
    """The keys of one issuer. `age_seconds` since they were fetched; `fault` is that of the last attempt."""

    issuer: str
    source: str
    state: Literal["fresh", "stale", "missing"]
    keys: int
    age_seconds: float | None
    fault: str | None


class Readiness(msgspec.Struct, frozen=True):
    """`ready`: every trust has keys. `degraded`: some have not, or the last reload failed. `not ready`: none has.

    A policy that names issuers by a pattern needs none before a token comes.
    """

    status: Status
    draining: bool
    policies: int
    generation: str
    reload_faults: tuple[str, ...]
    trusts: tuple[TrustState, ...]


def assess(
    generation: Generation,
    caches: Iterable[KeyCache],
    *,
    reload_faults: tuple[str, ...],
    draining: bool,
) -> Readiness:
    """Look at everything that an exchange needs."""
    trusts = tuple(_trust_state(cache) for cache in caches)
    usable = sum(trust.state != "missing" for trust in trusts)
    status: Status = "ready"
    # Whose keys a pattern of issuers needs is known when a token comes.
    if draining or not (usable or generation.families):
        status = "not ready"
    elif usable < len(trusts) or reload_faults:
        status = "degraded"
    return Readiness(status, draining, len(generation.policies), generation.digest, reload_faults, trusts)


def _trust_state(cache: KeyCache) -> TrustState:
    usable = cache.is_usable()
    age = cache.age()
    return TrustState(
        issuer=cache.issuer,
        source=describe(cache.source),
        state="missing" if not usable else "fresh" if cache.fault is None else "stale",
        keys=len(cache.keys) if usable and cache.keys is not None else 0,
        age_seconds=None if age is None else round(age, 1),
        fault=cache.fault,
    )
