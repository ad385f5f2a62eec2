"""An explanation as text for people, and as a value for programs."""

import json
from collections.abc import Iterator, Sequence
from typing import assert_never

import msgspec

from tailsts.oidc.rejected import Rejected
from tailsts.policy.asked import Unfit
from tailsts.policy.decide import Consult, Grant, Refusal
from tailsts.policy.explain import Explanation, Step, Trace, Under, Verdict
from tailsts.policy.model import Bounds
from tailsts.policy.rate import rate_text

MARKS = {True: "ok", False: "NO", None: "?"}
# Of a service with many policies, those that came nearest are what one wants to read.
MAX_TRACES = 10
NOT_VERIFIED = "not verified"

# What a policy's bounds ask, by their keys.
_BOUNDS = {"single_use": "the token was not used yet", "rate_limit": "its subject asked less often than {}"}
_WHICHEVER = {
    True: "allowed, whichever it is",
    False: "denied, whichever it is",
    None: "cannot be told here: it depends on that",
}


class Told(msgspec.Struct, frozen=True):
    """What is to be said of one request. `signature` says whose keys verify it, if there is one.

    `unknown` is why the server could not tell now, '' if it can; `unknown_reason` the code that its log would have.
    """

    explanation: Explanation
    signature: str = ""
    unknown: str = ""
    unknown_reason: str = "keys_unavailable"

    @property
    def allowed(self) -> bool | None:
        """Whether the server would allow it; None if that cannot be told."""
        return None if self.unknown else self.explanation.allowed

    def as_text(self) -> str:
        """Return it for people."""
        how = " here (--online does)" if self.signature == NOT_VERIFIED else ""
        said = [f"signature: {self.signature}{how}", ""] if self.signature else []
        last = [f"cannot tell now, as the server could not: {self.unknown}"] if self.unknown else None
        return "\n".join(map(printable, [*said, *_lines(self.explanation, last)]))

    def as_json(self) -> str:
        """Return it as one JSON object."""
        value = _value(self.explanation)
        if self.unknown:
            value |= {"allowed": None, "reason": self.unknown_reason, "detail": self.unknown, "policy": None}
            value |= {"if_opa_agrees": False, "scopes": [], "tags": [], "tailnet": None}
            value |= {"or_else": None, "not_judged": {}}
        return rendered({**value, "signature": self.signature or None})


def text(explanation: Explanation) -> str:
    """Return the policies' checks, the nearest policy first, and then the verdict."""
    return Told(explanation).as_text()


def rendered(value: object) -> str:
    """Return a value as JSON that cannot steer a terminal."""
    # The one control character that JSON lets stand; it can only be within a string.
    return json.dumps(value, indent=2).replace("\x7f", "\\u007f")


def _value(explanation: Explanation) -> dict[str, object]:
    # Where several verdicts are possible, nothing is said of one of them alone but in `under`.
    verdict = None if explanation.under else explanation.verdict
    return {
        "allowed": explanation.allowed,
        "reason": explanation.reason or None,
        "policy": None if verdict is None else _policy(explanation),
        "if_opa_agrees": isinstance(verdict, Consult),
        "scopes": list(verdict.scopes) if isinstance(verdict, Grant) else [],
        "tags": list(verdict.tags) if isinstance(verdict, Grant) else [],
        "tailnet": verdict.tailnet if isinstance(verdict, Grant) else None,
        "or_else": _or_else(explanation),
        "not_judged": {} if verdict is None else dict(_not_judged(explanation, verdict)),
        "detail": verdict.detail if isinstance(verdict, Rejected) else "",
        "message": verdict.message if isinstance(verdict, Unfit) else "",
        "hint": explanation.hint,
        "would_refuse": explanation.would_refuse or None,
        "under": [_under_value(under) for under in explanation.under],
        "policies": [_trace_value(trace) for trace in explanation.traces],
    }


def _under_value(under: Under) -> dict[str, object]:
    alone = Explanation(under.verdict, "", (), otherwise=under.otherwise)
    policy = under.verdict.policy if isinstance(under.verdict, Grant | Consult | Refusal) else None
    other = None if under.otherwise is None else under.otherwise.policy
    said = {"keys": under.source, "allowed": alone.allowed, "reason": alone.reason or None}
    return {**said, "policy": policy, "or_else": other}


def _or_else(explanation: Explanation) -> dict[str, object] | None:
    """Return what another policy grants, if the agent does not agree."""
    grant = explanation.otherwise
    if grant is None or explanation.under:
        return None
    granted = {"policy": grant.policy, "scopes": list(grant.scopes), "tags": list(grant.tags), "tailnet": grant.tailnet}
    return {**granted, "not_judged": dict(_not_judged(explanation, grant))}


def _not_judged(explanation: Explanation, verdict: Verdict) -> Iterator[tuple[str, object]]:
    """Yield what the policy that allows it asks beyond all this: only the server knows what was used."""
    if isinstance(verdict, Grant | Consult):
        for trace in explanation.traces:
            if trace.policy == verdict.policy and trace.bounds is not None:
                yield from _bounds(trace.bounds)


def _bounds(bounds: Bounds) -> Iterator[tuple[str, object]]:
    if bounds.single_use:
        yield "single_use", True
    if bounds.rate is not None:
        yield "rate_limit", rate_text(bounds.rate)


def printable(line: str) -> str:
    """Return a line that cannot steer a terminal, whatever a token held."""
    return line if line.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def _policy(explanation: Explanation) -> str | None:
    verdict = explanation.verdict
    if isinstance(verdict, Grant | Consult):
        return verdict.policy
    # Of a refusal, the one that came nearest.
    return explanation.traces[0].policy if explanation.traces and isinstance(verdict, Refusal) else None


def _trace_value(trace: Trace) -> dict[str, object]:
    steps: list[dict[str, object]] = [
        {
            "check": step.check.name.lower(),
            "held": step.held,
            **msgspec.to_builtins(step.seen),
            **({"hint": step.hint} if step.hint else {}),
        }
        for step in trace.steps
    ]
    bounds = {} if trace.bounds is None else dict(_bounds(trace.bounds))
    return {"policy": trace.policy, "held": trace.held, "checks": steps, "not_judged": bounds}


def _lines(explanation: Explanation, last: Sequence[str] | None) -> Iterator[str]:
    for trace in explanation.traces[:MAX_TRACES]:
        yield from _trace(trace)
        yield ""
    if len(explanation.traces) > MAX_TRACES:
        yield f"... and {len(explanation.traces) - MAX_TRACES} policies that came less near"
        yield ""
    if explanation.would_refuse:
        yield f"allow-list: {explanation.would_refuse}, but it only watches (mode audit): the event has would_refuse"
    yield from _verdict_lines(explanation) if last is None else last


def _trace(trace: Trace) -> Iterator[str]:
    yield f"policy {trace.policy}: {'every check holds' if trace.held else 'no'}"
    bounds = [] if trace.bounds is None else list(_bounds(trace.bounds))
    names = [*(step.seen.key for step in trace.steps), *(name for name, _ in bounds)]
    width = max(map(len, names), default=0)
    for step in trace.steps:
        yield from _step(step, width)
    for name, value in bounds:
        yield f"  {MARKS[None]:2} {name:{width}}  {_BOUNDS[name].format(value)}: not judged here"


def _verdict_lines(explanation: Explanation) -> Iterator[str]:
    if explanation.under:
        yield "which keys signed it is not known here (--online finds out)"
        for under in explanation.under:
            more = "" if under.otherwise is None else f"; or else {_verdict(under.otherwise)}"
            yield f"  if those of {under.source}: {_verdict(under.verdict)}{more}"
        yield _WHICHEVER[explanation.allowed]
    else:
        yield from _verdict_and_bounds(explanation, explanation.verdict, "")
        if explanation.otherwise is not None:
            yield from _verdict_and_bounds(explanation, explanation.otherwise, "or else ")
    if explanation.hint:
        yield f"  hint: {explanation.hint}"


def _verdict_and_bounds(explanation: Explanation, verdict: Verdict, before: str) -> Iterator[str]:
    yield f"{before}{_verdict(verdict)}"
    for name, value in _not_judged(explanation, verdict):
        yield f"  if {_BOUNDS[name].format(value)} ({name}), which only the server knows"


def _step(step: Step, width: int) -> Iterator[str]:
    seen = step.seen
    head = f"  {MARKS[step.held]:2} {seen.key:{width}}  "
    yield f"{head}expected {seen.expected}"
    indent = " " * len(head)
    yield f"{indent}actual   {seen.actual}"
    if seen.detail and step.held is not True:
        yield f"{indent}         {seen.detail}"
    if step.hint:
        yield f"{indent}hint:    {step.hint}"


def _verdict(verdict: Verdict) -> str:
    match verdict:
        case Grant(policy=policy, scopes=scopes, tags=tags, tailnet=tailnet):
            more = f", tags {' '.join(tags)}" if tags else ""
            return f"allowed by policy {policy}: scopes {' '.join(scopes)}{more}, tailnet {tailnet}"
        case Consult(policy=policy, opa=opa):
            return f"allowed by policy {policy}, if the Open Policy Agent at {opa.url} says true"
        case Refusal(policy=policy):
            return f"denied: {verdict.reason}{'' if policy is None else f', nearest policy {policy}'}"
        case Rejected(reason=reason, detail=detail):
            return f"not believed: {reason}: {detail}"
        case Unfit(reason=reason, message=message):
            return f"not a request: {reason}: {message}"
        case _:
            assert_never(verdict)
