"""The keys of issuers that only a pattern names: found when a token of one comes, and kept within bounds.

Here a token does decide who is asked: so only https issuers that the pattern matches are, each new one against a
budget, those that failed not again for a while, and never more than a number of them are kept. Issuers whose keys are
known go on, whatever strangers ask for: what is made up never has keys, and only what has keys takes a place.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator

import msgspec

from tailsts.errors import KeysUnavailableError
from tailsts.oidc.jwks import MAX_WAITING, FetchReport, KeyCache
from tailsts.oidc.source import KeySource


class Bounds(msgspec.Struct, frozen=True):
    """What one family may cost. Seconds, or numbers of issuers."""

    kept: int = 256
    # A stranger who makes up issuers has each looked up once in this time.
    failed_for: float = 60.0
    names_kept: int = 1024
    # New issuers: so many at once, and one more each few seconds.
    burst: int = 20
    one_each: float = 3.0
    # Of those who wait for the first keys of one. Of all that begin at once they are fewer than may be in flight.
    waiting: int = 25


class KeyFamily:
    """The key caches of the issuers that `name`, a pattern, matches; each has its keys from such a `source`.

    `make` makes the cache of one, told where its reports go; `monotonic` gives seconds; `report` hears of attempts.
    """

    def __init__(
        self,
        name: str,
        source: KeySource,
        make: Callable[[str, Callable[[FetchReport], None]], KeyCache],
        *,
        bounds: Bounds,
        monotonic: Callable[[], float],
        report: Callable[[FetchReport], None],
    ) -> None:
        self.name = name
        self.source = source
        self._make = make
        self._bounds = bounds
        self._monotonic = monotonic
        self._report = report
        self._caches: OrderedDict[str, KeyCache] = OrderedDict()
        # Those that wait for their first keys; and the names of those that have had some, which may come back at will.
        self._begun: dict[str, KeyCache] = {}
        self._had_keys: OrderedDict[str, None] = OrderedDict()
        self._failed_until: OrderedDict[str, float] = OrderedDict()
        self._budget = float(bounds.burst)
        self._budget_at = monotonic()

    def __len__(self) -> int:
        """Return the number of issuers whose keys are kept, or awaited."""
        return len(self._caches) + len(self._begun)

    def __iter__(self) -> Iterator[KeyCache]:
        """Iterate over the caches."""
        return iter((*self._caches.values(), *self._begun.values()))

    def cache(self, issuer: str) -> KeyCache:
        """Return the cache of `issuer`, begun now if it is new.

        Raises:
            KeysUnavailableError: it failed a moment ago, or too many new issuers were asked for.
        """
        known = self._caches.get(issuer)
        if known is not None:
            self._caches.move_to_end(issuer)
            return known
        return self._begun.get(issuer) or self._begin(issuer)

    def _begin(self, issuer: str) -> KeyCache:
        now = self._monotonic()
        self._refuse_failed(issuer, now)
        if issuer not in self._had_keys:
            self._spend(now)
        made: KeyCache = self._make(issuer, lambda report: self._heard(made, report))
        made.max_waiting = self._bounds.waiting
        self._begun[issuer] = made
        made.start()
        return made

    def stop(self) -> None:
        """Stop every cache."""
        for cache in self:
            cache.stop()

    def _heard(self, cache: KeyCache, report: FetchReport) -> None:
        self._report(msgspec.structs.replace(report, family=self.name))
        if self._begun.get(report.issuer) is not cache:
            self._let_go_of_expired(report.issuer, cache)
            return
        del self._begun[report.issuer]
        if cache.keys is not None:
            self._keep(report.issuer, cache)
            return
        # One that never had keys is no issuer of ours, or is down: it is not kept, and not asked again at once.
        cache.stop()
        self._failed_until[report.issuer] = self._monotonic() + self._bounds.failed_for
        if len(self._failed_until) > self._bounds.names_kept:
            self._failed_until.popitem(last=False)

    def _let_go_of_expired(self, issuer: str, cache: KeyCache) -> None:
        """Keep no issuer that was down for so long that its keys cannot be used: some never come back."""
        if self._caches.get(issuer) is cache and not cache.is_usable():
            del self._caches[issuer]
            cache.stop()

    def _keep(self, issuer: str, cache: KeyCache) -> None:
        self._caches[issuer] = cache
        cache.max_waiting = MAX_WAITING
        if len(self._caches) > self._bounds.kept:
            _, oldest = self._caches.popitem(last=False)
            oldest.stop()
        self._had_keys[issuer] = None
        self._had_keys.move_to_end(issuer)
        if len(self._had_keys) > self._bounds.names_kept:
            self._had_keys.popitem(last=False)

    def _refuse_failed(self, issuer: str, now: float) -> None:
        until = self._failed_until.get(issuer)
        if until is None:
            return
        if until <= now:
            del self._failed_until[issuer]
            return
        raise KeysUnavailableError(
            f"no keys of {issuer}: it could not be asked a moment ago", retry_after=max(1, round(until - now))
        )

    def _spend(self, now: float) -> None:
        earned = (now - self._budget_at) / self._bounds.one_each
        self._budget = min(self._budget + earned, float(self._bounds.burst))
        self._budget_at = now
        if self._budget < 1:
            raise KeysUnavailableError(
                f"too many new issuers match {self.name}", retry_after=max(1, round(self._bounds.one_each))
            )
        self._budget -= 1
