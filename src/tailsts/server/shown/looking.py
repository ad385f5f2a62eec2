"""What this process shows of itself, put together when it is asked for."""

from collections.abc import Callable, Iterable, Mapping

import msgspec

from tailsts.oidc.families import KeyFamily
from tailsts.oidc.jwks import KeyCache
from tailsts.oidc.source import describe
from tailsts.policy.model import Generation
from tailsts.server.journal import Journal
from tailsts.server.shown.metrics import Metrics
from tailsts.server.shown.patterns import PatternState
from tailsts.server.shown.readiness import Health, TrustState, assess
from tailsts.server.shown.snapshot import Labels, Load, Snapshot, Totals, Waiting
from tailsts.server.webhook.webhook import Webhook


class Standing(msgspec.Struct, frozen=True):
    """How the service stands: what is in force, what the last reload said, whether it is about to end.

    `turned_away` has by reason how many requests nothing was read of; `failing_fast`, by tailnet, whether Tailscale is
    hardly asked at the moment; `loads`, by name, what there is only so much of; `state_fault` why the state cannot be
    asked, which is not watched where it is in memory.
    """

    generation: Generation
    reload_faults: tuple[str, ...] = ()
    draining: bool = False
    turned_away: Mapping[str, int] = {}
    failing_fast: Mapping[str, bool] = {}
    loads: Mapping[str, Load] = {}
    state_is_watched: bool = False
    state_fault: str | None = None


class Sight:
    """Looks at the parts of the service. Nothing is kept: each look is of the moment."""

    def __init__(
        self,
        metrics: Metrics,
        caches: Iterable[KeyCache],
        families: Callable[[], Iterable[KeyFamily]],
        kept_in: Journal,
        standing: Callable[[], Standing],
        webhook: Webhook | None = None,
    ) -> None:
        self._metrics = metrics
        self._caches = caches
        self._families = families
        self._kept_in = kept_in
        self._standing = standing
        self._webhook = webhook

    def look(self) -> Snapshot:
        """Return everything that is to be seen."""
        standing = self._standing()
        readiness = assess(
            standing.generation,
            [trust_state(cache) for cache in self._caches],
            [pattern_state(family) for family in self._families()],
            reload_faults=standing.reload_faults,
            draining=standing.draining,
            health=Health(self._kept_in.trouble(), standing.state_fault, _those(standing.failing_fast)),
        )
        webhook = None if self._webhook is None else Waiting(self._webhook.pending, self._webhook.used)
        return Snapshot(
            self._totals(standing),
            readiness,
            standing.loads,
            self._kept_in.fault is None,
            webhook=webhook,
            failing_fast=standing.failing_fast,
            state_reachable=standing.state_fault is None if standing.state_is_watched else None,
        )

    def _totals(self, standing: Standing) -> Totals:
        counters: dict[str, dict[Labels, int]] = {
            **self._metrics.counters(),
            "lost": {(): self._kept_in.lost},
            "turned_away": {(reason,): count for reason, count in standing.turned_away.items()},
        }
        if self._webhook is not None:
            counters["webhook_delivered"] = {(): self._webhook.delivered}
            counters["webhook_failed"] = {(): self._webhook.failed}
            counters["webhook_lost"] = {(reason,): count for reason, count in self._webhook.lost.items()}
        stages = {name: (tuple(stage.counts), stage.sum) for name, stage in self._metrics.stages.items()}
        return Totals(counters, stages)


def trust_state(cache: KeyCache) -> TrustState:
    """Return how the keys of one issuer stand."""
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


def pattern_state(family: KeyFamily) -> PatternState:
    """Return how the keys of the issuers of one pattern stand."""
    caches = tuple(family)
    ages = [age for cache in caches if (age := cache.age()) is not None]
    return PatternState(
        family.name,
        describe(family.source),
        issuers=len(caches),
        stale=sum(cache.fault is not None for cache in caches),
        age_seconds=round(max(ages), 1) if ages else None,
    )


def _those(failing: Mapping[str, bool]) -> tuple[str, ...]:
    return tuple(sorted(name for name, is_failing in failing.items() if is_failing))
