"""The JWKS normaliser at its bounds: the last that is taken, the first that is not, and what is said of it."""

import json

import pytest
from joserfc.jwk import RSAKey

from fakes.issuer import b64, jwk, key_pair
from tailsts.errors import KeySetError
from tailsts.oidc.keys import DroppedKey, KeySet, normalise
from tailsts.oidc.signature import fits

GOOD = jwk(key_pair("RS256"), "good")


def read(*members: object) -> KeySet:
    """Normalise a key set of these members."""
    return normalise(json.dumps({"keys": members}).encode())


def rsa(n: int, e: int) -> dict[str, object]:
    """Return an RSA JWK of any numbers."""
    return {
        "kty": "RSA",
        "kid": "k",
        **{name: b64(x.to_bytes((x.bit_length() + 7) // 8)) for name, x in (("n", n), ("e", e))},
    }


def test_a_set_of_a_hundred() -> None:
    """A set may hold 100 keys, bad ones among them, and not one more."""
    assert list(read(GOOD, *[{}] * 99).by_id) == ["good"]
    with pytest.raises(KeySetError, match="the key set holds 101 keys, more than 100"):
        read(GOOD, *[{}] * 100)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (rsa(2**8191 + 1, 65537), None),
        (rsa(2**8192 + 1, 65537), "RSA with 8193 bits; 2048 to 8192 are accepted"),
        (rsa(2**2047 + 1, 2**32 - 1), None),
        (rsa(2**2047 + 1, 2**32 + 1), "RSA with an oversized exponent"),
        ({**GOOD, "kid": "k" * 256}, None),
        ({**GOOD, "kid": "k" * 257}, "kid is not a key id"),
    ],
)
def test_k08_k12_the_last_that_is_taken(key: dict[str, object], reason: str | None) -> None:
    """K-08, K-12: 8192 bits, an exponent of 32 and an id of 256 characters are taken, and nothing beyond."""
    keys = read(key)
    assert [dropped.reason for dropped in keys.dropped] == ([] if reason is None else [reason])
    assert len(keys) == (1 if reason is None else 0)


@pytest.mark.parametrize("name", ["d", "p", "q", "dp", "dq", "qi", "oth", "k"])
@pytest.mark.parametrize("value", ["AQAB", None])
def test_k07_any_private_member(name: str, value: object) -> None:
    """K-07: one member of a private key is enough, whichever it is and whatever it holds."""
    keys = read({**GOOD, name: value})
    assert keys.dropped == (DroppedKey(0, "good", "a PRIVATE key was published: the issuer must withdraw it"),)
    assert len(keys) == 0


def test_k04_two_keys_with_one_id() -> None:
    """K-04: of two keys with one id each is told by its own place; keys without one are not twins of each other."""
    nameless = [jwk(key_pair("ES256", number), None) for number in (0, 1)]
    keys = read(nameless[0], jwk(key_pair("RS256"), "twin"), GOOD, jwk(key_pair("ES256"), "twin"), nameless[1])
    assert keys.dropped == tuple(DroppedKey(place, "twin", "several keys have this kid") for place in (1, 3))
    assert (list(keys.by_id), len(keys.without_id)) == (["good"], 2)


@pytest.mark.parametrize("kty", ["zz", "DH", "rsa", "", None, 1, ["RSA"], {"RSA": 1}])
def test_k12_types_that_are_none(kty: object) -> None:
    """K-12: a key of a type that is not RSA, EC or OKP is dropped, and it is said that its type is why."""
    expected = (DroppedKey(0, "good", "kty is not RSA, EC or OKP"),)
    assert read({**GOOD, "kty": kty}).dropped == expected


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, True),
        ({"use": "sig"}, True),
        ({"use": "enc"}, False),
        ({"key_ops": ["verify"]}, True),
        ({"key_ops": ["encrypt"]}, False),
    ],
)
def test_k05_the_library_heeds_the_purpose(members: dict[str, object], expected: bool) -> None:
    """K-05: a key that is for something else than verifying would not be used either if it came as far."""
    public = {name: value for name, value in GOOD.items() if name in {"kty", "n", "e"}}
    assert fits("RS256", RSAKey.import_key({**public, **members})) is expected  # type: ignore[dict-item]  # of strings
