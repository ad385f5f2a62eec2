"""The strict front decoder at its bounds: the last that is read, the first that is not, and what is said of it."""

import json

import pytest

from fakes.issuer import b64
from tailsts.oidc import token
from tailsts.oidc.rejected import Reason, Rejected
from tailsts.oidc.token import UnverifiedToken, decode

ISSUER = "https://issuer.example.com"


def compact(header: object, claims: object, signature: bytes = b"sig") -> str:
    """Return three parts; what is signed here, nobody looks at."""
    return ".".join([b64(json.dumps(header).encode()), b64(json.dumps(claims).encode()), b64(signature)])


def of_length(length: int) -> str:
    """Return a well-formed token of this many characters."""
    for padding in range(4):
        claims = {"iss": ISSUER, "padding": "x" * (9000 + padding)}
        for more in range(3000, 4000):
            text = compact({"alg": "RS256"}, claims, bytes(more))
            if len(text) == length:
                return text
    raise AssertionError(length)


def test_j13_the_longest_token() -> None:
    """J-13: 16 KiB are read, and not one character more."""
    assert isinstance(decode(of_length(16 * 1024)), UnverifiedToken)
    refused = Rejected(Reason.MALFORMED, "not three parts of base64url")
    assert [decode(of_length(16 * 1024 + more)) for more in (1, 2, 3)] == [refused] * 3


@pytest.mark.parametrize("length", [1, 512])
def test_the_shortest_and_the_longest_issuer(length: int) -> None:
    """The name of an issuer has 1 to 512 characters."""
    outcome = decode(compact({"alg": "RS256"}, {"iss": "i" * length}))
    assert isinstance(outcome, UnverifiedToken)
    assert outcome.unverified_issuer == "i" * length


@pytest.mark.parametrize("length", [1, 256])
def test_k02_the_shortest_and_the_longest_key_id(length: int) -> None:
    """K-02: a key id has 1 to 256 characters."""
    outcome = decode(compact({"alg": "RS256", "kid": "k" * length}, {"iss": ISSUER}))
    assert isinstance(outcome, UnverifiedToken)
    assert outcome.key_id == "k" * length


@pytest.mark.parametrize(
    "algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
)
def test_the_algorithms_by_name(algorithm: str) -> None:
    """A token may be signed with each of these ten algorithms, none of which disappears unnoticed."""
    outcome = decode(compact({"alg": algorithm}, {"iss": ISSUER}))
    assert isinstance(outcome, UnverifiedToken)
    assert outcome.algorithm == algorithm


@pytest.mark.parametrize(
    ("header", "claims", "reason", "detail"),
    [
        ({"alg": "none"}, {"iss": ISSUER}, Reason.ALGORITHM, "alg is not a supported algorithm"),
        ({"alg": "RS256", "crit": []}, {"iss": ISSUER}, Reason.HEADER, "crit is not supported"),
        ({"alg": "RS256", "typ": "x"}, {"iss": ISSUER}, Reason.HEADER, "typ is not that of an identity token"),
        ({"alg": "RS256", "kid": ""}, {"iss": ISSUER}, Reason.HEADER, "kid is not a key id"),
        ({"alg": "RS256"}, {"sub": "a"}, Reason.CLAIM, "iss is missing or not a string"),
        ({"alg": "RS256"}, [ISSUER], Reason.MALFORMED, "not a JSON object"),
        (["RS256"], {"iss": ISSUER}, Reason.MALFORMED, "not a JSON object"),
        ({"alg": "RS256"}, {"iss": ISSUER, "Iss": 1}, Reason.MALFORMED, "names that differ only by case"),
    ],
)
def test_what_was_refused_is_named(header: object, claims: object, reason: Reason, detail: str) -> None:
    """What was refused of a token, and why, is said in words that quote nothing of it."""
    assert decode(compact(header, claims)) == Rejected(reason, detail)


def test_short_headers_are_read_once_and_long_ones_are_not_kept() -> None:
    """The header that all tokens of a key share is read once; a stranger's long one takes no memory."""
    short = {"alg": "RS256", "kid": "read-once"}
    before = token._cached_header.cache_info()
    assert decode(compact(short, {"iss": ISSUER})) == decode(compact(short, {"iss": ISSUER}))
    between = token._cached_header.cache_info()
    assert (between.misses - before.misses, between.hits - before.hits) == (1, 1)
    assert isinstance(decode(compact({**short, "x5c": ["M" * 2000]}, {"iss": ISSUER})), UnverifiedToken)
    assert token._cached_header.cache_info() == between
    assert between.maxsize is not None
