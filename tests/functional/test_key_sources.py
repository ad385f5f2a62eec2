"""Where keys come from: discovery, a URL, a file, with a private authority or the system's; and from nowhere else."""

import json
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from fakes.http import ScriptedServer, eventually, http
from fakes.issuer import FakeIssuer, Issuer
from fakes.policies import policy
from fakes.service import Service
from fakes.tailscale import FakeTailscale
from fakes.tls import Authority

AIR_GAPPED = Issuer("https://air-gapped.example")


@contextmanager
def over_tls(context: ssl.SSLContext) -> Iterator[FakeIssuer]:
    """Run an issuer on https://localhost."""
    issuer = FakeIssuer()
    issuer.tls = context
    with issuer:
        issuer.keys.url = f"https://localhost:{issuer.port}"
        yield issuer


def faults(service: Service) -> dict[str, str | None]:
    """Return the fault of each issuer's last fetch, when each has had one."""
    eventually(lambda: all(trust["keys"] or trust["fault"] for trust in service.readiness()["trusts"]))
    return {trust["issuer"]: trust["fault"] for trust in service.readiness()["trusts"]}


def test_discovery_url_and_file(tmp_path: Path, tailscale: FakeTailscale) -> None:
    """Keys are found by discovery, at the jwks_url, or in the jwks_file, and each source is asked for nothing else."""
    with FakeIssuer() as discovered, FakeIssuer() as direct:
        policies = {
            "discovered": policy(discovered.url, jwks_url=None),
            "direct": policy(direct.url),
            "file": policy(AIR_GAPPED.url, jwks_url=None, jwks_file="keys.json"),
        }
        service = Service(tmp_path, policies, tailscale)
        (service.policies / "keys.json").write_text(json.dumps(AIR_GAPPED.jwks()))
        with service:
            service.wait_for_keys()
            tokens = [discovered.token(), direct.token(), AIR_GAPPED.token()]
            assert [service.exchange(token).status for token in tokens] == [200, 200, 200]
            sources = {trust["source"] for trust in service.readiness()["trusts"]}
        assert sources == {"discovery", direct.jwks_url, str(service.policies / "keys.json")}
        assert [request.path for request in discovered.requests] == ["/.well-known/openid-configuration", "/jwks"]
        assert [request.path for request in direct.requests] == ["/jwks"]


def test_a_file_of_keys_that_changes(tmp_path: Path, tailscale: FakeTailscale) -> None:
    """A new key in the jwks_file is learnt with its first token, like one at a URL."""
    issuer = Issuer(AIR_GAPPED.url)
    service = Service(tmp_path, {"file": policy(issuer.url, jwks_url=None, jwks_file="keys.json")}, tailscale)
    keys = service.policies / "keys.json"
    keys.write_text(json.dumps(issuer.jwks()))
    with service:
        service.wait_for_keys()
        assert service.exchange(issuer.token()).status == 200
        issuer.numbers.append(1)
        keys.write_text(json.dumps(issuer.jwks()))
        assert service.exchange(issuer.token()).status == 200


def test_n07_n08_n09_discovery_that_lies(tmp_path: Path, tailscale: FakeTailscale) -> None:
    """N-07 to N-09: a document of another issuer, or one that leads astray, brings no keys and is not followed."""
    with ExitStack() as stack:
        spy = stack.enter_context(ScriptedServer(lambda _request: http(200, b"{}")))
        astray = f"http://127.0.0.1:{spy.port}/jwks"
        changes: dict[str, dict[str, object]] = {
            "another issuer": {"issuer": "https://evil.example", "jwks_uri": astray},
            "a slash more": {"jwks_uri": astray},
            "a file": {"jwks_uri": "file:///etc/passwd"},
            "data": {"jwks_uri": "data:application/json,{}"},
            "plain http elsewhere": {"jwks_uri": "http://keys.example/jwks"},
            "no jwks_uri": {"jwks_uri": None},
        }
        issuers = {name: stack.enter_context(FakeIssuer()) for name in (*changes, "redirect")}
        for name, change in changes.items():
            issuers[name].discovery_changes = change
        issuers["a slash more"].discovery_changes["issuer"] = issuers["a slash more"].url + "/"
        issuers["redirect"].trouble = http(302, b"", Location=astray)
        policies = {name.replace(" ", "-"): policy(issuer.url, jwks_url=None) for name, issuer in issuers.items()}
        with Service(tmp_path, policies, tailscale) as service:
            found = faults(service)
            statuses = {name: service.exchange(issuer.token()).status for name, issuer in issuers.items()}
        assert spy.connections == 0
        assert statuses == dict.fromkeys(issuers, 503)
        refused = "the discovery document names a jwks_uri that is refused: "
        address = f"{issuers['redirect'].url}/.well-known/openid-configuration"
        assert {name: found[issuer.url] for name, issuer in issuers.items()} == {
            "another issuer": "the discovery document is that of another issuer",
            "a slash more": "the discovery document is that of another issuer",
            "a file": refused + "it is not a URL with a host",
            "data": refused + "it is not a URL with a host",
            "plain http elsewhere": refused + "it is plain http, which anyone on the way can change",
            "no jwks_uri": "the discovery document names no jwks_uri",
            "redirect": f"the answer to {address} has the status 302",
        }


def test_n13_a_private_authority_for_one_issuer(tmp_path: Path, tailscale: FakeTailscale) -> None:
    """N-13: a policy's ca_file makes its own issuer believed, and no other one; a wrong name is never believed."""
    authority = Authority()
    with (
        over_tls(authority.server_context(tmp_path)) as ours,
        over_tls(authority.server_context(tmp_path)) as without,
        over_tls(Authority("another").server_context(tmp_path)) as strange,
        over_tls(authority.server_context(tmp_path, "elsewhere.example")) as misnamed,
        over_tls(authority.server_context(tmp_path, days=-1)) as expired,
    ):
        policies = {
            "ours": policy(ours.url, jwks_url=None, ca_file="ca.pem"),
            "without": policy(without.url, jwks_url=None),
            "strange": policy(strange.url, jwks_url=None, ca_file="ca.pem"),
            "misnamed": policy(misnamed.url, jwks_url=None, ca_file="ca.pem"),
            "expired": policy(expired.url, jwks_url=None, ca_file="ca.pem"),
        }
        service = Service(tmp_path / "service", policies, tailscale)
        (service.policies / "ca.pem").write_bytes(authority.pem)
        with service:
            found = faults(service)
            issuers = (ours, without, strange, misnamed, expired)
            statuses = [service.exchange(issuer.token()).status for issuer in issuers]
        assert statuses == [200, 503, 503, 503, 503]
        assert [found[issuer.url] is None for issuer in issuers] == [True, False, False, False, False]
        assert [len(issuer.requests) for issuer in issuers] == [2, 0, 0, 0, 0]


@pytest.mark.parametrize("how", ["--ca-file", "SSL_CERT_FILE"])
def test_an_authority_for_everybody(tmp_path: Path, how: str) -> None:
    """--ca-file and SSL_CERT_FILE count for issuers and Tailscale alike, and for nothing that they do not vouch for."""
    authority = Authority()
    pem = tmp_path / "ca.pem"
    pem.write_bytes(authority.pem)
    options = [how, str(pem)] if how == "--ca-file" else []
    variables = {} if how == "--ca-file" else {how: str(pem)}
    with (
        over_tls(authority.server_context(tmp_path)) as issuer,
        over_tls(Authority("another").server_context(tmp_path)) as strange,
        FakeTailscale(tls=authority.server_context(tmp_path)) as tailscale,
    ):
        policies = {"ours": policy(issuer.url), "strange": policy(strange.url)}
        with Service(tmp_path / "service", policies, tailscale, options, **variables) as service:
            found = faults(service)
            statuses = [service.exchange(token).status for token in (issuer.token(), strange.token())]
    assert statuses == [200, 503]
    assert (found[issuer.url], found[strange.url] is None) == (None, False)


def test_tailscale_over_tls_must_be_vouched_for(tmp_path: Path, issuer: FakeIssuer) -> None:
    """The client's secret is not sent to a Tailscale whose certificate nobody vouches for."""
    with FakeTailscale(tls=Authority().server_context(tmp_path)) as tailscale:
        with Service(tmp_path / "service", {"infra": policy(issuer.url)}, tailscale) as service:
            service.wait_for_keys()
            answer = service.exchange(issuer.token())
            assert service.event_of(answer)["reason"] == "tailscale_unavailable"
        assert (answer.status, tailscale.requests) == (503, [])
