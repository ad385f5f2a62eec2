"""Rows J and K of the threat list from end to end: hostile tokens, one answer for all of them, nothing minted."""

import json
import re
import time
from collections.abc import Callable, Iterator

import pytest
from joserfc.jwk import RSAKey

from fakes.deployment import Deployment, deployed
from fakes.issuer import Issuer, b64, jwk, key_pair, sign, sign_segments, sign_with_hmac
from fakes.service import Answer

SUBJECT = "repo:acme/infra:ref:refs/heads/main"
INVALID = re.compile(r"invalid token \(decision [0-9a-f]{20}\)\n")
MALFORMED, HEADER, ALGORITHM, CLAIM = "malformed_token", "header_refused", "algorithm_refused", "claim_invalid"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return the service with its neighbours; no test here changes it."""
    with deployed(tmp_path_factory.mktemp("verification")) as site:
        yield site


def with_text(text: str) -> Callable[[Issuer], str]:
    """Return what makes a well signed token with `text` at the end of its claims."""
    return over(lambda issuer: f"{json.dumps(issuer.claims())[:-1]}, {text}}}".encode())


def with_claim(name: str, text: str) -> Callable[[Issuer], str]:
    """Return what makes a well signed token with the JSON `text` as the value of the claim `name`."""
    return over(lambda issuer: json.dumps({**issuer.claims(), name: "PLACE"}).replace('"PLACE"', text).encode())


def with_claims(**changes: object) -> Callable[[Issuer], str]:
    """Return what makes a well signed token with these claims."""
    return lambda issuer: issuer.token(header=None, **changes)


def with_times(**ahead: int) -> Callable[[Issuer], str]:
    """Return what makes a well signed token with these times, in seconds from the moment when it is made."""
    return lambda issuer: issuer.token(
        header=None, **{name: int(time.time()) + seconds for name, seconds in ahead.items()}
    )


def with_header(**changes: object) -> Callable[[Issuer], str]:
    """Return what makes a well signed token with this header."""
    return lambda issuer: issuer.token(header=changes)


def over(payload: Callable[[Issuer], bytes]) -> Callable[[Issuer], str]:
    """Return what makes a token that is well signed over any bytes."""
    return lambda issuer: issuer.token_over(payload(issuer))


def segments(change: Callable[[str, str, str], str]) -> Callable[[Issuer], str]:
    """Return what makes a token by changing the three parts of a good one."""
    return lambda issuer: change(*issuer.token().split("."))


def unsigned(algorithm: object) -> Callable[[Issuer], str]:
    """Return what makes a token that says it is not signed, or by something that is none."""

    def make(issuer: Issuer) -> str:
        header = json.dumps({**issuer.header(), "alg": algorithm}).encode()
        return f"{b64(header)}.{b64(json.dumps(issuer.claims()).encode())}.{b64(bytes(256))}"

    return make


def confused(issuer: Issuer) -> str:
    """Return a token whose HMAC has the issuer's public key as its secret."""
    key = key_pair("RS256")
    assert isinstance(key, RSAKey)
    claims = json.dumps(issuer.claims()).encode()
    return sign_with_hmac({**issuer.header(), "alg": "HS256"}, claims, key.as_pem(private=False))


def signed_by(algorithm: str, number: int, **header: object) -> Callable[[Issuer], str]:
    """Return what makes a token that is good but for its header and the key that signed it."""

    def make(issuer: Issuer) -> str:
        claims = json.dumps(issuer.claims()).encode()
        return sign(issuer.header(alg=algorithm, **header), claims, key_pair(algorithm, number))

    return make


def own_key(issuer: Issuer) -> str:
    """Return a token that brings the key that it is signed with."""
    return signed_by("RS256", 9, jwk=jwk(key_pair("RS256", 9), issuer.key_id(0)))(issuer)


def other_claims(issuer: Issuer) -> str:
    """Return a token whose claims were changed after it was signed."""
    head, _, signature = issuer.token().split(".")
    return f"{head}.{b64(json.dumps(issuer.claims(sub='evil')).encode())}.{signature}"


def twice_in_header(issuer: Issuer) -> str:
    """Return a token whose header says "none" and RS256."""
    header = '{"alg": "none", ' + json.dumps(issuer.header()).removeprefix("{")
    return sign_segments(b64(header.encode()), b64(json.dumps(issuer.claims()).encode()), "RS256", key_pair("RS256"))


def as_json(issuer: Issuer) -> str:
    """Return a token in the JSON serialisation, without blanks."""
    head, body, signature = issuer.token().split(".")
    return json.dumps({"protected": head, "payload": body, "signature": signature}, separators=(",", ":"))


HOSTILE: dict[str, tuple[str, Callable[[Issuer], str]]] = {
    "J-01 none": (ALGORITHM, unsigned("none")),
    "J-01 nOnE": (ALGORITHM, unsigned("nOnE")),
    "J-01 a list": (ALGORITHM, unsigned(["RS256"])),
    "J-01 a number": (ALGORITHM, unsigned(1)),
    "J-01 empty signature": (MALFORMED, segments(lambda head, body, _: f"{head}.{body}.")),
    "J-02 no exp": (CLAIM, with_claims(exp=None)),
    "J-03 iat in ten minutes": ("issued_in_future", with_times(iat=600)),
    "J-05 nbf in ten minutes": ("not_yet_valid", with_times(nbf=600)),
    "J-05 expired": ("expired", with_times(exp=-600)),
    "J-06 exp as text": (CLAIM, with_claims(exp="1999999999")),
    "J-06 exp true": (CLAIM, with_claims(exp=True)),
    "J-06 exp null": (CLAIM, with_claim("exp", "null")),
    "J-06 exp as list": (CLAIM, with_claims(exp=[1999999999])),
    "J-06 exp NaN": (MALFORMED, with_claim("exp", "NaN")),
    "J-06 exp 1e400": (MALFORMED, with_claim("exp", "1e400")),
    "J-06 exp 5000 digits": (MALFORMED, with_claim("exp", "9" * 5000)),
    "J-07 exp 10**30": (MALFORMED, with_claim("exp", "1" + "0" * 30)),
    "J-08 empty sub": (CLAIM, with_claims(sub="")),
    "J-08 sub a number": (CLAIM, with_claims(sub=1)),
    "J-09 sub twice": (MALFORMED, with_text(f'"sub": "{SUBJECT}"')),
    "J-09 alg twice": (MALFORMED, twice_in_header),
    "J-10 SUB": (MALFORMED, with_text('"SUB": "victim"')),
    "J-10 long s": (MALFORMED, with_text('"\u017fub": "victim"')),
    "J-11 UTF-16": (MALFORMED, over(lambda issuer: json.dumps(issuer.claims()).encode("utf-16"))),
    "J-11 BOM": (MALFORMED, over(lambda issuer: b"\xef\xbb\xbf" + json.dumps(issuer.claims()).encode())),
    "J-11 not UTF-8": (MALFORMED, over(lambda issuer: json.dumps(issuer.claims()).encode() + b"\xff")),
    "J-11 lone surrogate": (MALFORMED, with_claims(actor="\ud800")),
    "J-12 deep": (MALFORMED, with_claim("x", "[" * 2000 + "]" * 2000)),
    "J-14 one part": (MALFORMED, segments(lambda head, _body, _: head)),
    "J-14 five parts": (MALFORMED, segments(lambda head, body, signature: f"{head}.{body}.{signature}.{body}.a")),
    "J-14 padding": (MALFORMED, segments(lambda head, body, signature: f"{head}.{body}.{signature}=")),
    "J-14 other alphabet": (MALFORMED, segments(lambda head, body, signature: f"{head}.{body}.+/{signature[2:]}")),
    "J-15 a list": (MALFORMED, over(lambda issuer: json.dumps([issuer.claims()]).encode())),
    "J-16 typ logout": (HEADER, with_header(typ="logout+jwt")),
    "J-16 cty": (HEADER, with_header(cty="JWT")),
    "J-16 zip": (HEADER, with_header(zip="DEF")),
    "J-17 trailing data": (MALFORMED, over(lambda issuer: json.dumps(issuer.claims()).encode() + b"{}")),
    "aud a list of lists": (CLAIM, with_claims(aud=[["https://sts.example.com"]])),
    "aud an object": (CLAIM, with_claims(aud={"https://sts.example.com": 1})),
    "JSON serialisation": (MALFORMED, as_json),
    "K-01 own key": ("bad_signature", own_key),
    "K-02 no such kid": ("unknown_key", with_header(kid="../../etc/passwd")),
    "K-02 kid a number": (HEADER, with_header(kid=1)),
    "K-02 kid of 10 KiB": (HEADER, with_header(kid="k" * 8000)),
    "K-02 kid with lines": ("unknown_key", with_header(kid="a\nb\u2028\x1b[31m")),
    "K-10 PS256": (ALGORITHM, signed_by("PS256", 0)),
    "K-10 ES256 under an RSA key": (ALGORITHM, signed_by("ES256", 0)),
    "K-11 crit": (HEADER, with_header(crit=["x"], x=1)),
    "K-11 empty crit": (HEADER, with_header(crit=[])),
    "K-11 b64": (HEADER, with_header(b64=False, crit=["b64"])),
    "HMAC with the public key": (ALGORITHM, confused),
    "other key": ("bad_signature", signed_by("RS256", 9)),
    "other claims": ("bad_signature", other_claims),
    "unknown issuer": ("unknown_issuer", with_claims(iss="https://evil.example")),
    "issuer's prefix": ("unknown_issuer", with_claims(iss="http://127.0.0.1")),
    "issuer with slash": ("unknown_issuer", lambda issuer: issuer.token(iss=issuer.url + "/")),
    "no issuer": (CLAIM, with_claims(iss=None)),
    "issuer as list": (CLAIM, lambda issuer: issuer.token(iss=[issuer.url])),
    "no token at all": (MALFORMED, lambda _issuer: "x"),
}


def unlike(answer: Answer) -> dict[str, str]:
    """Return the header fields of an answer but those that differ each time."""
    return {name: value for name, value in answer.headers.items() if name not in {"date", "x-decision-id"}}


@pytest.mark.parametrize("name", HOSTILE)
def test_h05_hostile_tokens(site: Deployment, name: str) -> None:
    """J and K rows, H-05: each hostile token gets the same 401, leaves its own reason in the log, and mints nothing."""
    reason, make = HOSTILE[name]
    asked, fetched = len(site.tailscale.requests), len(site.issuer.requests)
    answer = site.service.exchange(make(site.issuer.keys))
    assert answer.status == 401
    assert INVALID.fullmatch(answer.text)
    assert answer.headers["X-Decision-Id"] in answer.text
    assert unlike(answer) == unlike(site.service.exchange("x"))
    event = site.service.event_of(answer)
    assert (event["outcome"], event["reason"], event.get("verified")) == ("rejected", reason, None)
    assert len(site.tailscale.requests) == asked
    # A kid that nobody knows may have the keys of its own issuer fetched, once in a cool-down.
    assert len(site.issuer.requests) - fetched <= (reason == "unknown_key")


GOOD: dict[str, Callable[[Issuer], str]] = {
    "J-03 without iat": with_claims(iat=None),
    "J-05 iat five seconds ahead": with_times(iat=5),
    "J-05 expired ten seconds ago": with_times(exp=-10),
    "J-16 typ at+jwt": with_header(typ="at+jwt"),
    "J-16 no typ": with_header(typ=None),
    "J-18 one audience of two": with_claims(aud=["https://other.example", "https://sts.example.com"]),
    "K-01 jku": with_header(jku="https://evil.example/jwks"),
    "K-02 no kid and one key": with_header(kid=None),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_tokens(site: Deployment, name: str) -> None:
    """What looks unusual and is right is granted."""
    assert site.service.exchange(GOOD[name](site.issuer.keys)).status == 200


NOT_ALLOWED: dict[str, tuple[str, str, Callable[[Issuer], str]]] = {
    "J-04 two days": ("lifetime", "lifetime of the token", with_times(exp=172_800)),
    "J-04 old with a far expiry": ("lifetime", "lifetime of the token", with_times(iat=-200_000, exp=60)),
    "J-19 another audience": ("audience", "audience", with_claims(aud="sts.amazonaws.com")),
    "CVE-2020-26160 empty audience": ("audience", "audience", with_claims(aud=[])),
    "CVE-2024-5798 no audience": ("audience", "audience", with_claims(aud=None)),
    "another subject": ("subject", "subject", with_claims(sub=SUBJECT + "x")),
    "a subject with a line feed": ("subject", "subject", with_claims(sub=SUBJECT + "\n")),
}


@pytest.mark.parametrize("name", NOT_ALLOWED)
def test_h06_trusted_but_not_allowed(site: Deployment, name: str) -> None:
    """H-06: a verified token that no policy allows is a 403 that names the kind of check, and no policy."""
    check, words, make = NOT_ALLOWED[name]
    asked = len(site.tailscale.requests)
    answer = site.service.exchange(make(site.issuer.keys))
    decision = answer.headers["X-Decision-Id"]
    assert (answer.status, answer.text) == (403, f"denied: {words} not allowed (decision {decision})\n")
    assert answer.headers["WWW-Authenticate"] is None
    event = site.service.event_of(answer)
    assert (event["outcome"], event["reason"], event["verified"]) == ("refused", f"{check}_not_allowed", True)
    assert len(site.tailscale.requests) == asked


@pytest.mark.parametrize("scopes", [["all"], ["dns"], ["dns:read", "users"], ["DNS:read"], ["dns:read:"], ["devices"]])
def test_u03_scopes_beyond_the_policy(site: Deployment, scopes: list[str]) -> None:
    """U-03: one scope that the policy does not name, and nothing is minted."""
    asked = len(site.tailscale.requests)
    answer = site.service.exchange(site.issuer.token(), scopes)
    decision = answer.headers["X-Decision-Id"]
    assert (answer.status, answer.text) == (403, f"denied: scopes not allowed (decision {decision})\n")
    event = site.service.event_of(answer)
    assert (event["policy"], event["requested_scopes"]) == ("infra", scopes)
    assert len(site.tailscale.requests) == asked


def test_l02_what_strangers_write_is_bounded(site: Deployment) -> None:
    """L-02: line feeds, escapes and overlong texts of a token cannot break the log up or fill it."""
    hostile = "\n\r\x1b[31m\u2028\u0085" + "x" * 2000
    answer = site.service.exchange(
        site.issuer.token(sub=hostile, jti=hostile, ref=[hostile]), **{"User-Agent": "a" * 9000}
    )
    event = site.service.event_of(answer)
    assert event["subject"] == hostile[:256] + "..."
    assert event["user_agent"] == "a" * 256 + "..."
    lines = [line for line in site.service.audit_log.read_bytes().split(b"\n") if event["decision"].encode() in line]
    assert len(lines) == 1
    assert len(lines[0]) < 4096
