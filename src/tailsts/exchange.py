"""The exchange, from a request to its outcome: keys, verify, decide, mint, record.

Every route of the service goes through `Exchange`: there is one door. Whatever happens in it, one event is recorded.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from tailsts import audit
from tailsts.audit import Event
from tailsts.credentials import AccessToken, Secret
from tailsts.errors import AuditUnavailableError, ExchangeFault, UnavailableError
from tailsts.oidc.jwks import KeyCache
from tailsts.oidc.keys import KeySet
from tailsts.oidc.rejected import Reason, Rejected
from tailsts.oidc.token import UnverifiedToken, decode
from tailsts.oidc.verify import VerifiedToken, verify
from tailsts.policy.decide import Grant, Refusal, best, decide
from tailsts.policy.model import Generation, Trust
from tailsts.tailscale.token_endpoint import TokenEndpoint

# What is said of a token under one trust's keys and may be otherwise under another's.
_OTHER_UNDER_OTHER_KEYS = frozenset(
    {Reason.ALGORITHM, Reason.AMBIGUOUS_KEY, Reason.BAD_SIGNATURE, Reason.KEY_MISMATCH, Reason.UNKNOWN_KEY}
)

# A caller of a mint that took this long (seconds) may have left; asking costs too much to ask each time.
SLOW_MINT = 0.25


class Clock(msgspec.Struct, frozen=True):
    """`now` gives seconds since the epoch, `monotonic` seconds that only ever grow."""

    now: Callable[[], float]
    monotonic: Callable[[], float]


class Caller(msgspec.Struct, frozen=True, gc=False):
    """Who is connected. `has_left` tells whether the connection is gone; it costs a moment to ask."""

    peer: str
    user_agent: str
    has_left: Callable[[], Awaitable[bool]]


class ExchangeRequest(msgspec.Struct, frozen=True, gc=False):
    """A token, not yet looked at, and the scopes that are wanted for it: each once, at least one."""

    bearer: Secret
    scopes: tuple[str, ...]


class Malformed(msgspec.Struct, frozen=True):
    """Not a request for an exchange. `message` is for the caller, `status` the HTTP status that says it."""

    status: int
    reason: str
    message: str


class Minted(msgspec.Struct, frozen=True, gc=False):
    """The access token, and the grant that it was minted for."""

    token: AccessToken
    grant: Grant


Outcome = Minted | Refusal | Rejected | Malformed | ExchangeFault
Ending = Outcome | BaseException
RecordForSure = Callable[[Event, Ending], Awaitable[None]]


class Decision(msgspec.Struct, frozen=True, gc=False):
    """The outcome, and the id under which the audit log explains it."""

    id: str
    outcome: Outcome


class InForce(msgspec.Struct, frozen=True):
    """A generation of policies with the key caches of its trusts, by issuer. An exchange sees one, to its end."""

    generation: Generation
    by_issuer: Mapping[str, Sequence[tuple[Trust, KeyCache]]]


Trusted = tuple[Trust, KeyCache]
Keyed = tuple[Trust, KeySet]
Believed = tuple[Trust, VerifiedToken]


class Auditor(msgspec.Struct, frozen=True):
    """How the events of exchanges are kept; each comes with the outcome, with which `conclude` completes it.

    `record` keeps an event, soon. Where nobody may get a token that the log does not know of, `record_for_sure` keeps
    one now, and `admit` raises AuditUnavailableError if that is impossible at the moment, as the former does itself.
    """

    admit: Callable[[], None]
    record: Callable[[Event, Ending], None]
    record_for_sure: RecordForSure | None


class Exchange:
    """Turns requests into decisions, under the policies that are in force."""

    def __init__(self, in_force: InForce, endpoint: TokenEndpoint, auditor: Auditor, clock: Clock) -> None:
        self.in_force = in_force
        self._endpoint = endpoint
        self._auditor = auditor
        self._now = clock.now
        self._monotonic = clock.monotonic

    async def decide(self, request: ExchangeRequest | Malformed, caller: Caller) -> Decision:
        """Return the decision about `request`, after it was recorded.

        Raises:
            Exception: only for what is a bug here. That, and a cancellation, is recorded as well.
        """
        now = self._now()
        in_force = self.in_force
        # An id, no secret: it must be unlike all others, and may be guessed.
        decision = f"{random.getrandbits(80):020x}"
        event = Event(audit.timestamp(now), decision, in_force.generation.digest, caller.peer, caller.user_agent)
        try:
            outcome = await self._outcome(request, caller, in_force, now, event)
        except ExchangeFault as fault:
            outcome = fault
        except BaseException as error:
            error.add_note(f"decision {decision}")
            self._auditor.record(event, error)
            raise
        for_sure = self._auditor.record_for_sure
        if for_sure is not None and isinstance(outcome, Minted):
            outcome = await self._recorded_for_sure(for_sure, event, outcome)
        else:
            self._auditor.record(event, outcome)
        return Decision(decision, outcome)

    async def _outcome(
        self, request: ExchangeRequest | Malformed, caller: Caller, in_force: InForce, now: float, event: Event
    ) -> Outcome:
        if isinstance(request, Malformed):
            return request
        event.requested_scopes = request.scopes
        # Who does it say is asking?
        token = decode(request.bearer.reveal())
        if isinstance(token, Rejected):
            return token
        event.claims = token.unverified_claims
        # Is it who it says?
        trusts = in_force.by_issuer.get(token.unverified_issuer)
        if trusts is None:
            return Rejected(Reason.UNKNOWN_ISSUER, "no policy names this issuer")
        keyed = _at_hand(trusts, token.key_id) or await self._fetched(trusts, token.key_id, event)
        believed = self._believed(token, keyed, now, event)
        if isinstance(believed, Rejected):
            if believed.reason in _OTHER_UNDER_OTHER_KEYS:
                _refuse_to_guess(trusts, keyed)
            return believed
        # May it have that?
        grant = self._grant(believed, request.scopes, now, event)
        if isinstance(grant, Refusal):
            _refuse_to_guess(trusts, keyed)
            return grant
        # Then it gets exactly that.
        return await self._mint(grant, caller, event)

    async def _fetched(self, trusts: Sequence[Trusted], key_id: str | None, event: Event) -> list[Keyed]:
        started = self._monotonic()
        try:
            return await _fetch(trusts, key_id)
        finally:
            event.keys_ms = (self._monotonic() - started) * 1000

    def _believed(
        self, token: UnverifiedToken, keyed: Sequence[Keyed], now: float, event: Event
    ) -> list[Believed] | Rejected:
        """Verify the token under each trust whose keys can judge it: a policy counts only under its own keys."""
        started = self._monotonic()
        believed: list[Believed] = []
        rejected = None
        for trust, keys in keyed:
            verdict = verify(token, keys, trust.algorithms, now)
            if isinstance(verdict, VerifiedToken):
                believed.append((trust, verdict))
            elif rejected is None or rejected.reason in _OTHER_UNDER_OTHER_KEYS:
                # What the trust says whose key signed counts for more.
                rejected = verdict
        event.verify_ms = (self._monotonic() - started) * 1000
        event.verified = bool(believed)
        return believed if believed or rejected is None else rejected

    def _grant(self, believed: list[Believed], scopes: tuple[str, ...], now: float, event: Event) -> Grant | Refusal:
        started = self._monotonic()
        verdicts = [decide(token, scopes, trust.candidates(token.subject), now) for trust, token in believed]
        event.decide_ms = (self._monotonic() - started) * 1000
        return verdicts[0] if len(verdicts) == 1 else best(verdicts)

    async def _mint(self, grant: Grant, caller: Caller, event: Event) -> Minted:
        event.policy = grant.policy
        self._auditor.admit()
        started = self._monotonic()
        try:
            token = await self._endpoint.mint(grant)
        finally:
            seconds = self._monotonic() - started
            event.mint_ms = seconds * 1000
        if seconds > SLOW_MINT:
            event.undelivered = await caller.has_left()
        return Minted(token, grant)

    async def _recorded_for_sure(self, for_sure: RecordForSure, event: Event, minted: Minted) -> Outcome:
        """Record the minting now, and return it, or the fault that keeps the token from being handed out."""
        spare = msgspec.structs.replace(event)
        try:
            await for_sure(event, minted)
        except AuditUnavailableError as fault:
            # Should the first event be written later after all, this one says what became of the token.
            self._auditor.record(spare, fault)
            return fault
        return minted


def _at_hand(trusts: Sequence[Trusted], key_id: str | None) -> list[Keyed]:
    """Return the key sets that can judge the key id at once.

    If there are any, no other is fetched: a token of one cluster must not have the other cluster's keys fetched.
    """
    return [(trust, keys) for trust, cache in trusts if (keys := cache.cached(key_id)) is not None]


async def _fetch(trusts: Sequence[Trusted], key_id: str | None) -> list[Keyed]:
    """Return the key sets that can judge the key id, fetched anew where the rules of the caches allow it.

    Raises:
        KeysUnavailableError: none holds the key, and one that might cannot be had.
    """
    answers = await asyncio.gather(*(cache.keys_for(key_id) for _, cache in trusts), return_exceptions=True)
    keyed = [(trust, keys) for (trust, _), keys in zip(trusts, answers, strict=True) if isinstance(keys, KeySet)]
    knowing = [(trust, keys) for trust, keys in keyed if keys.knows(key_id)]
    faults = [answer for answer in answers if isinstance(answer, BaseException)]
    if faults and not knowing:
        raise faults[0]
    return knowing or keyed


def _refuse_to_guess(trusts: Sequence[Trusted], keyed: Sequence[Keyed]) -> None:
    """Raise if a trust that might have granted the request has no keys now: then "no" is more than we know."""
    if len(keyed) < len(trusts):
        for _, cache in trusts:
            cache.require_usable()


def conclude(event: Event, outcome: Ending) -> None:
    """Complete the event of an exchange that came to `outcome`. What of it takes time is done here, afterwards."""
    event.tidy()
    match outcome:
        case Minted(token=token):
            event.level, event.outcome, event.reason = "info", "granted", "granted"
            event.granted_scopes = token.scopes
            event.token_sha256 = token.fingerprint()
        case Refusal(policy=policy):
            event.level, event.outcome, event.reason = "info", "refused", outcome.reason
            event.policy = policy or ""
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
