"""The key caches of all trusts: one for each pair of issuer and key source, and none has another's keys."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from fakes.http import ScriptedServer, eventually_async, http
from fakes.issuer import FakeIssuer, Issuer, jwk, key_pair
from fakes.tls import Authority
from tailsts.oidc.freshness import Rules
from tailsts.oidc.jwks import FetchReport, KeyCache
from tailsts.oidc.keyring import KeyRing, Pair
from tailsts.oidc.rejected import Reason, Rejected
from tailsts.oidc.source import Discovery, JwksFile, JwksText, JwksUrl
from tailsts.oidc.token import UnverifiedToken, decode
from tailsts.oidc.verify import VerifiedToken, verify

CLUSTER = "https://kubernetes.default.svc"


@asynccontextmanager
async def keeping(*roots: bytes, rules: Rules | None = None) -> AsyncIterator[tuple[KeyRing, list[FetchReport]]]:
    """Yield a ring that trusts `roots` for every issuer, and what it reports."""
    reports: list[FetchReport] = []
    ring = KeyRing(
        extra_roots=roots,
        rules=rules or Rules(),
        monotonic=asyncio.get_running_loop().time,
        report=reports.append,
    )
    yield ring, reports
    ring.stop()


@contextmanager
def issuers(*numbers: int) -> Iterator[list[FakeIssuer]]:
    """Run an issuer for each of the keys of these numbers."""
    if not numbers:
        yield []
        return
    with FakeIssuer(numbers=numbers[:1]) as first, issuers(*numbers[1:]) as others:
        yield [first, *others]


def pair_of(issuer: FakeIssuer, name: str | None = None) -> Pair:
    """Return the issuer under its own name, or another, with the address of its keys."""
    return name or issuer.url, JwksUrl(issuer.jwks_url)


def judged(token: str, cache: KeyCache) -> VerifiedToken | Rejected:
    """Return what the keys of the cache make of a token."""
    read = decode(token)
    assert isinstance(read, UnverifiedToken)
    assert cache.keys is not None
    return verify(read, cache.keys, frozenset({"RS256"}), time.time())


async def have_keys(*caches: KeyCache) -> None:
    """Wait until all of these have keys."""
    await eventually_async(lambda: all(cache.keys is not None for cache in caches))


def key_ids(cache: KeyCache) -> list[str]:
    """Return the ids of the keys that the cache holds."""
    assert cache.keys is not None
    return sorted(cache.keys.by_id)


async def test_a_cache_for_each_pair() -> None:
    """Each pair has one cache, however often it is named, which fetches at once and is named by issuer and source."""
    with issuers(0, 1) as (one, two):
        async with keeping() as (ring, reports):
            pairs = [pair_of(one), pair_of(two)]
            caches = ring.adopt([*pairs, *pairs])
            assert [(cache.issuer, cache.source) for cache in caches.values()] == list(caches)
            assert set(caches) == set(pairs)
            assert set(ring) == set(caches.values())
            await have_keys(*ring)
            assert sorted((report.issuer, report.fault) for report in reports) == sorted(
                (issuer.url, None) for issuer in (one, two)
            )
        assert (one.count("/jwks"), two.count("/jwks")) == (1, 1)


async def test_i10_one_issuer_and_two_sources() -> None:
    """I-10: two clusters of one name have two caches, and neither judges by the other's keys."""
    with issuers(0, 1) as (one, two):
        async with keeping() as (ring, _):
            pairs = [pair_of(one, CLUSTER), pair_of(two, CLUSTER)]
            caches = ring.adopt(pairs)
            first, second = (caches[pair] for pair in pairs)
            await have_keys(first, second)
            assert (key_ids(first), key_ids(second)) == (["key-RS256-0"], ["key-RS256-1"])
            token = one.token(iss=CLUSTER)
            assert isinstance(judged(token, first), VerifiedToken)
            assert judged(token, second) == Rejected(Reason.UNKNOWN_KEY, "no usable key of the issuer has this kid")


async def test_k03_one_key_id_at_two_issuers() -> None:
    """K-03: a key of one issuer does not count for another that has a key with the same id."""
    with issuers(0, 0) as (one, two):
        two.trouble = http(200, json.dumps({"keys": [jwk(key_pair("RS256", 1), "key-RS256-0")]}).encode())
        async with keeping() as (ring, _):
            caches = ring.adopt([pair_of(one), pair_of(two)])
            await have_keys(*ring)
            assert [key_ids(cache) for cache in ring] == [["key-RS256-0"]] * 2
            forged = one.token(iss=two.url)
            assert judged(forged, caches[pair_of(two)]) == Rejected(Reason.BAD_SIGNATURE, "the signature does not hold")
            assert isinstance(judged(one.token(), caches[pair_of(one)]), VerifiedToken)


async def test_what_stays_keeps_its_keys() -> None:
    """A policy that is read again costs its trust nothing: the cache stays, with its keys, and asks nobody."""
    with issuers(0, 1) as (one, two):
        async with keeping() as (ring, _):
            before = ring.adopt([pair_of(one)])[pair_of(one)]
            await have_keys(before)
            keys = before.keys
            after = ring.adopt([pair_of(one), pair_of(two)])
            assert after[pair_of(one)] is before
            await have_keys(*ring)
            assert before.keys is keys
            assert one.count("/jwks") == 1


async def test_what_goes_is_stopped() -> None:
    """An issuer that no policy names any more is not asked any more."""
    with issuers(0, 1) as (one, two):
        async with keeping(rules=Rules(refresh_after=0.02)) as (ring, _):
            ring.adopt([pair_of(one), pair_of(two)])
            await have_keys(*ring)
            assert set(ring.adopt([pair_of(one)])) == {pair_of(one)}
            assert [cache.issuer for cache in ring] == [one.url]
            asked, stopped_at = one.count("/jwks"), two.count("/jwks")
            await eventually_async(lambda: one.count("/jwks") >= asked + 10)
            # The fetch that was under way may have come to its end.
            assert two.count("/jwks") <= stopped_at + 1


async def test_what_comes_back_is_fetched_anew() -> None:
    """A trust that was removed and comes back does not begin with the keys of the time before."""
    with issuers(0) as (issuer,):
        async with keeping() as (ring, _):
            before = ring.adopt([pair_of(issuer)])[pair_of(issuer)]
            await have_keys(before)
            ring.adopt([])
            issuer.rotate(withdraw=True)
            after = ring.adopt([pair_of(issuer)])[pair_of(issuer)]
            assert after.keys is None
            await have_keys(after)
            assert (key_ids(before), key_ids(after)) == (["key-RS256-0"], ["key-RS256-1"])


async def test_stop() -> None:
    """When the service stops, so does every timer, and nothing is left in the ring."""
    with issuers(0, 1) as (one, two):
        async with keeping() as (ring, _):
            ring.adopt([pair_of(one), pair_of(two)])
            await have_keys(*ring)
            timers = [cache._timer for cache in ring]
            ring.stop()
            assert list(ring) == []
            await eventually_async(lambda: all(timer is not None and timer.cancelled() for timer in timers))


async def test_policies_may_change_while_caches_are_looked_at() -> None:
    """Who walks over the caches, as the metrics do, is not disturbed by a reload in between."""
    with issuers(0, 1) as (one, two):
        async with keeping() as (ring, _):
            ring.adopt([pair_of(one), pair_of(two)])
            seen = []
            for cache in ring:
                ring.adopt([])
                seen.append(cache.issuer)
            assert sorted(seen) == sorted([one.url, two.url])


async def test_all_kinds_of_source(tmp_path: Path) -> None:
    """One issuer by its discovery document, a URL, a file and a text: four caches, each with its keys."""
    with issuers(0) as (issuer,):
        path = tmp_path / "keys.json"
        path.write_text(json.dumps(Issuer(issuer.url, numbers=[2]).jwks()))
        pairs: list[Pair] = [(issuer.url, Discovery()), pair_of(issuer), (issuer.url, JwksFile(path))]
        text = json.dumps(Issuer(issuer.url, numbers=[3]).jwks()).encode()
        pairs.append((issuer.url, JwksText("keys.json", text)))
        async with keeping() as (ring, _):
            caches = ring.adopt(pairs)
            await have_keys(*ring)
            assert [key_ids(caches[pair]) for pair in pairs] == [[f"key-RS256-{number}"] for number in (0, 0, 2, 3)]


async def test_one_that_is_down_holds_up_no_other() -> None:
    """The caches do not share their fate: where one issuer fails, the other's keys are there."""
    with issuers(0, 1) as (one, two):
        two.trouble = http(500, b"")
        async with keeping() as (ring, reports):
            caches = ring.adopt([pair_of(one), pair_of(two)])
            await eventually_async(lambda: len(reports) >= 2)
            assert (caches[pair_of(one)].is_usable(), caches[pair_of(two)].is_usable()) == (True, False)
            assert caches[pair_of(two)].fault == f"the answer to {two.jwks_url} has the status 500"


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Return an authority that no system trusts."""
    return Authority("ours")


@pytest.fixture(scope="module")
def stranger() -> Authority:
    """Return another."""
    return Authority("another")


async def test_n13_an_authority_for_each_trust(tmp_path: Path, authority: Authority, stranger: Authority) -> None:
    """N-13: the authority that a policy names vouches for that policy's issuer, and for no other."""
    document = http(200, json.dumps(Issuer("", numbers=[0]).jwks()).encode())
    folders = [tmp_path / "ours", tmp_path / "others"]
    for folder in folders:
        folder.mkdir()
    with (
        ScriptedServer(lambda _request: document, tls=authority.server_context(folders[0])) as ours,
        ScriptedServer(lambda _request: document, tls=stranger.server_context(folders[1])) as others,
    ):
        expected: dict[tuple[int, bytes | None], bool] = {
            (ours.port, authority.pem): True,
            (others.port, stranger.pem): True,
            (ours.port, stranger.pem): False,
            (others.port, authority.pem): False,
            (ours.port, None): False,
        }
        pairs: list[Pair] = [(CLUSTER, JwksUrl(f"https://localhost:{port}/jwks", ca_pem=pem)) for port, pem in expected]
        async with keeping() as (ring, reports):
            caches = ring.adopt(pairs)
            await eventually_async(lambda: {report.source for report in reports} == {source for _, source in pairs})
            assert [caches[pair].is_usable() for pair in pairs] == list(expected.values())
            faults = {cache.fault for cache in ring if not cache.is_usable()}
            assert [fault for fault in faults if "certificate" not in str(fault)] == []


async def test_n13_an_authority_for_all(tmp_path: Path, authority: Authority, stranger: Authority) -> None:
    """N-13: the authority of the service's own setting counts for every issuer, beside one that a policy names."""
    document = http(200, json.dumps(Issuer("", numbers=[0]).jwks()).encode())
    with ScriptedServer(lambda _request: document, tls=authority.server_context(tmp_path)) as server:
        url = f"https://localhost:{server.port}/jwks"
        async with keeping(authority.pem) as (ring, _):
            ring.adopt([(CLUSTER, JwksUrl(url)), (CLUSTER, JwksUrl(url, ca_pem=stranger.pem))])
            await have_keys(*ring)
