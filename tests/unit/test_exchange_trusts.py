"""The exchange where several trusts share an issuer's name: each policy counts under its own keys alone."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fakes.http import RESET, http
from fakes.issuer import FakeIssuer, Issuer, jwk, key_pair, sign
from fakes.policies import policy
from fakes.tailscale import FakeTailscale
from tailsts.errors import KeysUnavailableError
from tailsts.oidc.rejected import Reason, Rejected
from tailsts.outcome import (
    Minted,
    Outcome,
)
from tailsts.policy.condition import Check
from tailsts.policy.decide import Refusal
from unit.exchanging import Site, exchanging, refused

CLUSTER = "https://kubernetes.default.svc"
BLUE, GREEN, NOBODY = 0, 1, 7
NO_SUCH_KEY = Rejected(Reason.UNKNOWN_KEY, "no usable key of the issuer has this kid")
FORGED = Rejected(Reason.BAD_SIGNATURE, "the signature does not hold")


@dataclass
class Clusters:
    """Two clusters with one name, each with the key of its number; "blue" may `dns:read`, "green" `policy_file`."""

    site: Site
    blue: FakeIssuer
    green: FakeIssuer

    def fetches(self) -> tuple[int, int]:
        """Return how often the keys of each were asked for."""
        return self.blue.count("/jwks"), self.green.count("/jwks")


def signed(number: int, key_id: str | None = None, **claims: object) -> str:
    """Return a token of the cluster with the key of that number, under the key's own id or another."""
    cluster = Issuer(CLUSTER, numbers=[number])
    header = cluster.header() if key_id is None else cluster.header(kid=key_id)
    return sign(header, json.dumps(cluster.claims(**claims)).encode(), key_pair("RS256", number))


def without_key_id(number: int, **claims: object) -> str:
    """Return a token of the cluster that names no key."""
    cluster = Issuer(CLUSTER, numbers=[number])
    return sign(cluster.header(kid=None), json.dumps(cluster.claims(**claims)).encode(), key_pair("RS256", number))


def under_one_id(issuer: FakeIssuer, number: int) -> None:
    """Let the issuer publish the key of that number as "shared", which the other one does too."""
    issuer.trouble = http(200, json.dumps({"keys": [jwk(key_pair("RS256", number), "shared")]}).encode())


@pytest.fixture
def blue() -> Iterator[FakeIssuer]:
    """Return where one cluster's keys are."""
    with FakeIssuer(numbers=(BLUE,)) as running:
        yield running


@pytest.fixture
def green() -> Iterator[FakeIssuer]:
    """Return where the other cluster's keys are."""
    with FakeIssuer(numbers=(GREEN,)) as running:
        yield running


@asynccontextmanager
async def running(
    folder: Path, blue: FakeIssuer, green: FakeIssuer, tailscale: FakeTailscale
) -> AsyncIterator[Clusters]:
    """Run the exchange for both."""
    policies = {
        "blue": policy(CLUSTER, jwks_url=blue.jwks_url, allowed_scopes=["dns:read"]),
        "green": policy(CLUSTER, jwks_url=green.jwks_url, allowed_scopes=["policy_file"]),
    }
    async with exchanging(folder / "policies", policies, tailscale) as site:
        yield Clusters(site, blue, green)


@pytest.fixture
async def clusters(
    tmp_path: Path, blue: FakeIssuer, green: FakeIssuer, tailscale: FakeTailscale
) -> AsyncIterator[Clusters]:
    """Return the exchange with the keys of both at hand."""
    async with running(tmp_path, blue, green, tailscale) as clusters:
        yield clusters


def granted(outcome: Outcome) -> object:
    """Return the policy that granted, or what refused, or any other outcome as it is."""
    if isinstance(outcome, Refusal):
        return refused(outcome)
    return outcome.grant.policy if isinstance(outcome, Minted) else outcome


@pytest.mark.parametrize(
    ("number", "scope", "expected"),
    [
        (BLUE, "dns:read", "blue"),
        (GREEN, "policy_file", "green"),
        (BLUE, "policy_file", (Check.SCOPE, "blue")),
        (GREEN, "dns:read", (Check.SCOPE, "green")),
    ],
)
async def test_i10_a_policy_counts_under_its_own_keys(
    clusters: Clusters, number: int, scope: str, expected: object
) -> None:
    """I-10, K-03: a token of one cluster never comes under the policy of the other, whose name is the same."""
    assert granted(await clusters.site.ask(signed(number), scope)) == expected
    assert clusters.fetches() == (1, 1)


@pytest.mark.parametrize(
    ("number", "scope", "expected"),
    [
        (BLUE, "dns:read", "blue"),
        (GREEN, "policy_file", "green"),
        (BLUE, "policy_file", (Check.SCOPE, "blue")),
        (GREEN, "dns:read", (Check.SCOPE, "green")),
        (NOBODY, "dns:read", FORGED),
    ],
)
@pytest.mark.parametrize("named", [True, False])
async def test_k03_keys_with_one_id(
    tmp_path: Path,
    blue: FakeIssuer,
    green: FakeIssuer,
    tailscale: FakeTailscale,
    number: int,
    scope: str,
    expected: object,
    named: bool,
) -> None:
    """K-03: where both keys have one id, or the token names none, only the policy of the key that signed counts."""
    under_one_id(blue, BLUE)
    under_one_id(green, GREEN)
    async with running(tmp_path, blue, green, tailscale) as clusters:
        token = signed(number, "shared") if named else without_key_id(number)
        assert granted(await clusters.site.ask(token, scope)) == expected
        assert clusters.fetches() == (1, 1)


async def test_k03_two_issuers_with_one_key_id(
    tmp_path: Path, blue: FakeIssuer, green: FakeIssuer, tailscale: FakeTailscale
) -> None:
    """K-03: a token that claims one issuer and is signed by another trusted one, under the same key id, is forged."""
    under_one_id(blue, BLUE)
    under_one_id(green, GREEN)
    policies = {"blue": policy(blue.url), "green": policy(green.url)}
    async with exchanging(tmp_path / "policies", policies, tailscale) as site:
        header = blue.keys.header(kid="shared")
        claims = json.dumps(blue.keys.claims()).encode()
        assert granted(await site.ask(sign(header, claims, key_pair("RS256", BLUE)))) == "blue"
        assert await site.ask(sign(header, claims, key_pair("RS256", GREEN))) == FORGED


@pytest.mark.parametrize("number", [BLUE, GREEN])
async def test_the_reason_is_that_of_the_key_that_signed(
    tmp_path: Path, blue: FakeIssuer, green: FakeIssuer, tailscale: FakeTailscale, number: int
) -> None:
    """Where both keys have one id, an expired token of either is told as that, not as forged under the other's key."""
    under_one_id(blue, BLUE)
    under_one_id(green, GREEN)
    async with running(tmp_path, blue, green, tailscale) as clusters:
        token = signed(number, "shared", iat=1_600_000_000, exp=1_700_000_000)
        assert await clusters.site.ask(token) == Rejected(Reason.EXPIRED, "the token has expired")


async def test_one_key_in_both_sets(
    tmp_path: Path, blue: FakeIssuer, green: FakeIssuer, tailscale: FakeTailscale
) -> None:
    """A token that both key sets verify gets what one policy of either allows, and never the rights of both."""
    under_one_id(blue, BLUE)
    under_one_id(green, BLUE)
    async with running(tmp_path, blue, green, tailscale) as clusters:
        token = signed(BLUE, "shared")
        assert granted(await clusters.site.ask(token, "dns:read")) == "blue"
        assert granted(await clusters.site.ask(token, "policy_file")) == "green"
        assert refused(await clusters.site.ask(token, "dns:read", "policy_file")) == (Check.SCOPE, "blue")


async def test_a_key_that_neither_has(clusters: Clusters) -> None:
    """An unknown key id is looked for in both places, once in a cool-down, and then unknown."""
    assert [await clusters.site.ask(signed(NOBODY)) for _ in range(3)] == [NO_SUCH_KEY] * 3
    assert clusters.fetches() == (2, 2)
    assert [event["reason"] for event in clusters.site.events] == ["unknown_key"] * 3


async def test_a_key_that_one_has_just_begun_to_use(clusters: Clusters) -> None:
    """A new key of one cluster is learnt by the first token that it signs, and counts for that cluster alone."""
    clusters.green.keys.numbers[:] = [GREEN, 3]
    token = signed(3)
    assert granted(await clusters.site.ask(token, "policy_file")) == "green"
    assert refused(await clusters.site.ask(token, "dns:read")) == (Check.SCOPE, "green")
    assert clusters.fetches() == (2, 2)


async def test_the_reason_is_that_of_the_one_who_signed(clusters: Clusters) -> None:
    """What is wrong with a token under a key that was just learnt is said of it, not that the other has no such key."""
    clusters.blue.keys.numbers[:] = [BLUE, 3]
    expired = Rejected(Reason.EXPIRED, "the token has expired")
    assert await clusters.site.ask(signed(3, iat=1_600_000_000, exp=1_700_000_000)) == expired


async def test_a_token_of_one_has_the_others_keys_not_fetched(clusters: Clusters) -> None:
    """A token whose key one cluster has is judged at once, though the other's cache does not know it."""
    clusters.green.trouble = RESET
    assert [granted(await clusters.site.ask(signed(BLUE))) for _ in range(3)] == ["blue"] * 3
    assert clusters.fetches() == (1, 1)


@asynccontextmanager
async def without_green(
    folder: Path, blue: FakeIssuer, green: FakeIssuer, tailscale: FakeTailscale
) -> AsyncIterator[Clusters]:
    """Run the exchange for both while the keys of "green" cannot be had."""
    green.trouble = RESET
    async with running(folder, blue, green, tailscale) as clusters:
        yield clusters


async def test_a_grant_needs_only_its_own_keys(
    tmp_path: Path, blue: FakeIssuer, green: FakeIssuer, tailscale: FakeTailscale
) -> None:
    """A grant under the keys that are there is given, whatever has become of the other cluster."""
    async with without_green(tmp_path, blue, green, tailscale) as clusters:
        assert granted(await clusters.site.ask(signed(BLUE))) == "blue"


async def test_a_new_key_needs_only_its_own_issuer(
    tmp_path: Path, blue: FakeIssuer, green: FakeIssuer, tailscale: FakeTailscale
) -> None:
    """A new key of the cluster that is there is learnt, and granted under, while the other one is down."""
    async with without_green(tmp_path, blue, green, tailscale) as clusters:
        blue.keys.numbers[:] = [BLUE, 3]
        assert granted(await clusters.site.ask(signed(3))) == "blue"


@pytest.mark.parametrize(("scope", "claims"), [("policy_file", {}), ("dns:read", {"sub": "other"})])
async def test_no_is_not_said_while_the_other_might_say_yes(
    tmp_path: Path, blue: FakeIssuer, green: FakeIssuer, tailscale: FakeTailscale, scope: str, claims: dict[str, object]
) -> None:
    """Where a trust that might have granted has no keys, the answer is "cannot tell", not 403; with its keys it is."""
    async with without_green(tmp_path, blue, green, tailscale) as clusters:
        token = signed(BLUE, None, **claims)
        outcome = await clusters.site.ask(token, scope)
        assert isinstance(outcome, KeysUnavailableError)
        (event,) = clusters.site.events
        assert (event["outcome"], event["reason"], event["verified"]) == ("unavailable", "keys_unavailable", True)
        assert tailscale.connections == 0
        green.trouble = None
        clusters.site.clock.seconds += 30
        await clusters.site.ask(signed(GREEN), "policy_file")
        assert isinstance(await clusters.site.ask(token, scope), Refusal)


async def test_an_unknown_key_may_be_that_of_the_one_who_is_down(
    tmp_path: Path, blue: FakeIssuer, green: FakeIssuer, tailscale: FakeTailscale
) -> None:
    """A key that the cluster that is there does not have may be the other's: an outage is never a 401."""
    async with without_green(tmp_path, blue, green, tailscale) as clusters:
        for number in (GREEN, NOBODY):
            assert isinstance(await clusters.site.ask(signed(number), "policy_file"), KeysUnavailableError)
        assert [event["reason"] for event in clusters.site.events] == ["keys_unavailable"] * 2


@pytest.mark.parametrize("named", [True, False])
async def test_a_signature_may_be_that_of_the_one_who_is_down(
    tmp_path: Path, blue: FakeIssuer, green: FakeIssuer, tailscale: FakeTailscale, named: bool
) -> None:
    """Where the key id says nothing, a signature that does not hold here may hold there: an outage is never a 401."""
    under_one_id(blue, BLUE)
    async with without_green(tmp_path, blue, green, tailscale) as clusters:
        token = signed(GREEN, "shared") if named else without_key_id(GREEN)
        assert isinstance(await clusters.site.ask(token, "policy_file"), KeysUnavailableError)
        under_one_id(green, GREEN)
        clusters.site.clock.seconds += 30
        await clusters.site.ask(signed(GREEN, "nobody"), "policy_file")
        assert granted(await clusters.site.ask(token, "policy_file")) == "green"


async def test_algorithms_are_those_of_the_trust(
    tmp_path: Path, blue: FakeIssuer, green: FakeIssuer, tailscale: FakeTailscale
) -> None:
    """K-10: an algorithm that the policy of one cluster names is not thereby accepted under the keys of the other."""
    under_one_id(blue, BLUE)
    under_one_id(green, GREEN)
    policies = {
        "blue": policy(CLUSTER, jwks_url=blue.jwks_url, algorithm="ES256"),
        "green": policy(CLUSTER, jwks_url=green.jwks_url, algorithm="RS256"),
    }
    async with exchanging(tmp_path / "policies", policies, tailscale) as site:
        assert granted(await site.ask(signed(GREEN, "shared"))) == "green"
        assert isinstance(await site.ask(signed(BLUE, "shared")), Rejected)
