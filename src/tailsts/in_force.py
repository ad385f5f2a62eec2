"""The policies that are in force, with the keys of the issuers that they trust."""

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from tailsts.errors import KeysUnavailableError
from tailsts.oidc.families import KeyFamily
from tailsts.oidc.jwks import KeyCache
from tailsts.oidc.keyring import KeyRing
from tailsts.oidc.keys import KeySet
from tailsts.policy.model import Generation, Trust
from tailsts.policy.trusted import TrustedIssuers

Trusted = tuple[Trust, KeyCache]
Keyed = tuple[Trust, KeySet]


class InForce(msgspec.Struct, frozen=True):
    """A generation of policies with the keys of its trusts. An exchange sees one, to its end.

    `by_issuer` has the trusts of issuers that are named, `families` those of issuers that a pattern names; `trusted`
    is the allow-list that stands above all policies, if there is one.
    """

    generation: Generation
    by_issuer: Mapping[str, Sequence[tuple[Trust, KeyCache]]]
    families: Sequence[tuple[Trust, KeyFamily]] = ()
    trusted: TrustedIssuers | None = None

    def trusts_of(self, issuer: str) -> Sequence[tuple[Trust, KeyCache]]:
        """Return the trusts that a token with this `iss` may come under, with their keys.

        Raises:
            KeysUnavailableError: the keys of an issuer that only a pattern names cannot be asked for now.
        """
        named = self.by_issuer.get(issuer, ())
        if not self.families:
            return named
        matching: list[tuple[Trust, KeyCache]] = []
        fault = None
        for trust, family in self.families:
            if trust.issuer.matches(issuer):
                try:
                    matching.append((trust, family.cache(issuer)))
                except KeysUnavailableError as error:
                    fault = error
        # What strangers do to a pattern must not be felt by issuers that are named, or that another pattern matches.
        if fault is not None and not named and not matching:
            raise fault
        return (*named, *matching)


def put_together(generation: Generation, keys: KeyRing, trusted: TrustedIssuers | None) -> InForce:
    """Return the generation with its keys. Caches of issuers that it does not name any more end.

    Needs a running event loop: keys are fetched from now on.
    """
    trusts = generation.all_trusts()
    if trusted is not None and trusted.mode == "enforce":
        # Whose tokens are rejected anyway is not asked for keys.
        trusts = [trust for trust in trusts if trust.issuer.pattern is not None or trusted.permits(trust.issuer.name)]
    named = [trust for trust in trusts if trust.issuer.pattern is None]
    matched = [trust for trust in trusts if trust.issuer.pattern is not None]
    caches = keys.adopt((trust.issuer.name, trust.source) for trust in named)
    families = keys.adopt_families((trust.issuer.name, trust.source) for trust in matched)
    by_issuer: dict[str, list[Trusted]] = {}
    for trust in named:
        by_issuer.setdefault(trust.issuer.name, []).append((trust, caches[trust.issuer.name, trust.source]))
    return InForce(
        generation,
        by_issuer,
        [(trust, families[trust.issuer.name, trust.source]) for trust in matched],
        trusted,
    )


def at_hand(trusts: Sequence[Trusted], key_id: str | None) -> list[Keyed]:
    """Return the key sets that can judge the key id at once.

    If there are any, no other is fetched: a token of one cluster must not have the other cluster's keys fetched.
    """
    return [(trust, keys) for trust, cache in trusts if (keys := cache.cached(key_id)) is not None]


async def fetch(trusts: Sequence[Trusted], key_id: str | None) -> list[Keyed]:
    """Return the key sets that can judge the key id, fetched anew where the rules of the caches allow it.

    Raises:
        KeysUnavailableError: none holds the key, and one that might cannot be had.
    """
    answers = await asyncio.gather(*(cache.keys_for(key_id) for _, cache in trusts), return_exceptions=True)
    keyed = [(trust, keys) for (trust, _), keys in zip(trusts, answers, strict=True) if isinstance(keys, KeySet)]
    knowing = [(trust, keys) for trust, keys in keyed if keys.knows(key_id)]
    faults = [answer for answer in answers if isinstance(answer, BaseException)]
    if faults and not knowing:
        raise faults[0]
    return knowing or keyed


async def first_keys(trusts: Sequence[Trusted], key_id: str | None) -> None:
    """Wait for those keys that nobody has had yet, and that are on their way."""
    begun = [cache for _, cache in trusts if cache.keys is None and cache.fault is None]
    await asyncio.gather(*(cache.keys_for(key_id) for cache in begun), return_exceptions=True)


def refuse_to_guess(trusts: Sequence[Trusted], keyed: Sequence[Keyed]) -> None:
    """Raise if a trust that might have granted the request has no keys now: then "no" is more than we know."""
    if len(keyed) < len(trusts):
        for _, cache in trusts:
            cache.require_usable()
