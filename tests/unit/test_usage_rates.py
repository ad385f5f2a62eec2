"""Rates in the exchange: what counts, and what does not. Real keys and sockets, and the state of one process."""

from pathlib import Path

from fakes.http import http
from fakes.issuer import FakeIssuer
from fakes.policies import policy
from fakes.tailscale import FakeTailscale
from tailsts.errors import AuditUnavailableError, TailscaleUnavailableError
from tailsts.outcome import Minted, Withheld
from unit.exchanging import asking, exchanging

REPLAYED = Withheld("replayed")


async def test_a_rate(folder: Path, tailscale: FakeTailscale, issuer: FakeIssuer) -> None:
    """So often a subject gets a token by a policy, and no more until the time is over; another subject is not it."""
    policies = {"a": policy(issuer.url, subject=None, any_subject=True, rate_limit="2/minute")}
    async with exchanging(folder, policies, tailscale) as site:
        outcomes = [await site.ask(issuer.token(sub="one")) for _ in range(3)]
        assert [type(outcome) for outcome in outcomes] == [Minted, Minted, Withheld]
        assert isinstance(outcomes[2], Withheld)
        assert outcomes[2].reason == "rate_limited"
        assert 1 <= outcomes[2].retry_after <= 60
        assert isinstance(await site.ask(issuer.token(sub="two")), Minted)
        site.clock.wall += 120
        site.clock.seconds += 120
        assert isinstance(await site.ask(issuer.token(sub="one")), Minted)
        assert site.events[2]["reason"] == "rate_limited"


async def test_a_use_that_came_to_nothing_does_not_count(
    folder: Path, tailscale: FakeTailscale, issuer: FakeIssuer
) -> None:
    """Of a rate, exchanges for which Tailscale gave nothing, or that could not be recorded, use up nothing."""
    policies = {"a": policy(issuer.url, rate_limit="1/hour", single_use=True)}
    async with exchanging(folder, policies, tailscale, required=True) as site:
        token = issuer.token(jti="1")
        tailscale.trouble = http(503, b"")
        for _ in range(3):
            assert isinstance(await site.ask(token), TailscaleUnavailableError)
        tailscale.trouble = None
        site.book.after_minting = AuditUnavailableError("full", retry_after=5)
        assert isinstance((await site.decide(asking(token))).outcome, AuditUnavailableError)
        site.book.after_minting = None
        assert isinstance(await site.ask(token), Minted)
        outcome = await site.ask(issuer.token(jti="2"))
        assert isinstance(outcome, Withheld)
        assert outcome.reason == "rate_limited"


async def test_who_is_refused_does_not_count(folder: Path, tailscale: FakeTailscale, issuer: FakeIssuer) -> None:
    """Neither a refusal nor a forged token counts towards a rate; who is too fast has not used up the token."""
    policies = {"a": policy(issuer.url, rate_limit="1/minute", single_use=True)}
    async with exchanging(folder, policies, tailscale) as site:
        first, second = issuer.token(jti="1"), issuer.token(jti="2")
        await site.ask(first, "all")
        await site.ask(first[:-8] + "AAAAAAAA")
        assert isinstance(await site.ask(first), Minted)
        outcome = await site.ask(second)
        assert isinstance(outcome, Withheld)
        assert outcome.reason == "rate_limited"
        site.clock.wall += 120
        site.clock.seconds += 120
        assert isinstance(await site.ask(second), Minted)


async def test_a_rate_is_of_a_policy_and_of_an_issuer(
    folder: Path, tailscale: FakeTailscale, issuer: FakeIssuer
) -> None:
    """The same subject has a rate for each policy, and that of another issuer is another subject."""
    with FakeIssuer() as other:
        policies = {
            "a": policy(issuer.url, rate_limit="1/hour", allowed_scopes=["dns:read"]),
            "b": policy(issuer.url, rate_limit="1/hour", allowed_scopes=["users:read"]),
            "c": policy(other.url, rate_limit="1/hour"),
        }
        async with exchanging(folder, policies, tailscale) as site:
            asked = [(issuer, "dns:read"), (issuer, "users:read"), (other, "dns:read")]
            for expected in (Minted, Withheld):
                outcomes = [await site.ask(each.token(), scope) for each, scope in asked]
                assert [type(outcome) for outcome in outcomes] == [expected] * 3


async def test_who_replays_uses_up_no_rate(folder: Path, tailscale: FakeTailscale, issuer: FakeIssuer) -> None:
    """A token that was used, and stolen since, cannot keep its subject from asking with a new one."""
    policies = {"a": policy(issuer.url, rate_limit="2/hour", single_use=True)}
    async with exchanging(folder, policies, tailscale) as site:
        token = issuer.token(jti="1")
        assert isinstance(await site.ask(token), Minted)
        assert [await site.ask(token) for _ in range(5)] == [REPLAYED] * 5
        assert isinstance(await site.ask(issuer.token(jti="2")), Minted)
