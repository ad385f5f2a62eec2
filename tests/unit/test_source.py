"""Where keys may be fetched from."""

from pathlib import PurePath

import pytest

from tailsts.oidc.source import Discovery, JwksFile, JwksText, JwksUrl, describe, discovery_url, is_loopback, refuse_url


@pytest.mark.parametrize(
    "url",
    [
        "https://issuer.example.com/jwks",
        "https://issuer.example.com:8443/a/b?c=d",
        "http://localhost:8888/jwks",
        "http://127.0.0.1/jwks",
        "http://127.8.9.1/jwks",
        "http://[::1]:80/jwks",
        "https://[2001:db8::1]/jwks",
    ],
)
def test_permitted(url: str) -> None:
    """Keys come over https from anywhere, plain http on this machine."""
    assert refuse_url(url, allow_http=False) is None


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "data:application/json,{}",
        "ftp://issuer.example.com/jwks",
        "https:///jwks",
        "https://",
        "issuer.example.com/jwks",
        "//issuer.example.com/jwks",
        "https://user@issuer.example.com/jwks",
        "https://user:secret@issuer.example.com/jwks",
        "https://issuer.example.com/jwks#x",
        "https://issuer.example.com/jwks#",
        "https://issuer.example.com:99999/jwks",
        "https://issuer.example.com:x/jwks",
        "https://[::1/jwks",
        "https://issuer.example.com/a b",
        "https://issuer.example.com/\\evil",
        "https://issuer.example.com/\n",
        "https://issüer.example.com/",
        "https://issuer.example.com/" + "x" * 3000,
        "",
    ],
)
def test_refused_whatever_is_allowed(url: str) -> None:
    """CVE-2026-48522, N-14: other schemes, credentials, fragments and broken URLs are refused."""
    assert refuse_url(url, allow_http=True)


@pytest.mark.parametrize(
    "url",
    ["http://issuer.example.com/jwks", "http://10.0.0.1/jwks", "http://0.0.0.0/", "http://localhost.evil.example/"],
)
def test_plain_http_elsewhere(url: str) -> None:
    """Plain http beyond this machine is refused unless the policy allows it."""
    assert refuse_url(url, allow_http=False) == "it is plain http, which anyone on the way can change"
    assert refuse_url(url, allow_http=True) is None


def test_plain_http_is_asked_for() -> None:
    """Whoever names a source and nothing else has not allowed plain http, nor an authority beside the usual ones."""
    for source in (Discovery(), JwksUrl("http://issuer.example.com/jwks")):
        assert (source.allow_http, source.ca_pem) == (False, None)


def test_the_longest_url() -> None:
    """A URL has at most 2048 characters."""
    prefix = "https://issuer.example.com/"
    assert refuse_url(prefix + "x" * (2048 - len(prefix)), allow_http=False) is None
    assert refuse_url(prefix + "x" * (2049 - len(prefix)), allow_http=False) == "it is not a URL with a host"


@pytest.mark.parametrize(
    ("issuer", "url"),
    [
        ("https://issuer.example.com", "https://issuer.example.com/.well-known/openid-configuration"),
        ("https://issuer.example.com/", "https://issuer.example.com/.well-known/openid-configuration"),
        ("https://gitlab.example.com/a/b", "https://gitlab.example.com/a/b/.well-known/openid-configuration"),
    ],
)
def test_discovery_url(issuer: str, url: str) -> None:
    """The document is below the issuer's path, without doubling a slash."""
    assert discovery_url(issuer) == url


def test_descriptions() -> None:
    """A source is named in a few words."""
    assert describe(Discovery()) == "discovery"
    assert describe(JwksUrl("https://x.example/jwks")) == "https://x.example/jwks"
    assert describe(JwksFile(PurePath("keys.json"))) == "keys.json"
    assert describe(JwksText("keys/a.json", b"{}")) == "keys/a.json"


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.0.0.1", True), ("::1", True), ("10.0.0.1", False), ("example.com", False), ("", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    """localhost, 127.0.0.0/8 and ::1 are this machine."""
    assert is_loopback(host) is expected
