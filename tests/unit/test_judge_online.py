"""Issuers on sockets, asked what they say of themselves and compared with the policies that trust them."""

import json
from pathlib import Path

import pytest

from fakes.http import CLOSE, HANG, Reply, http
from fakes.issuer import FakeIssuer, jwk, key_pair
from fakes.judging import policy
from tailsts.oidc.source import Discovery, JwksFile, JwksText, JwksUrl, KeySource
from tailsts.outbound import Limits
from tailsts.policy.finding import Page
from tailsts.policy.judging.online import CONCURRENT, judge_online
from tailsts.policy.model import Policy, assemble
from tailsts.policy.patterns.pattern import compile_pattern

LIMITS = Limits(connect=0.3, total=0.5, body=512 * 1024)


async def found(*policies: Policy) -> list[tuple[str, str, str, str]]:
    """Return severity, code, file and key of what is said of these policies."""
    return [
        (str(one.severity), one.code, one.file, one.path) for page in await said(*policies) for one in page.findings
    ]


async def said(*policies: Policy) -> list[Page]:
    """Return the pages of these policies, with what is said on them."""
    pages = {each.name: Page(f"{each.name}.toml", "") for each in policies}
    await judge_online(assemble(policies, "d"), pages, LIMITS)
    return list(pages.values())


def of(issuer: FakeIssuer, source: KeySource | None = None, name: str = "p", **changes: object) -> Policy:
    """Return a policy that trusts the issuer."""
    return policy(name, source, issuer=issuer.url, **changes)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_good(algorithm: str) -> None:
    """Of an issuer that is what the policy says, nothing is said; it is asked twice, and sent nothing."""
    with FakeIssuer(algorithm) as issuer:
        issuer.discovery_changes["id_token_signing_alg_values_supported"] = [algorithm, "HS256"]
        assert await found(of(issuer, algorithms=frozenset({algorithm}))) == []
        assert await found(of(issuer, JwksUrl(issuer.jwks_url), algorithms=frozenset({algorithm, "PS512"}))) == []
        asked = [(request.method, request.path, request.body) for request in issuer.requests]
        assert asked == [("GET", "/.well-known/openid-configuration", b""), ("GET", "/jwks", b"")] * 2


@pytest.mark.parametrize("reply", [HANG, CLOSE, http(404, b""), http(200, b"[]"), http(200, b"{"), http(302, b"")])
async def test_unreachable(issuer: FakeIssuer, reply: Reply) -> None:
    """An issuer that does not answer, or with no document, cannot be asked for keys: a fault, said once."""
    issuer.trouble = reply
    assert await found(of(issuer), of(issuer, name="q")) == [("fault", "online-unreachable", "p.toml", "issuer")]
    assert await found(of(issuer, JwksUrl(issuer.jwks_url))) == [("fault", "online-keys", "p.toml", "jwks_url")]


async def test_plain_http_is_not_asked() -> None:
    """An issuer that must not be asked for keys is not asked."""
    (page,) = await said(policy(issuer="http://issuer.example.com"))
    assert [(one.code, one.message) for one in page.findings] == [
        ("online-unreachable", "cannot be asked for its keys: it is plain http, which anyone on the way can change")
    ]


@pytest.mark.parametrize(
    ("name", "words"),
    [("{url}/", "a slash at the end"), ("https://other.example", "is not what"), (None, "is not what")],
)
async def test_n15_n08_another_name(issuer: FakeIssuer, name: str | None, words: str) -> None:
    """N-08, N-15: an issuer that calls itself something else is found out, and its own form is said."""
    written = None if name is None else name.format(url=issuer.url)
    issuer.discovery_changes["issuer"] = written
    sources: list[KeySource] = [Discovery()] if name is None else [Discovery(), JwksUrl(issuer.jwks_url)]
    for source in sources:
        (page,) = await said(of(issuer, source))
        (finding,) = page.findings
        assert (finding.code, finding.severity) == ("online-issuer", "fault")
        assert words in finding.message
        assert finding.advice == f'its discovery document says "{written}"'


@pytest.mark.parametrize("uri", [None, 1, "ftp://127.0.0.1/jwks", "http://issuer.example.com/jwks"])
async def test_n09_jwks_uri(issuer: FakeIssuer, uri: object) -> None:
    """N-09: a jwks_uri that the service would not follow is a fault."""
    issuer.discovery_changes["jwks_uri"] = uri
    assert await found(of(issuer)) == [("fault", "online-keys", "p.toml", "issuer")]


async def test_algorithms(issuer: FakeIssuer) -> None:
    """A policy whose algorithms the issuer has no key for, or does not sign with, is told which it signs with."""
    (page,) = await said(of(issuer, algorithms=frozenset({"ES256"})))
    assert [(one.code, one.advice) for one in page.findings] == [("online-algorithm", "it signs with RS256")]
    issuer.discovery_changes["id_token_signing_alg_values_supported"] = ["RS512"]
    assert await found(of(issuer)) == [("fault", "online-algorithm", "p.toml", "algorithm")]
    issuer.discovery_changes["id_token_signing_alg_values_supported"] = "nonsense"
    assert await found(of(issuer)) == []


async def test_each_policy_has_its_own_algorithms(issuer: FakeIssuer) -> None:
    """Of several policies of one issuer, those are told whose algorithms do not fit; the issuer is asked once."""
    policies = [of(issuer, name="p"), of(issuer, name="q", algorithms=frozenset({"EdDSA"}))]
    assert await found(*policies) == [("fault", "online-algorithm", "q.toml", "algorithm")]
    assert len(issuer.requests) == 2


def key_set(*keys: dict[str, object]) -> bytes:
    """Return a key set."""
    return json.dumps({"keys": keys}).encode()


async def test_key_ids(issuer: FakeIssuer) -> None:
    """Keys without kid beside others cannot be told apart; a set without usable keys is a fault."""
    nameless = jwk(key_pair("RS256"), None)
    issuer.trouble = http(200, key_set(nameless))
    assert await found(of(issuer, JwksUrl(issuer.jwks_url))) == []
    source = JwksText("keys", key_set(nameless, jwk(key_pair("RS256", 1), "a")))
    issuer.trouble = CLOSE
    assert await found(of(issuer, source)) == [("advice", "online-key-id", "p.toml", "issuer")]
    assert await found(of(issuer, JwksText("keys", key_set(nameless)))) == []
    assert await found(of(issuer, JwksText("keys", key_set({"kty": "oct"})))) == [
        ("fault", "online-no-key", "p.toml", "issuer")
    ]


async def test_files(issuer: FakeIssuer, tmp_path: Path) -> None:
    """A copy of the keys is compared with those that the issuer has now, if it can be asked."""
    file = tmp_path / "keys.json"
    file.write_bytes(json.dumps(issuer.keys.jwks()).encode())
    assert await found(of(issuer, JwksFile(file))) == []
    issuer.rotate()
    assert await found(of(issuer, JwksFile(file))) == [("advice", "online-old-file", "p.toml", "jwks_file")]
    issuer.discovery_changes["jwks_uri"] = None
    assert await found(of(issuer, JwksFile(file))) == []
    issuer.trouble = CLOSE
    assert await found(of(issuer, JwksFile(file))) == []


async def test_many_at_once() -> None:
    """More issuers than are asked at once are all asked; patterns of issuers are not, and that is said."""
    issuers = [FakeIssuer() for _ in range(CONCURRENT + 2)]
    for issuer in issuers:
        issuer.__enter__()
    try:
        policies = [of(issuer, name=f"p{number}") for number, issuer in enumerate(issuers)]
        pattern = policy("z", issuer="", issuer_pattern=compile_pattern(r"https://[a-z]+\.example\.com"))
        assert await found(*policies, pattern) == [("advice", "online-pattern", "z.toml", "issuer_pattern")]
        assert [len(issuer.requests) for issuer in issuers] == [2] * len(issuers)
    finally:
        for issuer in issuers:
            issuer.__exit__(None, None, None)
