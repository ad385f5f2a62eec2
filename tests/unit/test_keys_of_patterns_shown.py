"""What is shown of keys whose issuers only a pattern names: the worst of each pattern, and no issuer's name."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakes.http import eventually_async
from fakes.issuer import jwk, key_pair
from tailsts.errors import KeysUnavailableError
from tailsts.oidc.families import Bounds, KeyFamily
from tailsts.oidc.freshness import Rules
from tailsts.oidc.jwks import LIMITS, FetchReport, KeyCache
from tailsts.oidc.source import JwksFile
from tailsts.outbound import Outbound
from tailsts.policy.model import assemble
from tailsts.server.journal import Journal, appending_to
from tailsts.server.shown.exposition import text
from tailsts.server.shown.looking import Sight, Standing, pattern_state
from tailsts.server.shown.metrics import Metrics
from tailsts.server.shown.patterns import PatternState, worst_of_patterns
from tailsts.server.shown.readiness import TrustState, assess, together
from tailsts.server.shown.snapshot import Snapshot, Totals

PATTERN = "https://x/[a-z]+"
DAY = 24 * 3600


class Family:
    """A family whose issuers' keys are in files, each named after its issuer."""

    def __init__(self, folder: Path) -> None:
        self.seconds = 1000.0
        self.folder = folder
        self.keys = KeyFamily(
            PATTERN,
            JwksFile(folder),
            self._make,
            bounds=Bounds(),
            monotonic=lambda: self.seconds,
            report=lambda _report: None,
        )

    def file(self, name: str) -> Path:
        """Return where the issuer's keys are."""
        return self.folder / f"{name}.json"

    async def fetch(self, name: str) -> None:
        """Let the issuer have keys, and have them fetched, as a key id that is not known brings about."""
        self.file(name).write_text(json.dumps({"keys": [jwk(key_pair("RS256"), "a")]}))
        await self.keys.cache(f"https://x/{name}").keys_for("other")
        # The timer of a new one looks at the clock before that goes on.
        await asyncio.sleep(0.05)

    async def fail(self, name: str) -> None:
        """Let the issuer lose its keys, and have them fetched in vain."""
        self.file(name).unlink()
        with pytest.raises(KeysUnavailableError):
            await self.keys.cache(f"https://x/{name}").keys_for("other")

    def state(self) -> PatternState:
        """Return what is shown."""
        return pattern_state(self.keys)

    def _make(self, issuer: str, report: Callable[[FetchReport], None]) -> KeyCache:
        source = JwksFile(self.file(issuer.rpartition("/")[2]))
        return KeyCache(issuer, source, Outbound(LIMITS), rules=Rules(), monotonic=lambda: self.seconds, report=report)


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    """Return a family without any issuer yet."""
    family = Family(tmp_path)
    yield family
    family.keys.stop()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Return an audit log that works."""
    journal = Journal(appending_to(tmp_path / "audit"), lambda _fault: None)
    yield journal
    journal.close(5)


async def test_the_oldest_keys_of_a_pattern(family: Family) -> None:
    """Of the issuers of a pattern the age of the oldest keys is shown, and how many could not be fetched anew."""
    assert family.state() == PatternState(PATTERN, str(family.folder), 0, 0, None)
    await family.fetch("a")
    family.seconds += 4000
    await family.fetch("b")
    assert family.state() == PatternState(PATTERN, str(family.folder), 2, 0, 4000.0)
    await family.fail("a")
    assert family.state() == PatternState(PATTERN, str(family.folder), 2, 1, 4000.0)
    family.seconds += 20
    await family.fetch("a")
    assert family.state() == PatternState(PATTERN, str(family.folder), 2, 0, 20.0)


async def test_one_that_is_gone_for_good_is_let_go_of(family: Family) -> None:
    """An issuer whose keys are too old to be used is not kept: it does not stay the oldest for ever, and may return."""
    await family.fetch("a")
    await family.fetch("b")
    family.seconds += DAY - 1
    await family.fetch("b")
    await family.fail("a")
    assert (family.state().issuers, family.state().stale) == (2, 1)
    gone = family.keys.cache("https://x/a")
    family.seconds += 60
    with pytest.raises(KeysUnavailableError):
        await gone.keys_for("other")
    assert [cache.issuer for cache in family.keys] == ["https://x/b"]
    assert family.state() == PatternState(PATTERN, str(family.folder), 1, 0, 60.0)
    await eventually_async(lambda: gone._timer is not None and gone._timer.cancelled())
    await family.fetch("a")
    assert family.state().issuers == 2


async def test_the_age_is_a_metric(family: Family, journal: Journal) -> None:
    """The age of a pattern's oldest keys stands where those of issuers stand, so that the same alert watches it."""
    await family.fetch("secret")
    family.seconds += 5000
    await family.fail("secret")
    standing = Standing(assemble([], "d"))
    lines = text(Sight(Metrics(), [], lambda: [family.keys], journal, lambda: standing).look()).splitlines()
    source = str(family.folder)
    assert f'tailsts_key_age_seconds{{issuer="{PATTERN}",source="{source}"}} 5000.0' in lines
    assert f'tailsts_key_family_stale_issuers{{pattern="{PATTERN}",source="{source}"}} 1.0' in lines
    assert not [line for line in lines if "https://x/secret" in line]
    assert not [line for line in lines if line.startswith("tailsts_keys{")]


def test_of_several_the_worst() -> None:
    """Of workers, or of policies that name a pattern with other roots of trust, the greatest of each is shown, once."""
    one, other = PatternState("p", "discovery", 5, 0, 10.0), PatternState("p", "discovery", 3, 2, None)
    elsewhere = PatternState("q", "discovery", 1, 0, None)
    assert worst_of_patterns([one, elsewhere, other]) == (PatternState("p", "discovery", 5, 2, 10.0), elsewhere)
    parts = [
        assess(assemble([], "d"), [], patterns, reload_faults=(), draining=False)
        for patterns in ([one, elsewhere], [other])
    ]
    assert together(parts, draining=False).patterns == (PatternState("p", "discovery", 5, 2, 10.0), elsewhere)


def test_no_metric_comes_twice() -> None:
    """A pattern that reads as an issuer's name does, and policies that trust one with other roots: each is one line."""
    good = TrustState("https://x", "discovery", "fresh", 2, 5.0, None)
    bad = TrustState("https://x", "discovery", "missing", 0, None, "no answer in time")
    pattern = PatternState("https://x", "discovery", 1, 0, 9.0)
    readiness = assess(assemble([], "d"), [good, bad], [pattern], reload_faults=(), draining=False)
    assert readiness.status == "degraded"
    lines = text(Snapshot(Totals(), readiness, {}, audit_writable=True)).splitlines()
    assert [line for line in lines if "{issuer=" in line] == [
        'tailsts_keys{issuer="https://x",source="discovery"} 0.0',
        'tailsts_key_age_seconds{issuer="https://x",source="discovery"} 9.0',
    ]
