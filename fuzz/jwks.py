"""The normaliser of key sets: of whatever an issuer publishes, only public keys come out, each with its own id."""

import json
from collections import Counter

from joserfc.jwk import RSAKey

from tailsts.errors import KeySetError
from tailsts.oidc import base64url
from tailsts.oidc.keys import MAX_KEYS, MAX_RSA_BITS, MIN_RSA_BITS, KeySet, VerificationKey, normalise
from tailsts.oidc.token import ALGORITHMS, MAX_KEY_ID_LENGTH
from tailsts.strictjson import decode_isolating

MODULES = ["tailsts.oidc", "tailsts.strictjson"]
WORDS = (
    *('{"keys":[', '"kty":"RSA"', '"kty":"EC"', '"kty":"OKP"', '"kty":"oct"', '"crv":"P-256"', '"crv":"P-521"'),
    *('"crv":"Ed25519"', '"crv":"Ed448"', '"crv":"secp256k1"', '"n":"', '"e":"AQAB"', '"x":"', '"y":"', '"d":"AA"'),
    *(
        '"kid":"a"',
        '"kid":null',
        '"use":"sig"',
        '"use":"enc"',
        '"key_ops":["verify"]',
        '"alg":"ES256"',
        '"alg":"RS256"',
    ),
    *('"x5c":["AA"]', '"oth":[]', r"\ud800", "1e999", "NaN", "null", "{}", "[]", "},{", "9" * 20, "A" * 43, "_" * 342),
)


def check(data: bytes) -> None:
    """Check one input."""
    try:
        found = normalise(data)
    except KeySetError as error:
        _check_words(str(error))
        return
    _check_accounts(data, found)
    for key in (*found.by_id.values(), *found.without_id):
        _check_key(key)
    _check_again(found)


def _check_accounts(data: bytes, found: KeySet) -> None:
    """Check that each member of the document was either kept or dropped, and that dropped ones are named safely."""
    document = decode_isolating(data)
    assert isinstance(document, dict)
    members = document["keys"]
    assert isinstance(members, list)
    assert len(found) + len(found.dropped) == len(members) <= MAX_KEYS
    positions = Counter(drop.position for drop in found.dropped)
    assert all(count == 1 and 0 <= position < len(members) for position, count in positions.items())
    for drop in found.dropped:
        _check_words(drop.reason)
        # It goes into the log.
        assert drop.key_id is None or len(drop.key_id.encode("utf-8")) <= MAX_KEY_ID_LENGTH
    assert all(key_id == key.key_id for key_id, key in found.by_id.items())
    assert all(key.key_id is None for key in found.without_id)
    named = Counter(member.get("kid") for member in members if isinstance(member, dict) and _hashable(member))
    assert all(named[key_id] >= 1 for key_id in found.by_id)


def _check_words(text: str) -> None:
    """Check that the words are ours: nothing of the document."""
    assert text.isascii()
    assert text.isprintable()
    assert len(text) < 90


def _hashable(member: dict[str, object]) -> bool:
    return isinstance(member.get("kid"), str)


def _check_key(key: VerificationKey) -> None:
    assert key.algorithms <= ALGORITHMS
    assert key.key_id is None or 0 < len(key.key_id) <= MAX_KEY_ID_LENGTH
    assert not key.key.is_private
    if isinstance(key.key, RSAKey):
        modulus = key.key.as_dict()["n"]
        assert isinstance(modulus, str)
        bits = int.from_bytes(base64url.decode(modulus.encode())).bit_length()
        assert MIN_RSA_BITS <= bits <= MAX_RSA_BITS
        assert all(name[:2] in {"RS", "PS"} for name in key.algorithms)
    else:
        # An algorithm follows from the curve, so there is one at most.
        assert len(key.algorithms) <= 1


def _check_again(found: KeySet) -> None:
    """Check that the keys that were kept, published anew, are kept again."""
    members = [
        {**key.key.as_dict(private=False), **({} if key.key_id is None else {"kid": key.key_id})}
        for key in (*found.by_id.values(), *found.without_id)
    ]
    for member in members:
        # The library names a key by its thumbprint where the document does not.
        if member.get("kid") not in found.by_id:
            member.pop("kid", None)
    again = normalise(json.dumps({"keys": members}).encode())
    assert again.by_id.keys() == found.by_id.keys()
    assert len(again.without_id) == len(found.without_id)
    assert [key.algorithms for key in found.by_id.values()] == [again.by_id[name].algorithms for name in found.by_id]
