"""The metrics as Prometheus reads them (text format), made anew at each scrape from what was seen."""

from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from tailsts import __version__
from tailsts.server.shown.metrics import BUCKETS, STAGES
from tailsts.server.shown.snapshot import Snapshot


def text(snapshot: Snapshot) -> str:
    """Return the text of one scrape."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Shown(snapshot))
    return generate_latest(registry).decode()


# What there is only so much of: its name in a snapshot, and the metrics of how much there is, and may be.
_LOADS = (
    (
        "exchanges",
        ("tailsts_exchanges_in_flight", "Exchanges in hand."),
        ("tailsts_exchanges_in_flight_limit", "So many may be in hand, of all workers together."),
    ),
    (
        "connections",
        ("tailsts_connections", "Connections that are open on the public port."),
        ("tailsts_connections_limit", "So many may be open, of all workers together."),
    ),
)


class _Shown(Collector):
    """What the Prometheus library asks for metrics."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        yield from self._exchanges()
        yield from self._loads()
        yield from self._tailscale()
        yield from self._keys()
        yield from self._service()

    def _counter(self, key: str, name: str, help_text: str, labels: Sequence[str]) -> Metric:
        family = CounterMetricFamily(name, help_text, labels=labels)
        for values, count in self._snapshot.totals.counters.get(key, {}).items():
            family.add_metric(values, count)
        return family

    def _exchanges(self) -> Iterator[Metric]:
        yield self._counter(
            "decisions", "tailsts_decisions", "Exchanges by outcome and reason.", labels=["outcome", "reason"]
        )
        yield self._counter(
            "would_refuse",
            "tailsts_would_refuse",
            "Exchanges that an allow-list which only watches would refuse.",
            labels=["reason"],
        )
        yield self._counter(
            "turned_away",
            "tailsts_turned_away",
            "Requests turned away unread, and connections closed to make room, by reason.",
            labels=["reason"],
        )
        stages = HistogramMetricFamily(
            "tailsts_stage_seconds",
            f"Time of an exchange by stage: {', '.join(STAGES)}.",
            labels=["stage"],
        )
        for stage, (counts, total) in self._snapshot.totals.stages.items():
            stages.add_metric([stage], cumulative(counts), total)
        yield stages

    def _loads(self) -> Iterator[Metric]:
        for key, taken, limit in _LOADS:
            load = self._snapshot.loads.get(key)
            if load is not None:
                yield GaugeMetricFamily(*taken, value=load.taken)
                yield GaugeMetricFamily(*limit, value=load.limit)

    def _tailscale(self) -> Iterator[Metric]:
        yield self._counter(
            "upstream",
            "tailsts_tailscale_requests",
            "Tokens wanted of Tailscale by result; not_asked: it had just failed.",
            labels=["tailnet", "result"],
        )
        failing_fast = GaugeMetricFamily(
            "tailsts_tailscale_failing_fast",
            "1 while Tailscale failed so often in a row that it is hardly asked.",
            labels=["tailnet"],
        )
        for tailnet, is_failing in self._snapshot.failing_fast.items():
            failing_fast.add_metric([tailnet], float(is_failing))
        yield failing_fast

    def _keys(self) -> Iterator[Metric]:
        labels = ["issuer", "source"]
        usable = GaugeMetricFamily("tailsts_keys", "Usable keys of an issuer; 0 if there are none now.", labels=labels)
        age = GaugeMetricFamily(
            "tailsts_key_age_seconds",
            "Time since an issuer's keys were last fetched; of a pattern, the oldest.",
            labels=labels,
        )
        for trust in self._snapshot.readiness.trusts:
            usable.add_metric([trust.issuer, trust.source], trust.keys)
        for names, seconds in self._ages().items():
            age.add_metric(names, seconds)
        yield usable
        yield age
        yield from self._patterns()
        yield self._counter(
            "fetches", "tailsts_key_fetches", "Attempts to fetch an issuer's keys.", labels=[*labels, "result"]
        )

    def _ages(self) -> dict[tuple[str, str], float]:
        """Return each age once: an issuer may be named as a pattern is, and a name that comes twice is no scrape."""
        readiness = self._snapshot.readiness
        known = [(trust.issuer, trust.source, trust.age_seconds) for trust in readiness.trusts]
        known += [(each.pattern, each.source, each.age_seconds) for each in readiness.patterns]
        ages: dict[tuple[str, str], float] = {}
        for issuer, source, seconds in known:
            if seconds is not None:
                ages[issuer, source] = max(seconds, ages.get((issuer, source), 0.0))
        return ages

    def _patterns(self) -> Iterator[Metric]:
        labels = ["pattern", "source"]
        kept = GaugeMetricFamily(
            "tailsts_key_family_issuers", "Issuers that match a pattern, and whose keys are kept.", labels=labels
        )
        stale = GaugeMetricFamily(
            "tailsts_key_family_stale_issuers", "Those of them whose last fetch of keys failed.", labels=labels
        )
        for each in self._snapshot.readiness.patterns:
            kept.add_metric([each.pattern, each.source], each.issuers)
            stale.add_metric([each.pattern, each.source], each.stale)
        yield kept
        yield stale

    def _service(self) -> Iterator[Metric]:
        readiness = self._snapshot.readiness
        info = GaugeMetricFamily("tailsts_info", "The version and the policies.", labels=["version", "generation"])
        # While workers reload, there may be more than one.
        for generation in readiness.generation.split():
            info.add_metric([__version__, generation], 1)
        yield info
        # Nobody knows how many there would be, and 0 would say that nobody is trusted.
        if self._snapshot.workers.up:
            yield GaugeMetricFamily("tailsts_policies", "Policies in force.", value=readiness.policies)
        yield GaugeMetricFamily(
            "tailsts_policy_faults",
            "Faults that the last reload found, or that keep a worker from starting.",
            value=len(readiness.reload_faults),
        )
        yield self._counter(
            "reloads", "tailsts_policy_reloads", "Reloads that changed something or were asked for.", labels=["result"]
        )
        yield self._counter("lost", "tailsts_audit_lines_lost", "Audit events that could not be kept.", labels=())
        yield GaugeMetricFamily(
            "tailsts_audit_writable",
            "1 if the last attempt to write the audit log succeeded.",
            value=float(self._snapshot.audit_writable),
        )
        if self._snapshot.state_reachable is not None:
            yield GaugeMetricFamily(
                "tailsts_state_reachable",
                "1 if the last question to the state was answered.",
                value=float(self._snapshot.state_reachable),
            )
        yield from self._workers()
        yield from self._webhook()

    def _workers(self) -> Iterator[Metric]:
        workers = self._snapshot.workers
        yield GaugeMetricFamily("tailsts_workers", "Workers that serve.", value=workers.up)
        yield GaugeMetricFamily("tailsts_workers_wanted", "Workers that should serve.", value=workers.wanted)
        yield CounterMetricFamily(
            "tailsts_worker_restarts", "Workers that were started again because one had ended.", value=workers.restarts
        )

    def _webhook(self) -> Iterator[Metric]:
        webhook = self._snapshot.webhook
        if webhook is None:
            return
        yield GaugeMetricFamily(
            "tailsts_audit_webhook_pending", "Audit events that the webhook has not taken yet.", value=webhook.events
        )
        yield GaugeMetricFamily(
            "tailsts_audit_webhook_spool_used_ratio", "How full the fullest spool is, from 0 to 1.", value=webhook.used
        )
        yield self._counter(
            "webhook_delivered", "tailsts_audit_webhook_delivered", "Audit events that the webhook took.", labels=()
        )
        yield self._counter(
            "webhook_failed",
            "tailsts_audit_webhook_failed_requests",
            "Requests to the webhook that were not answered 2xx.",
            labels=(),
        )
        yield self._counter(
            "webhook_lost",
            "tailsts_audit_webhook_lost",
            "Audit events that do not reach the webhook, by reason.",
            labels=["reason"],
        )


def cumulative(counts: Sequence[int]) -> list[tuple[str, float]]:
    """Return counts as Prometheus wants them: each bound with the number of values up to it."""
    return list(zip((*map(str, BUCKETS), "+Inf"), map(float, accumulate(counts)), strict=True))
