"""What is counted. An exchange only adds to plain numbers; `tailsts.server.shown.looking` takes them along.

Labels are bounded: outcomes, reasons and stages are ours, issuers those of the policies; nothing of a token is one.
"""

from bisect import bisect_left
from collections import Counter

from tailsts.audit import Event
from tailsts.errors import AuditUnavailableError
from tailsts.oidc.jwks import FetchReport
from tailsts.oidc.source import describe
from tailsts.server.shown.snapshot import Labels

# Seconds. From a signature check to the longest that an exchange may take.
BUCKETS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
STAGES = ("keys", "verify", "decide", "opa", "mint")


class Histogram:
    """Counts of values, by the first bound that they do not exceed."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(BUCKETS, value)] += 1
        self.sum += value


class Metrics:
    """The service's numbers since it started."""

    def __init__(self) -> None:
        self.decisions: Counter[tuple[str, str]] = Counter()
        self.stages = {stage: Histogram() for stage in STAGES}
        self.fetches: Counter[tuple[str, str, str]] = Counter()
        self.upstream: Counter[str] = Counter()
        # From the start, so that the first one that fails is seen as one more.
        self.reloads: Counter[str] = Counter({"ok": 0, "failed": 0})
        self.would_refuse: Counter[str] = Counter()

    def counters(self) -> dict[str, dict[Labels, int]]:
        """Return all counters by name and labels."""
        several: dict[str, dict[Labels, int]] = {
            "decisions": {labels: count for labels, count in self.decisions.items()},  # noqa: C416 - another type of key
            "fetches": {labels: count for labels, count in self.fetches.items()},  # noqa: C416 - the same
        }
        single = {"upstream": self.upstream, "reloads": self.reloads, "would_refuse": self.would_refuse}
        return several | {
            name: {(label,): count for label, count in counter.items()} for name, counter in single.items()
        }

    def count(self, event: Event) -> None:
        """Count one exchange. A stage that was not reached is not observed."""
        self.decisions[event.outcome, event.reason] += 1
        if event.would_refuse:
            self.would_refuse[event.would_refuse] += 1
        for stage, milliseconds in (
            ("keys", event.keys_ms),
            ("verify", event.verify_ms),
            ("decide", event.decide_ms),
            ("opa", event.opa_ms),
            ("mint", event.mint_ms),
        ):
            if milliseconds:
                self.stages[stage].observe(milliseconds / 1000)
        # A token that the log could not record was given all the same, and is counted where that is said.
        if event.mint_ms and event.reason != AuditUnavailableError.reason:
            self.upstream["ok" if event.token_sha256 else event.reason] += 1

    def count_fetch(self, report: FetchReport) -> None:
        """Count one attempt to fetch keys."""
        result = "ok" if report.fault is None else "failed"
        self.fetches[report.family or report.issuer, describe(report.source), result] += 1
