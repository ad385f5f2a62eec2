"""The token decoder: what it lets through is read alike by others, and is believed under no key of ours."""

import base64
import binascii
import json
import math
from typing import Any

import msgspec

from tailsts.oidc.keys import normalise
from tailsts.oidc.rejected import Rejected
from tailsts.oidc.token import ALGORITHMS, MAX_ISSUER_LENGTH, MAX_KEY_ID_LENGTH, UnverifiedToken, decode
from tailsts.oidc.verify import LEEWAY, VerifiedToken, assume_signed, verify
from tailsts.strictjson import MAX_DEPTH

MODULES = ["tailsts.oidc", "tailsts.strictjson"]
WORDS = (
    *(
        '"alg":"EdDSA"',
        '"kid":"a"',
        '"kid":""',
        '"typ":"JWT"',
        '"crit":["x"]',
        '"b64":false',
        '"jwk":{}',
        '"zip":"DEF"',
    ),
    *(
        '"iss":"x"',
        '"sub":"x"',
        '"SUB":"x"',
        '"\u017fub":"x"',
        '"aud":["x"]',
        '"exp":1e400',
        '"iat":NaN',
        '"nbf":-1.5e3',
    ),
    *(
        "9999999999999999999",
        "99999999999999999999",
        "-0",
        "1E5",
        "true",
        "null",
        r"\ud800",
        r"\u0000",
        r"\udc00",
        "\ufeff",
    ),
    *("[" * 32, "]" * 32, '{"a":' * 31, "}" * 31, "{}", "[]", ",", ".", "=", "\0"),
)
# A fuzzer cannot see through base64url: with two of these in it, an input is the three parts before they are encoded.
BETWEEN_PARTS = b"\0"
NOW = 1_800_000_000
# The example key of RFC 8037, appendix A.2, as three issuers might publish it; nobody here signs with it.
_OKP = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
_KEYS = normalise(json.dumps({"keys": [{**_OKP, "kid": "a"}, {**_OKP, "kid": "b", "alg": "EdDSA"}]}).encode())
_ONLY_KEY = normalise(json.dumps({"keys": [_OKP]}).encode())


def check(data: bytes) -> None:
    """Check one input."""
    text = compact(data)
    outcome = decode(text)
    assert outcome == decode(text)
    if isinstance(outcome, Rejected):
        assert outcome.detail.isascii()
        assert len(outcome.detail) < 60
        return
    _check_form(text, outcome)
    _check_reading(text, outcome)
    for keys in (_KEYS, _ONLY_KEY):
        assert isinstance(verify(outcome, keys, ALGORITHMS, NOW), Rejected)
    _check_claims(outcome)


def _check_claims(token: UnverifiedToken) -> None:
    """Check what would be believed if an issuer had signed it: a subject, and times that are now."""
    believed = assume_signed(token.unverified_claims, token.algorithm, NOW)
    if isinstance(believed, VerifiedToken):
        assert believed.issuer == token.unverified_claims["iss"]
        assert believed.subject == token.unverified_claims["sub"] != ""
        assert all(isinstance(audience, str) for audience in believed.audiences)
        assert NOW - LEEWAY < believed.expires_at < math.inf
        assert believed.issued_at is None or believed.issued_at <= NOW + LEEWAY


def compact(data: bytes) -> str:
    """Return the token that an input is."""
    parts = data.split(BETWEEN_PARTS, 2)
    return data.decode("latin-1") if len(parts) < 3 else ".".join(map(_encoded, parts))


def _encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def _decoded(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise AssertionError("accepted what another reader calls no base64url") from None


def _check_form(text: str, token: UnverifiedToken) -> None:
    assert token.algorithm in ALGORITHMS
    assert token.key_id is None or 0 < len(token.key_id) <= MAX_KEY_ID_LENGTH
    assert 0 < len(token.unverified_issuer) <= MAX_ISSUER_LENGTH
    # Byte for byte: no second spelling of the same token.
    assert text == f"{token.signing_input.decode()}.{_encoded(token.signature)}"
    assert token.signature


def _check_reading(text: str, token: UnverifiedToken) -> None:
    """Check that two other readers of JSON see the same header and claims, and none sees two of a name."""
    header, payload = (_decoded(part) for part in text.split(".")[:2])
    for reader in (_read_strictly, msgspec.json.decode):
        assert repr(token.unverified_claims) == repr(reader(payload))
        assert token.algorithm == reader(header)["alg"]
        assert token.key_id == reader(header).get("kid")
        # Each of these would change how the token has to be read.
        assert not {"crit", "b64", "zip", "enc", "cty"} & reader(header).keys()
    assert len({name.casefold() for name in token.unverified_claims}) == len(token.unverified_claims)
    assert _depth(token.unverified_claims) <= MAX_DEPTH
    again = decode(compact(BETWEEN_PARTS.join([header, msgspec.json.encode(token.unverified_claims), token.signature])))
    if isinstance(again, UnverifiedToken):
        assert repr(again.unverified_claims) == repr(token.unverified_claims)
    else:
        # The only way in which writing it anew may go wrong: it grew beyond the limit.
        assert len(text) > 10_000, again


def _read_strictly(raw: bytes) -> Any:  # noqa: ANN401 - JSON
    return json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def _refuse(name: str) -> object:
    raise AssertionError(name)


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0
