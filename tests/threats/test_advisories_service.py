"""What was published about others, as behaviour: each hole, tried on the service as a process."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.deployment import Deployment, deployed
from fakes.http import ScriptedServer, eventually, http
from fakes.issuer import FakeIssuer, jwk, key_pair
from fakes.policies import policy
from fakes.service import Service, run
from fakes.tailscale import FakeTailscale
from tailsts.oidc.token import ALGORITHMS


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return the service with its neighbours; no test here changes it for long."""
    with deployed(tmp_path_factory.mktemp("advisories")) as site:
        yield site


def test_chinmina_22335e1_nothing_is_vended_from_a_cache(site: Deployment) -> None:
    """chinmina-22335e1: what one got does not warm anything for another, who is asked all questions and refused."""
    good = site.issuer.token()
    first, second = (site.service.exchange(good) for _ in "ab")
    assert (first.status, second.status) == (200, 200)
    assert first.text != second.text
    minted = len(site.tailscale.requests)
    assert site.service.exchange(site.issuer.token(sub="repo:acme/other:ref:refs/heads/main")).status == 403
    assert minted == len(site.tailscale.requests)


def test_cve_2025_11621_two_issuers_and_one_key_id(tmp_path: Path, tailscale: FakeTailscale) -> None:
    """CVE-2025-11621: one key id at two issuers, policies whose names begin alike: nothing passes for the other's."""
    with FakeIssuer(numbers=(0,)) as one, FakeIssuer(numbers=(1,)) as two:
        same = one.keys.key_id(0)
        two.trouble = http(200, json.dumps({"keys": [jwk(key_pair("RS256", 1), same)]}).encode())
        texts = {"a": policy(one.url), "a-1": policy(two.url)}
        with Service(tmp_path, texts, tailscale) as service:
            service.wait_for_keys()
            good = [issuer.token(header={"kid": same}) for issuer in (one, two, one)]
            assert [service.exchange(token).status for token in good] == [200, 200, 200]
            crossed = [issuer.token(header={"kid": same}, iss=other.url) for issuer, other in ((one, two), (two, one))]
            assert [service.exchange(token).status for token in crossed] == [401, 401]
            assert service.exchange(good[0], ["dns:read"], {"policy": "a-1"}).status == 403


def test_cve_2024_5798_a_policy_without_audience(folder: Path) -> None:
    """CVE-2024-5798: a policy without audience is warned of, and with --strict it is a fault."""
    (folder / "p.toml").write_text(policy("https://issuer.example.com", audience=None))
    lax, strict = run("check", str(folder)), run("check", "--strict", str(folder))
    assert "[no-audience]" in lax.stdout + lax.stderr
    assert (lax.returncode, strict.returncode) == (0, 1)
    for audience in ("", " "):
        (folder / "p.toml").write_text(policy("https://issuer.example.com", audience=audience))
        assert run("check", str(folder)).returncode == 1


@pytest.mark.parametrize("address", ["file:///etc/passwd", "data:application/json,{}", "ftp://keys.example.com/jwks"])
def test_cve_2026_48522_keys_that_are_no_web_address(folder: Path, address: str) -> None:
    """CVE-2026-48522: keys are fetched by https alone: a policy that names another scheme is a fault."""
    (folder / "p.toml").write_text(policy("https://issuer.example.com", jwks_url=address))
    assert run("check", str(folder)).returncode == 1


def test_cve_2026_48524_one_failed_fetch(tmp_path: Path) -> None:
    """CVE-2026-48524: a fetch that fails costs no key; and the next that works is used."""
    with deployed(tmp_path) as site:
        good = site.issuer.token()
        site.issuer.trouble = http(500, b"")
        site.service.exchange(site.issuer.token(header={"kid": "not-there"}))
        eventually(lambda: site.service.readiness()["trusts"][0]["state"] == "stale")
        assert site.service.exchange(good).status == 200
        site.issuer.trouble = None
        site.issuer.rotate()
        eventually(lambda: site.service.exchange(site.issuer.token()).status == 200, 30)


def test_cve_2025_22149_a_key_that_was_withdrawn(tmp_path: Path) -> None:
    """CVE-2025-22149: a key that its issuer withdraws is refused as soon as keys were fetched again."""
    with deployed(tmp_path) as site:
        old = site.issuer.token()
        assert site.service.exchange(old).status == 200
        site.issuer.rotate(withdraw=True)
        eventually(lambda: site.service.exchange(site.issuer.token()).status == 200, 30)
        assert site.service.exchange(old).status == 401


@pytest.mark.parametrize("name", ["HS256", "HS384", "HS512", "none", "None", "RSA1_5", "dir", ""])
def test_cve_2026_49852_no_such_algorithm(folder: Path, name: str) -> None:
    """CVE-2026-49852: there is no way to ask for a symmetric algorithm, or for none."""
    assert name not in ALGORITHMS
    (folder / "p.toml").write_text(policy("https://issuer.example.com", algorithm=name))
    assert run("check", str(folder)).returncode == 1


def test_cve_2026_4525_nothing_of_the_caller_goes_on(site: Deployment) -> None:
    """CVE-2026-4525: Tailscale gets our credential and our form, and nothing that the caller sent."""
    headers = {"Cookie": "a=b", "X-Api-Key": "k", "Proxy-Authorization": "Basic eDp5", "Forwarded": "for=evil"}
    assert site.service.exchange(site.issuer.token(), ["dns:read"], **headers).status == 200
    sent = site.tailscale.requests[-1]
    assert sent.headers["authorization"].startswith("Basic ")
    assert not {name.lower() for name in headers} & sent.headers.keys()
    assert not [value for value in sent.headers.values() if "Bearer" in value or "evil" in value]


def test_cve_2024_8365_tokens_in_the_audit_log(site: Deployment) -> None:
    """CVE-2024-8365: the audit log has neither the token that came nor the one that went."""
    token = site.issuer.token()
    answer = site.service.exchange(token)
    assert answer.status == 200
    assert site.service.event_of(answer)["token_sha256"]
    written = site.service.audit_log.read_text() + site.service.log.read_text()
    assert answer.text not in written
    assert not any(part in written for part in token.split("."))


@pytest.mark.parametrize(
    "path", ["/token", "/oauth2/token", "/exchange", "/v1/exchange", "/explain", "/batch", "//", "/.", "/healthz"]
)
def test_ghsa_7qjx_gp9h_65qj_one_door(site: Deployment, path: str) -> None:
    """GHSA-7qjx-gp9h-65qj: there is one door, and behind no other path does a good token do anything."""
    before = len(site.tailscale.requests)
    fields = {"Authorization": f"Bearer {site.issuer.token()}", "Content-Type": "application/json"}
    answer = site.service.request("POST", path, '{"scopes": ["dns:read"]}', fields)
    assert answer.status == (405 if path == "/healthz" else 404)
    assert before == len(site.tailscale.requests)


def test_cve_2025_62506_asking_for_nothing(site: Deployment) -> None:
    """CVE-2025-62506: asking for nothing gets nothing; asking for more than the policy has gets nothing either."""
    before = len(site.tailscale.requests)
    token = site.issuer.token()
    answers = [site.service.exchange(token, scopes) for scopes in ([], [""], ["all"], ["dns:read", "all"], None)]
    assert [answer.status for answer in answers] == [400, 400, 403, 403, 400]
    assert before == len(site.tailscale.requests)


def test_ghsa_9v7f_redirects_of_a_key_fetch(tmp_path: Path, tailscale: FakeTailscale) -> None:
    """PyJWT-2.14: a redirect of the keys is not followed, wherever it leads, and floods of key ids do not repeat it."""
    with ScriptedServer(lambda _request: http(200, b"{}")) as elsewhere, FakeIssuer() as issuer:
        issuer.trouble = http(302, b"", Location=f"http://127.0.0.1:{elsewhere.port}/jwks")
        with Service(tmp_path, {"p": policy(issuer.url)}, tailscale) as service:
            started = time.monotonic()
            statuses = {service.exchange(issuer.token(header={"kid": f"k{number}"})).status for number in range(50)}
            assert statuses == {503}
            assert issuer.count("/jwks") <= 3 + (time.monotonic() - started) / 5
        assert elsewhere.connections == 0
