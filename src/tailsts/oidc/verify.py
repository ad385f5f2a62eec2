"""From an `UnverifiedToken` and a `KeySet` to a `VerifiedToken`, or to `Rejected`.

`verify` is how the service makes a `VerifiedToken`. Pure: the time is an argument. The steps are numbered in the order
in which they are taken, and all of them are taken (RFC 7519, 7.2; RFC 8725; OpenID Connect Core 1.0, 3.1.3.7).
`assume_signed` leaves out the first three, to explain and to test policies: nothing that mints may call it.
"""

from collections.abc import Mapping
from typing import TypeGuard

import msgspec

from tailsts.oidc import signature
from tailsts.oidc.keys import KeySet, VerificationKey
from tailsts.oidc.rejected import Reason, Rejected
from tailsts.oidc.token import UnverifiedToken

# RFC 7519, 4.1.4: "usually no more than a few minutes, to account for clock skew". Issuers date tokens up to some
# seconds ahead; a minute covers machines that keep time at all.
LEEWAY = 60.0


class VerifiedToken(msgspec.Struct, frozen=True, gc=False):
    """A token that one of the issuer's keys signed and that is valid now. Times are in seconds since the epoch."""

    issuer: str
    subject: str
    audiences: tuple[str, ...]
    algorithm: str
    expires_at: float
    issued_at: float | None
    claims: Mapping[str, object]


def verify(
    token: UnverifiedToken,
    keys: KeySet,
    algorithms: frozenset[str],
    now: float,
) -> VerifiedToken | Rejected:
    """Check the token's signature against the issuer's `keys`, then its registered claims at the time `now`.

    `algorithms` are those that the policies of this issuer and key source name. Whether the audience, the subject
    and the lifetime are allowed is a policy's question: see `tailsts.policy.decide`.
    """
    # 1. The algorithm is one that a policy names (RFC 8725, 3.1): the token does not choose how it is checked.
    if token.algorithm not in algorithms:
        return Rejected(Reason.ALGORITHM, "no policy of this issuer names the algorithm")
    # 2. Exactly one key can be meant, and it may be used with the algorithm (RFC 8725, 3.2).
    key = _select(keys, token)
    if isinstance(key, Rejected):
        return key
    # 3. The signature holds.
    if not signature.holds(token.algorithm, key.key, token.signing_input, token.signature):
        return Rejected(Reason.BAD_SIGNATURE, "the signature does not hold")
    # 4. to 8. From here on the claims are the issuer's words.
    return _believe(token.unverified_issuer, token.algorithm, token.unverified_claims, now)


def assume_signed(claims: Mapping[str, object], algorithm: str, now: float) -> VerifiedToken | Rejected:
    """Check the registered claims alone, as if the issuer's key had signed them with `algorithm`.

    For explaining and testing policies, offline: it proves nothing about who made the claims.
    """
    issuer = claims.get("iss")
    if not isinstance(issuer, str) or not issuer:
        return Rejected(Reason.CLAIM, "iss is missing or not a string")
    return _believe(issuer, algorithm, claims, now)


def _select(keys: KeySet, token: UnverifiedToken) -> VerificationKey | Rejected:
    if token.key_id is not None:
        key = keys.by_id.get(token.key_id)
        if key is None:
            return Rejected(Reason.UNKNOWN_KEY, "no usable key of the issuer has this kid")
        if token.algorithm not in key.algorithms:
            return Rejected(Reason.KEY_MISMATCH, "the key is not for this algorithm")
        return key
    # Without kid: never try one key after the other.
    fitting = keys.fitting(token.algorithm)
    if len(fitting) != 1:
        return Rejected(Reason.AMBIGUOUS_KEY, f"no kid, and {len(fitting)} keys fit the algorithm")
    return fitting[0]


def _believe(issuer: str, algorithm: str, claims: Mapping[str, object], now: float) -> VerifiedToken | Rejected:
    # 4. The subject is a name (OpenID Connect Core 1.0, section 2).
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        return Rejected(Reason.CLAIM, "sub is missing or not a string")
    # 5. to 7. The times.
    if refused := _refuse_expiry(claims, now) or _refuse_start(claims, now):
        return refused
    # 8. The audience has the form of one (RFC 7519, 4.1.3).
    audiences = _audiences(claims)
    if audiences is None:
        return Rejected(Reason.CLAIM, "aud is neither a string nor a list of strings")
    return VerifiedToken(
        issuer=issuer,
        subject=subject,
        audiences=audiences,
        algorithm=algorithm,
        expires_at=claims["exp"],  # type: ignore[arg-type]  # _refuse_expiry saw to it
        issued_at=claims.get("iat"),  # type: ignore[arg-type]  # _refuse_start saw to it
        claims=claims,
    )


def _refuse_expiry(claims: Mapping[str, object], now: float) -> Rejected | None:
    # 5. The token expires, and has not yet (RFC 7519, 4.1.4). Without exp it would be good for ever: never.
    expires_at = claims.get("exp")
    if not _is_time(expires_at):
        return Rejected(Reason.CLAIM, "exp is missing or not a number")
    if expires_at + LEEWAY <= now:
        return Rejected(Reason.EXPIRED, "the token has expired")
    return None


def _refuse_start(claims: Mapping[str, object], now: float) -> Rejected | None:
    # 6. It is valid already (RFC 7519, 4.1.5), and 7. it was not made in the future (4.1.6).
    for name, reason, detail in _STARTS:
        if name in claims:
            start = claims[name]
            if not _is_time(start):
                return Rejected(Reason.CLAIM, f"{name} is not a number")
            if start - LEEWAY > now:
                return Rejected(reason, detail)
    return None


_STARTS = (
    ("nbf", Reason.NOT_YET_VALID, "the token is not valid yet"),
    ("iat", Reason.ISSUED_IN_FUTURE, "the token was issued in the future"),
)


def _is_time(value: object) -> TypeGuard[float]:
    # RFC 7519, section 2, NumericDate. Not isinstance: True is an int there, and a time is never one here.
    return type(value) is int or type(value) is float


def _audiences(claims: Mapping[str, object]) -> tuple[str, ...] | None:
    value = claims.get("aud", ())
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    return None
