"""U-01: which token is which, where several trusts share an issuer's name."""

import json
from pathlib import Path

from fakes.issuer import FakeIssuer, Issuer, key_pair, sign
from fakes.policies import policy
from fakes.tailscale import FakeTailscale
from tailsts.outcome import Minted, Withheld
from unit.exchanging import exchanging

CLUSTER = "https://kubernetes.default.svc"
REPLAYED = Withheld("replayed")


def signed(number: int, **claims: object) -> str:
    """Return a token of the cluster with the key of that number."""
    cluster = Issuer(CLUSTER, numbers=[number])
    return sign(cluster.header(), json.dumps(cluster.claims(**claims)).encode(), key_pair("RS256", number))


async def test_u01_two_clusters_of_one_name(folder: Path, tailscale: FakeTailscale) -> None:
    """U-01: a token of one cluster does not use up that of the other, though issuer and `jti` are the same."""
    with FakeIssuer(numbers=(0,)) as blue, FakeIssuer(numbers=(1,)) as green:
        policies = {
            "blue": policy(CLUSTER, jwks_url=blue.jwks_url, single_use=True),
            "green": policy(CLUSTER, jwks_url=green.jwks_url, single_use=True),
        }
        async with exchanging(folder, policies, tailscale) as site:
            for number in (0, 1):
                token = signed(number, jti="1")
                assert isinstance(await site.ask(token), Minted)
                assert await site.ask(token) == REPLAYED


async def test_u01_two_places_of_one_key(folder: Path, tailscale: FakeTailscale, issuer: FakeIssuer) -> None:
    """U-01: a token is used once, also where two policies take its key from two places."""
    policies = {
        "a": policy(issuer.url, jwks_url=issuer.jwks_url, single_use=True),
        "b": policy(issuer.url, jwks_url=None, single_use=True),
    }
    async with exchanging(folder, policies, tailscale) as site:
        token = issuer.token(jti="1")
        assert isinstance(await site.ask(token, policy="a"), Minted)
        assert await site.ask(token, policy="b") == REPLAYED
        other = issuer.token(jti="2")
        assert isinstance(await site.ask(other, policy="b"), Minted)
        assert await site.ask(other, policy="a") == REPLAYED
