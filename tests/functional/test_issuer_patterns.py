"""Issuers that only a pattern names: each with its own keys, and strangers cannot make the service ask at will."""

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

from fakes.http import Reply, Request, ScriptedServer, http
from fakes.issuer import FakeIssuer, Issuer, key_pair, sign
from fakes.policies import policy
from fakes.service import Service, run
from fakes.tailscale import FakeTailscale
from fakes.tls import Authority

DISCOVERY = "/.well-known/openid-configuration"
# So many new issuers at once, and one more each three seconds.
BURST, ONE_EACH = 20, 3.0


@dataclass
class Tenants:
    """A host with an issuer for each tenant, as GitLab, Entra and Kubernetes services have them, over TLS."""

    folder: Path
    authority: Authority = field(default_factory=Authority)

    def __enter__(self) -> Self:
        self.issuers: dict[str, Issuer] = {}
        self.server = ScriptedServer(self._respond, tls=self.authority.server_context(self.folder))
        self.server.__enter__()
        for number, name in enumerate(("blue", "green")):
            self.issuers[name] = Issuer(self.url(name), numbers=[number])
        return self

    def __exit__(self, *error: object) -> None:
        self.server.__exit__(None, None, None)

    def url(self, tenant: str) -> str:
        """Return the issuer of a tenant."""
        return f"https://localhost:{self.server.port}/tenants/{tenant}"

    def asked(self) -> list[str]:
        """Return the tenants whose discovery document was asked for."""
        found = [re.fullmatch(f"/tenants/(.*){DISCOVERY}", request.path) for request in tuple(self.server.requests)]
        return [match[1] for match in found if match]

    def _respond(self, request: Request) -> Reply:
        for issuer in self.issuers.values():
            path = f"/{issuer.url.partition('://')[2].partition('/')[2]}"
            if request.path == f"{path}{DISCOVERY}":
                document = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/jwks"}
                return http(200, json.dumps(document).encode())
            if request.path == f"{path}/jwks":
                return http(200, json.dumps(issuer.jwks()).encode())
        return http(404, b"no such tenant")


@dataclass(frozen=True)
class Site:
    """A service that trusts every tenant by a pattern, and one issuer by its name."""

    service: Service
    tenants: Tenants
    named: FakeIssuer

    def status(self, token: str) -> int:
        """Return the status of an exchange."""
        return self.service.exchange(token).status


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Return the service with its neighbours."""
    with Tenants(tmp_path) as tenants, FakeIssuer() as named, FakeTailscale() as tailscale:
        (tmp_path / "ca.pem").write_bytes(tenants.authority.pem)
        pattern = f"https://localhost:{tenants.server.port}/tenants/[a-z0-9-]+"
        policies = {
            "tenants": policy("", jwks_url=None).replace('issuer = ""', f'issuer_pattern = "{pattern}"'),
            "named": policy(named.url),
        }
        options = ["--ca-file", str(tmp_path / "ca.pem")]
        with Service(tmp_path, policies, tailscale, options) as service:
            service.wait_for_keys()
            yield Site(service, tenants, named)


def test_each_issuer_has_its_own_keys(site: Site) -> None:
    """Two issuers of one pattern: each one's keys are found where it is, once, and count for it alone."""
    blue, green = site.tenants.issuers["blue"], site.tenants.issuers["green"]
    assert [site.status(issuer.token()) for issuer in (blue, green, blue, green)] == [200] * 4
    assert sorted(site.tenants.asked()) == ["blue", "green"]
    header = {"alg": "RS256", "typ": "JWT", "kid": green.key_id(1)}
    forged = sign(header, json.dumps(green.claims()).encode(), key_pair("RS256", 0))
    answer = site.service.exchange(forged)
    assert (answer.status, site.service.event_of(answer)["reason"]) == (401, "bad_signature")
    stolen = sign(header, json.dumps(blue.claims()).encode(), key_pair("RS256", 1))
    answer = site.service.exchange(stolen)
    assert (answer.status, site.service.event_of(answer)["reason"]) == (401, "unknown_key")
    event = site.service.event_of(site.service.exchange(blue.token()))
    assert (event["policy"], event["issuer"]) == ("tenants", blue.url)


def test_explained(site: Site, tmp_path: Path) -> None:
    """`tailsts explain --online` finds the keys of an issuer of the pattern as the service does."""
    options = ["--online", "--token", "-", "--scope", "dns:read", "--policies-dir", str(site.service.policies)]
    ca = str(tmp_path / "ca.pem")
    done = run("explain", *options, given=site.tenants.issuers["blue"].token(), SSL_CERT_FILE=ca)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "signature: holds under the keys of discovery"
    done = run("explain", *options, given=Issuer(site.tenants.url("ghost")).token(), SSL_CERT_FILE=ca)
    assert (done.returncode, done.stderr) == (3, "")


def test_an_issuer_that_does_not_exist(site: Site) -> None:
    """Of one that has no keys nobody can tell: 503, and it is not asked again at once."""
    ghost = Issuer(site.tenants.url("ghost"))
    answers = [site.service.exchange(ghost.token()) for _ in range(5)]
    assert [answer.status for answer in answers] == [503] * 5
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers)
    assert {site.service.event_of(answer)["reason"] for answer in answers} == {"keys_unavailable"}
    assert site.tenants.asked() == ["ghost"]


def test_what_the_pattern_does_not_match(site: Site) -> None:
    """An issuer that the pattern does not match is unknown, and nobody is asked for its keys."""
    port = site.tenants.server.port
    strange = [
        f"https://localhost:{port}/tenants/blue/",
        f"https://localhost:{port}/tenants/a/b",
        f"https://localhost:{port}/tenants/",
        f"https://localhost:{port}/tenants/..",
        f"https://localhost:{port}/tenants/blue?x",
        f"https://localhost:{port}/tenants/blue#x",
        f"https://localhost:{port}/tenants/%62lue",
        f"https://localhost:{port}/tenants/blue\n",
        f"https://LOCALHOST:{port}/tenants/blue",
        f"http://localhost:{port}/tenants/blue",
        f"https://localhost:{port}@evil.example/tenants/blue",
        f"https://evil.example/https://localhost:{port}/tenants/blue",
    ]
    answers = [site.service.exchange(Issuer(issuer).token()) for issuer in strange]
    assert [answer.status for answer in answers] == [401] * len(strange)
    assert {site.service.event_of(answer)["reason"] for answer in answers} == {"unknown_issuer"}
    assert site.tenants.server.requests == []


def test_n01_a_flood_of_made_up_issuers(site: Site) -> None:
    """N-01, L-03: 200 made-up issuers cause no more requests than the budget; known ones go on undisturbed."""
    blue = site.tenants.issuers["blue"]
    assert site.status(blue.token()) == 200
    before = len(site.tenants.server.requests)
    started = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        made_up = [Issuer(site.tenants.url(f"made-up-{number}")) for number in range(200)]
        flood = list(pool.map(lambda issuer: site.status(issuer.token()), made_up))
        known = list(pool.map(site.status, [blue.token() for _ in range(20)] + [site.named.token()]))
    assert flood == [503] * 200
    assert known == [200] * 21
    caused = len(site.tenants.server.requests) - before
    assert 0 < caused <= BURST + (time.monotonic() - started) / ONE_EACH + 1
    text = site.service.metrics()
    assert "made-up" not in text
    pattern = f"https://localhost:{site.tenants.server.port}/tenants/[a-z0-9-]+"
    assert site.service.metric("tailsts_key_fetches_total", issuer=pattern, result="failed") == caused
    assert site.service.metric("tailsts_key_family_issuers", pattern=pattern) == 1
    assert len(site.service.readiness()["trusts"]) == 1


def test_issuers_of_a_pattern_alone(tmp_path: Path) -> None:
    """Where no issuer is named the service is ready: whose keys it needs is known when a token comes."""
    with Tenants(tmp_path) as tenants, FakeTailscale() as tailscale:
        (tmp_path / "ca.pem").write_bytes(tenants.authority.pem)
        pattern = f"https://localhost:{tenants.server.port}/tenants/[a-z0-9-]+"
        text = policy("", jwks_url=None).replace('issuer = ""', f'issuer_pattern = "{pattern}"')
        with Service(tmp_path, {"tenants": text}, tailscale, ["--ca-file", str(tmp_path / "ca.pem")]) as service:
            assert service.readiness()["status"] == "ready"
            assert service.request("GET", "/readyz", admin=True).status == 200
            assert service.exchange(tenants.issuers["blue"].token()).status == 200
