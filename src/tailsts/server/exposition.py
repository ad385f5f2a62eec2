"""The metrics as Prometheus reads them (text format), made anew at each scrape."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from tailsts import __version__
from tailsts.oidc.families import KeyFamily
from tailsts.oidc.jwks import KeyCache
from tailsts.oidc.source import describe
from tailsts.policy.model import Generation
from tailsts.server.journal import Journal
from tailsts.server.metrics import Metrics


class Exposition(Collector):
    """Everything that is to be seen, looked at when it is asked for."""

    def __init__(
        self,
        metrics: Metrics,
        caches: Iterable[KeyCache],
        generation: Callable[[], Generation],
        audit_journal: Journal,
        families: Callable[[], Iterable[KeyFamily]] = tuple,
    ) -> None:
        self._metrics = metrics
        self._caches = caches
        self._families = families
        self._generation = generation
        self._audit_journal = audit_journal
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> str:
        """Return the text of one scrape."""
        return generate_latest(self._registry).decode()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric. The Prometheus library calls it."""
        yield from self._exchanges()
        yield from self._keys()
        yield from self._service()

    def _exchanges(self) -> Iterator[Metric]:
        decisions = CounterMetricFamily(
            "tailsts_decisions", "Exchanges by outcome and reason.", labels=["outcome", "reason"]
        )
        for labels, count in self._metrics.decisions.items():
            decisions.add_metric(labels, count)
        yield decisions
        would_refuse = CounterMetricFamily(
            "tailsts_would_refuse", "Exchanges that an allow-list which only watches would refuse.", labels=["reason"]
        )
        for reason, count in self._metrics.would_refuse.items():
            would_refuse.add_metric([reason], count)
        yield would_refuse
        stages = HistogramMetricFamily(
            "tailsts_stage_seconds",
            "Time of an exchange by stage: keys, verify, decide, opa, mint.",
            labels=["stage"],
        )
        for stage, histogram in self._metrics.stages.items():
            stages.add_metric([stage], histogram.cumulative(), histogram.sum)
        yield stages
        upstream = CounterMetricFamily(
            "tailsts_tailscale_requests", "Tokens asked of Tailscale by result.", labels=["result"]
        )
        for result, count in self._metrics.upstream.items():
            upstream.add_metric([result], count)
        yield upstream

    def _keys(self) -> Iterator[Metric]:
        labels = ["issuer", "source"]
        usable = GaugeMetricFamily("tailsts_keys", "Usable keys of an issuer; 0 if there are none now.", labels=labels)
        age = GaugeMetricFamily(
            "tailsts_key_age_seconds", "Time since an issuer's keys were last fetched.", labels=labels
        )
        for cache in self._caches:
            names = [cache.issuer, describe(cache.source)]
            usable.add_metric(names, len(cache.keys) if cache.keys and cache.is_usable() else 0)
            if (seconds := cache.age()) is not None:
                age.add_metric(names, seconds)
        yield usable
        yield age
        families = GaugeMetricFamily(
            "tailsts_key_family_issuers", "Issuers that match a pattern, and whose keys are kept.", labels=["pattern"]
        )
        for family in self._families():
            families.add_metric([family.name], len(family))
        yield families
        fetches = CounterMetricFamily(
            "tailsts_key_fetches", "Attempts to fetch an issuer's keys.", labels=[*labels, "result"]
        )
        for fetch, count in self._metrics.fetches.items():
            fetches.add_metric(fetch, count)
        yield fetches

    def _service(self) -> Iterator[Metric]:
        generation = self._generation()
        info = GaugeMetricFamily("tailsts_info", "The version and the policies.", labels=["version", "generation"])
        info.add_metric([__version__, generation.digest], 1)
        yield info
        yield GaugeMetricFamily("tailsts_policies", "Policies in force.", value=len(generation.policies))
        reloads = CounterMetricFamily("tailsts_policy_reloads", "Reloads by result.", labels=["result"])
        for result, count in self._metrics.reloads.items():
            reloads.add_metric([result], count)
        yield reloads
        yield CounterMetricFamily(
            "tailsts_audit_lines_lost", "Audit events that could not be kept.", value=self._audit_journal.lost
        )
        yield GaugeMetricFamily(
            "tailsts_audit_writable",
            "1 if the last attempt to write the audit log succeeded.",
            value=float(self._audit_journal.fault is None),
        )
