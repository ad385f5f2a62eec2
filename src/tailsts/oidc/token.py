"""The strict front decoder: from the bytes of a header field to an `UnverifiedToken`.

Nothing here is believed yet. What is refused here is refused before any key is looked up and any signature is
checked, so this code meets every attacker: one alphabet, one reading of JSON, no recursion, 16 KiB.
"""

from collections.abc import Mapping
from functools import lru_cache

import msgspec

from tailsts.errors import StrictJsonError
from tailsts.oidc import base64url
from tailsts.oidc.rejected import Reason, Rejected
from tailsts.strictjson import decode as decode_json

# Real tokens are 1 to 4 KiB (Entra with many groups: 8); a header field beyond this is an attack on memory.
MAX_TOKEN_LENGTH = 16 * 1024
# A key id is only ever the key of a dictionary; issuers use 5 to 64 characters.
MAX_KEY_ID_LENGTH = 256
MAX_ISSUER_LENGTH = 512
MAX_CACHED_HEADER_LENGTH = 1024

# Asymmetric signatures alone. HMAC and "none" have no name here, so nothing can ask for them.
ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"},
)

# RFC 7515, 7.1: three parts of base64url (section 2: no padding, no white space). Two would be an unsecured JWT
# without signature, five a JWE: neither is decoded here at all.
_BASE64URL = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_BETWEEN_THREE_PARTS = b".."

# RFC 8725, 3.11: a token made for another purpose (logout, security event) must not pass as an identity.
_TYPES = frozenset({"jwt", "jose", "at+jwt"})

# Each of these changes how the token would have to be read (RFC 7515, 4.1.11; RFC 7797; RFC 7516; RFC 7519, 5.2),
# and no issuer of workload tokens needs one of them.
_REFUSED_HEADERS = ("crit", "b64", "zip", "enc", "cty")


class Header(msgspec.Struct, frozen=True):
    """A JOSE header (RFC 7515, 4) that passed every check that can be made without a key."""

    algorithm: str
    key_id: str | None


class UnverifiedToken(msgspec.Struct, frozen=True, gc=False):
    """A well-formed JWS whose signature nobody has checked: it says who it is, and may be lying.

    `signing_input` is header and payload as they were received, `signature` the decoded third part (RFC 7515, 5.2).
    """

    algorithm: str
    key_id: str | None
    unverified_issuer: str
    unverified_claims: Mapping[str, object]
    signing_input: bytes
    signature: bytes


def decode(text: str) -> UnverifiedToken | Rejected:
    """Decode the compact serialisation `text` (RFC 7515, 7.1) and check its form, header and issuer claim.

    The signature and every other claim are the business of `verify`.
    """
    if len(text) > MAX_TOKEN_LENGTH or not text.isascii():
        return _NOT_COMPACT
    raw = text.encode("ascii")
    signing_input, _, signature_segment = raw.rpartition(b".")
    header_segment, _, payload_segment = signing_input.partition(b".")
    # What is left of it without the characters of base64url: faster than a pattern.
    if raw.translate(None, _BASE64URL) != _BETWEEN_THREE_PARTS or not (
        header_segment and payload_segment and signature_segment
    ):
        return _NOT_COMPACT
    try:
        header = _header(header_segment)
        if isinstance(header, Rejected):
            return header
        claims = _json_object(payload_segment)
        signature = base64url.decode_checked(signature_segment)
    except (StrictJsonError, ValueError) as error:
        return Rejected(Reason.MALFORMED, str(error))
    issuer = claims.get("iss")
    if not isinstance(issuer, str) or not 0 < len(issuer) <= MAX_ISSUER_LENGTH:
        return Rejected(Reason.CLAIM, "iss is missing or not a string")
    return UnverifiedToken(header.algorithm, header.key_id, issuer, claims, signing_input, signature)


_NOT_COMPACT = Rejected(Reason.MALFORMED, "not three parts of base64url")


def _json_object(segment: bytes) -> dict[str, object]:
    value = decode_json(base64url.decode_checked(segment))
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - a fault of the text, not of our types
    # "SUB" beside "sub", or a long s in it: which of them is meant depends on who reads (hashicorp/cap 191).
    names = "".join(value)
    if not (names.isascii() and names.islower()) and len({name.casefold() for name in value}) != len(value):
        raise ValueError("names that differ only by case")
    return value


def _header(segment: bytes) -> Header | Rejected:
    # All tokens of a key have the same header, so it is read once. A stranger can fill the cache, to no effect but
    # that headers are read again; what is kept of each is bounded.
    return _cached_header(segment) if len(segment) <= MAX_CACHED_HEADER_LENGTH else _read_header(segment)


def _read_header(segment: bytes) -> Header | Rejected:
    header = _json_object(segment)
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        return Rejected(Reason.ALGORITHM, "alg is not a supported algorithm")
    for name in _REFUSED_HEADERS:
        if name in header:
            return Rejected(Reason.HEADER, f"{name} is not supported")
    if "typ" in header and not _is_known_type(header["typ"]):
        return Rejected(Reason.HEADER, "typ is not that of an identity token")
    key_id = header.get("kid")
    if "kid" in header and not (isinstance(key_id, str) and 0 < len(key_id) <= MAX_KEY_ID_LENGTH):
        return Rejected(Reason.HEADER, "kid is not a key id")
    return Header(algorithm, key_id)  # type: ignore[arg-type]  # a string, or None where there is no kid


_cached_header = lru_cache(maxsize=1024)(_read_header)


def _is_known_type(value: object) -> bool:
    # RFC 7515, 4.1.9: a media type, of which "application/" may be left out; case does not count.
    return isinstance(value, str) and value.lower().removeprefix("application/") in _TYPES
