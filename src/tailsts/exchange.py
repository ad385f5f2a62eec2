"""The exchange, from a request to its outcome: keys, verify, decide, mint, record.

Every route of the service goes through `Exchange`: there is one door. Whatever happens in it, one event is recorded.
"""

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from tailsts import audit
from tailsts.audit import Event
from tailsts.errors import AuditUnavailableError, ExchangeFault, TailscaleNotAskedError
from tailsts.in_force import InForce, Keyed, Trusted, at_hand, fetch, first_keys, refuse_to_guess
from tailsts.oidc.rejected import Reason, Rejected
from tailsts.oidc.token import UnverifiedToken, decode
from tailsts.oidc.verify import VerifiedToken, verify
from tailsts.opa import Decided, Opa
from tailsts.outcome import Decision, Ending, ExchangeRequest, Malformed, Minted, Outcome, Use, Withheld
from tailsts.policy.decide import Consult, Grant, Refusal, Terms, Wanted, decide
from tailsts.policy.model import Trust
from tailsts.policy.trusted import TrustedIssuers
from tailsts.tailscale.token_endpoint import TokenEndpoint
from tailsts.usage import Usage

# What is said of a token under one trust's keys and may be otherwise under another's.
OTHER_UNDER_OTHER_KEYS = frozenset(
    {Reason.ALGORITHM, Reason.AMBIGUOUS_KEY, Reason.BAD_SIGNATURE, Reason.KEY_MISMATCH, Reason.UNKNOWN_KEY}
)

# A caller of a mint that took this long (seconds) may have left; asking costs too much to ask each time.
SLOW_MINT = 0.25


class Clock(msgspec.Struct, frozen=True):
    """`now` gives seconds since the epoch, `monotonic` seconds that only ever grow."""

    now: Callable[[], float]
    monotonic: Callable[[], float]


class Caller(msgspec.Struct, frozen=True, gc=False):
    """Who is connected. `has_left` tells whether the connection is gone; it costs a moment to ask.

    `traceparent` is the header field of that name, looked at only where exchanges are traced.
    """

    peer: str
    user_agent: str
    has_left: Callable[[], Awaitable[bool]]
    traceparent: str | None = None


RecordForSure = Callable[[Event, Ending], Awaitable[None]]


Believed = tuple[Trust, VerifiedToken]


class Auditor(msgspec.Struct, frozen=True):
    """How the events of exchanges are kept; each comes with the outcome, with which `conclude` completes it.

    `record` keeps an event, soon. Where nobody may get a token that the log does not know of, `record_for_sure` keeps
    one now, and `admit` raises AuditUnavailableError if that is impossible at the moment, as the former does itself.
    """

    admit: Callable[[], None]
    record: Callable[[Event, Ending], None]
    record_for_sure: RecordForSure | None


class Neighbours(msgspec.Struct, frozen=True):
    """Whom an exchange may ask: the token endpoint of each tailnet by its name, Open Policy Agents, what was used."""

    endpoints: Mapping[str, TokenEndpoint]
    opa: Opa
    usage: Usage


class Exchange:
    """Turns requests into decisions, under the policies that are in force."""

    def __init__(self, in_force: InForce, neighbours: Neighbours, auditor: Auditor, clock: Clock) -> None:
        self.in_force = in_force
        self._endpoints = neighbours.endpoints
        self._opa = neighbours.opa
        self._usage = neighbours.usage
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
            # Its traceback would hold this frame, and the frame the fault: a cycle, and exchanges make none.
            outcome = fault.with_traceback(None)
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
        _note_request(event, request.wanted)
        # Who does it say is asking?
        token = decode(request.bearer.reveal())
        if isinstance(token, Rejected):
            return token
        event.claims = token.unverified_claims
        # Is it who it says?
        if in_force.trusted is not None and (refused := _refuse_issuer(in_force.trusted, token, event)):
            return refused
        trusts = in_force.trusts_of(token.unverified_issuer)
        if not trusts:
            return Rejected(Reason.UNKNOWN_ISSUER, "no policy names this issuer")
        keyed = at_hand(trusts, token.key_id) or await self._fetched(trusts, token.key_id, event)
        # May it have that?
        verdict = await self._judged(token, keyed, request.wanted, now, event)
        if not isinstance(verdict, Grant) and len(keyed) < len(trusts) and _is_open(verdict):
            keyed = await self._late(trusts, keyed, token.key_id, event)
            verdict = await self._judged(token, keyed, request.wanted, now, event)
        if isinstance(verdict, Grant):
            # Then it gets exactly that.
            return await self._spend(verdict, token, caller, now, event)
        if _is_open(verdict):
            refuse_to_guess(trusts, keyed)
        return verdict

    async def _judged(
        self, token: UnverifiedToken, keyed: Sequence[Keyed], wanted: Wanted, now: float, event: Event
    ) -> Grant | Refusal | Rejected:
        believed = self._believed(token, keyed, now, event)
        return believed if isinstance(believed, Rejected) else await self._grant(believed, wanted, now, event)

    async def _late(
        self, trusts: Sequence[Trusted], keyed: list[Keyed], key_id: str | None, event: Event
    ) -> list[Keyed]:
        """Wait for keys that are being fetched for the first time, and return all that can judge the token now."""
        started = self._monotonic()
        await first_keys(trusts, key_id)
        event.keys_ms += (self._monotonic() - started) * 1000
        return at_hand(trusts, key_id) or keyed

    async def _fetched(self, trusts: Sequence[Trusted], key_id: str | None, event: Event) -> list[Keyed]:
        started = self._monotonic()
        try:
            return await fetch(trusts, key_id)
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
            elif rejected is None or rejected.reason in OTHER_UNDER_OTHER_KEYS:
                # What the trust says whose key signed counts for more.
                rejected = verdict
        event.verify_ms = (self._monotonic() - started) * 1000
        event.verified = bool(believed)
        return believed if believed or rejected is None else rejected

    async def _grant(self, believed: list[Believed], wanted: Wanted, now: float, event: Event) -> Grant | Refusal:
        started = self._monotonic()
        trusts, token = [trust for trust, _ in believed], believed[0][1]
        verdict = decide(trusts, token, wanted, now)
        event.decide_ms = (self._monotonic() - started) * 1000
        if not isinstance(verdict, Consult):
            return verdict
        return await self._consulted(verdict, lambda answers: decide(trusts, token, wanted, now, answers), event)

    async def _consulted(self, question: Consult, decided: Decided, event: Event) -> Grant | Refusal:
        """Ask Open Policy Agents, as long as the decision depends on one that was not asked yet."""
        started = self._monotonic()
        try:
            verdict, fault = await self._opa.consulted(question, decided)
        finally:
            event.opa_ms = (self._monotonic() - started) * 1000
        if fault is not None:
            if isinstance(verdict, Refusal):
                raise fault
            event.detail = str(fault)
        return verdict

    async def _spend(
        self, grant: Grant, token: UnverifiedToken, caller: Caller, now: float, event: Event
    ) -> Minted | Withheld:
        """Mint, on the terms of the grant: what was used up and came to nothing is given back."""
        event.policy, event.tailnet = grant.policy, grant.tailnet
        self._auditor.admit()
        if grant.terms is None:
            return await self._mint(grant, caller, event)
        use = await self._claimed(grant.terms, grant.policy, token, now, event)
        if isinstance(use, Withheld):
            return use
        try:
            minted = await self._mint(grant, caller, event)
        except BaseException:
            # Nobody gets a token, whatever became of it.
            await self._usage.give_back(use, self._now())
            raise
        return msgspec.structs.replace(minted, use=use)

    async def _claimed(
        self, terms: Terms, policy: str, token: UnverifiedToken, now: float, event: Event
    ) -> Withheld | Use:
        started = self._monotonic()
        try:
            return await self._usage.claim(terms, policy, token, now)
        finally:
            event.claim_ms = (self._monotonic() - started) * 1000

    async def _mint(self, grant: Grant, caller: Caller, event: Event) -> Minted:
        started = self._monotonic()
        try:
            token = await self._endpoints[grant.tailnet].mint(grant)
        except TailscaleNotAskedError:
            # Which took it no time.
            raise
        except BaseException:
            event.mint_ms = (self._monotonic() - started) * 1000
            raise
        seconds = self._monotonic() - started
        event.mint_ms = seconds * 1000
        if seconds > SLOW_MINT:
            event.undelivered = await caller.has_left()
        return Minted(token, grant)

    async def _recorded_for_sure(self, for_sure: RecordForSure, event: Event, minted: Minted) -> Outcome:
        """Record the minting now, and return it, or the fault that keeps the token from being handed out."""
        spare = msgspec.structs.replace(event)
        started = self._monotonic()
        try:
            await for_sure(event, minted)
        except AuditUnavailableError as fault:
            # Should the first event be written later after all, this one says what became of the token; and how long
            # it was waited for, which no event can say of itself.
            spare.record_ms = (self._monotonic() - started) * 1000
            self._auditor.record(spare, fault)
            await self._give_back(minted)
            return fault
        except BaseException:
            await self._give_back(minted)
            raise
        return minted

    async def _give_back(self, minted: Minted) -> None:
        if minted.use is not None:
            await self._usage.give_back(minted.use, self._now())


def _is_open(verdict: Refusal | Rejected) -> bool:
    """Return whether another trust's keys may still come to another verdict."""
    return isinstance(verdict, Refusal) or verdict.reason in OTHER_UNDER_OTHER_KEYS


def _note_request(event: Event, wanted: Wanted) -> None:
    event.requested_scopes = wanted.scopes
    if wanted.tags:
        event.requested_tags = wanted.tags
    if wanted.policy is not None:
        event.requested_policy = wanted.policy


def _refuse_issuer(trusted: TrustedIssuers, token: UnverifiedToken, event: Event) -> Rejected | None:
    """Return the verdict of the allow-list. One that only watches leaves a note in the event."""
    if trusted.permits(token.unverified_issuer):
        return None
    if trusted.mode == "enforce":
        return Rejected(Reason.UNTRUSTED_ISSUER, "the issuer is not among the trusted ones")
    event.would_refuse = Reason.UNTRUSTED_ISSUER
    return None
