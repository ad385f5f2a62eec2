"""What is counted. An exchange only adds to plain numbers; `tailsts.server.shown.looking` takes them along.

Labels are bounded: outcomes, reasons and stages are ours, tailnets those of the settings, issuers those of the
policies; nothing of a token is one.
"""

from bisect import bisect_left
from collections import Counter

from tailsts.audit import Event
from tailsts.errors import AuditUnavailableError, TailscaleUnavailableError
from tailsts.oidc.jwks import FetchReport
from tailsts.oidc.source import describe
from tailsts.server.shown.snapshot import Labels

# Seconds. From a signature check to the longest that an exchange may take.
BUCKETS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
STAGES = ("keys", "verify", "decide", "opa", "claim", "mint", "record")
# What became of a token that Tailscale was not even asked for: it had failed too often in a row.
NOT_ASKED = "not_asked"


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
        self.upstream: Counter[tuple[str, str]] = Counter()
        # From the start, so that the first one that fails is seen as one more.
        self.reloads: Counter[str] = Counter({"ok": 0, "failed": 0})
        self.would_refuse: Counter[str] = Counter()

    def counters(self) -> dict[str, dict[Labels, int]]:
        """Return all counters by name and labels."""
        several: dict[str, dict[Labels, int]] = {
            "decisions": {labels: count for labels, count in self.decisions.items()},  # noqa: C416 - another type of key
            "fetches": {labels: count for labels, count in self.fetches.items()},  # noqa: C416 - the same
            "upstream": {labels: count for labels, count in self.upstream.items()},  # noqa: C416 - the same
        }
        single = {"reloads": self.reloads, "would_refuse": self.would_refuse}
        return several | {
            name: {(label,): count for label, count in counter.items()} for name, counter in single.items()
        }

    def count(self, event: Event) -> None:
        """Count one exchange. A stage that was not reached is not observed."""
        self.decisions[event.outcome, event.reason] += 1
        if event.would_refuse:
            self.would_refuse[event.would_refuse] += 1
        self._observe(event)
        if event.mint_ms:
            # A token that the log could not record was given all the same, and is counted where that is said.
            if event.reason != AuditUnavailableError.reason:
                self.upstream[event.tailnet, "ok" if event.token_sha256 else event.reason] += 1
        elif event.reason == TailscaleUnavailableError.reason:
            # Without these, the fewer are asked, the better it would look.
            self.upstream[event.tailnet, NOT_ASKED] += 1

    def _observe(self, event: Event) -> None:
        # Written out: each exchange comes by, and a loop over pairs takes half as long again.
        stages = self.stages
        if event.keys_ms:
            stages["keys"].observe(event.keys_ms / 1000)
        if event.verify_ms:
            stages["verify"].observe(event.verify_ms / 1000)
        if event.decide_ms:
            stages["decide"].observe(event.decide_ms / 1000)
        if event.opa_ms:
            stages["opa"].observe(event.opa_ms / 1000)
        if event.claim_ms:
            stages["claim"].observe(event.claim_ms / 1000)
        if event.mint_ms:
            stages["mint"].observe(event.mint_ms / 1000)

    def count_record(self, seconds: float) -> None:
        """Count how long an exchange waited for its event to be written. No event can say it of itself."""
        self.stages["record"].observe(seconds)

    def count_fetch(self, report: FetchReport) -> None:
        """Count one attempt to fetch keys."""
        result = "ok" if report.fault is None else "failed"
        self.fetches[report.family or report.issuer, describe(report.source), result] += 1
