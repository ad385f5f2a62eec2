"""The keys of issuers that only a pattern names: those that are still awaited, and those that come back."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.http import eventually_async
from fakes.issuer import Issuer
from tailsts.errors import KeysUnavailableError
from tailsts.oidc.families import Bounds, KeyFamily
from tailsts.oidc.freshness import Rules
from tailsts.oidc.jwks import FetchReport, KeyCache
from tailsts.oidc.source import JwksFile, JwksText
from tailsts.outbound import Limits, Outbound

SOURCE = JwksText("keys.json", json.dumps(Issuer("https://a.example.com").jwks()).encode())


def family_of(bounds: Bounds) -> KeyFamily:
    """Return a family whose issuers have their keys at once, and whose clock stands still."""
    outbound = Outbound(Limits(connect=1.0, total=2.0, body=64 * 1024))

    def make(issuer: str, report: Callable[[FetchReport], None]) -> KeyCache:
        return KeyCache(issuer, SOURCE, outbound, rules=Rules(), monotonic=lambda: 1000.0, report=report)

    return KeyFamily("https://.*", SOURCE, make, bounds=bounds, monotonic=lambda: 1000.0, report=lambda _report: None)


async def has_keys(family: KeyFamily, issuer: str) -> bool:
    """Return whether the issuer's keys are had, after what may be done for it."""
    return (await family.cache(issuer).keys_for("key-RS256-0")).knows("key-RS256-0")


async def test_those_that_are_awaited_count() -> None:
    """An issuer whose first keys are awaited is counted, seen and stopped like the others, and begun once."""
    family = family_of(Bounds())
    assert await has_keys(family, "https://a")
    awaited = family.cache("https://b")
    assert family.cache("https://b") is awaited
    assert family.source is SOURCE
    assert len(family) == 2
    assert [cache.issuer for cache in family] == ["https://a", "https://b"]
    await asyncio.sleep(0)
    timers = [cache._timer for cache in family]
    family.stop()
    await eventually_async(lambda: all(timer is not None and timer.cancelled() for timer in timers))


async def test_who_comes_back_is_remembered_for_longer() -> None:
    """Of very many issuers that once had keys, the one is forgotten that was longest away, not that came first."""
    family = family_of(Bounds(kept=1, names_kept=2, burst=3, one_each=1e9))
    assert [await has_keys(family, f"https://{name}") for name in "abac"] == [True] * 4
    with pytest.raises(KeysUnavailableError, match="too many new issuers"):
        family.cache("https://b")
    assert await has_keys(family, "https://a")
    family.stop()


@pytest.mark.parametrize(("one_each", "told"), [(0.1, 1), (1.0, 1), (7.0, 7)])
async def test_nobody_is_told_to_come_at_once(one_each: float, told: int) -> None:
    """Who asks for one new issuer too many is told to come again when there is room, and never at once."""
    family = family_of(Bounds(burst=1, one_each=one_each))
    family.cache("https://a")
    with pytest.raises(KeysUnavailableError) as caught:
        family.cache("https://b")
    assert caught.value.retry_after == told
    family.stop()


async def test_who_is_gone_for_good_is_let_go(tmp_path: Path) -> None:
    """An issuer that was down until its keys were too old is not kept and not asked any more, and no other one goes."""
    path = tmp_path / "keys.json"
    path.write_bytes(SOURCE.text)
    now = [1000.0]
    outbound = Outbound(Limits(connect=1.0, total=2.0, body=64 * 1024))

    def make(issuer: str, report: Callable[[FetchReport], None]) -> KeyCache:
        rules = Rules(max_stale=100.0)
        return KeyCache(issuer, JwksFile(path), outbound, rules=rules, monotonic=lambda: now[0], report=report)

    family = KeyFamily(
        "https://.*", SOURCE, make, bounds=Bounds(), monotonic=lambda: now[0], report=lambda _report: None
    )
    assert [await has_keys(family, f"https://{name}") for name in "ab"] == [True] * 2
    gone, other = family
    path.unlink()
    for seconds, kept in ((100.0, [gone, other]), (20.0, [other])):
        now[0] += seconds
        with pytest.raises(KeysUnavailableError, match="No such file"):
            await gone.keys_for("unknown")
        assert list(family) == kept
    await eventually_async(lambda: gone._timer is not None and gone._timer.cancelled())
    # What nobody keeps any more lets go of nobody in its place.
    path.write_bytes(SOURCE.text)
    assert await has_keys(family, "https://a")
    path.unlink()
    now[0] += 20
    with pytest.raises(KeysUnavailableError):
        await gone.keys_for("unknown")
    assert {cache.issuer for cache in family} == {"https://a", "https://b"}
    family.stop()
