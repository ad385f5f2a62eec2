"""From header fields and body to a request, and from a decision to status, header fields and body. Pure.

Before a token is verified, every failure of it looks the same from outside: otherwise anybody could find out by
trying which issuers are trusted. After that, the answer names the kind of check that failed, never a policy.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import assert_never

import msgspec

from tailsts.credentials import Secret
from tailsts.errors import ExchangeFault, StrictJsonError, UnavailableError
from tailsts.oidc.rejected import Rejected
from tailsts.oidc.token import MAX_TOKEN_LENGTH
from tailsts.outcome import (
    Decision,
    ExchangeRequest,
    Malformed,
    Minted,
    Withheld,
)
from tailsts.policy.asked import OTHER_MEMBERS, Unfit, read_wanted
from tailsts.policy.condition import Check
from tailsts.policy.decide import Refusal, Wanted
from tailsts.strictjson import decode as decode_json

# A request names some scopes; all of Tailscale's together are 2 KiB.
MAX_BODY_LENGTH = 16 * 1024
MAX_CACHED_BODY_LENGTH = 1024
TOO_MANY_REQUESTS = 429
# More digits than any length has.
MAX_DIGITS = 10

_JSON = re.compile(r'application/json[ \t]*(;[ \t]*charset="?utf-8"?[ \t]*)?', re.IGNORECASE)

Headers = list[tuple[str, str]]

_TEXT = ("content-type", "text/plain; charset=utf-8")
_NO_STORE = ("cache-control", "no-store")
_CHALLENGE = ("www-authenticate", "Bearer")
# RFC 9110, 11.6.1 and 15.5.6.
_BY_STATUS = {401: (_CHALLENGE,), 405: (("allow", "POST"),)}

_REFUSALS = {
    Check.POLICY: "no such policy for this token",
    Check.SUBJECT: "subject not allowed",
    Check.CLAIM: "claims not allowed",
    Check.AUDIENCE: "audience not allowed",
    Check.ALGORITHM: "algorithm not allowed",
    Check.LIFETIME: "lifetime of the token not allowed",
    Check.AGE: "age of the token not allowed",
    Check.PERIOD: "not allowed at this time",
    Check.SCOPE: "scopes not allowed",
    Check.TAG: "tags not allowed",
    Check.CONDITION: "condition not met",
    Check.OPA: "not allowed by Open Policy Agent",
}
# Whoever names a policy that does not trust it must not learn by this that there is one.
_SAME_AS_NO_POLICY = frozenset({Check.POLICY, Check.SUBJECT, Check.CLAIM, Check.CONDITION})


class Answer(msgspec.Struct, frozen=True, gc=False):
    """Status, header fields and text of an answer."""

    status: int
    headers: Headers
    text: str


def bearer_token(
    authorization: Sequence[str], content_type: str | None, content_length: str | None
) -> Secret | Malformed:
    """Return the token in the Authorization field, or what is wrong with these header fields.

    Asked before the body is read, so that what is refused here costs nothing. `authorization` holds the values of
    all fields of this name; the others are None if absent.
    """
    if content_type is not None and content_type != "application/json" and not _JSON.fullmatch(content_type):
        return Malformed(415, "content_type", "the body must be application/json")
    if not authorization:
        return Malformed(401, "no_authorization", "missing Authorization header")
    scheme, _, token = authorization[0].partition(" ")
    # RFC 9110, 11.4: scheme, one blank, token68. The scheme's case does not count.
    if len(authorization) > 1 or scheme.lower() != "bearer" or not token or " " in token:
        return Malformed(401, "bad_authorization", "invalid Authorization header: exactly one, Bearer TOKEN")
    if len(token) > MAX_TOKEN_LENGTH:
        return Malformed(431, "token_too_long", f"the token is longer than {MAX_TOKEN_LENGTH} bytes")
    if content_length is not None and not _is_body_length(content_length):
        return too_large()
    return Secret(token)


def too_large() -> Malformed:
    """Return the verdict on a body that is larger than an exchange's may be."""
    return Malformed(413, "body_too_large", f"the body is larger than {MAX_BODY_LENGTH} bytes")


def exchange_request(bearer: Secret, body: bytes) -> ExchangeRequest | Malformed:
    """Return the request that `body` makes: `{"scopes": [...]}`, perhaps with `tags` and `policy`, and nothing else."""
    # A workload asks for the same each time, so the usual bodies are read once.
    wanted = _cached_wanted(body) if len(body) <= MAX_CACHED_BODY_LENGTH else _wanted(body)
    return wanted if isinstance(wanted, Malformed) else ExchangeRequest(bearer, wanted)


def _wanted(body: bytes) -> Wanted | Malformed:
    try:
        value = decode_json(body)
    except StrictJsonError as error:
        return Malformed(400, "bad_json", f"the body is {error}")
    wanted = read_wanted(value) if isinstance(value, dict) else OTHER_MEMBERS
    return Malformed(400, wanted.reason, wanted.message) if isinstance(wanted, Unfit) else wanted


_cached_wanted = lru_cache(maxsize=1024)(_wanted)


def answer(decision: Decision) -> Answer:
    """Return what the caller gets to see of a decision."""
    headers = [_TEXT, _NO_STORE, ("x-decision-id", decision.id)]
    outcome = decision.outcome
    match outcome:
        case Minted(token=token):
            return Answer(200, headers, token.reveal())
        case Refusal(check=check, named=named):
            said = Check.POLICY if named and check in _SAME_AS_NO_POLICY else check
            return _failure(403, headers, f"denied: {_REFUSALS[said]}", decision)
        case Withheld(reason="replayed"):
            return _failure(403, headers, "denied: the token was used already", decision)
        case Withheld(retry_after=seconds):
            return _failure(429, [*headers, ("retry-after", str(seconds))], "too many requests", decision)
        case Rejected():
            return _failure(401, [*headers, _CHALLENGE], "invalid token", decision)
        case Malformed(status=status, message=message):
            return _failure(status, [*headers, *_BY_STATUS.get(status, ())], message, decision)
        case UnavailableError(retry_after=seconds):
            wait = ("retry-after", str(seconds))
            return _failure(503, [*headers, wait], "temporarily unavailable, try again later", decision)
        case ExchangeFault():
            return _failure(502, headers, "Tailscale did not give a usable answer", decision)
        case _:
            assert_never(outcome)


def plain(status: int, text: str, *extra: tuple[str, str]) -> Answer:
    """Return an answer that is not about an exchange."""
    return Answer(status, [_TEXT, _NO_STORE, *extra], text + "\n")


def turned_away(status: int, seconds: int) -> Answer:
    """Return the answer to a request that was not looked at: too many at a time (503), or from one address (429)."""
    text = "too many requests" if status == TOO_MANY_REQUESTS else "too many exchanges at a time, try again later"
    return plain(status, text, ("retry-after", str(seconds)))


def _failure(status: int, headers: Headers, message: str, decision: Decision) -> Answer:
    return Answer(status, headers, f"{message} (decision {decision.id})\n")


def _is_body_length(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < MAX_DIGITS and int(text) <= MAX_BODY_LENGTH
