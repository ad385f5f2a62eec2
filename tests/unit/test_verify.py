"""Verification: signature first, then the registered claims, each boundary from both sides."""

import json

import pytest
from joserfc.jwk import RSAKey
from joserfc.jws import JWSRegistry

from fakes.issuer import Issuer, b64, jwk, key_pair, sign, sign_segments, sign_with_hmac
from tailsts.oidc import base64url
from tailsts.oidc.keys import KeySet, normalise
from tailsts.oidc.rejected import Reason, Rejected
from tailsts.oidc.token import ALGORITHMS, UnverifiedToken, decode
from tailsts.oidc.verify import LEEWAY, VerifiedToken, verify

NOW = 1_800_000_000
ISSUER = Issuer("https://issuer.example.com")


def keys_of(issuer: Issuer) -> KeySet:
    """Return the issuer's key set."""
    return normalise(json.dumps(issuer.jwks()).encode())


def judge(
    text: str, keys: KeySet | None = None, algorithms: frozenset[str] = ALGORITHMS, now: float = NOW
) -> VerifiedToken | Reason:
    """Decode and verify; return the verified token or the reason."""
    token = decode(text)
    if isinstance(token, Rejected):
        return token.reason
    verdict = verify(token, keys_of(ISSUER) if keys is None else keys, algorithms, now)
    return verdict.reason if isinstance(verdict, Rejected) else verdict


def claims(**changes: object) -> dict[str, object]:
    """Return good claims at NOW, changed."""
    return ISSUER.claims(**{"iat": NOW, "exp": NOW + 300, **changes})


def token(**changes: object) -> str:
    """Return a good token at NOW, changed."""
    return ISSUER.token_over(json.dumps(claims(**changes)).encode())


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_every_algorithm(algorithm: str) -> None:
    """Each algorithm verifies its own signatures, and no signature over something else."""
    issuer = Issuer("https://issuer.example.com", algorithm)
    text = sign(issuer.header(), json.dumps(claims()).encode(), key_pair(algorithm))
    verified = judge(text, keys_of(issuer))
    assert isinstance(verified, VerifiedToken)
    assert verified.algorithm == algorithm
    head, _, signature = text.split(".")
    other = b64(json.dumps(claims(sub="evil")).encode())
    assert judge(f"{head}.{other}.{signature}", keys_of(issuer)) is Reason.BAD_SIGNATURE


def test_what_a_verified_token_holds() -> None:
    """The verified claims are those of the token."""
    verified = judge(token(aud=["a", "b"], nbf=NOW, custom={"x": 1}))
    assert isinstance(verified, VerifiedToken)
    assert verified.issuer == "https://issuer.example.com"
    assert verified.subject == "repo:acme/infra:ref:refs/heads/main"
    assert verified.audiences == ("a", "b")
    assert (verified.issued_at, verified.expires_at) == (NOW, NOW + 300)
    assert verified.claims["custom"] == {"x": 1}


def test_j02_without_expiry() -> None:
    """J-02: a token that does not expire is rejected."""
    assert judge(token(exp=None)) is Reason.CLAIM


def test_j03_issued_at() -> None:
    """J-03: the time of issue may be missing, but not in the future."""
    assert isinstance(judge(token(iat=None)), VerifiedToken)
    assert judge(token(iat=NOW + 600)) is Reason.ISSUED_IN_FUTURE


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"exp": NOW - LEEWAY + 1}, None),
        ({"exp": NOW - LEEWAY}, Reason.EXPIRED),
        ({"exp": NOW - LEEWAY - 1}, Reason.EXPIRED),
        ({"exp": float(NOW) + 0.5}, None),
        ({"nbf": NOW + LEEWAY - 1}, None),
        ({"nbf": NOW + LEEWAY}, None),
        ({"nbf": NOW + LEEWAY + 1}, Reason.NOT_YET_VALID),
        ({"iat": NOW + 5}, None),
        ({"iat": NOW + LEEWAY}, None),
        ({"iat": NOW + LEEWAY + 1}, Reason.ISSUED_IN_FUTURE),
        ({"iat": 0}, None),
    ],
)
def test_j05_clock_skew(changes: dict[str, object], expected: Reason | None) -> None:
    """J-05: a minute of leeway on every time, and not a second more."""
    verdict = judge(token(**changes))
    assert verdict is expected if expected else isinstance(verdict, VerifiedToken)


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["1999999999", True, [1999999999], {"a": 1}, "", False])
def test_j06_times_are_numbers(name: str, value: object) -> None:
    """J-06, J-20: a time is a number: no string, no boolean, no list."""
    assert judge(token(**{name: value})) is Reason.CLAIM


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "1e400", "1" * 5000, "1" + "0" * 30])
def test_j06_j07_absurd_numbers(literal: str) -> None:
    """J-06, J-07: numbers that are none, or have no bounds, are malformed; nothing calculates with them."""
    text = json.dumps(claims()).replace(f'"exp": {NOW + 300}', f'"exp": {literal}')
    assert judge(ISSUER.token_over(text.encode())) is Reason.MALFORMED


def test_j06_null_is_not_absent() -> None:
    """J-06: a time that is null is no time."""
    for name in ("exp", "nbf", "iat"):
        text = json.dumps({**claims(), name: None})
        assert judge(ISSUER.token_over(text.encode())) is Reason.CLAIM


@pytest.mark.parametrize("sub", ["", 1, None, ["a"], {"a": 1}, True])
def test_j08_subject(sub: object) -> None:
    """J-08: the subject is a text that is not empty."""
    assert judge(ISSUER.token_over(json.dumps({**claims(), "sub": sub}).encode())) is Reason.CLAIM
    assert judge(token(sub=None)) is Reason.CLAIM


@pytest.mark.parametrize("aud", [1, {}, {"a": 1}, [["tailsts"]], ["a", 1], None, True])
def test_audience_form(aud: object) -> None:
    """CVE-2020-26160: an audience is a text or a list of texts."""
    assert judge(ISSUER.token_over(json.dumps({**claims(), "aud": aud}).encode())) is Reason.CLAIM


@pytest.mark.parametrize(("aud", "expected"), [("a", ("a",)), (["a"], ("a",)), ([], ())])
def test_audience_forms(aud: object, expected: tuple[str, ...]) -> None:
    """One text, a list of them, or an empty list, which no policy's audience is in."""
    verified = judge(token(aud=aud))
    assert isinstance(verified, VerifiedToken)
    assert verified.audiences == expected


def test_audience_may_be_absent() -> None:
    """Whether there must be an audience is a policy's question."""
    verified = judge(token(aud=None))
    assert isinstance(verified, VerifiedToken)
    assert verified.audiences == ()


@pytest.mark.parametrize("as_key", ["pem", "der", "jwk", "modulus"])
@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_alg_confusion(alg: str, as_key: str) -> None:
    """CVE-2022-29217 and its like: the public key in any form is no HMAC secret here."""
    public = key_pair("RS256")
    assert isinstance(public, RSAKey)
    secret = {
        "pem": public.as_pem(private=False),
        "der": public.as_der(private=False),
        "jwk": json.dumps(public.as_dict(private=False)).encode(),
        "modulus": base64url.decode(str(public.as_dict(private=False)["n"]).encode()),
    }[as_key]
    text = sign_with_hmac({**ISSUER.header(), "alg": alg}, json.dumps(claims()).encode(), secret)
    assert judge(text) is Reason.ALGORITHM


def test_j01_none_with_empty_signature() -> None:
    """J-01: an unsigned token is rejected with and without its last point."""
    head = b64(json.dumps({**ISSUER.header(), "alg": "none"}).encode())
    body = b64(json.dumps(claims()).encode())
    assert judge(f"{head}.{body}.") is Reason.MALFORMED
    assert judge(f"{head}.{body}.AAAA") is Reason.ALGORITHM


@pytest.mark.parametrize("signature", ["AAAA", b64(bytes(256)), b64(b"\xff" * 256), b64(bytes(64))])
def test_signatures_that_are_none(signature: str) -> None:
    """Zeros, ones and scraps are no signatures."""
    head, body, _ = token().split(".")
    assert judge(f"{head}.{body}.{signature}") is Reason.BAD_SIGNATURE


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 72])
def test_k09_ecdsa_zero_signature(size: int) -> None:
    """K-09: an ECDSA signature of zeros, of any length, does not hold."""
    issuer = Issuer("https://issuer.example.com", "ES256")
    head, body, _ = sign(issuer.header(), json.dumps(claims()).encode(), key_pair("ES256")).split(".")
    zero = b64(bytes(size)) or "AAAA"
    assert judge(f"{head}.{body}.{zero}", keys_of(issuer)) is Reason.BAD_SIGNATURE


def test_k02_unknown_key() -> None:
    """K-02: a key id that the issuer does not have is unknown, however well the token is signed."""
    text = ISSUER.token_over(json.dumps(claims()).encode(), kid="other")
    assert judge(text) is Reason.UNKNOWN_KEY


def test_k02_no_kid_and_one_key() -> None:
    """K-02: without a key id the only key that fits the algorithm is meant."""
    text = ISSUER.token_over(json.dumps(claims()).encode(), kid=None)
    assert isinstance(judge(text), VerifiedToken)


def test_k02_no_kid_and_several_keys() -> None:
    """K-02: without a key id and with several fitting keys nobody can tell; none is tried."""
    text = ISSUER.token_over(json.dumps(claims()).encode(), kid=None)
    assert judge(text, keys_of(Issuer(ISSUER.url, numbers=[0, 1]))) is Reason.AMBIGUOUS_KEY
    assert judge(text, keys_of(Issuer(ISSUER.url, "ES256"))) is Reason.AMBIGUOUS_KEY


def test_k02_a_key_without_id_is_not_for_a_token_with_one() -> None:
    """K-02: a token that names a key is not judged by a nameless one."""
    nameless = normalise(json.dumps({"keys": [jwk(key_pair("RS256"), None)]}).encode())
    assert judge(token(), nameless) is Reason.UNKNOWN_KEY
    assert isinstance(judge(ISSUER.token_over(json.dumps(claims()).encode(), kid=None), nameless), VerifiedToken)


def test_k03_same_key_id_of_another_issuer() -> None:
    """K-03: a token signed by another issuer's key under the same key id does not verify."""
    forged = sign(ISSUER.header(), json.dumps(claims()).encode(), key_pair("RS256", 7))
    assert judge(forged) is Reason.BAD_SIGNATURE


def test_k10_key_names_another_algorithm() -> None:
    """K-10, CVE-2026-48523: a key for PS256 does not verify RS256, though the policy lists both."""
    keys = normalise(json.dumps({"keys": [jwk(key_pair("RS256"), ISSUER.key_id(0), alg="PS256")]}).encode())
    assert judge(token(), keys) is Reason.KEY_MISMATCH


def test_k10_key_of_another_type() -> None:
    """K-10: an EC key under the token's key id does not verify RS256."""
    keys = normalise(json.dumps({"keys": [jwk(key_pair("ES256"), ISSUER.key_id(0))]}).encode())
    assert judge(token(), keys) is Reason.KEY_MISMATCH


def test_k10_policies_name_the_algorithms() -> None:
    """K-10: an algorithm that no policy of the issuer names is not tried."""
    assert judge(token(), algorithms=frozenset({"PS256"})) is Reason.ALGORITHM


def test_k09_wrong_curve_for_the_algorithm() -> None:
    """K-09: ES256 with a P-384 key does not verify."""
    keys = normalise(json.dumps({"keys": [jwk(key_pair("ES384"), "k")]}).encode())
    header = {"alg": "ES256", "kid": "k", "typ": "JWT"}
    text = sign(header, json.dumps(claims()).encode(), key_pair("ES256"))
    assert judge(text, keys) is Reason.KEY_MISMATCH


class TestWhatTheLibraryAddsBehindUs:
    """A second lock: what we rely on in the JOSE library, so that an upgrade that loosens it is seen."""

    def test_it_knows_no_other_algorithms(self) -> None:
        """The registry that checks signatures holds asymmetric algorithms alone."""
        from tailsts.oidc.signature import REGISTRY  # noqa: PLC0415 - an inside of the module under test

        assert set(REGISTRY.algorithms) == ALGORITHMS
        assert not {"none", "HS256", "HS384", "HS512"} & set(REGISTRY.algorithms)
        assert {"none", "HS256"} <= set(JWSRegistry.algorithms)

    def test_it_refuses_keys_that_do_not_fit(self) -> None:
        """An algorithm is not used with a key of another type, curve or named algorithm."""
        from tailsts.oidc.signature import fits  # noqa: PLC0415 - the same

        assert fits("RS256", key_pair("RS256"))
        assert not fits("RS256", key_pair("ES256"))
        assert not fits("ES256", key_pair("ES384"))
        named = normalise(json.dumps({"keys": [jwk(key_pair("RS256"), "k", alg="RS512")]}).encode()).by_id["k"]
        assert fits("RS512", named.key)
        assert not fits("RS256", named.key)

    def test_ecdsa_signatures_have_one_length(self) -> None:
        """An ECDSA signature in DER, or with r and s of another length, does not hold (RFC 7518, 3.4)."""
        issuer = Issuer(ISSUER.url, "ES256")
        head, body, signature = sign(issuer.header(), json.dumps(claims()).encode(), key_pair("ES256")).split(".")
        assert judge(f"{head}.{body}.AAAA{signature}", keys_of(issuer)) is Reason.BAD_SIGNATURE

    def test_pss_salt_has_the_length_of_the_digest(self) -> None:
        """PS256 is not RS256 over the same key, and the other way round."""
        for signed, claimed in (("RS256", "PS256"), ("PS256", "RS256")):
            head = b64(json.dumps({**ISSUER.header(), "alg": claimed}).encode())
            body = b64(json.dumps(claims()).encode())
            text = sign_segments(head, body, signed, key_pair("RS256"))
            keys = normalise(json.dumps({"keys": [jwk(key_pair("RS256"), ISSUER.key_id(0))]}).encode())
            assert judge(text, keys) is Reason.BAD_SIGNATURE


def test_an_unverified_token_is_not_a_verified_one() -> None:
    """The two states share no type: what takes the one does not take the other."""
    unverified = decode(token())
    assert isinstance(unverified, UnverifiedToken)
    assert not isinstance(unverified, VerifiedToken)
    assert not set(UnverifiedToken.__struct_fields__) >= set(VerifiedToken.__struct_fields__)
