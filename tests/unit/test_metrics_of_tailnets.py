"""What is counted of each tailnet, and of what there is only so much."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tailsts.audit import Event
from tailsts.credentials import AccessToken
from tailsts.errors import (
    AuditUnavailableError,
    KeysUnavailableError,
    TailscaleAnswerError,
    TailscaleNotAskedError,
    TailscaleUnavailableError,
)
from tailsts.oidc.rejected import Reason, Rejected
from tailsts.outcome import Minted, Outcome, Withheld, conclude
from tailsts.policy.decide import Grant
from tailsts.policy.model import assemble
from tailsts.server.journal import Journal, appending_to
from tailsts.server.shown.exposition import text
from tailsts.server.shown.looking import Sight, Standing
from tailsts.server.shown.metrics import Metrics
from tailsts.server.shown.snapshot import Load, Snapshot, merge

MINTED = Minted(AccessToken("tskey-api-x", ("dns",), 3600), Grant("infra", ("dns",)))
UNKNOWN = Rejected(Reason.UNKNOWN_ISSUER, "no policy names this issuer")


def counted(metrics: Metrics, ending: Outcome, tailnet: str = "", mint: float = 0.0) -> None:
    """Count an exchange that came to this end; `mint` is in milliseconds."""
    event = Event("", "", "", "", "", tailnet=tailnet, mint_ms=mint)
    conclude(event, ending)
    metrics.count(event)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Return an audit log that works."""
    journal = Journal(appending_to(tmp_path / "audit"), lambda _fault: None)
    yield journal
    journal.close(5)


def seen(metrics: Metrics, journal: Journal, standing: Standing) -> Snapshot:
    """Return what one process shows."""
    return Sight(metrics, [], tuple, journal, lambda: standing).look()


def test_what_tailscale_said_is_counted() -> None:
    """What was to come from Tailscale counts for its tailnet: "ok" for a token, else why there is none."""
    metrics = Metrics()
    counted(metrics, UNKNOWN)
    counted(metrics, KeysUnavailableError("x", retry_after=1))
    for tailnet in ("a", "a", "b"):
        counted(metrics, MINTED, tailnet, mint=1)
    counted(metrics, TailscaleAnswerError("x"), "a", mint=1)
    counted(metrics, TailscaleUnavailableError("x", retry_after=1), "b", mint=1)
    for ending in (TailscaleNotAskedError("x", retry_after=1), TailscaleNotAskedError("x", retry_after=1)):
        counted(metrics, ending, "b")
    counted(metrics, Withheld("replayed"), "b")
    # Whether Tailscale gave a token was counted when that was to be recorded.
    counted(metrics, AuditUnavailableError("x", retry_after=1), "b", mint=1)
    assert metrics.upstream == {
        ("a", "ok"): 2,
        ("a", "tailscale_answer"): 1,
        ("b", "ok"): 1,
        ("b", "tailscale_unavailable"): 1,
        ("b", "not_asked"): 2,
    }


def test_a_tailnet_that_is_down_is_seen_for_itself(journal: Journal) -> None:
    """The share of one tailnet's failures is that of its own requests: others, and what fails fast, do not thin it."""
    metrics = Metrics()
    for _ in range(970):
        counted(metrics, MINTED, "default", mint=1)
    counted(metrics, TailscaleUnavailableError("x", retry_after=1), "b", mint=1)
    for _ in range(29):
        counted(metrics, TailscaleNotAskedError("x", retry_after=1), "b")
    standing = Standing(assemble([], "d"), failing_fast={"b": True, "default": False})
    lines = text(seen(metrics, journal, standing)).splitlines()
    of_b = [line for line in lines if line.startswith("tailsts_tailscale_requests_total{") and 'tailnet="b"' in line]
    assert of_b == [
        'tailsts_tailscale_requests_total{result="tailscale_unavailable",tailnet="b"} 1.0',
        'tailsts_tailscale_requests_total{result="not_asked",tailnet="b"} 29.0',
    ]
    assert 'tailsts_tailscale_failing_fast{tailnet="b"} 1.0' in lines


def test_a_tailnet_that_is_down_degrades(journal: Journal) -> None:
    """Readiness names the tailnets that are hardly asked, of one process and of several, and is degraded by them."""
    good = Standing(assemble([], "d"), failing_fast={"a": False, "b": False})
    assert seen(Metrics(), journal, good).readiness.failing_fast == ()
    parts = [
        seen(Metrics(), journal, Standing(assemble([], "d"), failing_fast={"a": one, "b": other, "c": False}))
        for one, other in ((False, True), (True, True))
    ]
    assert [part.readiness.failing_fast for part in parts] == [("b",), ("a", "b")]
    merged = merge([seen(Metrics(), journal, good), *parts], gone=[], restarts=0, draining=False)
    assert merged.readiness.failing_fast == ("a", "b")


def test_what_there_is_only_so_much_of(journal: Journal) -> None:
    """Exchanges in hand are shown with their limit, of workers the sum; one that does not serve has no load."""
    one, two = (
        seen(Metrics(), journal, Standing(assemble([], "d"), loads={"exchanges": Load(taken, 500)})) for taken in (3, 4)
    )
    assert {line for line in text(one).splitlines() if line.startswith("tailsts_exchanges")} == {
        "tailsts_exchanges_in_flight 3.0",
        "tailsts_exchanges_in_flight_limit 500.0",
    }
    merged = merge([one, two, None], gone=[], restarts=0, draining=False)
    assert merged.loads == {"exchanges": Load(7, 1000)}
    nobody = merge([None], gone=[], restarts=0, draining=False)
    assert "tailsts_exchanges" not in text(nobody)
