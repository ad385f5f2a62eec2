"""The exchange and whose tokens it looks at: issuers by a pattern, and the allow-list above all policies."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fakes.http import Reply, Request, ScriptedServer, http
from fakes.issuer import FakeIssuer, Issuer, key_pair, sign
from fakes.policies import policy
from fakes.tailscale import FakeTailscale
from fakes.tls import Authority
from tailsts.errors import KeysUnavailableError
from tailsts.oidc.rejected import Reason, Rejected
from tailsts.outcome import (
    Minted,
    Outcome,
)
from tailsts.policy.condition import Check
from tailsts.policy.patterns.pattern import compile_pattern
from tailsts.policy.trusted import Mode, TrustedIssuers
from unit.exchanging import Site, exchanging, refused

UNTRUSTED = Rejected(Reason.UNTRUSTED_ISSUER, "the issuer is not among the trusted ones")
UNKNOWN = Rejected(Reason.UNKNOWN_ISSUER, "no policy names this issuer")


class Many:
    """As many issuers as are asked for, over TLS, each at a path of its own and with a key of its own."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        self.authority = authority
        self.server = ScriptedServer(self._respond, tls=authority.server_context(folder))
        self.numbers: dict[str, int] = {}

    def issuer(self, name: str) -> Issuer:
        """Return an issuer with its key."""
        number = self.numbers.setdefault(name, len(self.numbers))
        return Issuer(f"https://localhost:{self.server.port}/{name}", numbers=[number])

    @property
    def pattern(self) -> str:
        """The pattern of issuers that a policy is to trust: names of lower-case letters."""
        return f"https://localhost:{self.server.port}/[a-z]+"

    def asked(self, name: str) -> int:
        """Return how often anything was asked of the issuer."""
        return sum(request.path.startswith(f"/{name}/") for request in self.server.requests)

    def _respond(self, request: Request) -> Reply:
        name = request.path.split("/")[1]
        if name.startswith("down"):
            return http(500, b"")
        issuer = self.issuer(name)
        if request.path.endswith("/jwks"):
            return http(200, json.dumps(issuer.jwks()).encode())
        return http(200, json.dumps({"issuer": issuer.url, "jwks_uri": f"{issuer.url}/jwks"}).encode())


@pytest.fixture
def many(tmp_path: Path) -> Iterator[Many]:
    """Return many issuers."""
    many = Many(Authority(), tmp_path)
    with many.server:
        yield many


def matching(many: Many, **keys: object) -> str:
    """Return the text of a policy that trusts the issuers of the pattern."""
    lines = policy("https://i", jwks_url=None, **keys).splitlines()
    return "\n".join([f"issuer_pattern = {json.dumps(many.pattern)}", *lines[1:]]) + "\n"


@asynccontextmanager
async def running(
    folder: Path, many: Many, tailscale: FakeTailscale, *, trusted: TrustedIssuers | None = None, **others: str
) -> AsyncIterator[Site]:
    """Run an exchange with a policy of the pattern, and these others."""
    policies = {"family": matching(many, allowed_scopes=["dns:read"]), **others}
    roots = (many.authority.pem,)
    async with exchanging(folder / "policies", policies, tailscale, roots=roots, trusted=trusted) as site:
        yield site


def granted(outcome: Outcome) -> str | Outcome:
    """Return the policy that granted, or the outcome if none did."""
    return outcome.grant.policy if isinstance(outcome, Minted) else outcome


async def test_issuers_of_a_pattern(tmp_path: Path, many: Many, tailscale: FakeTailscale) -> None:
    """Any issuer that the pattern matches is trusted, by its own keys, which are asked for once."""
    async with running(tmp_path, many, tailscale) as site:
        assert many.server.connections == 0
        for name in ("abc", "xyz", "abc"):
            assert granted(await site.ask(many.issuer(name).token())) == "family"
        assert (many.asked("abc"), many.asked("xyz")) == (2, 2)
        assert site.events[1]["issuer"] == many.issuer("xyz").url


async def test_k03_the_keys_of_one_do_not_count_for_another(
    tmp_path: Path, many: Many, tailscale: FakeTailscale
) -> None:
    """K-03: a token that names one issuer of the family and is signed by another is not believed."""
    async with running(tmp_path, many, tailscale) as site:
        abc, xyz = many.issuer("abc"), many.issuer("xyz")
        assert granted(await site.ask(xyz.token())) == "family"
        forged = sign(abc.header(), json.dumps(abc.claims()).encode(), key_pair("RS256", xyz.numbers[0]))
        assert await site.ask(forged) == Rejected(Reason.BAD_SIGNATURE, "the signature does not hold")
        mixed = xyz.token(iss=abc.url)
        assert await site.ask(mixed) == Rejected(Reason.UNKNOWN_KEY, "no usable key of the issuer has this kid")


@pytest.mark.parametrize(
    "tail", ["", "/", "/ABC", "/abc/", "/abc/../x", "/abc?x", "/abc#", "/abc@evil.example", "/a%62c"]
)
async def test_cve_2025_52477_what_the_pattern_does_not_match_is_not_contacted(
    tmp_path: Path, many: Many, tailscale: FakeTailscale, tail: str
) -> None:
    """CVE-2025-52477: an issuer that is only nearly one of the pattern leads to not one connection."""
    async with running(tmp_path, many, tailscale) as site:
        token = many.issuer("abc").token(iss=f"https://localhost:{many.server.port}{tail}")
        assert await site.ask(token) == UNKNOWN
        assert many.server.connections == 0


async def test_a_stranger_cannot_have_issuers_asked_at_will(
    tmp_path: Path, many: Many, tailscale: FakeTailscale
) -> None:
    """An issuer that failed is not asked again for a while, and a flood of new ones ends at the budget: 503."""
    async with running(tmp_path, many, tailscale) as site:
        assert granted(await site.ask(many.issuer("abc").token())) == "family"
        down = many.issuer("down")
        for _ in range(3):
            assert isinstance(await site.ask(down.token()), KeysUnavailableError)
        assert many.asked("down") == 1
        letters = "abcdefghijklmnopqrstuvwxyz"
        outcomes = [await site.ask(down.token(iss=many.issuer(f"down{letter}").url)) for letter in letters]
        assert all(isinstance(outcome, KeysUnavailableError) for outcome in outcomes)
        assert sum(many.asked(f"down{letter}") for letter in letters) == 18
        assert granted(await site.ask(many.issuer("abc").token())) == "family"


async def test_an_issuer_by_name_and_by_pattern(tmp_path: Path, many: Many, tailscale: FakeTailscale) -> None:
    """An issuer that one policy names and another's pattern matches comes under both, each under its own keys."""
    named = policy(many.issuer("abc").url, jwks_url=None, allowed_scopes=["users"])
    async with running(tmp_path, many, tailscale, named=named) as site:
        token = many.issuer("abc").token()
        assert granted(await site.ask(token)) == "family"
        assert granted(await site.ask(token, "users")) == "named"
        assert refused(await site.ask(token, "users", "dns:read")) == (Check.SCOPE, "family")


async def test_a_named_issuer_does_not_feel_a_flood(tmp_path: Path, many: Many, tailscale: FakeTailscale) -> None:
    """What strangers do to a pattern changes nothing for an issuer that is named, though the pattern matches it too."""
    named = policy(many.issuer("abc").url, jwks_url=None, allowed_scopes=["users"])
    async with running(tmp_path, many, tailscale, named=named) as site:
        for letter in "abcdefghijklmnopqrstuvwxyz":
            await site.ask(many.issuer("down").token(iss=many.issuer(f"down{letter}").url))
        assert isinstance(await site.ask(many.issuer("xyz").token()), KeysUnavailableError)
        assert granted(await site.ask(many.issuer("abc").token(), "users")) == "named"


async def test_a_family_that_no_policy_names_any_more(tmp_path: Path, many: Many, tailscale: FakeTailscale) -> None:
    """When the policy of a pattern goes, so do its issuers."""
    async with running(tmp_path, many, tailscale) as site:
        token = many.issuer("abc").token()
        assert granted(await site.ask(token)) == "family"
        site.put_in_force(tmp_path / "policies", {"other": policy("https://other.example.com")})
        assert await site.ask(token) == UNKNOWN
        assert list(site.ring.families()) == []


def allow_list(mode: Mode, *issuers: str, patterns: tuple[str, ...] = ()) -> TrustedIssuers:
    """Return an allow-list."""
    return TrustedIssuers(mode, frozenset(issuers), tuple(map(compile_pattern, patterns)))


async def test_an_allow_list_that_enforces(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """Tokens of issuers beyond the allow-list are rejected, whatever policies say, and nobody is asked for keys."""
    policies = {"infra": policy(issuer.url)}
    elsewhere = allow_list("enforce", "https://other.example.com")
    async with exchanging(tmp_path / "policies", policies, tailscale, trusted=elsewhere) as site:
        assert await site.ask(issuer.token()) == UNTRUSTED
        (event,) = site.events
        assert (event["outcome"], event["reason"], event["issuer"]) == ("rejected", "untrusted_issuer", issuer.url)
        assert "would_refuse" not in event
    assert (issuer.connections, tailscale.connections) == (0, 0)


async def test_an_allow_list_that_watches(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """An allow-list that only watches lets pass, and the event says that it would have refused."""
    policies = {"infra": policy(issuer.url)}
    elsewhere = allow_list("audit", "https://other.example.com")
    async with exchanging(tmp_path / "policies", policies, tailscale, trusted=elsewhere) as site:
        assert granted(await site.ask(issuer.token())) == "infra"
        assert await site.ask(issuer.token(iss="https://nobody.example.com")) == UNKNOWN
        assert [event["would_refuse"] for event in site.events] == ["untrusted_issuer"] * 2


@pytest.mark.parametrize("mode", ["enforce", "audit"])
async def test_who_is_on_the_list(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale, mode: Mode) -> None:
    """Issuers on the list are judged by policies as ever, and nothing is noted."""
    policies = {"infra": policy(issuer.url)}
    async with exchanging(tmp_path / "policies", policies, tailscale, trusted=allow_list(mode, issuer.url)) as site:
        assert granted(await site.ask(issuer.token())) == "infra"
        assert refused(await site.ask(issuer.token(), "all")) == (Check.SCOPE, "infra")
        assert all("would_refuse" not in event for event in site.events)


async def test_the_list_stands_above_patterns(tmp_path: Path, many: Many, tailscale: FakeTailscale) -> None:
    """Of the issuers that a policy's pattern matches, only those on the list are asked."""
    trusted = allow_list("enforce", patterns=(f"https://localhost:{many.server.port}/a[a-z]+",))
    async with running(tmp_path, many, tailscale, trusted=trusted) as site:
        assert granted(await site.ask(many.issuer("abc").token())) == "family"
        assert await site.ask(many.issuer("xyz").token()) == UNTRUSTED
        assert many.asked("xyz") == 0


async def test_misses_are_in_the_event_alone(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """The event of a refusal has the check that failed, for each of the nearest policies, with both sides of it."""
    claims = '[claims]\nrepository_id = "456789"\n'
    policies = {
        "a": policy(issuer.url, subject=None) + claims,
        "b": policy(issuer.url, subject="repo:acme/other:ref:refs/heads/main"),
        "c": policy(issuer.url, audience="https://other.example.com"),
        "d": policy(issuer.url, subject=None, subject_pattern="repo:acme/[a-z]+"),
    }
    async with exchanging(tmp_path / "policies", policies, tailscale) as site:
        assert refused(await site.ask(issuer.token(repository_id=456789))) == (Check.AUDIENCE, "c")
        (event,) = site.events
        assert event["policy"] == "c"
        assert event["misses"] == [
            {
                "policy": "c",
                "check": "audience",
                "key": "audience",
                "expected": '"https://other.example.com"',
                "actual": '"https://sts.example.com"',
            },
            {
                "policy": "d",
                "check": "subject",
                "key": "subject_pattern",
                "expected": "/repo:acme/[a-z]+/",
                "actual": '"repo:acme/infra:ref:refs/heads/main"',
            },
            {
                "policy": "a",
                "check": "claim",
                "key": "claims.repository_id",
                "expected": '"456789"',
                "actual": "456789",
                "detail": "the policy has a string, the token an integer",
            },
            {
                "policy": "b",
                "check": "subject",
                "key": "subject",
                "expected": '"repo:acme/other:ref:refs/heads/main"',
                "actual": '"repo:acme/infra:ref:refs/heads/main"',
            },
        ]
        await site.ask(issuer.token(repository_id=456789), policy="a")
        assert site.events[1]["misses"] == [
            {
                "policy": "a",
                "check": "claim",
                "key": "claims.repository_id",
                "expected": '"456789"',
                "actual": "456789",
                "detail": "the policy has a string, the token an integer",
            }
        ]
