"""Whether the service can do its work, with issuers on sockets and a clock of our own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fakes.http import RESET, eventually_async, http
from fakes.issuer import FakeIssuer
from fakes.judging import policy as made
from tailsts.errors import KeysUnavailableError
from tailsts.oidc.freshness import Rules
from tailsts.oidc.jwks import KeyCache
from tailsts.oidc.keyring import KeyRing
from tailsts.oidc.source import JwksUrl
from tailsts.policy.model import Generation, assemble
from tailsts.server.shown.looking import trust_state
from tailsts.server.shown.readiness import Health, Readiness, TrustState, assess

REFUSED = http(500, b"")


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds


@asynccontextmanager
async def keeping(*issuers: FakeIssuer) -> AsyncIterator[tuple[list[KeyCache], Clock]]:
    """Keep the keys of these issuers; yield the caches, in this order, when each has made its first attempt."""
    clock = Clock()
    ring = KeyRing(extra_roots=(), rules=Rules(), monotonic=clock, report=lambda _report: None)
    pairs = [(issuer.url, JwksUrl(issuer.jwks_url)) for issuer in issuers]
    caches = ring.adopt(pairs)
    await eventually_async(lambda: all(cache.keys or cache.fault for cache in ring))
    yield [caches[pair] for pair in pairs], clock
    ring.stop()


def generation() -> Generation:
    """Return a generation of two policies."""
    policies = [made(name) for name in "ab"]
    return assemble(policies, "0123456789abcdef")


def looked_at(caches: list[KeyCache], *reload_faults: str, draining: bool = False) -> Readiness:
    """Return what is said of these caches."""
    return assess(
        generation(), [trust_state(cache) for cache in caches], reload_faults=reload_faults, draining=draining
    )


def fresh(issuer: FakeIssuer, keys: int = 1, age: float = 0.0) -> TrustState:
    """Return the state of an issuer whose keys are there."""
    return TrustState(issuer.url, issuer.jwks_url, "fresh", keys, age, None)


@pytest.fixture
async def down() -> AsyncIterator[FakeIssuer]:
    """Return an issuer that answers with 500."""
    with FakeIssuer() as running:
        running.trouble = REFUSED
        yield running


def fault_of(issuer: FakeIssuer) -> str:
    """Return what is said of an issuer that answers with 500."""
    return f"the answer to {issuer.jwks_url} has the status 500"


async def test_ready(issuer: FakeIssuer) -> None:
    """Every trust has keys: ready, with how many keys each has and how old they are."""
    issuer.rotate()
    async with keeping(issuer) as (caches, clock):
        clock.seconds += 12.345
        assert looked_at(caches) == Readiness(
            "ready", False, 2, "0123456789abcdef", (), (fresh(issuer, keys=2, age=12.3),)
        )


async def test_degraded_without_the_keys_of_one(issuer: FakeIssuer, down: FakeIssuer) -> None:
    """N-17: one issuer is down at start: degraded, the others serve, and it is said which one and why."""
    missing = TrustState(down.url, down.jwks_url, "missing", 0, None, fault_of(down))
    async with keeping(issuer, down) as (caches, _):
        assert looked_at(caches) == Readiness("degraded", False, 2, "0123456789abcdef", (), (fresh(issuer), missing))


async def test_not_ready_without_any_keys(down: FakeIssuer) -> None:
    """No trust has keys: not ready, since every exchange would be answered with 503."""
    async with keeping(down) as (caches, _):
        assert looked_at(caches).status == "not ready"
    assert looked_at([]).status == "not ready"


async def test_n04_stale_keys_still_serve(issuer: FakeIssuer) -> None:
    """N-04: after a failed fetch the last good keys are stale, with the reason, and the service stays ready."""
    async with keeping(issuer) as (caches, clock):
        issuer.trouble = REFUSED
        clock.seconds += 3600
        with pytest.raises(KeysUnavailableError):
            await caches[0].keys_for("nobody")
        stale = TrustState(issuer.url, issuer.jwks_url, "stale", 1, 3600.0, fault_of(issuer))
        assert looked_at(caches) == Readiness("ready", False, 2, "0123456789abcdef", (), (stale,))


async def test_n04_keys_that_are_too_old_are_missing(issuer: FakeIssuer) -> None:
    """N-04: keys older than a day are missing, and how old they are is still said."""
    async with keeping(issuer) as (caches, clock):
        issuer.trouble = RESET
        clock.seconds += 24 * 3600 + 1
        missing = TrustState(issuer.url, issuer.jwks_url, "missing", 0, 24 * 3600 + 1, None)
        assert looked_at(caches) == Readiness("not ready", False, 2, "0123456789abcdef", (), (missing,))


async def test_a_failed_reload_degrades(issuer: FakeIssuer) -> None:
    """P-17: policies that could not be reloaded degrade the service, and each fault is shown."""
    async with keeping(issuer) as (caches, _):
        assert looked_at(caches, "a.toml:1: fault", "b.toml:2: fault") == Readiness(
            "degraded", False, 2, "0123456789abcdef", ("a.toml:1: fault", "b.toml:2: fault"), (fresh(issuer),)
        )


@pytest.mark.parametrize("health", [Health(audit="cannot be written"), Health(state="cannot be asked")])
async def test_what_else_degrades(issuer: FakeIssuer, health: Health) -> None:
    """An audit log that cannot be written, or a state that cannot be asked, degrades, and why is shown."""
    async with keeping(issuer) as (caches, _):
        trusts = [trust_state(cache) for cache in caches]
        shown = assess(generation(), trusts, reload_faults=(), draining=False, health=health)
        assert (shown.status, shown.audit, shown.state) == ("degraded", health.audit, health.state)


async def test_a_service_that_stops_is_not_ready(issuer: FakeIssuer) -> None:
    """While the service finishes what is in flight it is not ready for more, whatever keys it has."""
    async with keeping(issuer) as (caches, _):
        assert looked_at(caches, draining=True) == Readiness(
            "not ready", True, 2, "0123456789abcdef", (), (fresh(issuer),)
        )


async def test_it_recovers_by_itself(down: FakeIssuer) -> None:
    """N-17: an issuer that comes back is ready again, without a restart."""
    async with keeping(down) as (caches, clock):
        assert looked_at(caches).status == "not ready"
        down.trouble = None
        clock.seconds += 10
        await caches[0].keys_for("key-RS256-0")
        assert looked_at(caches).trusts == (fresh(down),)
        assert looked_at(caches).status == "ready"
