"""What is counted, and what Prometheus sees of it: exact names, bounded labels."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fakes.issuer import jwk, key_pair
from fakes.judging import policy as made
from tailsts import __version__
from tailsts.audit import Event
from tailsts.credentials import AccessToken
from tailsts.errors import KeysUnavailableError
from tailsts.oidc.freshness import Rules
from tailsts.oidc.jwks import LIMITS, FetchReport, KeyCache
from tailsts.oidc.rejected import Reason, Rejected
from tailsts.oidc.source import Discovery, JwksFile
from tailsts.outbound import Outbound
from tailsts.outcome import (
    Minted,
    Outcome,
    conclude,
)
from tailsts.policy.decide import Grant
from tailsts.policy.model import Policy, assemble
from tailsts.server.journal import Journal, appending_to
from tailsts.server.shown.exposition import cumulative, text
from tailsts.server.shown.looking import Sight, Standing
from tailsts.server.shown.metrics import BUCKETS, Histogram, Metrics
from tailsts.server.shown.snapshot import Load

ISSUER = "https://issuer.example.com"
MINTED = Minted(AccessToken("tskey-api-x", ("dns",), 3600), Grant("infra", ("dns",)))
UNKNOWN = Rejected(Reason.UNKNOWN_ISSUER, "no policy names this issuer")
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def counted(metrics: Metrics, ending: Outcome | BaseException, tailnet: str = "", **times: float) -> None:
    """Count an exchange that came to this end; `times` are in milliseconds."""
    event = Event("", "", "", "", "", tailnet=tailnet)
    for stage, milliseconds in times.items():
        setattr(event, f"{stage}_ms", milliseconds)
    conclude(event, ending)
    metrics.count(event)


def samples(text: str) -> Samples:
    """Return every sample by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds


def caching(path: Path, clock: Clock) -> KeyCache:
    """Return the cache of an issuer whose keys are in a file."""
    return KeyCache(
        ISSUER, JwksFile(path), Outbound(LIMITS), rules=Rules(), monotonic=clock, report=lambda _report: None
    )


def policy(name: str) -> Policy:
    """Return a policy."""
    return made(name, issuer=ISSUER)


@pytest.fixture
def scrape(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Return what scrapes metrics and caches, beside two policies and an audit log that works."""
    journal = Journal(appending_to(tmp_path / "audit"), lambda _fault: None)
    generation = assemble([policy("a"), policy("b")], "0123456789abcdef")
    standing = Standing(generation, turned_away={"in_flight": 0}, loads={"exchanges": Load(3, 1000)})

    def expose(metrics: Metrics, *caches: KeyCache) -> str:
        return text(Sight(metrics, caches, tuple, journal, lambda: standing).look())

    yield expose
    journal.close(5)


def test_a_histogram_counts_by_the_first_bound_not_exceeded() -> None:
    """A value counts up to the first bound that it does not exceed; what exceeds all of them counts beyond them."""
    histogram = Histogram()
    for value in (0.0, 0.0001, 0.00011, 0.3, 10.0, 10.1, 1000.0):
        histogram.observe(value)
    assert cumulative(histogram.counts) == [
        ("0.0001", 2),
        ("0.0005", 3),
        ("0.001", 3),
        ("0.005", 3),
        ("0.01", 3),
        ("0.025", 3),
        ("0.05", 3),
        ("0.1", 3),
        ("0.25", 3),
        ("0.5", 4),
        ("1.0", 4),
        ("2.5", 4),
        ("5.0", 4),
        ("10.0", 5),
        ("+Inf", 7),
    ]
    assert histogram.sum == pytest.approx(1020.40021)


def test_exchanges_are_counted_by_outcome_and_reason() -> None:
    """Each exchange is one decision, under its outcome and reason."""
    metrics = Metrics()
    for ending in (MINTED, UNKNOWN, UNKNOWN, KeysUnavailableError("x", retry_after=1), ValueError()):
        counted(metrics, ending)
    assert metrics.decisions == {
        ("granted", "granted"): 1,
        ("rejected", "unknown_issuer"): 2,
        ("unavailable", "keys_unavailable"): 1,
        ("fault", "internal"): 1,
    }


def test_stages_that_were_reached_are_observed() -> None:
    """Each stage is observed in seconds, where it was reached and nowhere else."""
    metrics = Metrics()
    counted(metrics, UNKNOWN)
    counted(metrics, MINTED, verify=0.2, decide=0.02, mint=30.0)
    counted(metrics, MINTED, keys=4.0, verify=0.4, decide=0.02, opa=2.0, claim=900.0, mint=40.0)
    metrics.count_record(0.25)
    assert {stage: sum(histogram.counts) for stage, histogram in metrics.stages.items()} == {
        "keys": 1,
        "verify": 2,
        "decide": 2,
        "opa": 1,
        "claim": 1,
        "mint": 2,
        "record": 1,
    }
    assert {stage: histogram.sum for stage, histogram in metrics.stages.items()} == pytest.approx(
        {
            "keys": 0.004,
            "verify": 0.0006,
            "decide": 0.00004,
            "opa": 0.002,
            "claim": 0.9,
            "mint": 0.07,
            "record": 0.25,
        }
    )


def test_fetches_are_counted_by_trust_and_result() -> None:
    """Each attempt to fetch keys counts for its issuer and source, well or badly ended."""
    metrics = Metrics()
    for fault in (None, "no answer in time", "no answer in time"):
        metrics.count_fetch(FetchReport(ISSUER, Discovery(), None, fault))
    assert metrics.fetches == {(ISSUER, "discovery", "ok"): 1, (ISSUER, "discovery", "failed"): 2}


def test_the_names_are_exactly_these(scrape: Callable[..., str]) -> None:
    """Dashboards and alerts are written against these names, types and words."""
    heads = [line for line in scrape(Metrics()).splitlines() if line.startswith("# ")]
    assert heads == [
        "# HELP tailsts_decisions_total Exchanges by outcome and reason.",
        "# TYPE tailsts_decisions_total counter",
        "# HELP tailsts_would_refuse_total Exchanges that an allow-list which only watches would refuse.",
        "# TYPE tailsts_would_refuse_total counter",
        "# HELP tailsts_turned_away_total Requests turned away unread, and connections closed to make room, by reason.",
        "# TYPE tailsts_turned_away_total counter",
        "# HELP tailsts_stage_seconds Time of an exchange by stage: keys, verify, decide, opa, claim, mint, record.",
        "# TYPE tailsts_stage_seconds histogram",
        "# HELP tailsts_exchanges_in_flight Exchanges in hand.",
        "# TYPE tailsts_exchanges_in_flight gauge",
        "# HELP tailsts_exchanges_in_flight_limit So many may be in hand, of all workers together.",
        "# TYPE tailsts_exchanges_in_flight_limit gauge",
        "# HELP tailsts_tailscale_requests_total Tokens wanted of Tailscale by result; not_asked: it had just failed.",
        "# TYPE tailsts_tailscale_requests_total counter",
        "# HELP tailsts_tailscale_failing_fast 1 while Tailscale failed so often in a row that it is hardly asked.",
        "# TYPE tailsts_tailscale_failing_fast gauge",
        "# HELP tailsts_keys Usable keys of an issuer; 0 if there are none now.",
        "# TYPE tailsts_keys gauge",
        "# HELP tailsts_key_age_seconds Time since an issuer's keys were last fetched; of a pattern, the oldest.",
        "# TYPE tailsts_key_age_seconds gauge",
        "# HELP tailsts_key_family_issuers Issuers that match a pattern, and whose keys are kept.",
        "# TYPE tailsts_key_family_issuers gauge",
        "# HELP tailsts_key_family_stale_issuers Those of them whose last fetch of keys failed.",
        "# TYPE tailsts_key_family_stale_issuers gauge",
        "# HELP tailsts_key_fetches_total Attempts to fetch an issuer's keys.",
        "# TYPE tailsts_key_fetches_total counter",
        "# HELP tailsts_info The version and the policies.",
        "# TYPE tailsts_info gauge",
        "# HELP tailsts_policies Policies in force.",
        "# TYPE tailsts_policies gauge",
        "# HELP tailsts_policy_faults Faults that the last reload found, or that keep a worker from starting.",
        "# TYPE tailsts_policy_faults gauge",
        "# HELP tailsts_policy_reloads_total Reloads that changed something or were asked for.",
        "# TYPE tailsts_policy_reloads_total counter",
        "# HELP tailsts_audit_lines_lost_total Audit events that could not be kept.",
        "# TYPE tailsts_audit_lines_lost_total counter",
        "# HELP tailsts_audit_writable 1 if the last attempt to write the audit log succeeded.",
        "# TYPE tailsts_audit_writable gauge",
        "# HELP tailsts_workers Workers that serve.",
        "# TYPE tailsts_workers gauge",
        "# HELP tailsts_workers_wanted Workers that should serve.",
        "# TYPE tailsts_workers_wanted gauge",
        "# HELP tailsts_worker_restarts_total Workers that were started again because one had ended.",
        "# TYPE tailsts_worker_restarts_total counter",
    ]


def test_before_the_first_exchange(scrape: Callable[..., str]) -> None:
    """A service that has done nothing yet says of itself what it is, and zeros."""
    shown = samples(scrape(Metrics()))
    assert {key: value for key, value in shown.items() if not key[0].startswith("tailsts_stage_seconds")} == {
        ("tailsts_info", (("generation", "0123456789abcdef"), ("version", __version__))): 1,
        ("tailsts_policies", ()): 2,
        ("tailsts_policy_faults", ()): 0,
        ("tailsts_policy_reloads_total", (("result", "ok"),)): 0,
        ("tailsts_policy_reloads_total", (("result", "failed"),)): 0,
        ("tailsts_audit_lines_lost_total", ()): 0,
        ("tailsts_audit_writable", ()): 1,
        ("tailsts_turned_away_total", (("reason", "in_flight"),)): 0,
        ("tailsts_exchanges_in_flight", ()): 3,
        ("tailsts_exchanges_in_flight_limit", ()): 1000,
        ("tailsts_workers", ()): 1,
        ("tailsts_workers_wanted", ()): 1,
        ("tailsts_worker_restarts_total", ()): 0,
    }
    stages = {key: value for key, value in shown.items() if key[0].startswith("tailsts_stage_seconds")}
    assert len(stages) == 7 * (len(BUCKETS) + 1 + 2)
    assert set(stages.values()) == {0}


async def test_after_some_exchanges(scrape: Callable[..., str], tmp_path: Path) -> None:
    """Everything that was counted is shown, under its labels."""
    (tmp_path / "keys.json").write_text(
        json.dumps({"keys": [jwk(key_pair("RS256"), "a"), jwk(key_pair("ES256"), "b")]})
    )
    clock, metrics = Clock(), Metrics()
    there, missing = caching(tmp_path / "keys.json", clock), caching(tmp_path / "none.json", clock)
    await there.keys_for("a")
    with pytest.raises(KeysUnavailableError):
        await missing.keys_for("a")
    clock.seconds += 42
    counted(metrics, MINTED, "prod", mint=30.0)
    counted(metrics, UNKNOWN)
    metrics.count_fetch(FetchReport(ISSUER, Discovery(), None, None))
    metrics.reloads["failed"] += 3
    shown = samples(scrape(metrics, there, missing))
    of_there = (("issuer", ISSUER), ("source", str(tmp_path / "keys.json")))
    of_missing = (("issuer", ISSUER), ("source", str(tmp_path / "none.json")))
    expected: Samples = {
        ("tailsts_decisions_total", (("outcome", "granted"), ("reason", "granted"))): 1,
        ("tailsts_decisions_total", (("outcome", "rejected"), ("reason", "unknown_issuer"))): 1,
        ("tailsts_stage_seconds_bucket", (("le", "0.025"), ("stage", "mint"))): 0,
        ("tailsts_stage_seconds_bucket", (("le", "0.05"), ("stage", "mint"))): 1,
        ("tailsts_stage_seconds_count", (("stage", "mint"),)): 1,
        ("tailsts_stage_seconds_sum", (("stage", "mint"),)): 0.03,
        ("tailsts_tailscale_requests_total", (("result", "ok"), ("tailnet", "prod"))): 1,
        ("tailsts_keys", of_there): 2,
        ("tailsts_keys", of_missing): 0,
        ("tailsts_key_age_seconds", of_there): 42,
        ("tailsts_key_fetches_total", (("issuer", ISSUER), ("result", "ok"), ("source", "discovery"))): 1,
        ("tailsts_policy_reloads_total", (("result", "failed"),)): 3,
    }
    assert {key: shown.get(key) for key in expected} == expected
    assert ("tailsts_key_age_seconds", of_missing) not in shown


async def test_keys_that_are_too_old_are_none(scrape: Callable[..., str], tmp_path: Path) -> None:
    """Keys beyond a day count as none, while their age goes on growing."""
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [jwk(key_pair("RS256"), "a")]}))
    clock = Clock()
    cache = caching(tmp_path / "keys.json", clock)
    await cache.keys_for("a")
    clock.seconds += 24 * 3600 + 1
    shown = samples(scrape(Metrics(), cache))
    labels = (("issuer", ISSUER), ("source", str(tmp_path / "keys.json")))
    assert shown["tailsts_keys", labels] == 0
    assert shown["tailsts_key_age_seconds", labels] == 24 * 3600 + 1


def test_l03_labels_are_bounded(scrape: Callable[..., str]) -> None:
    """L-03: a hundred thousand strangers' tokens, each with its own issuer, key id and scopes, add not one sample."""
    metrics = Metrics()
    counted(metrics, UNKNOWN)
    before = samples(scrape(metrics)).keys()
    for number in range(100_000):
        event = Event("", f"{number}", "", f"10.0.0.1:{number}", f"agent {number}")
        event.claims = {"iss": f"https://evil-{number}.example.com", "sub": f"s{number}"}
        event.requested_scopes = (f"scope-{number}",)
        conclude(event, UNKNOWN)
        metrics.count(event)
    text = scrape(metrics)
    assert samples(text).keys() == before
    assert not re.search("evil|agent|scope-|10\\.0\\.0\\.1", text)


def test_every_scrape_is_of_the_moment(scrape: Callable[..., str]) -> None:
    """A scrape shows what was counted up to it, and changes nothing."""
    metrics = Metrics()
    counted(metrics, UNKNOWN)
    assert scrape(metrics) == scrape(metrics)
    counted(metrics, UNKNOWN)
    key = ("tailsts_decisions_total", (("outcome", "rejected"), ("reason", "unknown_issuer")))
    assert samples(scrape(metrics))[key] == 2
