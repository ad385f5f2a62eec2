"""The exchange in this process: real keys and real sockets on both sides, with a clock and an auditor of our own."""

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakes.http import eventually_async
from fakes.leaks import note_text, secrets
from fakes.tailscale import CLIENT_ID, CLIENT_SECRET, FakeTailscale
from tailsts.audit import Event, console_line, json_line
from tailsts.credentials import Secret
from tailsts.exchange import (
    Auditor,
    Caller,
    Clock,
    Exchange,
    Neighbours,
)
from tailsts.in_force import InForce, put_together
from tailsts.oidc.freshness import Rules
from tailsts.oidc.jwks import KeyCache
from tailsts.oidc.keyring import KeyRing
from tailsts.opa import Opa
from tailsts.outcome import (
    Decision,
    ExchangeRequest,
    Malformed,
    Outcome,
    conclude,
)
from tailsts.policy.condition import Check
from tailsts.policy.decide import Refusal, Wanted
from tailsts.policy.model import DEFAULT_TAILNET
from tailsts.policy.store import Options, load
from tailsts.policy.trusted import TrustedIssuers
from tailsts.state.memory import MemoryState
from tailsts.state.state import State
from tailsts.tailscale.token_endpoint import Credential, TokenEndpoint
from tailsts.usage import Usage


class HandClock:
    """Stands still but for `step` seconds at each look at `monotonic`, and for what a test adds."""

    def __init__(self) -> None:
        self.wall = float(int(time.time()))
        self.seconds = 1000.0
        self.step = 0.0

    def now(self) -> float:
        """Return the seconds since the epoch."""
        return self.wall

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        self.seconds += self.step
        return self.seconds


@dataclass
class Book:
    """Keeps every event, as it would be written. `required`: nobody may get a token that it does not know of."""

    required: bool = False
    events: list[dict[str, Any]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    before_minting: BaseException | None = None
    after_minting: BaseException | None = None

    def auditor(self) -> Auditor:
        """Return what an exchange needs of this."""
        return Auditor(self._admit, self.record, self._record_for_sure if self.required else None)

    def record(self, event: Event, ending: Outcome | BaseException) -> None:
        """Keep one event."""
        conclude(event, ending)
        self.events.append(json.loads(json_line(event)))
        self.lines += [json_line(event).decode("ascii"), console_line(event).decode("ascii")]

    def _admit(self) -> None:
        if self.before_minting is not None:
            raise self.before_minting

    async def _record_for_sure(self, event: Event, ending: Outcome | BaseException) -> None:
        self.record(event, ending)
        if self.after_minting is not None:
            raise self.after_minting

    def close(self) -> None:
        """L-01: see that no secret of this run stands in any line, and leave them to the search after all tests."""
        text = "".join(self.lines)
        assert [secret for secret in secrets() if secret in text] == []
        note_text(text)


@dataclass
class Site:
    """An exchange with what is around it."""

    exchange: Exchange
    ring: KeyRing
    clock: HandClock
    book: Book
    tailscale: FakeTailscale
    options: Options
    has_left: bool = False
    times_asked: int = 0

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events so far."""
        return self.book.events

    async def decide(self, request: ExchangeRequest | Malformed) -> Decision:
        """Decide for the usual caller."""
        return await self.exchange.decide(request, Caller("10.1.2.3:4567", "curl/8", self._has_left))

    async def ask(self, token: str, *scopes: str, tags: tuple[str, ...] = (), policy: str | None = None) -> Outcome:
        """Return the outcome for a token; there must be exactly one event about it, under the decision's id."""
        before = len(self.events)
        decision = await self.decide(asking(token, *scopes, tags=tags, policy=policy))
        assert [event["decision"] for event in self.events[before:]] == [decision.id]
        return decision.outcome

    def put_in_force(self, folder: Path, policies: Mapping[str, str]) -> None:
        """Let these policies, and no others, hold from the next exchange on."""
        self.exchange.in_force = _in_force(self.ring, folder, policies, self.options)

    async def wait_for_keys(self) -> None:
        """Wait until each cache has made its first attempt."""
        await eventually_async(lambda: all(cache.keys or cache.fault for cache in self.ring))

    def cache(self, issuer: str) -> KeyCache:
        """Return the cache of an issuer that has one."""
        ((_, cache),) = self.exchange.in_force.by_issuer[issuer]
        return cache

    async def _has_left(self) -> bool:
        self.times_asked += 1
        return self.has_left


def refused(outcome: object) -> tuple[Check, str | None]:
    """Return the check at which an exchange was refused, and the policy that came nearest."""
    assert isinstance(outcome, Refusal), outcome
    return outcome.check, outcome.policy


def asking(token: str, *scopes: str, tags: tuple[str, ...] = (), policy: str | None = None) -> ExchangeRequest:
    """Return a request, for the usual scope unless others are named."""
    return ExchangeRequest(Secret(token), Wanted(scopes or ("dns:read",), tags, policy))


@asynccontextmanager
async def exchanging(  # noqa: PLR0913 - what a test varies
    folder: Path,
    policies: Mapping[str, str],
    tailscale: FakeTailscale,
    *,
    required: bool = False,
    prod: FakeTailscale | None = None,
    trusted: TrustedIssuers | None = None,
    roots: tuple[bytes, ...] = (),
    state: State | None = None,
    single_use: bool = False,
) -> AsyncIterator[Site]:
    """Run an exchange under these policies; yield it when the first attempts to fetch keys are over.

    `prod` is a second tailnet, if there is one; `trusted` an allow-list of issuers; `roots` are PEM texts; `state`
    what remembers, if not memory; `single_use` that of the whole service.
    """
    clock, book = HandClock(), Book(required)
    ring = KeyRing(extra_roots=roots, rules=Rules(), monotonic=clock.monotonic, report=lambda _report: None)
    tailnets = {DEFAULT_TAILNET: tailscale} if prod is None else {DEFAULT_TAILNET: tailscale, "prod": prod}
    options = Options(tailnets=frozenset(tailnets), trusted=trusted, single_use=single_use)
    endpoints = {name: _endpoint(each, clock) for name, each in tailnets.items()}
    usage = Usage(MemoryState(monotonic=clock.monotonic) if state is None else state)
    neighbours = Neighbours(endpoints, Opa(extra_roots=(), monotonic=time.monotonic), usage)
    in_force = _in_force(ring, folder, policies, options)
    exchange = Exchange(in_force, neighbours, book.auditor(), Clock(clock.now, clock.monotonic))
    site = Site(exchange, ring, clock, book, tailscale, options)
    await site.wait_for_keys()
    yield site
    ring.stop()
    book.close()


def _endpoint(tailscale: FakeTailscale, clock: HandClock) -> TokenEndpoint:
    credential = Credential(CLIENT_ID, Secret(CLIENT_SECRET), tailscale.token_url)
    return TokenEndpoint(credential, extra_roots=(), monotonic=clock.monotonic)


def _in_force(ring: KeyRing, folder: Path, policies: Mapping[str, str], options: Options) -> InForce:
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.toml"):
        old.unlink()
    for name, text in policies.items():
        (folder / f"{name}.toml").write_text(text)
    loaded = load(folder, options)
    assert loaded.generation is not None, loaded.findings
    return put_together(loaded.generation, ring, options.trusted)
