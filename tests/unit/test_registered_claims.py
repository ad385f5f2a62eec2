"""Verification, told in words: what the audit log says of each refusal, and claims that are only assumed signed."""

import json

import pytest

from fakes.issuer import Issuer, jwk, key_pair
from tailsts.oidc.keys import KeySet, normalise
from tailsts.oidc.rejected import Reason, Rejected
from tailsts.oidc.token import ALGORITHMS, UnverifiedToken, decode
from tailsts.oidc.verify import VerifiedToken, assume_signed, verify

NOW = 1_800_000_000
ISSUER = Issuer("https://issuer.example.com")
CLAIMS: dict[str, object] = {"iss": ISSUER.url, "sub": "someone", "aud": "sts", "iat": NOW, "exp": NOW + 300}


def keys(*members: object) -> KeySet:
    """Return the key set of these members."""
    return normalise(json.dumps({"keys": members}).encode())


def judge(key_set: KeySet, algorithms: frozenset[str] = ALGORITHMS, **header: object) -> VerifiedToken | Rejected:
    """Return what is made of a good token whose header is changed."""
    token = decode(ISSUER.token_over(json.dumps(CLAIMS).encode(), **header))
    assert isinstance(token, UnverifiedToken)
    return verify(token, key_set, algorithms, NOW)


def assumed(**changes: object) -> VerifiedToken | Rejected:
    """Return what is made of good claims, changed; None leaves one out."""
    return assume_signed(
        {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}, "ES256", NOW
    )


@pytest.mark.parametrize(
    ("changes", "reason", "detail"),
    [
        ({"iss": None}, Reason.CLAIM, "iss is missing or not a string"),
        ({"iss": ""}, Reason.CLAIM, "iss is missing or not a string"),
        ({"iss": ["https://issuer.example.com"]}, Reason.CLAIM, "iss is missing or not a string"),
        ({"sub": None}, Reason.CLAIM, "sub is missing or not a string"),
        ({"sub": ""}, Reason.CLAIM, "sub is missing or not a string"),
        ({"exp": None}, Reason.CLAIM, "exp is missing or not a number"),
        ({"exp": True}, Reason.CLAIM, "exp is missing or not a number"),
        ({"exp": NOW - 60}, Reason.EXPIRED, "the token has expired"),
        ({"nbf": "0"}, Reason.CLAIM, "nbf is not a number"),
        ({"nbf": NOW + 61}, Reason.NOT_YET_VALID, "the token is not valid yet"),
        ({"iat": "0"}, Reason.CLAIM, "iat is not a number"),
        ({"iat": NOW + 61}, Reason.ISSUED_IN_FUTURE, "the token was issued in the future"),
        ({"aud": 1}, Reason.CLAIM, "aud is neither a string nor a list of strings"),
    ],
)
def test_the_refused_claim_is_named(changes: dict[str, object], reason: Reason, detail: str) -> None:
    """Which claim was refused, and why, is said in words that quote nothing of the token."""
    assert assumed(**changes) == Rejected(reason, detail)


def test_the_refused_key_or_algorithm_is_named() -> None:
    """What was wrong with the key or the algorithm is said in words that quote nothing of the token."""
    one, other = (jwk(key_pair("RS256", number), f"key-RS256-{number}") for number in (0, 1))
    assert judge(keys(one), frozenset({"ES256"})) == Rejected(
        Reason.ALGORITHM, "no policy of this issuer names the algorithm"
    )
    assert judge(keys(other)) == Rejected(Reason.UNKNOWN_KEY, "no usable key of the issuer has this kid")
    assert judge(keys({**one, "alg": "PS256"})) == Rejected(Reason.KEY_MISMATCH, "the key is not for this algorithm")
    assert judge(keys(one, other), kid=None) == Rejected(Reason.AMBIGUOUS_KEY, "no kid, and 2 keys fit the algorithm")
    forged = judge(keys({**other, "kid": "key-RS256-0"}))
    assert forged == Rejected(Reason.BAD_SIGNATURE, "the signature does not hold")
    assert judge(keys(), kid=None) == Rejected(Reason.AMBIGUOUS_KEY, "no kid, and 0 keys fit the algorithm")


def test_what_is_assumed_signed_is_what_was_given() -> None:
    """Claims that are assumed signed are those that were given, with the algorithm that was named."""
    verdict = assumed(aud=["a", "b"], nbf=NOW)
    assert isinstance(verdict, VerifiedToken)
    assert (verdict.issuer, verdict.subject, verdict.algorithm) == (ISSUER.url, "someone", "ES256")
    assert (verdict.audiences, verdict.issued_at, verdict.expires_at) == (("a", "b"), NOW, NOW + 300)
    assert verdict.claims["nbf"] == NOW


def test_j05_the_leeway_is_a_minute() -> None:
    """J-05: a clock may be a minute off, either way."""
    assert isinstance(assumed(exp=NOW - 59, nbf=NOW + 60, iat=NOW + 60), VerifiedToken)


def test_what_was_judged_cannot_be_changed() -> None:
    """Neither tokens nor keys nor verdicts change after they were made."""
    key_set = keys(jwk(key_pair("RS256"), "key-RS256-0"))
    made = (assumed(), assumed(iss=None), decode(ISSUER.token()), key_set, key_set.by_id["key-RS256-0"])
    for value in made:
        for name in value.__struct_fields__:
            with pytest.raises(AttributeError):
                setattr(value, name, None)


def test_the_codes_of_the_reasons() -> None:
    """The codes that audit logs, metrics and alerts go by stay as they are."""
    assert [reason.value for reason in Reason] == [
        "malformed_token",
        "header_refused",
        "algorithm_refused",
        "claim_invalid",
        "unknown_issuer",
        "untrusted_issuer",
        "unknown_key",
        "ambiguous_key",
        "key_algorithm_mismatch",
        "bad_signature",
        "expired",
        "not_yet_valid",
        "issued_in_future",
    ]
