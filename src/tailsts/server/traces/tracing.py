"""An exchange that is traced: the same story, with a span for each stage. Where traces are off, it is not used."""

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from http import HTTPStatus

import msgspec

from tailsts.audit import Event
from tailsts.exchange import Auditor, Believed, Caller, Clock, Exchange, Neighbours, RecordForSure
from tailsts.in_force import InForce, Keyed, Trusted
from tailsts.oidc.rejected import Rejected
from tailsts.oidc.token import UnverifiedToken
from tailsts.opa import Decided
from tailsts.outbound import TRACEPARENT
from tailsts.outcome import Decision, Ending, ExchangeRequest, Malformed, Minted, Outcome, Use, Withheld, conclude
from tailsts.policy.decide import Consult, Grant, Refusal, Terms, Wanted
from tailsts.server import wire
from tailsts.server.traces.span import Kind, Span, Trace
from tailsts.server.traces.traceparent import Parent, parse

# Traces each second that are made for no other reason than that callers want them, all callers together.
WANTED_BY_CALLERS = 10.0


class Sampling:
    """Which exchanges are traced. `share` is from 0 to 1; `monotonic` gives seconds.

    A caller that traces its own request, and leaves this one out, is followed. One that wants it traced is followed
    within a budget: anybody can want that, before any token is looked at. Our own share is drawn by lot, so that no
    choice of a trace's id gets it.
    """

    def __init__(self, share: float, monotonic: Callable[[], float]) -> None:
        self._share = share
        self._monotonic = monotonic
        self._left = WANTED_BY_CALLERS
        self._looked = monotonic()

    def takes(self, parent: Parent | None) -> bool:
        """Return whether an exchange is traced whose caller is within this span."""
        if parent is not None and not parent.sampled:
            return False
        drawn = random.random() < self._share  # noqa: S311 - nothing to win: who can guess it is traced or not
        return drawn or (parent is not None and self._is_within_budget())

    def _is_within_budget(self) -> bool:
        now = self._monotonic()
        self._left = min(WANTED_BY_CALLERS, self._left + (now - self._looked) * WANTED_BY_CALLERS)
        self._looked = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Tracing(msgspec.Struct, frozen=True):
    """Which exchanges are traced, and what takes their traces, at once."""

    sampling: Sampling
    keep: Callable[[Trace], None]


class TracedExchange(Exchange):
    """An exchange with a span for each stage that an exchange goes through, where `tracing` takes it."""

    def __init__(
        self, in_force: InForce, neighbours: Neighbours, auditor: Auditor, clock: Clock, tracing: Tracing
    ) -> None:
        super().__init__(in_force, neighbours, auditor, clock)
        self._tracing = tracing

    async def decide(self, request: ExchangeRequest | Malformed, caller: Caller) -> Decision:
        """Return the decision about `request`, after it was recorded; as the exchange that is not traced."""
        parent = parse(caller.traceparent)
        if not self._tracing.sampling.takes(parent):
            return await super().decide(request, caller)
        # The wall clock may be set meanwhile; a span's times are those of one clock.
        offset = self._now() - self._monotonic()
        trace = Trace(parent, new_id=random.getrandbits, now=lambda: offset + self._monotonic())
        ours, outgoing = _TRACE.set(trace), TRACEPARENT.set(trace.traceparent)
        try:
            with trace.span("exchange", Kind.SERVER) as root:
                root.attributes["tailsts.generation"] = self.in_force.generation.digest
                decision = await self._decided(request, caller, root)
                _describe(root, decision)
                return decision
        finally:
            TRACEPARENT.reset(outgoing)
            _TRACE.reset(ours)
            self._tracing.keep(trace)

    async def _decided(self, request: ExchangeRequest | Malformed, caller: Caller, root: Span) -> Decision:
        try:
            return await super().decide(request, caller)
        except BaseException as error:
            root.attributes.update(_words(error))
            raise

    async def _fetched(self, trusts: Sequence[Trusted], key_id: str | None, event: Event) -> list[Keyed]:
        with _stage("keys", Kind.CLIENT):
            return await super()._fetched(trusts, key_id, event)

    async def _late(
        self, trusts: Sequence[Trusted], keyed: list[Keyed], key_id: str | None, event: Event
    ) -> list[Keyed]:
        with _stage("keys", Kind.CLIENT):
            return await super()._late(trusts, keyed, key_id, event)

    def _believed(
        self, token: UnverifiedToken, keyed: Sequence[Keyed], now: float, event: Event
    ) -> list[Believed] | Rejected:
        with _stage("verify"):
            return super()._believed(token, keyed, now, event)

    async def _grant(self, believed: list[Believed], wanted: Wanted, now: float, event: Event) -> Grant | Refusal:
        with _stage("decide"):
            return await super()._grant(believed, wanted, now, event)

    async def _consulted(self, question: Consult, decided: Decided, event: Event) -> Grant | Refusal:
        with _stage("opa", Kind.CLIENT):
            return await super()._consulted(question, decided, event)

    async def _spend(
        self, grant: Grant, token: UnverifiedToken, caller: Caller, now: float, event: Event
    ) -> Minted | Withheld:
        if (trace := _TRACE.get()) is not None:
            trace.root.attributes["tailsts.policy"] = grant.policy
        return await super()._spend(grant, token, caller, now, event)

    async def _claimed(
        self, terms: Terms, policy: str, token: UnverifiedToken, now: float, event: Event
    ) -> Withheld | Use:
        with _stage("claim"):
            return await super()._claimed(terms, policy, token, now, event)

    async def _mint(self, grant: Grant, caller: Caller, event: Event) -> Minted:
        with _stage("mint", Kind.CLIENT):
            return await super()._mint(grant, caller, event)

    async def _recorded_for_sure(self, for_sure: RecordForSure, event: Event, minted: Minted) -> Outcome:
        with _stage("record"):
            return await super()._recorded_for_sure(for_sure, event, minted)


_TRACE: ContextVar[Trace | None] = ContextVar("trace", default=None)
_NOT_TRACED = nullcontext()


def _stage(name: str, kind: Kind = Kind.INTERNAL) -> AbstractContextManager[object]:
    trace = _TRACE.get()
    return _NOT_TRACED if trace is None else trace.span(name, kind)


def _describe(root: Span, decision: Decision) -> None:
    status = wire.answer(decision).status
    # OpenTelemetry, HTTP spans: what a caller did wrong is no failure of the server's.
    root.failed = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    root.attributes.update(_words(decision.outcome))
    root.attributes["tailsts.decision"] = decision.id
    root.attributes["http.response.status_code"] = status


def _words(ending: Ending) -> Mapping[str, str]:
    """Return outcome, reason and policy, in the words of the audit log."""
    event = Event("", "", "", "", "")
    conclude(event, ending)
    words = {"tailsts.outcome": event.outcome, "tailsts.reason": event.reason}
    return {**words, "tailsts.policy": event.policy} if event.policy else words
