"""Threats of issuers from end to end: those that no other test is named after."""

import gzip
import json
from pathlib import Path

import pytest

from fakes.deployment import deployed
from fakes.http import Endless, Raw, Reply, http
from fakes.issuer import FakeIssuer
from fakes.policies import policy
from fakes.service import Service, run
from fakes.tailscale import FakeTailscale

BOMB = gzip.compress(b'{"keys": [' + b" " * 50_000_000 + b"]}")
ENDLESS = Endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"400\r\n" + b" " * 1024 + b"\r\n")


@pytest.mark.parametrize(
    "reply",
    [
        http(200, BOMB, Content_Encoding="gzip"),
        ENDLESS,
        Raw(b"HTTP/1.1 200 OK\r\n" + b"X-Filler: " + b"x" * 5_000_000 + b"\r\n\r\n", "close"),
        http(200, json.dumps({"keys": [{"kty": "OKP"}] * 101}).encode()),
    ],
    ids=["a compressed bomb", "no end", "a huge header field", "too many keys"],
)
def test_n11_keys_without_bounds(tmp_path: Path, reply: Reply) -> None:
    """N-11, CVE-2024-34079: what an issuer sends is cut off; the keys that there were serve on, in as much memory."""
    with deployed(tmp_path) as site:
        good = site.issuer.token()
        assert site.service.exchange(good).status == 200
        before = site.service.resident_kilobytes()
        site.issuer.trouble = reply
        # Unknown to the old keys, and there are no new ones: nobody can tell now.
        assert site.service.exchange(site.issuer.token(header={"kid": "not-there"})).status == 503
        assert site.service.exchange(good).status == 200
        assert site.service.resident_kilobytes() < before + 20_000
        assert site.service.readiness()["trusts"][0]["state"] == "stale"


NO_ISSUERS = {
    "a query": "https://issuer.example.com?a=b",
    "a fragment": "https://issuer.example.com#a",
    "a user": "https://issuer.example.com@evil.example",
    "dots": "https://issuer.example.com/a/../b",
    "an encoded slash": "https://issuer.example.com/..%2f",
    "two slashes": "https://issuer.example.com//a",
    "a line feed": "https://issuer.example.com\\n",
    "a blank": "https://issuer.example.com/a b",
    "beyond ASCII": "https://\u0456ssuer.example.com",
    "no scheme": "issuer.example.com",
    "another scheme": "file:///etc/passwd",
    "plain http": "http://issuer.example.com",
    "too long": f"https://issuer.example.com/{'a' * 300}",
    "an empty host": "https:///a",
    "a port that is none": "https://issuer.example.com:0",
}


@pytest.mark.parametrize("name", sorted(NO_ISSUERS))
def test_n14_issuers_that_are_none(folder: Path, name: str) -> None:
    """N-14: what is no plain https URL is no issuer: `check` says so, and nothing would start."""
    (folder / "p.toml").write_text(policy("PLACE", jwks_url=None).replace("PLACE", NO_ISSUERS[name]))
    done = run("check", str(folder))
    assert done.returncode == 1
    assert "fault: issuer " in done.stdout + done.stderr


@pytest.mark.parametrize("issuer", ["https://Issuer.example.com", "HTTPS://issuer.example.com"])
def test_n16_upper_case_can_never_match(folder: Path, issuer: str) -> None:
    """N-16: an issuer whose host or scheme is in upper case is a fault, which says that it could never match."""
    (folder / "p.toml").write_text(policy(issuer, jwks_url=None))
    done = run("check", str(folder))
    assert done.returncode == 1
    assert "upper case can never match" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/jwks",
        "http://10.0.0.1/jwks",
        "http://0.0.0.0/jwks",
        "http://[::ffff:10.0.0.1]/jwks",
        "http://metadata.google.internal/jwks",
    ],
)
def test_n10_a_document_that_leads_inside(tmp_path: Path, tailscale: FakeTailscale, address: str) -> None:
    """N-10: an issuer's document that names a plain address inside our network is refused, and nothing is asked there.

    Addresses inside are not refused as such: private issuers have them, and only an operator names issuers.
    """
    with FakeIssuer() as issuer:
        issuer.discovery_changes = {"jwks_uri": address}
        with Service(tmp_path, {"p": policy(issuer.url, jwks_url=None)}, tailscale) as service:
            assert service.exchange(issuer.token()).status == 503
            (trust,) = service.readiness()["trusts"]
            assert (trust["state"], trust["keys"]) == ("missing", 0)
            assert "plain http" in trust["fault"]


def test_n10_a_token_leads_nowhere(tmp_path: Path) -> None:
    """N-10: an issuer that no policy names is not asked, wherever its name leads."""
    with deployed(tmp_path) as site, FakeIssuer() as inside:
        names = ("localhost", "127.0.0.1", "2130706433", "0x7f000001", "0.0.0.0", "[::ffff:127.0.0.1]")  # noqa: S104
        for name in names:
            assert site.service.exchange(site.issuer.token(iss=f"http://{name}:{inside.port}")).status == 401
        assert inside.connections == 0
