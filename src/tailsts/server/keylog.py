"""What the log says of issuers' keys: when something changes, not each time that it is looked at."""

import structlog

from tailsts.oidc.jwks import FetchReport
from tailsts.oidc.keys import DroppedKey
from tailsts.oidc.source import KeySource, describe
from tailsts.server.shown.metrics import Metrics


class KeyLog:
    """Hears of every attempt to fetch keys."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._log = structlog.get_logger()
        self._faults: dict[tuple[str, KeySource], str | None] = {}
        self._ids: dict[tuple[str, KeySource], frozenset[str]] = {}
        self._dropped: dict[tuple[str, KeySource], tuple[DroppedKey, ...]] = {}

    def report(self, report: FetchReport) -> None:
        """Count the attempt, and say what is new about it."""
        self._metrics.count_fetch(report)
        if report.family and report.keys is None:
            # Anybody can make up issuers that a pattern matches: they are counted, and neither remembered nor shown.
            self._log.debug("keys cannot be fetched", issuer=report.issuer, family=report.family, fault=report.fault)
            return
        pair = (report.family or report.issuer, report.source)
        before = self._faults.get(pair, "not fetched yet")
        self._faults[pair] = report.fault
        log = self._log.bind(issuer=report.issuer, source=describe(report.source))
        if report.fault is not None:
            if report.fault != before:
                meanwhile = "the last good keys serve" if pair in self._ids else "its tokens are answered with 503"
                log.warning("keys cannot be fetched", fault=report.fault, meanwhile=meanwhile)
            return
        if report.keys is None:
            return
        ids = frozenset(report.keys.by_id)
        if before is not None or ids != self._ids.get(pair):
            log.info("keys fetched", keys=len(report.keys), kids=sorted(ids))
        self._ids[pair] = ids
        dropped = tuple(report.keys.dropped)
        if dropped != self._dropped.get(pair, ()):
            self._dropped[pair] = dropped
            for key in dropped:
                log.warning("a key was dropped", kid=key.key_id, position=key.position, reason=key.reason)
