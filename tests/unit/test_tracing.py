"""The exchange that is traced, in-process: which ones are, what their spans say, and what is passed on."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from fakes.http import RESET, Reply, ScriptedServer, http
from fakes.issuer import FakeIssuer
from fakes.policies import policy
from fakes.tailscale import FakeTailscale
from tailsts.errors import AuditUnavailableError
from tailsts.exchange import Caller, Clock, Neighbours
from tailsts.outbound import TRACEPARENT, Limits, Outbound
from tailsts.outcome import Malformed, Minted, Outcome
from tailsts.server.traces.span import Kind, Span, Trace
from tailsts.server.traces.traceparent import Parent, parse, render
from tailsts.server.traces.tracing import WANTED_BY_CALLERS, Sampling, TracedExchange, Tracing
from unit.exchanging import HandClock, Site, asking, exchanging

CALLER = Parent(0xABC, 0xDEF, sampled=True)


@dataclass
class Traced:
    """A site whose exchanges are traced."""

    site: Site
    traces: list[Trace] = field(default_factory=list)

    def trace(self, share: float) -> None:
        """Trace this share of the exchanges from now on."""
        site, plain = self.site, self.site.exchange
        clock = Clock(site.clock.now, site.clock.monotonic)
        neighbours = Neighbours(plain._endpoints, plain._opa, plain._usage)
        tracing = Tracing(Sampling(share, site.clock.monotonic), self.traces.append)
        site.exchange = TracedExchange(plain.in_force, neighbours, site.book.auditor(), clock, tracing)

    async def ask(self, token: str, *scopes: str, traceparent: str | None = None) -> Outcome:
        """Return the outcome of an exchange whose caller sent this field."""
        caller = Caller("10.1.2.3:4567", "curl/8", self.site._has_left, traceparent)
        return (await self.site.exchange.decide(asking(token, *scopes), caller)).outcome

    def spans(self) -> dict[str, Span]:
        """Return the spans of the only trace, by their names."""
        (trace,) = self.traces
        return {span.name: span for span in trace.spans}


@pytest.fixture
async def traced(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> AsyncIterator[Traced]:
    """Return a site of which each exchange is traced."""
    policies = {"infra": policy(issuer.url), "once": policy(issuer.url, allowed_scopes=["users"], single_use=True)}
    async with exchanging(tmp_path / "policies", policies, tailscale) as site:
        made = Traced(site)
        made.trace(1)
        yield made


def sent(server: ScriptedServer) -> list[str | None]:
    """Return the field that came with each request."""
    return [request.headers.get("traceparent") for request in server.requests]


async def test_granted(traced: Traced, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """An exchange is a span of the caller's trace, its stages are within it, and Tailscale hears of the last one."""
    assert isinstance(await traced.ask(issuer.token(), traceparent=render(0xABC, 0xDEF)), Minted)
    spans = traced.spans()
    root = spans["exchange"]
    assert {name: span.kind for name, span in spans.items()} == {
        "exchange": Kind.SERVER,
        "verify": Kind.INTERNAL,
        "decide": Kind.INTERNAL,
        "mint": Kind.CLIENT,
    }
    assert (traced.traces[0].id, root.parent_id) == (0xABC, 0xDEF)
    assert {span.parent_id for name, span in spans.items() if name != "exchange"} == {root.id}
    assert root.attributes == {
        "tailsts.decision": traced.site.events[0]["decision"],
        "tailsts.generation": traced.site.exchange.in_force.generation.digest,
        "tailsts.outcome": "granted",
        "tailsts.policy": "infra",
        "tailsts.reason": "granted",
        "http.response.status_code": 200,
    }
    assert not any(span.failed for span in spans.values())
    assert sent(tailscale) == [render(0xABC, spans["mint"].id)]


async def test_times(traced: Traced, issuer: FakeIssuer) -> None:
    """Each span lies within its parent, and in its place among the others, on the clock of the wall."""
    traced.site.clock.step = 0.001
    await traced.ask(issuer.token())
    spans = traced.spans()
    assert traced.site.clock.wall <= spans["exchange"].started < traced.site.clock.wall + 1
    order = [spans["verify"], spans["decide"], spans["mint"]]
    moments = [spans["exchange"].started, *(moment for span in order for moment in (span.started, span.ended))]
    assert moments == sorted(moments)
    assert moments[-1] < spans["exchange"].ended


async def test_keys_are_fetched(traced: Traced, issuer: FakeIssuer) -> None:
    """Keys that are fetched for an exchange are a stage of it, of which the issuer hears; a refresh is none."""
    traced.site.clock.seconds += 30
    issuer.rotate()
    await traced.ask(issuer.token())
    assert sent(issuer)[-1] == render(traced.traces[0].id, traced.spans()["keys"].id)
    assert sent(issuer)[0] is None
    await traced.site.cache(issuer.url)._fetch(demanded=False)
    assert sent(issuer)[-1] is None


async def test_what_outlives_its_exchange(traced: Traced, issuer: FakeIssuer) -> None:
    """What an exchange began and goes on after it, such as the timer of new keys, passes its trace on no more."""
    await traced.ask(issuer.token())
    inherited = TRACEPARENT.set(traced.traces[0].traceparent)
    await Outbound(Limits(connect=3, total=5, body=100_000)).get(issuer.jwks_url)
    TRACEPARENT.reset(inherited)
    assert sent(issuer)[-1] is None


async def test_keys_that_are_on_their_way(traced: Traced, issuer: FakeIssuer, tmp_path: Path) -> None:
    """To wait for the first keys of another source is a stage as well, after which the token is judged again."""
    with FakeIssuer() as other:
        late = policy(issuer.url, jwks_url=other.jwks_url, allowed_scopes=["users"])
        traced.site.put_in_force(tmp_path / "policies", {"infra": policy(issuer.url), "late": late})
        assert isinstance(await traced.ask(issuer.token(), "users"), Minted)
    names = [span.name for span in traced.traces[0].spans]
    assert names == ["verify", "decide", "keys", "verify", "decide", "mint", "exchange"]


async def test_refused(traced: Traced, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """A refusal is no failure: the span says why, and that nothing was minted."""
    await traced.ask(issuer.token(), "dns")
    root = traced.spans()["exchange"]
    assert (root.failed, root.attributes["http.response.status_code"]) == (False, 403)
    assert (root.attributes["tailsts.outcome"], root.attributes["tailsts.reason"]) == ("refused", "scope_not_allowed")
    assert "mint" not in traced.spans()
    assert tailscale.requests == []


async def test_used_twice(traced: Traced, issuer: FakeIssuer) -> None:
    """What a policy's terms need is a stage of its own, before the minting; the policy is told anyway."""
    token = issuer.token(jti="j")
    assert isinstance(await traced.ask(token, "users"), Minted)
    spans = traced.spans()
    assert (spans["claim"].parent_id, spans["mint"].parent_id) == (spans["exchange"].id, spans["exchange"].id)
    traced.traces.clear()
    await traced.ask(token, "users")
    attributes = traced.spans()["exchange"].attributes
    assert (attributes["tailsts.reason"], attributes["tailsts.policy"]) == ("replayed", "once")


@pytest.mark.parametrize(
    ("trouble", "status", "reason"),
    [(RESET, 503, "tailscale_unavailable"), (http(200, b"garbage"), 502, "tailscale_answer")],
)
async def test_a_fault(
    traced: Traced, issuer: FakeIssuer, tailscale: FakeTailscale, trouble: Reply, status: int, reason: str
) -> None:
    """A fault marks the stage and the exchange as failed, by its code."""
    tailscale.trouble = trouble
    await traced.ask(issuer.token())
    root, mint = traced.spans()["exchange"], traced.spans()["mint"]
    assert (root.failed, root.attributes["http.response.status_code"]) == (True, status)
    assert (root.attributes["tailsts.reason"], root.attributes["tailsts.policy"]) == (reason, "infra")
    assert (mint.failed, mint.attributes) == (True, {"error.type": reason})


async def test_a_bug(traced: Traced, issuer: FakeIssuer) -> None:
    """What ends an exchange unexpectedly is in its trace as well, and leaves none behind."""
    traced.site.book.before_minting = RuntimeError("bug")
    with pytest.raises(RuntimeError):
        await traced.ask(issuer.token())
    root = traced.spans()["exchange"]
    assert (root.failed, root.attributes["error.type"], root.attributes["tailsts.reason"]) == (
        True,
        "RuntimeError",
        "internal",
    )
    assert traced.traces[0].traceparent() is None


async def test_recorded_for_sure(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """Where the audit event has to be written first, that is a stage."""
    policies = {"infra": policy(issuer.url)}
    async with exchanging(tmp_path / "policies", policies, tailscale, required=True) as site:
        traced = Traced(site)
        traced.trace(1)
        site.book.after_minting = AuditUnavailableError("full", retry_after=1)
        assert isinstance(await traced.ask(issuer.token()), AuditUnavailableError)
        assert traced.spans()["record"].kind is Kind.INTERNAL
        assert traced.spans()["exchange"].attributes["http.response.status_code"] == 503


async def test_opa(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """A question to an Open Policy Agent is a stage within the decision, and the agent hears of it."""
    with ScriptedServer(lambda _request: http(200, b'{"result": true}')) as agent:
        asked = policy(issuer.url) + f'[opa]\nurl = "http://127.0.0.1:{agent.port}/v1/data/x"\n'
        async with exchanging(tmp_path / "policies", {"infra": asked}, tailscale) as site:
            traced = Traced(site)
            traced.trace(1)
            assert isinstance(await traced.ask(issuer.token()), Minted)
            spans = traced.spans()
            assert (spans["opa"].parent_id, spans["opa"].kind) == (spans["decide"].id, Kind.CLIENT)
            assert sent(agent) == [render(traced.traces[0].id, spans["opa"].id)]


async def test_side_by_side(traced: Traced, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """Exchanges that go on at the same time each pass on their own trace, and those that are not traced none."""
    traced.trace(0)
    fields = [render(number, 1) if number % 2 else None for number in range(1, 21)]
    await asyncio.gather(*(traced.ask(issuer.token(), traceparent=text) for text in fields))
    passed_on = [parent for text in sent(tailscale) if (parent := parse(text)) is not None]
    minting = {(trace.id, span.id) for trace in traced.traces for span in trace.spans if span.name == "mint"}
    assert {(parent.trace_id, parent.span_id) for parent in passed_on} == minting
    assert sorted(trace.id for trace in traced.traces) == list(range(1, 21, 2))
    assert len(sent(tailscale)) == 20


async def test_nothing_of_the_token(traced: Traced, issuer: FakeIssuer) -> None:
    """No claim, no text that a caller chose and no part of a token is in a trace."""
    chosen = partial(issuer.token, sub="stranger-7", jti="stranger-7", repository="stranger-7")
    for token in (chosen(), chosen(exp=1), "stranger-7.x.y", issuer.token()):
        await traced.ask(token)
    await traced.site.exchange.decide(
        Malformed(400, "bad_json", "the body is no JSON"), Caller("peer-7", "agent-7", traced.site._has_left)
    )
    told = repr([trace.spans for trace in traced.traces])
    assert len(traced.traces) == 5
    assert [word for word in ("stranger-7", "peer-7", "agent-7", "tskey", "repo:", issuer.url) if word in told] == []


async def test_not_traced(traced: Traced, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """An exchange that is not taken leaves no trace and passes nothing on, whatever the caller sent."""
    traced.trace(0)
    assert isinstance(await traced.ask(issuer.token()), Minted)
    assert isinstance(await traced.ask(issuer.token(), traceparent=f"00-{1:032x}-{1:016x}-00"), Minted)
    assert isinstance(await traced.ask(issuer.token(), traceparent="garbage"), Minted)
    assert (traced.traces, sent(tailscale)) == ([], [None] * 3)


def test_our_share() -> None:
    """By itself each is taken at 1 and none at 0; whoever traces, and leaves this request out, is followed."""
    clock = HandClock()
    always, never = Sampling(1, clock.monotonic), Sampling(0, clock.monotonic)
    assert all(always.takes(None) for _ in range(100))
    assert not any(never.takes(None) for _ in range(100))
    assert not always.takes(parse(f"00-{1:032x}-{1:016x}-00"))


def test_a_stranger_cannot_force_it() -> None:
    """Callers that want to be traced get it ten times a second, all together, whatever ids they choose."""
    clock = HandClock()
    sampling = Sampling(0, clock.monotonic)
    assert sum(sampling.takes(Parent(number + 1, 1, sampled=True)) for number in range(1000)) == WANTED_BY_CALLERS
    clock.seconds += 0.5
    assert sum(sampling.takes(CALLER) for _ in range(1000)) == WANTED_BY_CALLERS / 2
    clock.seconds += 3600
    assert sum(sampling.takes(CALLER) for _ in range(1000)) == WANTED_BY_CALLERS
