"""From the bytes of a JWK Set (RFC 7517) to a `KeySet`: only keys that can verify, and why the others cannot.

The normaliser is strict with each key and patient with the set: one bad key never costs the good ones.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from tailsts.errors import KeySetError, StrictJsonError
from tailsts.oidc import base64url, signature
from tailsts.oidc.token import MAX_KEY_ID_LENGTH
from tailsts.strictjson import decode_isolating, is_text

# The largest public sets (Entra, Google) have about ten.
MAX_KEYS = 100
# NIST SP 800-131A: less than 2048 bits is no longer acceptable. The upper bound is for our processor's sake.
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
MAX_RSA_EXPONENT_BITS = 32

_RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
# RFC 7518, 3.4: the algorithm follows from the curve. RFC 8037 for Ed25519; Ed448 and secp256k1 are not used.
_CURVE_ALGORITHMS = {
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
}
_PUBLIC_MEMBERS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_KEY_TYPES: dict[str, type[RSAKey | ECKey | OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
# "jwt-svid" is what SPIFFE bundles call the keys that sign tokens.
_SIGNING_USES = ("sig", "jwt-svid")


class VerificationKey(msgspec.Struct, frozen=True):
    """A public key, and the algorithms that it may be used with: fixed when it was read, never by a token."""

    key_id: str | None
    key: Key
    algorithms: frozenset[str]


class DroppedKey(msgspec.Struct, frozen=True):
    """A key of the document that will not be used. `position` counts from 0; `reason` is in our own words."""

    position: int
    key_id: str | None
    reason: str


class KeySet(msgspec.Struct, frozen=True):
    """The usable keys of an issuer at one moment."""

    by_id: Mapping[str, VerificationKey]
    without_id: Sequence[VerificationKey]
    dropped: Sequence[DroppedKey]

    def __len__(self) -> int:
        """Return the number of usable keys."""
        return len(self.by_id) + len(self.without_id)

    def knows(self, key_id: str | None) -> bool:
        """Return whether a token with this `kid` could be judged by this set without asking the issuer again."""
        return key_id is None or key_id in self.by_id

    def fitting(self, algorithm: str) -> list[VerificationKey]:
        """Return the keys that may be used with `algorithm`."""
        return [key for key in (*self.by_id.values(), *self.without_id) if algorithm in key.algorithms]


class _UnusableKeyError(Exception):
    """This key cannot be used; the message says why."""


def normalise(document: bytes) -> KeySet:
    """Read a JWK Set document and return its usable keys.

    Raises:
        KeySetError: the document as a whole is not a JWK Set, or holds more than 100 keys.
    """
    members = _members(document)
    usable: list[tuple[int, VerificationKey]] = []
    dropped: list[DroppedKey] = []
    for position, member in enumerate(members):
        try:
            usable.append((position, _verification_key(member)))
        except _UnusableKeyError as error:
            dropped.append(DroppedKey(position, _key_id_for_log(member), str(error)))
    kept, ambiguous = _set_apart_duplicates(usable)
    return KeySet(
        by_id={key.key_id: key for key in kept if key.key_id is not None},
        without_id=tuple(key for key in kept if key.key_id is None),
        dropped=(*dropped, *ambiguous),
    )


def _members(document: bytes) -> list[object]:
    try:
        value = decode_isolating(document)
    except StrictJsonError as error:
        raise KeySetError(f"the key set is {error}") from None
    keys = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(keys, list):
        raise KeySetError('the key set is not an object with a list of "keys"')
    if len(keys) > MAX_KEYS:
        raise KeySetError(f"the key set holds {len(keys)} keys, more than {MAX_KEYS}")
    return keys


def _set_apart_duplicates(
    usable: list[tuple[int, VerificationKey]],
) -> tuple[list[VerificationKey], list[DroppedKey]]:
    """Drop every key whose id is not its own: which one a token means cannot be told, and trying each is a hole."""
    count = Counter(key.key_id for _, key in usable if key.key_id is not None)
    kept = [key for _, key in usable if key.key_id is None or count[key.key_id] == 1]
    dropped = [
        DroppedKey(position, key.key_id, "several keys have this kid")
        for position, key in usable
        if key.key_id is not None and count[key.key_id] > 1
    ]
    return kept, dropped


def _verification_key(member: object) -> VerificationKey:
    if not isinstance(member, dict):
        raise _UnusableKeyError("not an object, or one with duplicate names")
    kind = _key_type(member)
    _refuse_purpose(member)
    key_id, algorithms = _key_id(member), _algorithms(member, kind)
    key = _import_public_key(member, kind)
    return VerificationKey(key_id, key, frozenset(name for name in algorithms if signature.fits(name, key)))


def _key_type(member: dict[str, object]) -> str:
    kind = member.get("kty")
    if kind == "oct":
        raise _UnusableKeyError("a symmetric key: whoever reads this set can sign with it")
    if not isinstance(kind, str) or kind not in _KEY_TYPES:
        raise _UnusableKeyError("kty is not RSA, EC or OKP")
    return kind


def _refuse_purpose(member: dict[str, object]) -> None:
    if not _PRIVATE_MEMBERS.isdisjoint(member):
        raise _UnusableKeyError("a PRIVATE key was published: the issuer must withdraw it")
    # RFC 7517, 4.2 and 4.3: both are optional, and where they stand they count.
    if "use" in member and member["use"] not in _SIGNING_USES:
        raise _UnusableKeyError("use is not sig")
    if "key_ops" in member:
        operations = member["key_ops"]
        if not isinstance(operations, list) or "verify" not in operations:
            raise _UnusableKeyError("key_ops does not hold verify")


def _key_id(member: dict[str, object]) -> str | None:
    key_id = member.get("kid")
    if "kid" not in member:
        return None
    if not is_text(key_id) or not 0 < len(key_id) <= MAX_KEY_ID_LENGTH:
        raise _UnusableKeyError("kid is not a key id")
    return key_id


def _algorithms(member: dict[str, object], kind: str) -> frozenset[str]:
    """Return the algorithms that the key may be used with: those of its type and curve, or the one it names."""
    possible = _RSA_ALGORITHMS if kind == "RSA" else _CURVE_ALGORITHMS.get((kind, str(member.get("crv"))))
    if possible is None:
        raise _UnusableKeyError("a curve that is not used")
    if "alg" not in member:
        return possible
    named = member["alg"]
    if named not in tuple(possible):
        raise _UnusableKeyError("alg is not a supported signature algorithm of such a key")
    return frozenset({named})


def _import_public_key(member: dict[str, object], kind: str) -> Key:
    # Only the members that make the key: whatever else a document says must not steer the library.
    public: dict[str, str | list[str]] = {"kty": kind}
    for name in _PUBLIC_MEMBERS[kind]:
        value = member.get(name)
        if not isinstance(value, str) or not value.isascii():
            raise _UnusableKeyError(f"{name} is missing or not a string")
        public[name] = value
    if kind == "RSA":
        _refuse_weak_rsa(str(public["n"]), str(public["e"]))
    if isinstance(member.get("alg"), str):
        public["alg"] = str(member["alg"])
    try:
        return _KEY_TYPES[kind].import_key(public)
    except (JoseError, ValueError):
        raise _UnusableKeyError("not a valid public key") from None


def _refuse_weak_rsa(modulus: str, exponent: str) -> None:
    try:
        bits = int.from_bytes(base64url.decode(modulus.encode())).bit_length()
        exponent_bits = int.from_bytes(base64url.decode(exponent.encode())).bit_length()
    except ValueError as error:
        raise _UnusableKeyError(str(error)) from None
    if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
        raise _UnusableKeyError(f"RSA with {bits} bits; {MIN_RSA_BITS} to {MAX_RSA_BITS} are accepted")
    if exponent_bits > MAX_RSA_EXPONENT_BITS:
        raise _UnusableKeyError("RSA with an oversized exponent")


def _key_id_for_log(member: object) -> str | None:
    key_id = member.get("kid") if isinstance(member, dict) else None
    return key_id[:64] if is_text(key_id) else None
