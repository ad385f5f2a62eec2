"""The key cache against an issuer on a socket: rows N-01 to N-08 of the threat list, with a clock of our own."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fakes.http import CLOSE, HANG, RESET, Endless, Later, Reply, eventually_async, http
from fakes.issuer import FakeIssuer, jwk, key_pair
from tailsts.errors import KeysUnavailableError
from tailsts.oidc.freshness import Rules
from tailsts.oidc.jwks import MAX_WAITING, FetchReport, KeyCache, refuse_jwks_uri
from tailsts.oidc.source import Discovery, JwksFile, JwksUrl, KeySource
from tailsts.outbound import Limits, Outbound, Response

LIMITS = Limits(connect=0.3, total=0.5, body=512 * 1024)


class Clock:
    """Seconds that pass when they are told to, on top of those that pass by themselves."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return asyncio.get_running_loop().time() + self.ahead


@asynccontextmanager
async def caching(
    issuer: FakeIssuer, source: KeySource | None = None, rules: Rules | None = None, *, start: bool = True
) -> AsyncIterator[tuple[KeyCache, Clock, list[FetchReport]]]:
    """Run a cache for the issuer."""
    clock = Clock()
    reports: list[FetchReport] = []
    cache = KeyCache(
        issuer.url,
        source or JwksUrl(issuer.jwks_url),
        Outbound(LIMITS, compressed=True),
        rules=rules or Rules(),
        monotonic=clock,
        report=reports.append,
    )
    if start:
        cache.start()
        await eventually_async(lambda: bool(reports))
    yield cache, clock, reports
    cache.stop()


async def known(cache: KeyCache, key_id: str) -> bool:
    """Return whether the cache, after what it may do for it, has this key."""
    return (await cache.keys_for(key_id)).knows(key_id)


async def test_fetches_at_start(issuer: FakeIssuer) -> None:
    """The keys are fetched when the cache starts, and then at hand."""
    async with caching(issuer) as (cache, _, reports):
        assert cache.cached(issuer.keys.key_id(0)) is cache.keys
        assert [report.fault for report in reports] == [None]
        assert issuer.count("/jwks") == 1


async def test_a_request_does_not_wait_for_the_timer(issuer: FakeIssuer) -> None:
    """A request that comes before anything was fetched has the keys fetched itself."""
    async with caching(issuer, start=False) as (cache, _, _):
        assert cache.cached("key-RS256-0") is None
        assert await known(cache, "key-RS256-0")


async def test_n01_a_flood_of_unknown_keys(issuer: FakeIssuer) -> None:
    """N-01: ten thousand unknown key ids cause one fetch in a cool-down, together."""
    async with caching(issuer) as (cache, clock, _):
        asked = (known(cache, f"random-{n}") for n in range(10_000))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        # So many may wait for that fetch; the others are told that nobody knows yet, and have no part of what is free.
        assert sum(answer is False for answer in answers) == MAX_WAITING
        assert sum(isinstance(answer, KeysUnavailableError) for answer in answers) == 10_000 - MAX_WAITING
        assert issuer.count("/jwks") == 2
        clock.ahead += 10.1
        assert not await known(cache, "another")
        assert issuer.count("/jwks") == 3


async def test_n02_rotation_is_not_starved(issuer: FakeIssuer) -> None:
    """N-02: under a flood of unknown key ids, a new key is learnt within the cool-down, well before 30 seconds."""
    async with caching(issuer) as (cache, clock, _):
        await asyncio.gather(*(known(cache, f"random-{n}") for n in range(100)))
        issuer.rotate()
        new = issuer.keys.key_id(1)
        waited = 0.0
        while not await known(cache, new):
            await asyncio.gather(*(known(cache, f"random-{n}-{waited}") for n in range(100)))
            clock.ahead += 1
            waited += 1
        assert waited <= 11


async def test_a_new_key_is_learnt_at_once(issuer: FakeIssuer) -> None:
    """Without a flood, a token with a new key has the keys fetched and succeeds at once."""
    async with caching(issuer) as (cache, _, _):
        issuer.rotate()
        assert await known(cache, issuer.keys.key_id(1))


async def test_n03_a_silent_issuer(issuer: FakeIssuer) -> None:
    """N-03: while the issuer is silent, known keys are used at once, and unknown ones are answered in time."""
    async with caching(issuer) as (cache, clock, _):
        issuer.trouble = HANG
        assert cache.cached("key-RS256-0") is not None
        started = clock()
        with pytest.raises(KeysUnavailableError) as caught:
            await cache.keys_for("unknown")
        assert clock() - started < 2
        assert caught.value.retry_after >= 1
        with pytest.raises(KeysUnavailableError):
            await cache.keys_for("unknown")
        assert clock() - started < 2


TROUBLES: dict[str, Reply] = {
    "hangs": HANG,
    "resets": RESET,
    "closes": CLOSE,
    "fails": http(500, b"oops"),
    "is gone": http(404, b""),
    "redirects": http(302, b"", Location="http://127.0.0.1:1/"),
    "lies": http(200, b"<html>Please log in</html>"),
    "is empty": http(200, b'{"keys": []}'),
    "has only bad keys": http(200, json.dumps({"keys": [{"kty": "oct", "k": "AAAA", "kid": "x"}]}).encode()),
    "never ends": Endless(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 65536),
    "has too many keys": http(
        200, json.dumps({"keys": [jwk(key_pair("ES256"), f"k{n}") for n in range(101)]}).encode()
    ),
    "has duplicate members": http(200, b'{"keys": [], "keys": []}'),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_n04_n05_the_last_good_keys_serve(issuer: FakeIssuer, trouble: str) -> None:
    """N-04, N-05, CVE-2026-48524: whatever the issuer does, the last good keys serve for a day, then it is 503."""
    async with caching(issuer) as (cache, clock, reports):
        issuer.trouble = TROUBLES[trouble]
        clock.ahead += 301
        with pytest.raises(KeysUnavailableError):
            await cache.keys_for("unknown")
        assert reports[-1].fault
        assert cache.cached("key-RS256-0") is not None
        clock.ahead += 24 * 3600 - 400
        assert cache.cached("key-RS256-0") is not None
        clock.ahead += 200
        assert cache.cached("key-RS256-0") is None
        with pytest.raises(KeysUnavailableError):
            await cache.keys_for("key-RS256-0")
        assert not cache.is_usable()
        with pytest.raises(KeysUnavailableError):
            cache.require_usable()
        issuer.trouble = None
        clock.ahead += 60
        assert await known(cache, "key-RS256-0")
        cache.require_usable()


async def test_n06_a_withdrawn_key(issuer: FakeIssuer) -> None:
    """N-06, CVE-2025-22149: a key that the issuer withdrew is gone after the next refresh."""
    async with caching(issuer) as (cache, _, _):
        issuer.rotate(withdraw=True)
        assert await known(cache, issuer.keys.key_id(1))
        assert cache.cached(issuer.keys.key_id(0)) is None


async def test_the_timer_refreshes(issuer: FakeIssuer) -> None:
    """Without any request, keys are fetched from time to time, and a withdrawn one is dropped."""
    async with caching(issuer, rules=Rules(refresh_after=0.1)) as (cache, _, _):
        issuer.rotate(withdraw=True)
        await eventually_async(lambda: cache.cached("key-RS256-0") is None)
        assert cache.cached(issuer.keys.key_id(1)) is not None


async def test_n17_recovers_without_restart(issuer: FakeIssuer) -> None:
    """N-17: an issuer that is down at first is found by the timer as soon as it is there."""
    issuer.trouble = http(503, b"")
    async with caching(issuer, rules=Rules(first_retry=0.05, last_retry=0.1)) as (cache, _, reports):
        await eventually_async(lambda: len(reports) > 3)
        assert cache.age() is None
        issuer.trouble = None
        await eventually_async(cache.is_usable)
        age = cache.age()
        assert age is not None
        assert age < 5


async def test_waiting_for_a_fetch_under_way(issuer: FakeIssuer) -> None:
    """Requests that come during a fetch wait for it and begin no other."""
    slow = Later(0.2, http(200, json.dumps(issuer.keys.jwks()).encode()))
    issuer.trouble = slow
    async with caching(issuer, start=False) as (cache, _, _):
        answers = await asyncio.gather(*(known(cache, "key-RS256-0") for _ in range(50)))
        assert all(answers)
        assert issuer.count("/jwks") == 1


async def test_a_caller_that_leaves_does_not_end_the_fetch(issuer: FakeIssuer) -> None:
    """The fetch belongs to all who wait for it: one that leaves does not break it off."""
    issuer.trouble = Later(0.2, http(200, json.dumps(issuer.keys.jwks()).encode()))
    async with caching(issuer, start=False) as (cache, _, _):
        leaving = asyncio.create_task(cache.keys_for("key-RS256-0"))
        staying = asyncio.create_task(known(cache, "key-RS256-0"))
        await asyncio.sleep(0.05)
        leaving.cancel()
        assert await staying


async def test_discovery(issuer: FakeIssuer) -> None:
    """Without a URL of its own, the key set is where the issuer's discovery document says."""
    async with caching(issuer, Discovery()) as (cache, _, _):
        assert await known(cache, "key-RS256-0")
        assert [request.path for request in issuer.requests] == ["/.well-known/openid-configuration", "/jwks"]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"issuer": "http://127.0.0.1:1"}, "another issuer"),
        ({"issuer": None}, "another issuer"),
        ({"jwks_uri": None}, "names no jwks_uri"),
        ({"jwks_uri": ["x"]}, "names no jwks_uri"),
        ({"jwks_uri": "file:///etc/passwd"}, "not a URL with a host"),
        ({"jwks_uri": "http://issuer.example.com/jwks"}, "plain http"),
        ({"jwks_uri": "https://user:secret@issuer.example.com/"}, "password"),
    ],
)
async def test_n08_n09_discovery_that_is_refused(issuer: FakeIssuer, changes: dict[str, object], fault: str) -> None:
    """N-08, N-09: the document of another issuer, or one that leads to a forbidden place, is refused."""
    issuer.discovery_changes = changes
    async with caching(issuer, Discovery()) as (cache, _, _):
        assert fault in str(cache.fault)
        assert issuer.count("/jwks") == 0


@pytest.mark.parametrize("document", [b"<html>", b"[]", b'{"issuer":"a","issuer":"b"}'])
async def test_discovery_documents_that_are_none(issuer: FakeIssuer, document: bytes) -> None:
    """A discovery document that is not one is refused."""
    issuer.trouble = http(200, document)
    async with caching(issuer, Discovery()) as (cache, _, _):
        assert str(cache.fault).startswith("the discovery document is")


async def test_n08_the_issuer_is_compared_byte_for_byte(issuer: FakeIssuer) -> None:
    """N-08: a slash more is another issuer."""
    issuer.discovery_changes = {"issuer": issuer.url + "/"}
    async with caching(issuer, Discovery()) as (cache, _, _):
        assert "another issuer" in str(cache.fault)


async def test_a_remote_issuer_does_not_lead_to_this_machine(issuer: FakeIssuer) -> None:
    """An https issuer's document must not send us to plain http on loopback."""
    assert refuse_jwks_uri("https://issuer.example.com", "http://127.0.0.1/jwks", allow_http=False)
    assert refuse_jwks_uri("https://issuer.example.com", "https://keys.example.com/jwks", allow_http=False) is None
    assert refuse_jwks_uri(issuer.url, issuer.jwks_url, allow_http=False) is None
    assert refuse_jwks_uri("http://issuer.internal", "http://issuer.internal/jwks", allow_http=True) is None


async def test_a_file(issuer: FakeIssuer, tmp_path: Path) -> None:
    """For an issuer that cannot be reached, the keys come from a file, which may change."""
    path = tmp_path / "keys.json"
    path.write_text(json.dumps(issuer.keys.jwks()))
    async with caching(issuer, JwksFile(path), Rules(refresh_after=0.05)) as (cache, _, reports):
        assert cache.cached("key-RS256-0") is not None
        issuer.rotate(withdraw=True)
        path.write_text(json.dumps(issuer.keys.jwks()))
        await eventually_async(lambda: cache.cached("key-RS256-1") is not None)
        path.unlink()
        await eventually_async(lambda: reports[-1].fault is not None)
        assert cache.fault == "cannot be read: No such file or directory"
        assert cache.cached("key-RS256-1") is not None
    assert issuer.requests == []


class Faltering:
    """A transport that breaks, the second time it is used, in a way that it promised not to."""

    def __init__(self) -> None:
        self._inner = Outbound(LIMITS)
        self._calls = 0

    def get(self, url: str) -> Awaitable[Response]:
        """Ask, or break."""
        self._calls += 1
        if self._calls == 2:
            raise ZeroDivisionError
        return self._inner.get(url)


async def test_the_timer_survives_anything(issuer: FakeIssuer) -> None:
    """A fault that nobody thought of is a failed attempt, and the next one is made."""
    reports: list[FetchReport] = []
    cache = KeyCache(
        issuer.url,
        JwksUrl(issuer.jwks_url),
        Faltering(),  # type: ignore[arg-type]  # the transport is a seam
        rules=Rules(refresh_after=0.05, first_retry=0.05),
        monotonic=asyncio.get_running_loop().time,
        report=reports.append,
    )
    cache.start()
    await eventually_async(lambda: len(reports) >= 3)
    cache.stop()
    assert [report.fault for report in reports[:3]] == [None, "unexpected ZeroDivisionError", None]
