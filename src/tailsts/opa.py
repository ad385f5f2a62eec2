"""Asks an Open Policy Agent whether it agrees (Data API: POST {"input": ...}, answered by {"result": ...}).

Yes is the JSON value `true` and nothing else: an undefined rule, an object, or a text is a no. That it does not answer,
or answers that it failed, is neither.
"""

from collections.abc import Callable, Mapping

import msgspec

from tailsts.errors import OpaUnavailableError, OutboundError, StrictJsonError
from tailsts.outbound import HTTP_OK, Limits, Outbound
from tailsts.policy.decide import Consult, Grant, Refusal
from tailsts.strictjson import decode as decode_json

# One question, and all questions of one exchange together: an agent that hangs leaves time for another policy's.
# A caller waits for it, and it is next door.
DEADLINE = 1.0
TOGETHER = 2 * DEADLINE
LIMITS = Limits(connect=DEADLINE, total=DEADLINE, body=64 * 1024)
RETRY_AFTER = 5

# A decision, by what agents said so far of policies: see `tailsts.policy.decide`.
Decided = Callable[[Mapping[str, bool]], Grant | Refusal | Consult]

_ENCODER = msgspec.json.Encoder()


class Opa:
    """The agents that policies name. `monotonic` gives seconds."""

    def __init__(self, *, extra_roots: tuple[bytes, ...], monotonic: Callable[[], float]) -> None:
        self._outbound = Outbound(LIMITS, extra_roots=extra_roots, headers={"content-type": "application/json"})
        self._monotonic = monotonic

    def deadline(self) -> float:
        """Return until when, by the monotonic clock, questions that are asked from now on may take."""
        return self._monotonic() + TOGETHER

    async def consulted(
        self, question: Consult, decided: Decided
    ) -> tuple[Grant | Refusal, OpaUnavailableError | None]:
        """Return what is decided when every agent was asked that it depends on, and the first fault of one, if any.

        An agent that gives no answer agrees to nothing, and is not asked again: it stands in the way of its own
        policies alone. A grant is one all the same; a refusal then is more than anybody knows.
        """
        deadline = self.deadline()
        answers: dict[str, bool] = {}
        faults: dict[str, OpaUnavailableError] = {}
        verdict: Grant | Refusal | Consult = question
        while isinstance(verdict, Consult):
            agrees = False
            if verdict.opa.url not in faults:
                try:
                    agrees = await self.agrees(verdict, deadline)
                except OpaUnavailableError as fault:
                    # Its traceback would hold this frame, and the frame the fault.
                    faults[verdict.opa.url] = fault.with_traceback(None)
            answers[verdict.policy] = agrees
            verdict = decided(answers)
        return verdict, next(iter(faults.values()), None)

    async def agrees(self, question: Consult, deadline: float) -> bool:
        """Return whether the agent says yes to what a policy would grant.

        Raises:
            OpaUnavailableError: it gave no answer in time, or none that is one.
        """
        left = min(DEADLINE, deadline - self._monotonic())
        if left <= 0:
            raise _unavailable(question, "no time is left to ask it")
        try:
            response = await self._outbound.post(question.opa.url, _body(question), left)
        except OutboundError as error:
            raise _unavailable(question, str(error)) from None
        if response.status != HTTP_OK:
            raise _unavailable(question, f"it answered {response.status}")
        return _is_yes(response.body)


def _body(question: Consult) -> bytes:
    facts = question.facts
    return _ENCODER.encode(
        {
            "input": {
                "claims": facts.token.claims,
                "scopes": facts.scopes,
                "tags": facts.tags,
                "policy": question.policy,
            }
        }
    )


def _is_yes(body: bytes) -> bool:
    try:
        answer = decode_json(body)
    except StrictJsonError:
        return False
    return isinstance(answer, dict) and answer.get("result") is True


def _unavailable(question: Consult, why: str) -> OpaUnavailableError:
    message = f"the Open Policy Agent of policy {question.policy} ({question.opa.url}): {why}"
    return OpaUnavailableError(message, retry_after=RETRY_AFTER)
