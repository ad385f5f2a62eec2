"""Tokens that are used once, and rates, in the exchange: real keys and sockets, and the state of one process."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.http import http
from fakes.issuer import FakeIssuer, Issuer
from fakes.policies import policy
from fakes.tailscale import FakeTailscale
from tailsts.errors import AuditUnavailableError, StateUnavailableError, TailscaleUnavailableError
from tailsts.oidc.token import UnverifiedToken, decode
from tailsts.outcome import Minted, Use, Withheld
from tailsts.policy.rate import Rate
from tailsts.usage import digest, identity
from unit.exchanging import Site, asking, exchanging

# Of the group of ES256 (FIPS 186-4, D.1.2.3).
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
REPLAYED = Withheld("replayed")
PARTS = [("a", "bc"), ("ab", "c"), ("abc", "x"), ("bc", "a")]


@pytest.fixture
def once(issuer: FakeIssuer) -> str:
    """Return a policy by which a token is used once."""
    return policy(issuer.url, single_use=True)


@pytest.fixture
async def site(folder: Path, once: str, tailscale: FakeTailscale) -> AsyncIterator[Site]:
    """Run an exchange under it."""
    async with exchanging(folder, {"once": once}, tailscale) as running:
        yield running


class Down:
    """A state that nobody can ask."""

    async def claim(self, key: str, until: float, now: float, mark: str) -> bool:
        """Fail."""
        raise StateUnavailableError("down", retry_after=2)

    async def give_back(self, key: str, mark: str) -> None:
        """Do nothing, as there is nothing."""

    async def take(self, key: str, rate: Rate, now: float, mark: str) -> int:
        """Fail."""
        raise StateUnavailableError("down", retry_after=2)

    async def untake(self, key: str, rate: Rate, now: float, mark: str) -> None:
        """Do nothing, as there is nothing."""

    async def close(self) -> None:
        """Do nothing."""


def unverified(text: str) -> UnverifiedToken:
    """Return the token as it is before anybody looked at its signature."""
    token = decode(text)
    assert isinstance(token, UnverifiedToken)
    return token


async def test_u01_a_token_buys_one_access_token(site: Site, issuer: FakeIssuer) -> None:
    """U-01: the second time, the same token is a replay; Tailscale is not asked, and the event says which policy."""
    token = issuer.token(jti="1")
    assert isinstance(await site.ask(token), Minted)
    assert await site.ask(token) == REPLAYED
    assert len(site.tailscale.requests) == 1
    assert [(event["outcome"], event["reason"], event["policy"]) for event in site.events] == [
        ("granted", "granted", "once"),
        ("refused", "replayed", "once"),
    ]


async def test_u01_fifty_at_the_same_time(site: Site, issuer: FakeIssuer) -> None:
    """U-01: of fifty presentations of a token at the same time, exactly one is granted."""
    token = issuer.token(jti="1")
    outcomes = [decision.outcome for decision in await asyncio.gather(*(site.decide(asking(token)) for _ in range(50)))]
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Minted"] + ["Withheld"] * 49
    assert len(site.tailscale.requests) == 1


async def test_u01_by_its_name_or_by_what_was_signed(site: Site, issuer: FakeIssuer) -> None:
    """U-01: two tokens of one `jti` are one; without a `jti`, what was signed tells them apart."""
    assert isinstance(await site.ask(issuer.token(jti="1")), Minted)
    assert await site.ask(issuer.token(jti="1", other=True)) == REPLAYED
    for name in (None, "", 7):
        token = issuer.token(jti=name)
        assert isinstance(await site.ask(token), Minted)
        assert await site.ask(token) == REPLAYED
        assert isinstance(await site.ask(issuer.token(jti=name, other=True)), Minted)


async def test_u01_given_back_if_tailscale_fails(site: Site, issuer: FakeIssuer) -> None:
    """U-01: a token for which Tailscale gave nothing can be used for another try, and then never again."""
    token = issuer.token(jti="1")
    site.tailscale.trouble = http(503, b"")
    assert isinstance(await site.ask(token), TailscaleUnavailableError)
    site.tailscale.trouble = None
    assert isinstance(await site.ask(token), Minted)
    assert await site.ask(token) == REPLAYED


async def test_the_time_of_what_was_asked_of_the_state(
    folder: Path, once: str, tailscale: FakeTailscale, issuer: FakeIssuer
) -> None:
    """An event says how long the state was asked, also in vain; and how long the audit log was waited for in vain."""
    async with exchanging(
        folder, {"once": once, "x": policy(issuer.url, subject="x")}, tailscale, required=True
    ) as site:
        site.clock.step = 0.001
        token = issuer.token(jti="1")
        await site.ask(token)
        await site.ask(token)
        await site.ask(issuer.token(sub="x"))
        site.book.after_minting = AuditUnavailableError("full", retry_after=5)
        await site.decide(asking(issuer.token(sub="x")))
    times = [{"claim_ms", "record_ms"} & event.keys() for event in site.events]
    assert times == [{"claim_ms"}, {"claim_ms"}, set(), set(), {"record_ms"}]
    assert 1 <= site.events[0]["claim_ms"] <= 20


async def test_u01_given_back_if_it_cannot_be_recorded(
    folder: Path, once: str, tailscale: FakeTailscale, issuer: FakeIssuer
) -> None:
    """U-01: an access token that may not be handed out, since the log does not know of it, uses up nothing."""
    async with exchanging(folder, {"once": once}, tailscale, required=True) as site:
        token = issuer.token(jti="1")
        site.book.after_minting = AuditUnavailableError("full", retry_after=5)
        assert isinstance((await site.decide(asking(token))).outcome, AuditUnavailableError)
        site.book.after_minting = None
        assert isinstance(await site.ask(token), Minted)
        assert await site.ask(token) == REPLAYED


async def test_a_caller_who_left_has_used_it(site: Site, issuer: FakeIssuer) -> None:
    """A token was minted: whether it arrived nobody can know, so the same OIDC token buys no other."""
    token = issuer.token(jti="1")
    site.has_left = True
    site.clock.step = 1.0
    assert isinstance(await site.ask(token), Minted)
    assert await site.ask(token) == REPLAYED


async def test_u01_until_nobody_takes_it_any_more(site: Site, issuer: FakeIssuer) -> None:
    """U-01: a token is remembered for as long as it would be accepted, leeway and all."""
    token = issuer.token(jti="1", exp=site.clock.wall + 300)
    assert isinstance(await site.ask(token), Minted)
    for seconds in (299, 60):
        site.clock.wall += seconds
        site.clock.seconds += seconds
        assert await site.ask(token) == REPLAYED


async def test_for_all_policies(folder: Path, tailscale: FakeTailscale, issuer: FakeIssuer) -> None:
    """A service that lets tokens be used once does so whatever a policy says."""
    async with exchanging(folder, {"any": policy(issuer.url)}, tailscale, single_use=True) as site:
        token = issuer.token(jti="1")
        assert isinstance(await site.ask(token), Minted)
        assert await site.ask(token) == REPLAYED


async def test_a_state_that_is_down(folder: Path, tailscale: FakeTailscale, issuer: FakeIssuer) -> None:
    """Where uses cannot be counted, policies that ask for it cannot tell now; the others go on."""
    policies = {
        "once": policy(issuer.url, subject="once", single_use=True),
        "rated": policy(issuer.url, subject="rated", rate_limit="1/day"),
        "free": policy(issuer.url, subject="free"),
    }
    async with exchanging(folder, policies, tailscale, state=Down()) as site:
        for subject in ("once", "rated"):
            outcome = await site.ask(issuer.token(sub=subject))
            assert isinstance(outcome, StateUnavailableError)
            assert (outcome.reason, outcome.retry_after) == ("state_unavailable", 2)
        assert isinstance(await site.ask(issuer.token(sub="free")), Minted)
        assert len(tailscale.requests) == 1


class Written:
    """A state that grants everything, and writes down what it was asked."""

    def __init__(self) -> None:
        self.claimed: list[tuple[str, float, float]] = []
        self.marks: list[str] = []
        self.given_back: list[tuple[str, str]] = []

    async def claim(self, key: str, until: float, now: float, mark: str) -> bool:
        """Write it down."""
        self.claimed.append((key, until, now))
        self.marks.append(mark)
        return True

    async def give_back(self, key: str, mark: str) -> None:
        """Write it down."""
        self.given_back.append((key, mark))

    async def take(self, key: str, rate: Rate, now: float, mark: str) -> int:
        """Allow it."""
        self.marks.append(mark)
        return 0

    async def untake(self, key: str, rate: Rate, now: float, mark: str) -> None:
        """Write it down."""
        self.given_back.append((f"a use of {rate.times}", mark))

    async def close(self) -> None:
        """Do nothing."""


class WithoutRates(Written):
    """A state that can remember uses, and no rates."""

    async def take(self, key: str, rate: Rate, now: float, mark: str) -> int:
        """Fail."""
        raise StateUnavailableError("down", retry_after=1)


async def test_u01_what_is_claimed(folder: Path, once: str, tailscale: FakeTailscale, issuer: FakeIssuer) -> None:
    """U-01: a claim lasts until nobody takes the token any more; where nothing is claimed, nothing is given back."""
    state = Written()
    policies = {"once": once, "rated": policy(issuer.url, subject="rated", rate_limit="1/day")}
    async with exchanging(folder, policies, tailscale, state=state) as site:
        token = issuer.token(jti="1", exp=int(site.clock.wall) + 100)
        outcome = await site.ask(token)
        name = identity(unverified(token))
        assert state.claimed == [(name, int(site.clock.wall) + 100 + 65.0, site.clock.wall)]
        assert isinstance(outcome, Minted)
        assert outcome.use == Use(state.marks[0], name)
        outcome = await site.ask(issuer.token(sub="rated"))
        assert isinstance(outcome, Minted)
        assert outcome.use is not None
        assert (outcome.use.claim, outcome.use.rate) == ("", Rate(1, 86400))
        assert state.given_back == []
        tailscale.trouble = http(503, b"")
        assert isinstance(await site.ask(issuer.token(sub="rated")), TailscaleUnavailableError)
        assert isinstance(await site.ask(token), TailscaleUnavailableError)
        assert state.given_back == [("a use of 1", state.marks[2]), (name, state.marks[3])]
        assert len(set(state.marks)) == 4


async def test_u01_a_name_is_of_its_issuer(folder: Path, tailscale: FakeTailscale, issuer: FakeIssuer) -> None:
    """U-01: two issuers may give the same `jti`: those are two tokens."""
    with FakeIssuer() as other:
        policies = {"a": policy(issuer.url, single_use=True), "b": policy(other.url, single_use=True)}
        async with exchanging(folder, policies, tailscale) as site:
            for each in (issuer, other):
                assert isinstance(await site.ask(each.token(jti="1")), Minted)
                assert await site.ask(each.token(jti="1")) == REPLAYED


def test_u01_two_spellings_of_one_signature() -> None:
    """U-01: of one ECDSA signature there are two; without a `jti`, both are the same token."""
    keys = Issuer("https://issuer.example.com", "ES256")
    head, payload, signature = keys.token(jti=None).split(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    mirrored = (P256_ORDER - int.from_bytes(raw[32:])).to_bytes(32)
    twin = base64.urlsafe_b64encode(raw[:32] + mirrored).rstrip(b"=").decode()
    assert twin != signature
    assert identity(unverified(f"{head}.{payload}.{signature}")) == identity(unverified(f"{head}.{payload}.{twin}"))


async def test_a_rate_that_cannot_be_asked_uses_up_no_token(
    folder: Path, tailscale: FakeTailscale, issuer: FakeIssuer
) -> None:
    """A token whose rate nobody could count can be used for another try."""
    state = WithoutRates()
    policies = {"a": policy(issuer.url, rate_limit="2/hour", single_use=True)}
    async with exchanging(folder, policies, tailscale, state=state) as site:
        token = issuer.token(jti="1")
        assert isinstance(await site.ask(token), StateUnavailableError)
        assert state.given_back == [(identity(unverified(token)), state.marks[0])]


def test_the_identity_of_a_token(issuer: FakeIssuer) -> None:
    """Issuer and `jti` name a token, whatever else it says; no two texts run into each other."""
    assert identity(unverified(issuer.token(jti="a"))) == identity(unverified(issuer.token(jti="a", sub="x")))
    assert identity(unverified(issuer.token(jti="a"))) != identity(unverified(issuer.token(jti="b")))
    # Two clusters of one name; and no text that runs from one part into the next.
    assert len({identity(unverified(issuer.token(jti=jti, header={"kid": kid}))) for jti in "ab" for kid in "ab"}) == 4
    assert len({identity(unverified(issuer.token(jti=jti, header={"kid": kid}))) for jti, kid in PARTS}) == len(PARTS)
    assert digest("jti", "https://a", "bc") != digest("jti", "https://ab", "c")
    assert digest("x") != digest("x", "")
