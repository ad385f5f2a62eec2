"""The key cache at its bounds: before the first fetch, the largest file, and who may wait."""

import asyncio
import json
from pathlib import Path

import pytest

from fakes.http import CLOSE, Later, Reply, eventually_async, http
from fakes.issuer import FakeIssuer, Issuer
from tailsts.errors import KeysUnavailableError
from tailsts.oidc.freshness import Rules
from tailsts.oidc.jwks import LIMITS, FetchReport, KeyCache, refuse_jwks_uri
from tailsts.oidc.source import Discovery, JwksFile, JwksUrl, KeySource
from tailsts.outbound import Limits, Outbound

ISSUER = "https://issuer.example.com"


class Clock:
    """Stands still unless it is told to go on."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds


def cache_of(
    source: KeySource,
    issuer: str = ISSUER,
    *,
    reports: list[FetchReport] | None = None,
    rules: Rules | None = None,
    clock: Clock | None = None,
) -> KeyCache:
    """Return a cache that nobody has started."""
    return KeyCache(
        issuer,
        source,
        Outbound(Limits(connect=1.0, total=2.0, body=64 * 1024)),
        rules=rules or Rules(),
        monotonic=clock or Clock(),
        report=([] if reports is None else reports).append,
    )


async def test_before_anything_was_fetched() -> None:
    """A cache that has not asked yet has no keys, no age and no fault, says so, and may be stopped."""
    cache = cache_of(Discovery())
    assert (cache.keys, cache.fault, cache.age(), cache.is_usable()) == (None, None, None, False)
    assert cache.cached(None) is None
    with pytest.raises(KeysUnavailableError, match=f"no keys of {ISSUER}: None") as caught:
        cache.require_usable()
    assert caught.value.retry_after == 1
    cache.stop()


async def test_the_largest_file(tmp_path: Path) -> None:
    """Of a file with keys 512 KiB are read, and of a larger one nothing."""
    path = tmp_path / "keys.json"
    keys = json.dumps(Issuer(ISSUER).jwks())
    path.write_text(keys.ljust(512 * 1024))
    cache = cache_of(JwksFile(path))
    assert (await cache.keys_for("key-RS256-0")).knows("key-RS256-0")
    path.write_text(keys.ljust(512 * 1024 + 1))
    reports: list[FetchReport] = []
    other = cache_of(JwksFile(path), reports=reports)
    with pytest.raises(KeysUnavailableError):
        await other.keys_for("key-RS256-0")
    assert [report.keys for report in reports] == [None]
    # What the network may bring is bounded alike, and in time.
    assert (LIMITS.body, LIMITS.total) == (512 * 1024, 5.0)
    assert LIMITS.connect < LIMITS.total


async def test_who_waited_makes_room(issuer: FakeIssuer) -> None:
    """As many may wait as there is room for, again and again: a fetch that ended has nobody waiting any more."""
    issuer.trouble = Later(0.05, http(500, b""))
    cache = cache_of(JwksUrl(issuer.jwks_url), issuer.url, rules=Rules(cooldown=0.0))
    cache.max_waiting = 2
    for _ in range(3):
        answers = await asyncio.gather(*(cache.keys_for("a") for _ in range(3)), return_exceptions=True)
        assert all(isinstance(answer, KeysUnavailableError) for answer in answers)
        first, second, beyond = sorted(answers, key=str)
        assert (
            str(first) == str(second) == f"no keys of {issuer.url}: the answer to {issuer.jwks_url} has the status 500"
        )
        assert str(beyond) == f"too many wait for keys of {issuer.url}"
        assert isinstance(beyond, KeysUnavailableError)
        assert beyond.retry_after == 1


async def test_n01_unknown_keys_one_after_the_other(issuer: FakeIssuer) -> None:
    """N-01: unknown key ids that come one after the other cause one fetch in a cool-down as well."""
    clock = Clock()
    cache = cache_of(JwksUrl(issuer.jwks_url), issuer.url, clock=clock)
    for fetches in (1, 2, 3):
        for number in range(5):
            assert not (await cache.keys_for(f"random-{number}")).knows(f"random-{number}")
            assert issuer.count("/jwks") == fetches
        clock.seconds += 9.9
        await cache.keys_for("random")
        assert issuer.count("/jwks") == fetches
        clock.seconds += 0.1


async def test_n04_a_known_key_and_an_issuer_that_fails(issuer: FakeIssuer) -> None:
    """N-04: who waits for a fetch that fails is served by the last good keys if they hold the key that is meant."""
    clock = Clock()
    cache = cache_of(JwksUrl(issuer.jwks_url), issuer.url, clock=clock)
    good = await cache.keys_for("key-RS256-0")
    issuer.trouble = http(500, b"")
    clock.seconds += 10
    with pytest.raises(KeysUnavailableError, match="has the status 500"):
        await cache.keys_for("unknown")
    assert await cache.keys_for("key-RS256-0") is good
    assert await cache.keys_for(None) is good
    assert issuer.count("/jwks") == 2


async def test_n05_the_timer_keeps_its_distance_too(issuer: FakeIssuer) -> None:
    """N-05: an issuer that just failed a request is not asked again at once by the timer, but when its wait is over."""
    clock = Clock()
    reports: list[FetchReport] = []
    cache = cache_of(JwksUrl(issuer.jwks_url), issuer.url, reports=reports, clock=clock)
    cache.start()
    await eventually_async(lambda: len(reports) == 1)
    issuer.trouble = http(500, b"")
    with pytest.raises(KeysUnavailableError):
        await cache.keys_for("unknown")
    # The clock stands still, so nothing is due.
    await asyncio.sleep(0.3)
    assert issuer.count("/jwks") == 2
    clock.seconds += 1
    await eventually_async(lambda: len(reports) == 3)
    cache.stop()


@pytest.mark.parametrize(("trouble", "fault"), [(CLOSE, "connection closed"), (http(200, b" " * 65537), "65536 bytes")])
async def test_n04_a_fault_is_told_in_its_own_words(issuer: FakeIssuer, trouble: Reply, fault: str) -> None:
    """N-04: what went wrong on the way to the issuer is said as it is, and not that it was unexpected."""
    issuer.trouble = trouble
    reports: list[FetchReport] = []
    cache = cache_of(JwksUrl(issuer.jwks_url), issuer.url, reports=reports)
    with pytest.raises(KeysUnavailableError):
        await cache.keys_for("key-RS256-0")
    assert [fault in str(report.fault) for report in reports] == [True]


def test_a_jwks_uri_is_a_url_whoever_names_it() -> None:
    """What a discovery document names is refused in words, and plain http is taken only where it is allowed."""
    assert (
        refuse_jwks_uri(ISSUER, "http://127.0.0.1/jwks", allow_http=False) == "it is plain http, and its issuer is not"
    )
    assert refuse_jwks_uri(ISSUER, "http://127.0.0.1/jwks", allow_http=True) is None
    assert refuse_jwks_uri(ISSUER, "http://issuer.example.com/jwks", allow_http=True) is None
    assert (
        refuse_jwks_uri(ISSUER, "ftp://issuer.example.com/jwks", allow_http=True)
        == "its scheme is neither https nor http"
    )
    assert refuse_jwks_uri("http://127.0.0.1", "http://issuer.example.com/jwks", allow_http=False) == (
        "it is plain http, which anyone on the way can change"
    )
