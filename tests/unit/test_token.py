"""The strict front decoder: every J and K row of the threat list that can be told without a key."""

import json

import pytest

from fakes.issuer import Issuer, b64, key_pair, sign_segments
from tailsts.oidc.rejected import Reason, Rejected
from tailsts.oidc.token import MAX_TOKEN_LENGTH, UnverifiedToken, decode

ISSUER = Issuer("https://issuer.example.com")


def rejected(text: str) -> Reason | None:
    """Return the reason for which the token is rejected, or None."""
    outcome = decode(text)
    return outcome.reason if isinstance(outcome, Rejected) else None


def with_header(**header: object) -> str:
    """Return a good token with a changed header; not signed over, which nobody looks at here."""
    good = ISSUER.token().split(".")
    return ".".join([b64(json.dumps(ISSUER.header(**header)).encode()), *good[1:]])


def with_payload(payload: bytes) -> str:
    """Return a good token with another payload."""
    good = ISSUER.token().split(".")
    return ".".join([good[0], b64(payload), good[2]])


def test_a_good_token() -> None:
    """A well-formed token is decoded, and everything in it is called unverified."""
    token = ISSUER.token()
    outcome = decode(token)
    assert isinstance(outcome, UnverifiedToken)
    assert outcome.algorithm == "RS256"
    assert outcome.key_id == ISSUER.key_id(0)
    assert outcome.unverified_issuer == ISSUER.url
    assert outcome.unverified_claims["sub"] == "repo:acme/infra:ref:refs/heads/main"
    assert outcome.signing_input.decode() == token.rpartition(".")[0]
    assert b64(outcome.signature) == token.rpartition(".")[2]


@pytest.mark.parametrize("alg", ["none", "None", "nOnE", "HS256", "RS1", "rs256", "", 1, None, ["RS256"], {"a": 1}])
def test_j01_no_algorithm_but_ours(alg: object) -> None:
    """J-01: none, HMAC, unknown, absent or no string: there is no algorithm of that name."""
    header = {"kid": "k", "alg": alg} if alg is not None else {"kid": "k"}
    good = ISSUER.token().split(".")
    assert rejected(".".join([b64(json.dumps(header).encode()), *good[1:]])) is Reason.ALGORITHM


def test_j09_duplicate_names() -> None:
    """J-09: of two members with the same name, neither is believed, in header and payload."""
    good = ISSUER.token().split(".")
    header = b64(b'{"alg":"none","alg":"RS256"}')
    assert rejected(".".join([header, *good[1:]])) is Reason.MALFORMED
    assert rejected(with_payload(b'{"iss":"https://issuer.example.com","sub":"evil","sub":"good"}')) is Reason.MALFORMED


@pytest.mark.parametrize("twin", ["SUB", "Sub", "\u017fub", "\u212aid", "I\u017fs", "iSS"])
def test_j10_twins_by_case(twin: str) -> None:
    """J-10: names that differ only by case or by look-alike letters are ambiguous."""
    claims = {"iss": ISSUER.url, "sub": "victim", "kid": "x", twin: "attacker"}
    assert rejected(with_payload(json.dumps(claims).encode())) is Reason.MALFORMED


def test_j10_capitals_alone_are_fine() -> None:
    """Claims with capitals, as Bitbucket has them, are no twins."""
    assert rejected(with_payload(json.dumps({**ISSUER.claims(), "workspaceUuid": "{1}"}).encode())) is None
    assert rejected(with_payload(json.dumps({**ISSUER.claims(), "é": 1}).encode())) is None


@pytest.mark.parametrize(
    "payload",
    [
        json.dumps(ISSUER.claims()).encode("utf-16"),
        b"\xef\xbb\xbf" + json.dumps(ISSUER.claims()).encode(),
        b'{"iss":"https://issuer.example.com","sub":"\xff"}',
        b'{"iss":"https://issuer.example.com","sub":"\\ud800"}',
    ],
)
def test_j11_encodings(payload: bytes) -> None:
    """J-11: UTF-16, a byte order mark, invalid UTF-8 and unpaired surrogates are malformed."""
    assert rejected(with_payload(payload)) is Reason.MALFORMED


def test_j12_nesting() -> None:
    """J-12: a payload nested beyond 32 levels is malformed."""
    deep = b'{"iss":"https://issuer.example.com","a":' + b"[" * 900 + b"]" * 900 + b"}"
    assert rejected(with_payload(deep)) is Reason.MALFORMED


def test_j13_size() -> None:
    """J-13: a token of more than 16 KiB is not decoded."""
    long = ISSUER.token(padding="x" * MAX_TOKEN_LENGTH)
    assert rejected(long) is Reason.MALFORMED


GOOD = ISSUER.token()
PARTS = GOOD.split(".")


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "." * 1000,
        PARTS[0],
        f"{PARTS[0]}.{PARTS[1]}",
        f"{GOOD}.{PARTS[2]}",
        f"{GOOD}.x.y",
        f" {GOOD}",
        f"{GOOD} ",
        f"{GOOD}\n",
        f"{GOOD}\0",
        f"{GOOD}=",
        f"{PARTS[0]}==.{PARTS[1]}.{PARTS[2]}",
        f"{PARTS[0]}.{PARTS[1]}+.{PARTS[2]}",
        f"{PARTS[0]}.{PARTS[1]}/.{PARTS[2]}",
        f"{PARTS[0]}.{PARTS[1]}.",
        f"{PARTS[0]}..{PARTS[2]}",
        f".{PARTS[1]}.{PARTS[2]}",
        f"é{GOOD}",
        json.dumps({"payload": PARTS[1], "protected": PARTS[0], "signature": PARTS[2]}),
        "a.b.c",
        "aaaaa.bbbb.cccc",
    ],
)
def test_j14_shape(text: str) -> None:
    """J-14 and CVE-2022-39227: three parts of plain base64url, and nothing around or between them."""
    assert rejected(text) is Reason.MALFORMED


@pytest.mark.parametrize("part", [0, 1, 2])
def test_j14_one_spelling(part: int) -> None:
    """J-14: a second spelling of the same bytes, with stray bits at the end, is malformed."""
    spelled = {2: ("Q", "R"), 3: ("E", "F")}
    payload = b'{"iss":"https://issuer.example.com" }'
    segments = [b64(b'{"alg":"RS256" }'), b64(payload), b64(b"sig!")]
    segments[part] += "" if len(segments[part]) % 4 else b64(b"\n")
    remainder = len(segments[part]) % 4
    assert remainder in spelled
    last = segments[part][-1]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    segments[part] = segments[part][:-1] + alphabet[alphabet.index(last) + 1]
    outcome = decode(".".join(segments))
    assert outcome == Rejected(Reason.MALFORMED, "not canonical base64url")


@pytest.mark.parametrize("payload", [b"[]", b'"text"', b"null", b"1", b"true"])
def test_j15_root(payload: bytes) -> None:
    """J-15: the payload is an object."""
    assert rejected(with_payload(payload)) is Reason.MALFORMED


@pytest.mark.parametrize("typ", ["secevent+jwt", "logout+jwt", "dpop+jwt", "", 1, None, ["JWT"]])
def test_j16_other_types(typ: object) -> None:
    """J-16, RFC 8725 3.11: a token made for another purpose is no identity."""
    header = {**ISSUER.header(), "typ": typ}
    good = ISSUER.token().split(".")
    assert rejected(".".join([b64(json.dumps(header).encode()), *good[1:]])) is Reason.HEADER


@pytest.mark.parametrize("typ", ["JWT", "jwt", "JOSE", "at+jwt", "AT+JWT", "application/jwt", "application/at+jwt"])
def test_j16_our_types(typ: str) -> None:
    """J-16: identity and access tokens, in any case and with or without application/, are ours; so is none at all."""
    assert rejected(with_header(typ=typ)) is None
    assert rejected(with_header(typ=None)) is None


@pytest.mark.parametrize(("name", "value"), [("cty", "JWT"), ("zip", "DEF"), ("enc", "A256GCM"), ("b64", False)])
def test_j16_headers_that_change_the_reading(name: str, value: object) -> None:
    """J-16, CVE-2026-48525: content types, compression, encryption and unencoded payloads are not read."""
    assert rejected(with_header(**{name: value})) is Reason.HEADER


@pytest.mark.parametrize("crit", [["x"], ["b64"], ["exp"], [], "x", None, {}])
def test_k11_crit(crit: object) -> None:
    """K-11, CVE-2026-32597: whatever must be understood is not understood here, be it empty or no list."""
    header = {**ISSUER.header(), "crit": crit, "x": 1}
    good = ISSUER.token().split(".")
    assert rejected(".".join([b64(json.dumps(header).encode()), *good[1:]])) is Reason.HEADER


@pytest.mark.parametrize("kid", ["", 1, ["k"], {"k": 1}, "x" * 257, True])
def test_k02_kid_that_is_none(kid: object) -> None:
    """K-02: a key id is a text of 1 to 256 characters."""
    header = {**ISSUER.header(), "kid": kid}
    good = ISSUER.token().split(".")
    assert rejected(".".join([b64(json.dumps(header).encode()), *good[1:]])) is Reason.HEADER


@pytest.mark.parametrize("kid", ["../../etc/passwd", "' OR 1=1 --", "a\nb", "\x1b[31m", "x" * 256])
def test_k02_kid_is_a_name_and_nothing_else(kid: str) -> None:
    """K-02: whatever a key id says, it is only looked up."""
    outcome = decode(with_header(kid=kid))
    assert isinstance(outcome, UnverifiedToken)
    assert outcome.key_id == kid


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c", "x5t"])
def test_k01_keys_in_the_token_are_not_looked_at(name: str) -> None:
    """K-01, CVE-2026-27962: header parameters that bring or locate keys change nothing."""
    value = {"jwk": {"kty": "RSA"}, "x5c": ["MII"]}.get(name, "https://evil.example.com/keys")
    plain, decorated = decode(with_header()), decode(with_header(**{name: value}))
    assert isinstance(plain, UnverifiedToken)
    assert isinstance(decorated, UnverifiedToken)
    assert (decorated.algorithm, decorated.key_id) == (plain.algorithm, plain.key_id)


@pytest.mark.parametrize("iss", [None, "", 1, ["https://issuer.example.com"], {"a": 1}, "x" * 513, True])
def test_an_issuer_is_a_name(iss: object) -> None:
    """A token without the name of an issuer, or with something else in its place, is rejected."""
    claims = {**ISSUER.claims(), "iss": iss}
    assert rejected(with_payload(json.dumps(claims).encode())) is Reason.CLAIM


def test_long_headers_are_read_too() -> None:
    """A header with certificates is longer than what is cached, and read all the same."""
    assert rejected(with_header(x5c=["M" * 2000])) is None
    assert rejected(with_header(x5c=["M" * 2000], crit=["x"])) is Reason.HEADER


def test_details_quote_nothing() -> None:
    """What is kept of a rejection is in our words, however the token is made (CVE-2025-65015)."""
    secret = "do-not-log-me"
    for text in (secret * 2000, f"{secret}.{secret}.{secret}", with_header(crit=[secret]), with_header(typ=secret)):
        outcome = decode(text)
        assert isinstance(outcome, Rejected)
        assert secret not in repr(outcome)
        assert len(outcome.detail) < 100


def test_signature_segments_are_kept_as_bytes() -> None:
    """The signing input is what was received, not what would be encoded again (RFC 7515, 5.2)."""
    header = b64(b'{ "alg" : "RS256", "kid":"key-RS256-0" }')
    token = sign_segments(header, b64(json.dumps(ISSUER.claims(), indent=2).encode()), "RS256", key_pair("RS256"))
    outcome = decode(token)
    assert isinstance(outcome, UnverifiedToken)
    assert outcome.signing_input.startswith(header.encode())
