"""What was published about others, as tokens: each hole, tried on the service as a process."""

import json
from collections.abc import Iterator

import pytest
from joserfc.jwk import RSAKey

from fakes.deployment import Deployment, deployed
from fakes.issuer import FakeIssuer, b64, jwk, key_pair, sign, sign_with_hmac
from fakes.policies import policy
from fakes.raw import RawConnection
from fakes.service import Answer, Service
from fakes.tailscale import FakeTailscale
from tailsts.oidc import base64url


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return the service with its neighbours; no test here changes it."""
    with deployed(tmp_path_factory.mktemp("advisories")) as site:
        yield site


def denied(site: Deployment, token: str, reason: str | None = None) -> Answer:
    """Present the token, see that it is refused, that nothing is minted, and that the log says why."""
    before = len(site.tailscale.requests)
    answer = site.service.exchange(token)
    assert answer.status == 401
    event = site.service.event_of(answer)
    assert reason in {None, event["reason"]}
    assert before == len(site.tailscale.requests)
    return answer


@pytest.mark.parametrize(
    "path", ["x#", "x?", "..%2f", "@evil.example/", "\\@evil.example", ".evil.example", "/", ":443", "%00", "\n"]
)
def test_cve_2025_52477_an_issuer_with_something_behind(site: Deployment, path: str) -> None:
    """CVE-2025-52477: the issuer of a token is compared, never completed, resolved or asked; answers do not echo it."""
    fetches = len(site.issuer.requests)
    answer = denied(site, site.issuer.token(iss=f"{site.issuer.url}{path}"), "unknown_issuer")
    assert "invalid token (decision" in answer.text
    assert fetches == len(site.issuer.requests)


@pytest.mark.parametrize("length", [0, 4, 8, -1])
def test_cve_2024_53861_a_part_of_the_issuer(site: Deployment, length: int) -> None:
    """CVE-2024-53861: a part of the issuer's name is not the issuer."""
    denied(site, site.issuer.token(iss=site.issuer.url[:length]))


@pytest.mark.parametrize(
    "audience",
    [["x"], [], {}, [["https://sts.example.com"]], None, {"https://sts.example.com": 1}, "https://sts", 1, True],
)
def test_cve_2020_26160_audiences(site: Deployment, audience: object) -> None:
    """CVE-2020-26160: no list, object, part or absence passes for our audience."""
    token = site.issuer.token(aud=audience)
    answer = site.service.exchange(token)
    assert answer.status in {401, 403}
    assert site.service.event_of(answer)["reason"] in {"claim_invalid", "audience_not_allowed"}


@pytest.mark.parametrize("header", [{"crit": ["x"], "x": 1}, {"crit": ["exp"]}, {"crit": []}, {"crit": "x"}])
def test_cve_2026_32597_critical_headers(site: Deployment, header: dict[str, object]) -> None:
    """CVE-2026-32597, CVE-2025-59420: a header that must be understood, and is not, makes the token none."""
    denied(site, site.issuer.token(header=header), "header_refused")


def test_cve_2026_48525_an_unencoded_payload(site: Deployment) -> None:
    """CVE-2026-48525: b64=false is refused before anything is done with the payload."""
    denied(site, site.issuer.token(header={"b64": False, "crit": ["b64"]}), "header_refused")
    denied(site, site.issuer.token(header={"b64": False}), "header_refused")
    denied(site, site.issuer.token(header={"b64": True}), "header_refused")


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_cve_2026_48526_a_public_key_as_a_secret(site: Deployment, algorithm: str) -> None:
    """CVE-2026-48526, CVE-2022-29217, CVE-2024-33663: the public key in any form is no HMAC secret."""
    public = key_pair("RS256")
    assert isinstance(public, RSAKey)
    forms = [
        public.as_pem(private=False),
        public.as_pem(private=False).strip(),
        public.as_der(private=False),
        json.dumps(public.as_dict(private=False)).encode(),
        base64url.decode(str(public.as_dict(private=False)["n"]).encode()),
        b"",
    ]
    payload = json.dumps(site.issuer.keys.claims()).encode()
    for secret in forms:
        token = sign_with_hmac({**site.issuer.keys.header(), "alg": algorithm}, payload, secret)
        denied(site, token, "algorithm_refused")


def test_cve_2026_27962_a_key_in_the_token(site: Deployment) -> None:
    """CVE-2026-27962: a token that brings its own key is judged by the issuer's."""
    own = key_pair("RS256", 9)
    payload = json.dumps(site.issuer.keys.claims()).encode()
    for kid in (site.issuer.keys.key_id(0), "own", None):
        header = {**site.issuer.keys.header(kid=kid), "jwk": jwk(own, kid)}
        denied(site, sign(header, payload, own))


def test_cve_2026_48523_an_algorithm_of_the_key(tmp_path_factory: pytest.TempPathFactory) -> None:
    """CVE-2026-48523: a key that names ES256 makes no ES256 token welcome where the policy says RS256."""
    folder = tmp_path_factory.mktemp("algorithms")
    with (
        FakeIssuer("ES256") as issuer,
        FakeTailscale() as tailscale,
        Service(folder, {"p": policy(issuer.url, algorithm="RS256")}, tailscale) as service,
    ):
        service.wait_for_keys()
        answer = service.exchange(issuer.token())
        assert answer.status == 401
        assert service.event_of(answer)["reason"] == "algorithm_refused"
        assert tailscale.requests == []


@pytest.mark.parametrize("text", ["." * 16_000, "a" * 16_000, "a." * 8000, "." * 1_000_000, "a" * 1_000_000])
def test_cve_2025_30204_many_points(site: Deployment, text: str) -> None:
    """CVE-2025-30204, CVE-2025-61920, GO-2025-3485: points and endless headers cost nothing, and mint nothing."""
    before = site.service.resident_kilobytes()
    minted = len(site.tailscale.requests)
    message = f"POST / HTTP/1.1\r\nHost: sts\r\nAuthorization: Bearer {text}\r\nContent-Length: 2\r\n\r\n{{}}"
    with RawConnection(site.service.port) as connection:
        # Who sends that much may find the connection closed before it has read why.
        connection.send([message.encode()])
        answer = connection.read()
    assert (answer is None and len(text) > 16_384) or (answer is not None and answer.status in {400, 401, 431})
    assert site.service.resident_kilobytes() < before + 10_000
    assert minted == len(site.tailscale.requests)


def test_cve_2025_65015_what_is_logged_of_it(site: Deployment) -> None:
    """CVE-2025-65015: of an oversized token, or of one full of text, little gets into the log."""
    for token in ("x" * 16_300, site.issuer.token(sub="s" * 9000), site.issuer.token(header={"kid": "k" * 9000})):
        answer = site.service.exchange(token)
        assert answer.status in {401, 403}
        decision = answer.headers["X-Decision-Id"]
        site.service.event_of(answer)
        (line,) = [line for line in site.service.audit_log.read_text().splitlines() if decision in line]
        assert len(line) < 2048
    assert all(len(line) < 2048 for line in site.service.log.read_text().splitlines())


def test_cve_2024_28180_encrypted_tokens(site: Deployment) -> None:
    """CVE-2024-28180, CVE-2024-28122, CVE-2023-6681: five parts are no token, whatever they would inflate to."""
    header = b64(json.dumps({"alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "zip": "DEF", "p2c": 10**9}).encode())
    denied(site, f"{header}.{'A' * 40}.{'A' * 16}.{'A' * 4000}.{'A' * 22}", "malformed_token")
    # The same header on three parts asks for nothing either.
    denied(site, f"{header}.{'A' * 40}.{'A' * 16}", "algorithm_refused")


def test_cve_2022_39227_json_and_compact_at_once(site: Deployment) -> None:
    """CVE-2022-39227: the JSON form of a token is none, nor is one that is both."""
    head, payload, signature = site.issuer.token().split(".")
    both = {"protected": head, "payload": payload, "signature": signature}
    assert site.service.exchange(json.dumps(both, separators=(",", ":"))).status == 401
    forged = b64(json.dumps({**site.issuer.keys.claims(), "sub": "x"}).encode())
    polyglot = f'{{"{head}.{forged}."' + f':"x","protected":"{head}","payload":"{payload}","signature":"{signature}"}}'
    assert site.service.exchange(polyglot).status == 401
    denied(site, f"{head}.{payload}.{signature}.{payload}", "malformed_token")
