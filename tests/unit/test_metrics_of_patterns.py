"""What is counted of issuers that only a pattern names, and of an allow-list that only watches."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tailsts.audit import Event
from tailsts.credentials import AccessToken
from tailsts.oidc.families import Bounds, KeyFamily
from tailsts.oidc.freshness import Rules
from tailsts.oidc.jwks import LIMITS, FetchReport, KeyCache
from tailsts.oidc.source import Discovery, JwksFile
from tailsts.outbound import Outbound
from tailsts.outcome import (
    Minted,
    conclude,
)
from tailsts.policy.decide import Grant
from tailsts.policy.model import assemble
from tailsts.server.journal import Journal, appending_to
from tailsts.server.shown.exposition import text
from tailsts.server.shown.looking import Sight, Standing
from tailsts.server.shown.metrics import Metrics

MINTED = Minted(AccessToken("tskey-api-x", ("dns",), 3600), Grant("infra", ("dns",)))
PATTERN = "https://x/[0-9]+"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Return an audit log that works."""
    journal = Journal(appending_to(tmp_path / "audit"), lambda _fault: None)
    yield journal
    journal.close(5)


def shown(metrics: Metrics, journal: Journal, *families: KeyFamily) -> list[str]:
    """Return the lines of a scrape."""
    standing = Standing(assemble([], "d"))
    return text(Sight(metrics, [], lambda: families, journal, lambda: standing).look()).splitlines()


def test_what_an_allow_list_that_watches_would_have_refused(journal: Journal) -> None:
    """Exchanges that passed only because the allow-list does not enforce yet are counted by its reason."""
    metrics = Metrics()
    for note in ("", "untrusted_issuer", "untrusted_issuer"):
        event = Event("", "", "", "", "", would_refuse=note)
        conclude(event, MINTED)
        metrics.count(event)
    assert metrics.would_refuse == {"untrusted_issuer": 2}
    assert 'tailsts_would_refuse_total{reason="untrusted_issuer"} 2.0' in shown(metrics, journal)


def test_l03_issuers_of_a_pattern_count_as_one(journal: Journal) -> None:
    """L-03: issuers that only a pattern names are counted under the pattern: strangers choose their names."""
    metrics = Metrics()
    for number in range(100):
        metrics.count_fetch(FetchReport(f"https://x/{number}", Discovery(), None, "no", PATTERN))
    assert metrics.fetches == {(PATTERN, "discovery", "failed"): 100}
    assert not [line for line in shown(metrics, journal) if "https://x/7" in line]


async def test_how_many_issuers_are_kept(tmp_path: Path, journal: Journal) -> None:
    """Each pattern shows how many issuers' keys are kept, and names none of them."""

    def make(issuer: str, report: Callable[[FetchReport], None]) -> KeyCache:
        source = JwksFile(tmp_path / "none")
        return KeyCache(issuer, source, Outbound(LIMITS), rules=Rules(), monotonic=lambda: 0.0, report=report)

    source = Discovery()
    family = KeyFamily(PATTERN, source, make, bounds=Bounds(), monotonic=lambda: 0.0, report=lambda _report: None)
    for number in range(3):
        family.cache(f"https://x/{number}")
    lines = shown(Metrics(), journal, family)
    assert f'tailsts_key_family_issuers{{pattern="{PATTERN}",source="discovery"}} 3.0' in lines
    assert f'tailsts_key_family_stale_issuers{{pattern="{PATTERN}",source="discovery"}} 0.0' in lines
    # None has keys yet.
    assert not [line for line in lines if line.startswith("tailsts_key_age_seconds{")]
    assert not [line for line in lines if "https://x/1" in line]
    family.stop()
