"""The keys of issuers that only a pattern names: found when asked for, and never more than the bounds allow."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from fakes.http import Reply, Request, ScriptedServer, eventually_async, http
from fakes.issuer import Issuer
from tailsts.errors import KeysUnavailableError
from tailsts.oidc.families import Bounds, KeyFamily
from tailsts.oidc.freshness import Rules
from tailsts.oidc.jwks import MAX_WAITING, FetchReport, KeyCache
from tailsts.oidc.keyring import KeyRing
from tailsts.oidc.source import Discovery
from tailsts.outbound import Limits, Outbound

NAME = "https://[a-z]+\\.example\\.com"
DOCUMENT = "/.well-known/openid-configuration"


class Many:
    """As many issuers as are asked for, on one socket, each at a path of its own; those in `down` answer 500."""

    def __init__(self) -> None:
        self.down: set[str] = set()
        self.server = ScriptedServer(self._respond)

    def url(self, name: str) -> str:
        """Return the name of an issuer."""
        return f"http://127.0.0.1:{self.server.port}/{name}"

    def asked(self, name: str) -> int:
        """Return how often the issuer was asked for its discovery document."""
        return self.server.count(f"/{name}{DOCUMENT}")

    def _respond(self, request: Request) -> Reply:
        name = request.path.split("/")[1]
        if name in self.down:
            return http(500, b"")
        url = self.url(name)
        if request.path.endswith(DOCUMENT):
            return http(200, json.dumps({"issuer": url, "jwks_uri": f"{url}/jwks"}).encode())
        return http(200, json.dumps(Issuer(url).jwks()).encode())


class Clock:
    """Stands still unless it is told to go on."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds


class Kept:
    """A family, with its clock and what it reports."""

    def __init__(self, issuers: Many, bounds: Bounds) -> None:
        self.clock = Clock()
        self.reports: list[FetchReport] = []
        self._issuers = issuers
        outbound = Outbound(Limits(connect=1.0, total=2.0, body=64 * 1024))

        def make(issuer: str, report: Callable[[FetchReport], None]) -> KeyCache:
            return KeyCache(issuer, Discovery(), outbound, rules=Rules(), monotonic=self.clock, report=report)

        self.family = KeyFamily(
            NAME, Discovery(), make, bounds=bounds, monotonic=self.clock, report=self.reports.append
        )

    async def has_key(self, name: str) -> bool:
        """Return whether the issuer's keys are had, after what may be done for it."""
        keys = await self.family.cache(self._issuers.url(name)).keys_for("key-RS256-0")
        return keys.knows("key-RS256-0")

    async def refusal(self, name: str) -> KeysUnavailableError:
        """Return why the issuer's keys cannot be had."""
        with pytest.raises(KeysUnavailableError) as caught:
            await self.has_key(name)
        return caught.value

    def kept(self) -> list[str]:
        """Return the names of the issuers whose keys are kept."""
        return sorted(cache.issuer.rpartition("/")[2] for cache in self.family)


@pytest.fixture
def issuers() -> Iterator[Many]:
    """Return many issuers."""
    many = Many()
    with many.server:
        yield many


@asynccontextmanager
async def keeping(issuers: Many, **bounds: float) -> AsyncIterator[Kept]:
    """Keep a family within these bounds."""
    kept = Kept(issuers, Bounds(**bounds))  # type: ignore[arg-type]  # of the right types
    yield kept
    kept.family.stop()


async def test_each_issuer_is_asked_once(issuers: Many) -> None:
    """An issuer is asked for its keys when a token of it first comes; from then on they are at hand."""
    async with keeping(issuers) as kept:
        assert len(kept.family) == 0
        assert [await kept.has_key(name) for name in ("a", "b", "a", "a")] == [True] * 4
        assert kept.kept() == ["a", "b"]
        assert (issuers.asked("a"), issuers.asked("b"), len(kept.family)) == (1, 1, 2)
        assert {(report.issuer, report.family, report.fault) for report in kept.reports} == {
            (issuers.url(name), NAME, None) for name in ("a", "b")
        }


async def test_the_least_recently_used_goes(issuers: Many) -> None:
    """Beyond the bound the issuer goes whose tokens came longest ago, and its cache stops."""
    async with keeping(issuers, kept=2) as kept:
        for name in ("a", "b", "a"):
            await kept.has_key(name)
        leaving = kept.family.cache(issuers.url("b"))
        await kept.has_key("a")
        await kept.has_key("c")
        assert kept.kept() == ["a", "c"]
        await eventually_async(lambda: leaving._timer is not None and leaving._timer.cancelled())
        assert await kept.has_key("b")
        assert (issuers.asked("a"), issuers.asked("b")) == (1, 2)


async def test_who_failed_is_not_asked_again_for_a_while(issuers: Many) -> None:
    """An issuer that could not be asked is left alone for some time, and is not kept."""
    issuers.down.add("a")
    async with keeping(issuers, failed_for=60.0) as kept:
        assert "has the status 500" in str(await kept.refusal("a"))
        refusals = [await kept.refusal("a") for _ in range(5)]
        assert {(str(refusal), refusal.retry_after) for refusal in refusals} == {
            (f"no keys of {issuers.url('a')}: it could not be asked a moment ago", 60)
        }
        assert (issuers.asked("a"), kept.kept()) == (1, [])
        issuers.down.clear()
        kept.clock.seconds += 59.9
        assert (await kept.refusal("a")).retry_after == 1
        kept.clock.seconds += 0.1
        assert await kept.has_key("a")
        assert issuers.asked("a") == 2


async def test_failures_that_are_remembered_are_bounded(issuers: Many) -> None:
    """Of very many failures the oldest is forgotten: a stranger does not fill the memory."""
    issuers.down |= {"a", "b", "c"}
    async with keeping(issuers, names_kept=2) as kept:
        for name in ("a", "b", "c"):
            await kept.refusal(name)
        assert len(kept.family._failed_until) == 2
        for name in ("b", "c", "a"):
            await kept.refusal(name)
        assert [issuers.asked(name) for name in ("a", "b", "c")] == [2, 1, 1]


async def test_what_is_made_up_takes_no_place(issuers: Many) -> None:
    """Issuers that never had keys push none out that has; one that was pushed out may come back without a budget."""
    issuers.down |= {f"x{number}" for number in range(5)}
    async with keeping(issuers, kept=2, burst=8, one_each=1e9) as kept:
        assert [await kept.has_key(name) for name in ("a", "b")] == [True] * 2
        for number in range(5):
            await kept.refusal(f"x{number}")
        assert kept.kept() == ["a", "b"]
        assert await kept.has_key("c")
        assert kept.kept() == ["b", "c"]
        # The budget is spent.
        assert str(await kept.refusal("d")) == f"too many new issuers match {NAME}"
        assert await kept.has_key("a")
        assert kept.kept() == ["a", "c"]


async def test_names_that_are_remembered_are_bounded(issuers: Many) -> None:
    """Of very many issuers that once had keys, the one that was longest away is forgotten."""
    async with keeping(issuers, kept=1, names_kept=2, burst=4, one_each=1e9) as kept:
        assert [await kept.has_key(name) for name in ("a", "b", "c", "d")] == [True] * 4
        assert await kept.has_key("c")
        await kept.refusal("a")


async def test_new_issuers_have_a_budget(issuers: Many) -> None:
    """A flood of made-up issuers causes no more than the budget; those whose keys are known go on."""
    async with keeping(issuers, burst=3, one_each=3.0) as kept:
        assert await kept.has_key("known")
        assert [await kept.has_key(f"x{number}") for number in range(2)] == [True] * 2
        refusals = [await kept.refusal(f"x{number}") for number in range(2, 50)]
        assert {(str(refusal), refusal.retry_after) for refusal in refusals} == {
            (f"too many new issuers match {NAME}", 3)
        }
        assert len(kept.family) == 3
        assert await kept.has_key("known")
        kept.clock.seconds += 3.0
        assert await kept.has_key("y0")
        await kept.refusal("y1")
        kept.clock.seconds += 3600.0
        assert [await kept.has_key(f"z{number}") for number in range(3)] == [True] * 3
        await kept.refusal("z3")


async def test_an_issuer_that_had_keys_is_kept_through_its_outage(issuers: Many) -> None:
    """An issuer that had keys and is down now keeps its place: the last good keys serve."""
    async with keeping(issuers) as kept:
        assert await kept.has_key("a")
        issuers.down.add("a")
        kept.clock.seconds += 20
        cache = kept.family.cache(issuers.url("a"))
        with pytest.raises(KeysUnavailableError):
            await cache.keys_for("new")
        assert kept.reports[-1].fault is not None
        assert kept.kept() == ["a"]
        assert await kept.has_key("a")


async def test_callers_wait_for_one_fetch(issuers: Many) -> None:
    """Many tokens of a new issuer at once cause one fetch, and cost its budget once."""
    async with keeping(issuers, burst=1) as kept:
        assert await asyncio.gather(*(kept.has_key("a") for _ in range(20))) == [True] * 20
        assert issuers.asked("a") == 1


async def test_few_wait_for_a_new_issuer(issuers: Many) -> None:
    """Of those who wait for the first keys of an issuer there are few, and many when it has some."""
    async with keeping(issuers, waiting=3) as kept:
        answers = await asyncio.gather(*(kept.has_key("a") for _ in range(20)), return_exceptions=True)
        assert [answer is True for answer in answers].count(True) == 3
        assert sum(isinstance(answer, KeysUnavailableError) for answer in answers) == 17
        (cache,) = kept.family
        assert cache.max_waiting == MAX_WAITING


async def test_stop(issuers: Many) -> None:
    """When the family stops, so does every timer of it."""
    async with keeping(issuers) as kept:
        await kept.has_key("a")
        timers = [cache._timer for cache in kept.family]
        kept.family.stop()
        await eventually_async(lambda: all(timer is not None and timer.cancelled() for timer in timers))


async def test_families_of_a_ring(issuers: Many) -> None:
    """A ring keeps a family for each pattern and source, as long as a policy names it, with the keys that it has."""
    reports: list[FetchReport] = []
    clock = Clock()
    ring = KeyRing(extra_roots=(), rules=Rules(), monotonic=clock, report=reports.append)
    pair, other = (NAME, Discovery()), ("https://other/[a-z]+", Discovery())
    families = ring.adopt_families([pair, pair])
    assert list(families) == [pair]
    await families[pair].cache(issuers.url("a")).keys_for("key-RS256-0")
    assert [(report.issuer, report.family) for report in reports] == [(issuers.url("a"), NAME)]
    again = ring.adopt_families([pair, other])
    assert again[pair] is families[pair]
    assert (len(again[pair]), {family.name for family in ring.families()}) == (1, {NAME, other[0]})
    assert list(ring) == []
    timers = [cache._timer for cache in again[pair]]
    ring.stop()
    assert list(ring.families()) == []
    await eventually_async(lambda: all(timer is not None and timer.cancelled() for timer in timers))
