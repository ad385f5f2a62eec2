"""All key caches of the service: one for each pair of issuer and key source that a policy names.

Where a policy names issuers by a pattern, the pair has a family of caches.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from tailsts.oidc.families import Bounds, KeyFamily
from tailsts.oidc.freshness import Rules
from tailsts.oidc.jwks import LIMITS, FetchReport, KeyCache
from tailsts.oidc.source import JwksFile, JwksText, KeySource
from tailsts.outbound import Outbound

Pair = tuple[str, KeySource]


class KeyRing:
    """Starts and stops caches as policies come and go. `extra_roots` are PEM texts trusted for every issuer."""

    def __init__(
        self,
        *,
        extra_roots: tuple[bytes, ...],
        rules: Rules,
        monotonic: Callable[[], float],
        report: Callable[[FetchReport], None],
    ) -> None:
        self._extra_roots = extra_roots
        self._rules = rules
        self._monotonic = monotonic
        self._report = report
        self._caches: dict[Pair, KeyCache] = {}
        self._families: dict[Pair, KeyFamily] = {}
        self._pools: dict[bytes | None, Outbound] = {}

    def __iter__(self) -> Iterator[KeyCache]:
        """Iterate over the caches that are in use."""
        return iter(tuple(self._caches.values()))

    def adopt(self, pairs: Iterable[Pair]) -> Mapping[Pair, KeyCache]:
        """Return a started cache for each pair, and stop those of no pair. Caches that stay keep their keys.

        Needs a running event loop: each cache fetches in the background from now on.
        """
        wanted = set(pairs)
        for pair in self._caches.keys() - wanted:
            self._caches.pop(pair).stop()
        for pair in wanted - self._caches.keys():
            self._caches[pair] = self._cache(*pair)
            self._caches[pair].start()
        return dict(self._caches)

    def adopt_families(self, pairs: Iterable[Pair]) -> Mapping[Pair, KeyFamily]:
        """Return a family for each pair of an issuer pattern and a key source, and stop those of no pair."""
        wanted = set(pairs)
        for pair in self._families.keys() - wanted:
            self._families.pop(pair).stop()
        for pair in wanted - self._families.keys():
            self._families[pair] = self._family(*pair)
        return dict(self._families)

    def families(self) -> Iterable[KeyFamily]:
        """Return the families that are in use."""
        return tuple(self._families.values())

    def stop(self) -> None:
        """Stop every cache."""
        self.adopt(())
        self.adopt_families(())

    def _family(self, pattern: str, source: KeySource) -> KeyFamily:
        return KeyFamily(
            pattern,
            source,
            lambda issuer, report: self._cache(issuer, source, report),
            bounds=Bounds(),
            monotonic=self._monotonic,
            report=self._report,
        )

    def _cache(self, issuer: str, source: KeySource, report: Callable[[FetchReport], None] | None = None) -> KeyCache:
        ca_pem = None if isinstance(source, JwksFile | JwksText) else source.ca_pem
        if ca_pem not in self._pools:
            roots = self._extra_roots if ca_pem is None else (*self._extra_roots, ca_pem)
            # Issuers behind content networks may answer compressed; the cap counts what comes out.
            self._pools[ca_pem] = Outbound(LIMITS, extra_roots=roots, compressed=True)
        return KeyCache(
            issuer,
            source,
            self._pools[ca_pem],
            rules=self._rules,
            monotonic=self._monotonic,
            report=report or self._report,
        )
