"""Issuers that are down, silent, lying or rotating, and what a token can make the service connect to: nothing."""

import json
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from fakes.deployment import Deployment, deployed
from fakes.http import CLOSE, HANG, RESET, Drip, Endless, Reply, ScriptedServer, eventually, http
from fakes.issuer import FakeIssuer, Issuer, b64
from fakes.policies import policy
from fakes.service import Service, unused_port
from fakes.tailscale import FakeTailscale

# Five seconds for a fetch; the rest is for a busy machine.
PATIENCE = 9.0

TROUBLES: dict[str, Reply] = {
    "hangs": HANG,
    "resets": RESET,
    "closes": CLOSE,
    "drips": Drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b" " * 100, 0.5),
    "endless": Endless(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 65536),
    "no HTTP": http(200, b"", Content_Length="x"),
    "garbage": http(200, b"<html>be right back</html>"),
    "no keys": http(200, b'{"keys": []}'),
    "fails": http(500, b"{}"),
    "not found": http(404, b"{}"),
}


def of_unknown_key(token: str) -> str:
    """Return the token under a key id that nobody has."""
    header = {"alg": "RS256", "typ": "JWT", "kid": secrets.token_hex(8)}
    return f"{b64(json.dumps(header).encode())}.{token.partition('.')[2]}"


def trust_of(service: Service, issuer: str) -> dict[str, object]:
    """Return what readiness says of an issuer."""
    found: dict[str, object] = next(trust for trust in service.readiness()["trusts"] if trust["issuer"] == issuer)
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return the service with its neighbours; no test here changes it."""
    with deployed(tmp_path_factory.mktemp("keys")) as site:
        yield site


def test_n17_an_issuer_that_is_down_at_start(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """N-17: with one issuer down the service starts, serves the others, answers 503 for it, and recovers by itself."""
    port = unused_port()
    late = Issuer(f"http://127.0.0.1:{port}")
    policies = {"up": policy(issuer.url), "down": policy(late.url)}
    with Service(tmp_path, policies, tailscale) as service:
        eventually(lambda: service.exchange(issuer.token()).status == 200)
        refused = service.exchange(late.token())
        decision = refused.headers["X-Decision-Id"]
        assert refused.text == f"temporarily unavailable, try again later (decision {decision})\n"
        assert (refused.status, refused.headers["WWW-Authenticate"]) == (503, None)
        assert 1 <= int(refused.headers["Retry-After"]) <= 30
        event = service.event_of(refused)
        assert (event["outcome"], event["reason"]) == ("unavailable", "keys_unavailable")
        assert [service.readiness()["status"], trust_of(service, late.url)["state"]] == ["degraded", "missing"]
        assert service.request("GET", "/readyz", admin=True).status == 200
        with FakeIssuer(port=port):
            eventually(lambda: service.exchange(late.token()).status == 200, 30)
            assert service.readiness()["status"] == "ready"
    assert tailscale.count("/api/v2/oauth/token") == sum(event["outcome"] == "granted" for event in service.events())


def test_n03_n04_n05_outages_later(tmp_path: Path, tailscale: FakeTailscale) -> None:
    """N-03 to N-05: whatever becomes of an issuer, known keys serve at once; only for unknown ones nobody can tell."""
    with ExitStack() as stack:
        issuers = {name: stack.enter_context(FakeIssuer()) for name in TROUBLES}
        policies = {name.replace(" ", "-"): policy(issuer.url) for name, issuer in issuers.items()}
        service = stack.enter_context(Service(tmp_path, policies, tailscale))
        service.wait_for_keys()
        for name, issuer in issuers.items():
            issuer.trouble = TROUBLES[name]

        def suffer(issuer: FakeIssuer) -> tuple[int, str, int, bool]:
            started = time.monotonic()
            unknown = service.exchange(of_unknown_key(issuer.token()))
            in_time = time.monotonic() - started < PATIENCE
            reason = service.event_of(unknown)["reason"]
            return unknown.status, reason, service.exchange(issuer.token()).status, in_time

        with ThreadPoolExecutor(len(issuers)) as pool:
            outcomes = dict(zip(issuers, pool.map(suffer, issuers.values()), strict=True))
        assert outcomes == dict.fromkeys(TROUBLES, (503, "keys_unavailable", 200, True))
        trusts = service.readiness()["trusts"]
        assert {(trust["state"], trust["keys"], trust["fault"] is None) for trust in trusts} == {("stale", 1, False)}
        assert service.readiness()["status"] == "ready"


def test_n04_a_passing_failure(tmp_path: Path) -> None:
    """N-04: after a fetch that failed there is another one soon, and then the failure is no longer shown."""
    with deployed(tmp_path) as site:
        site.issuer.trouble = http(500, b"")
        assert site.service.exchange(of_unknown_key(site.issuer.token())).status == 503
        assert trust_of(site.service, site.issuer.url)["state"] == "stale"
        site.issuer.trouble = None
        eventually(lambda: trust_of(site.service, site.issuer.url)["state"] == "fresh")
        assert trust_of(site.service, site.issuer.url)["fault"] is None


def test_n06_rotation(tmp_path: Path) -> None:
    """N-06: a new key is learnt with its first token, and a key that was withdrawn then is refused from there on."""
    with deployed(tmp_path) as site:
        old = site.issuer.token()
        assert site.service.exchange(old).status == 200
        site.issuer.rotate(withdraw=True)
        new = site.issuer.token()
        assert [site.service.exchange(token).status for token in (old, new, old)] == [200, 200, 401]
        assert site.issuer.count("/jwks") == 2


def test_n01_n02_a_flood_of_unknown_keys(tmp_path: Path) -> None:
    """N-01, N-02: under a flood of unknown key ids there is a fetch per cool-down, and a new key is used in 30 s."""
    with deployed(tmp_path) as site:
        token = site.issuer.token()
        assert site.service.exchange(of_unknown_key(token)).status == 401
        started = time.monotonic()
        site.issuer.rotate()
        new = site.issuer.token()
        learnt = False

        def flood(_number: int) -> set[int]:
            statuses = set()
            while not learnt:
                statuses.add(site.service.exchange(of_unknown_key(token)).status)
            return statuses

        with ThreadPoolExecutor(2) as pool:
            floods = pool.map(flood, range(2))
            try:
                eventually(lambda: site.service.exchange(new).status == 200, 30)
            finally:
                learnt = True
        assert set().union(*floods) == {401}
        # At start, at the first unknown key, and one for each ten seconds since.
        assert site.issuer.count("/jwks") <= 3 + (time.monotonic() - started) / 10


def hostile_places(site: Deployment, spy: ScriptedServer) -> dict[str, str]:
    """Return tokens that name the spy in every place that a careless service would follow."""
    url = f"http://127.0.0.1:{spy.port}"
    fragment = site.issuer.url.removeprefix("http://")
    issuers = (url, f"{url}/#", f"{url}/?", f"{url}#{site.issuer.url}", f"http://{fragment}@127.0.0.1:{spy.port}")
    headers = {
        "jku": f"{url}/jwks",
        "x5u": f"{url}/cert",
        "kid": f"{url}/key",
        "iss": url,
        "url": url,
    }
    return {
        **{issuer: site.issuer.token(iss=issuer) for issuer in issuers},
        **{name: site.issuer.token(header={name: value}) for name, value in headers.items()},
        "kid that leads out": site.issuer.token(header={"kid": f"@127.0.0.1:{spy.port}/../x#"}),
        "claims": site.issuer.token(jku=f"{url}/jwks", jwks_uri=f"{url}/jwks", aud=["https://sts.example.com", url]),
    }


def test_no_token_leads_to_a_connection(site: Deployment) -> None:
    """CVE-2025-52477, K-01: nothing that a token says is connected to, and the answers do not echo it."""
    with ScriptedServer(lambda _request: http(200, b"{}")) as spy:
        answers = {name: site.service.exchange(token) for name, token in hostile_places(site, spy).items()}
        assert spy.connections == 0
    good = {"jku", "x5u", "iss", "url", "claims"}
    assert {name for name, answer in answers.items() if answer.status == 200} == good
    assert {answer.status for name, answer in answers.items() if name not in good} == {401}
    assert not any("127.0.0.1" in answer.text for answer in answers.values())
    paths = {request.path for request in site.issuer.requests}
    assert paths == {"/jwks"}


def test_nothing_of_the_caller_is_sent_to_an_issuer(site: Deployment) -> None:
    """CVE-2026-4525: a fetch that a request brought forward carries nothing of that request."""
    site.service.exchange(of_unknown_key(site.issuer.token()), **{"Cookie": "a=b", "User-Agent": "mine"})
    for request in site.issuer.requests:
        assert {name: request.headers[name] for name in request.headers.keys() - {"accept", "accept-encoding"}} == {
            "host": f"127.0.0.1:{site.issuer.port}",
            "user-agent": "tailsts",
        }


def test_metrics_show_the_fetches(tmp_path: Path) -> None:
    """Keys, their age, and good and failed fetches are counted for each configured issuer, and for no other."""
    with deployed(tmp_path) as site:
        site.issuer.trouble = http(500, b"")
        site.service.exchange(of_unknown_key(site.issuer.token()))
        site.service.exchange(site.issuer.token(iss="https://evil.example"))
        labels = {"issuer": site.issuer.url, "source": site.issuer.jwks_url}
        metric = site.service.metric
        assert metric("tailsts_key_fetches_total", result="ok", **labels) == 1
        assert metric("tailsts_key_fetches_total", result="failed", **labels) >= 1
        assert metric("tailsts_keys", **labels) == 1
        assert 0 <= metric("tailsts_key_age_seconds", **labels) < 60
        assert "evil.example" not in site.service.metrics()
