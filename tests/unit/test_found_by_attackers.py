"""What an attacker found once: answers that contradict themselves, keys in disguise, reasons of the wrong trust."""

import json
from pathlib import Path

import pytest

from fakes.http import eventually_async, http
from fakes.issuer import FakeIssuer, Issuer, jwk, key_pair, sign
from fakes.policies import policy
from fakes.tailscale import FakeTailscale
from tailsts.errors import KeysUnavailableError, TailscaleAnswerError
from tailsts.oidc.freshness import Rules
from tailsts.tailscale.answer import access_token, error_text
from unit.exchanging import exchanging
from unit.test_answer import ASKED, body
from unit.test_jwks import caching

CLUSTER = "https://kubernetes.default.svc"


@pytest.mark.parametrize("error", ["invalid_scope", "", 0, False, {}, ["x"]])
def test_u05_an_error_and_a_token(error: object) -> None:
    """U-05: an answer that holds an error beside its token is not passed on, whatever the error is."""
    with pytest.raises(TailscaleAnswerError) as caught:
        access_token(body(error=error), ASKED)
    assert str(caught.value) == "Tailscale's answer holds an error and a token"


def test_an_error_that_is_null_is_none() -> None:
    """A server that writes each member that it knows says by null that there was no error."""
    answer = json.dumps({**json.loads(body()), "error": None}).encode()
    assert access_token(answer, ASKED).scopes == ASKED


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("bad TSKEY-CLIENT-abc-def!", "bad TSKEY-***!"),
        ("bad TsKey-auth-abc", "bad TsKey-***"),
        ("bad hsKEY-api-abc_def.", "bad hsKEY-***."),
        ("id=1&secretTSKEY-client-abc&", "id=1&secretTSKEY-***&"),
        ("_tskey-api-a tskey-api-b", "_tskey-*** tskey-***"),
    ],
)
def test_l01_keys_in_disguise(said: str, shown: str) -> None:
    """L-01: a key that an error quotes is masked in whatever case and wherever it stands in the text."""
    assert error_text(json.dumps({"message": said}).encode()) == shown
    assert error_text(json.dumps({"error": said}).encode()) == shown


async def test_n02_a_failed_demand_is_made_good_by_the_timer(issuer: FakeIssuer) -> None:
    """N-02: when the fetch that a request caused fails, the timer fetches soon, and not only when its turn comes."""
    rules = Rules(refresh_after=3600, cooldown=3600, first_retry=0.05, last_retry=0.05)
    async with caching(issuer, rules=rules) as (cache, _, reports):
        issuer.trouble = http(500, b"")
        with pytest.raises(KeysUnavailableError):
            await cache.keys_for("unknown")
        assert [report.fault is None for report in reports] == [True, False]
        issuer.rotate()
        issuer.trouble = None
        await eventually_async(lambda: cache.cached(issuer.keys.key_id(1)) is not None)
        assert cache.fault is None


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"iat": 1_600_000_000, "exp": 1_700_000_000}, "expired"),
        ({"nbf": 9_000_000_000, "exp": 9_000_000_001}, "not_yet_valid"),
    ],
)
async def test_the_reason_is_that_of_the_trust_whose_key_signed(
    tmp_path: Path, tailscale: FakeTailscale, number: int, claims: dict[str, object], reason: str
) -> None:
    """K-03: where two trusts share issuer and key id, the event says why the token failed under the key that signed."""
    cluster = Issuer(CLUSTER)
    token = sign(cluster.header(kid="shared"), json.dumps(cluster.claims(**claims)).encode(), key_pair("RS256", number))
    with FakeIssuer() as first, FakeIssuer() as second:
        for index, issuer in enumerate((first, second)):
            issuer.trouble = http(200, json.dumps({"keys": [jwk(key_pair("RS256", index), "shared")]}).encode())
        policies = {
            "first": policy(CLUSTER, jwks_url=first.jwks_url),
            "second": policy(CLUSTER, jwks_url=second.jwks_url),
        }
        async with exchanging(tmp_path / "policies", policies, tailscale) as site:
            await site.ask(token)
            assert [(event["outcome"], event["reason"]) for event in site.events] == [("rejected", reason)]
    assert tailscale.requests == []
