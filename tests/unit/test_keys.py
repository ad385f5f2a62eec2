"""The JWKS normaliser: rows K-04 to K-09 and K-12 of the threat list."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.jwk import Key, OctKey, OKPKey

from fakes.issuer import b64, jwk, key_pair
from tailsts.errors import KeySetError
from tailsts.oidc.keys import KeySet, normalise

GOOD = jwk(key_pair("RS256"), "good")


def read(*members: object) -> KeySet:
    """Normalise a key set of these members."""
    return normalise(json.dumps({"keys": members}).encode())


def dropped(*members: object) -> list[str]:
    """Return why members were dropped from a set that also holds a good key, which must survive."""
    keys = read(*members, GOOD)
    assert list(keys.by_id) == ["good"]
    return [key.reason for key in keys.dropped]


def public(key: Key, **members: object) -> dict[str, object]:
    """Return a JWK."""
    return jwk(key, "other", **members)


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("RS256", {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        ("ES256", {"ES256"}),
        ("ES384", {"ES384"}),
        ("ES512", {"ES512"}),
        ("EdDSA", {"EdDSA"}),
    ],
)
def test_k10_algorithms_follow_from_the_key(algorithm: str, expected: set[str]) -> None:
    """K-10: what a key may be used with is read off its type and curve."""
    keys = read(jwk(key_pair(algorithm), "k"))
    assert keys.by_id["k"].algorithms == expected
    assert keys.dropped == ()


def test_k10_a_named_algorithm_is_the_only_one() -> None:
    """K-10, CVE-2026-48523: a key that names its algorithm is used with no other."""
    assert read(jwk(key_pair("RS256"), "k", alg="PS512")).by_id["k"].algorithms == {"PS512"}


@pytest.mark.parametrize("alg", ["HS256", "none", "RSA-OAEP", "ES256", "EdDSA", 1, None, ["RS256"]])
def test_k10_algorithms_that_do_not_fit(alg: object) -> None:
    """K-10: a key that names an algorithm which is none, or not one of such a key, is dropped."""
    assert dropped(public(key_pair("RS256"), alg=alg)) == ["alg is not a supported signature algorithm of such a key"]


def test_k04_duplicate_key_ids() -> None:
    """K-04: of several keys with one id none is used, also when they are the same key."""
    twin = jwk(key_pair("RS256", 1), "twin")
    assert dropped(twin, jwk(key_pair("ES256"), "twin"), twin) == ["several keys have this kid"] * 3


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"use": "enc"}, "use is not sig"),
        ({"use": "SIG"}, "use is not sig"),
        ({"use": ["sig"]}, "use is not sig"),
        ({"use": None}, "use is not sig"),
        ({"key_ops": ["encrypt"]}, "key_ops does not hold verify"),
        ({"key_ops": []}, "key_ops does not hold verify"),
        ({"key_ops": "verify"}, "key_ops does not hold verify"),
        ({"key_ops": None}, "key_ops does not hold verify"),
    ],
)
def test_k05_purpose(members: dict[str, object], reason: str) -> None:
    """K-05: keys that are for something else than verifying are dropped."""
    assert dropped({**public(key_pair("RS256")), **members}) == [reason]


@pytest.mark.parametrize(
    "members", [{"use": "sig"}, {"use": "jwt-svid"}, {"key_ops": ["verify"]}, {"use": "sig", "key_ops": ["verify"]}]
)
def test_k05_our_purpose(members: dict[str, object]) -> None:
    """K-05: keys that are for verifying are used; so are SPIFFE's."""
    key = {name: value for name, value in public(key_pair("RS256")).items() if name != "use"}
    assert "other" in read({**key, **members}).by_id
    assert "other" in read(key).by_id


def test_k06_symmetric_keys() -> None:
    """K-06: a symmetric key is dropped: everybody who reads the set has it."""
    key = OctKey.import_key("secret-secret-secret-secret-secret").as_dict(private=True)
    assert dropped({**key, "kid": "hs", "use": "sig", "alg": "HS256"}) == [
        "a symmetric key: whoever reads this set can sign with it",
    ]


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_k07_private_keys(algorithm: str) -> None:
    """K-07: a published private key is dropped, and it is said loudly."""
    private = {**key_pair(algorithm).as_dict(private=True), "kid": "oops", "use": "sig"}
    assert dropped(private) == ["a PRIVATE key was published: the issuer must withdraw it"]


def rsa_jwk(n: int, e: int = 65537) -> dict[str, object]:
    """Return an RSA JWK of any numbers."""
    octets = {"n": n, "e": e}
    return {
        "kty": "RSA",
        "kid": "weak",
        **{name: b64(x.to_bytes(max(1, (x.bit_length() + 7) // 8))) for name, x in octets.items()},
    }


N2048 = key_pair("RS256").as_dict(private=False)["n"]


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (
            rsa_jwk(rsa.generate_private_key(65537, 1024).public_key().public_numbers().n),  # noqa: S505 - it is to be refused
            "RSA with 1024 bits; 2048 to 8192 are accepted",
        ),
        (rsa_jwk(2**2046 + 1), "RSA with 2047 bits; 2048 to 8192 are accepted"),
        (rsa_jwk(2**16383 + 1), "RSA with 16384 bits; 2048 to 8192 are accepted"),
        (rsa_jwk(0), "RSA with 0 bits; 2048 to 8192 are accepted"),
        (rsa_jwk(2**2047 + 1, 1), "not a valid public key"),
        (rsa_jwk(2**2047 + 1, 2), "not a valid public key"),
        (rsa_jwk(2**2047 + 1, 2**33 + 1), "RSA with an oversized exponent"),
        ({"kty": "RSA", "n": N2048}, "e is missing or not a string"),
        ({"kty": "RSA", "n": 1, "e": "AQAB"}, "n is missing or not a string"),
        ({"kty": "RSA", "n": "ééé", "e": "AQAB"}, "n is missing or not a string"),
        ({"kty": "RSA", "n": f"{N2048}==", "e": "AQAB"}, "not base64url"),
        ({"kty": "RSA", "n": N2048, "e": "A"}, "not canonical base64url"),
    ],
)
def test_k08_weak_rsa(key: dict[str, object], reason: str) -> None:
    """K-08: RSA keys that are too small, too large or malformed are dropped."""
    assert dropped(key) == [reason]


P256: dict[str, Any] = dict(key_pair("ES256").as_dict(private=False))
P384: dict[str, Any] = dict(key_pair("ES384").as_dict(private=False))


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ({**P256, "x": b64(bytes(31) + b"\x05")}, "not a valid public key"),
        ({**P256, "x": P384["x"]}, "not a valid public key"),
        ({**P256, "y": ""}, "not a valid public key"),
        ({**P256, "crv": "P-384"}, "not a valid public key"),
        ({**P256, "crv": "secp256k1"}, "a curve that is not used"),
        ({**P256, "crv": "Ed25519"}, "a curve that is not used"),
        ({**P256, "crv": ["P-256"]}, "a curve that is not used"),
        ({"kty": "EC", "crv": "P-256", "x": P256["x"]}, "y is missing or not a string"),
        ({**OKPKey.generate_key("Ed448").as_dict(private=False)}, "a curve that is not used"),
        ({**OKPKey.generate_key("X25519").as_dict(private=False)}, "a curve that is not used"),
        ({"kty": "OKP", "crv": "Ed25519", "x": b64(bytes(31))}, "not a valid public key"),
    ],
)
def test_k09_other_curves_and_points(key: dict[str, object], reason: str) -> None:
    """K-09: points off their curve, curves that are not used and keys cut short are dropped."""
    assert dropped({**key, "kid": "odd"}) == [reason]


@pytest.mark.parametrize("member", [None, 1, "x", [], {"kty": "zz"}, {}, {"kty": ["RSA"]}, {"kty": "DH"}])
def test_k12_malformed_members(member: object) -> None:
    """K-12: a member that is no key costs no other key."""
    assert len(dropped(member)) == 1


@pytest.mark.parametrize("kid", ["", 1, None, ["k"], "x" * 257, "\ud800"])
def test_k12_malformed_key_ids(kid: object) -> None:
    """K-12: a key whose id is none is dropped."""
    assert dropped({**GOOD, "kid": kid}) == ["kid is not a key id"]


def test_k12_an_ambiguous_member() -> None:
    """K-12: a member with duplicate names is dropped, the others are used."""
    good = json.dumps(GOOD)
    keys = normalise(f'{{"keys":[{{"kty":"RSA","kty":"EC"}},{good}]}}'.encode())
    assert [key.reason for key in keys.dropped] == ["not an object, or one with duplicate names"]
    assert list(keys.by_id) == ["good"]


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b'{"keys":null}',
        b'{"keys":[],"keys":[]}',
        b"\xff",
        json.dumps({"keys": [GOOD] * 101}).encode(),
    ],
)
def test_what_is_no_key_set(document: bytes) -> None:
    """A document that is not a key set, or holds more than 100 keys, is refused as a whole."""
    with pytest.raises(KeySetError, match="the key set"):
        normalise(document)


def test_an_empty_set_is_a_set() -> None:
    """Whether a set without keys is an answer, the cache decides."""
    assert len(read()) == 0


def test_keys_without_id() -> None:
    """Keys without an id are kept apart; a token without one may find the only one that fits its algorithm."""
    keys = read(jwk(key_pair("RS256"), None), jwk(key_pair("ES256"), None), jwk(key_pair("ES384"), "k"))
    assert len(keys) == 3
    assert [key.key_id for key in keys.fitting("ES384")] == ["k"]
    assert [key.key_id for key in keys.fitting("ES256")] == [None]
    assert keys.knows(None)
    assert keys.knows("k")
    assert not keys.knows("other")


def test_what_was_dropped_can_be_told_apart() -> None:
    """A dropped key is named by its place and its id, cut short."""
    keys = read(GOOD, {**GOOD, "kid": "k" * 200, "use": "enc"}, 1)
    assert [(key.position, key.key_id) for key in keys.dropped] == [(1, "k" * 64), (2, None)]
