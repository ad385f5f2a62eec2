"""What goes into an exchange and what comes out of it, as values; and how its event says what came out. Pure."""

from typing import Literal

import msgspec

from tailsts.audit import Event
from tailsts.credentials import AccessToken, Secret
from tailsts.errors import ExchangeFault, UnavailableError
from tailsts.oidc.rejected import Rejected
from tailsts.policy.decide import Grant, Refusal, Wanted
from tailsts.policy.observe import record
from tailsts.policy.rate import Rate


class ExchangeRequest(msgspec.Struct, frozen=True, gc=False):
    """A token, not yet looked at, and what is wanted for it."""

    bearer: Secret
    wanted: Wanted


class Malformed(msgspec.Struct, frozen=True):
    """Not a request for an exchange. `message` is for the caller, `status` the HTTP status that says it."""

    status: int
    reason: str
    message: str


class Use(msgspec.Struct, frozen=True, gc=False):
    """What an exchange used up, told from all others by `mark`: the token, its subject's rate; '' where it did not."""

    mark: str
    claim: str = ""
    counted: str = ""
    rate: Rate | None = None


class Minted(msgspec.Struct, frozen=True, gc=False):
    """The access token, the grant that it was minted for, and what was used up for it, if anything."""

    token: AccessToken
    grant: Grant
    use: Use | None = None


class Withheld(msgspec.Struct, frozen=True):
    """Allowed, but not again or not now: the token was used, or its subject asked too often.

    `retry_after` is in whole seconds; 0: it will not be otherwise.
    """

    reason: Literal["replayed", "rate_limited"]
    retry_after: int = 0


Outcome = Minted | Withheld | Refusal | Rejected | Malformed | ExchangeFault
Ending = Outcome | BaseException


class Decision(msgspec.Struct, frozen=True, gc=False):
    """The outcome, and the id under which the audit log explains it."""

    id: str
    outcome: Outcome


def conclude(event: Event, outcome: Ending) -> None:
    """Complete the event of an exchange that came to `outcome`. What of it takes time is done here, afterwards."""
    event.tidy()
    match outcome:
        case Minted(token=token):
            event.level, event.outcome, event.reason = "info", "granted", "granted"
            event.granted_scopes, event.granted_tags = token.scopes, token.tags
            event.token_sha256 = token.fingerprint()
        case Refusal(misses=misses):
            event.level, event.outcome, event.reason = "info", "refused", outcome.reason
            event.policy = outcome.policy or ""
            event.misses = [record(miss.policy, miss.condition, miss.facts) for miss in misses]
        case Withheld(reason=reason):
            event.level, event.outcome, event.reason = "info", "refused", reason
        case Rejected(reason=reason, detail=detail):
            event.level, event.outcome, event.reason, event.detail = "info", "rejected", reason, detail
        case Malformed(reason=reason, message=message):
            event.level, event.outcome, event.reason, event.detail = "info", "malformed", reason, message
        case UnavailableError():
            event.level, event.outcome, event.reason = "warning", "unavailable", outcome.reason
            event.detail = str(outcome)
        case ExchangeFault():
            event.level, event.outcome, event.reason = "error", "fault", outcome.reason
            event.detail = str(outcome)
        case Exception():
            event.level, event.outcome, event.reason = "error", "fault", "internal"
            event.detail = type(outcome).__name__
        case _:
            event.level, event.outcome, event.reason = "warning", "aborted", "aborted"
            event.detail = "the server stopped before it was decided"
