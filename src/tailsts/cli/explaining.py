"""An explanation as text for people, and as a value for programs."""

import json
from collections.abc import Iterator, Sequence

import msgspec

from tailsts.oidc.rejected import Rejected
from tailsts.policy.decide import Consult, Grant, Refusal
from tailsts.policy.explain import Explanation, Step, Trace

MARKS = {True: "ok", False: "NO", None: "?"}
# Of a service with many policies, those that came nearest are what one wants to read.
MAX_TRACES = 10
NOT_VERIFIED = "not verified"


class Told(msgspec.Struct, frozen=True):
    """What is to be said of one request. `signature` says whose keys verify it, if there is one.

    `unknown` is the reason for which the server could not tell now, '' if it can.
    """

    explanation: Explanation
    signature: str = ""
    unknown: str = ""

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
            value |= {"allowed": None, "reason": "keys_unavailable", "detail": self.unknown, "policy": None}
            value |= {"if_opa_agrees": False, "scopes": [], "tags": [], "tailnet": None}
        return rendered({**value, "signature": self.signature or None})


def text(explanation: Explanation) -> str:
    """Return the policies' checks, the nearest policy first, and then the verdict."""
    return Told(explanation).as_text()


def rendered(value: object) -> str:
    """Return a value as JSON that cannot steer a terminal."""
    # The one control character that JSON lets stand; it can only be within a string.
    return json.dumps(value, indent=2).replace("\x7f", "\\u007f")


def _value(explanation: Explanation) -> dict[str, object]:
    verdict = explanation.verdict
    return {
        "allowed": explanation.allowed,
        "reason": explanation.reason,
        "policy": _policy(explanation),
        "if_opa_agrees": isinstance(verdict, Consult),
        "scopes": list(verdict.scopes) if isinstance(verdict, Grant) else [],
        "tags": list(verdict.tags) if isinstance(verdict, Grant) else [],
        "tailnet": verdict.tailnet if isinstance(verdict, Grant) else None,
        "detail": verdict.detail if isinstance(verdict, Rejected) else "",
        "hint": explanation.hint,
        "policies": [_trace_value(trace) for trace in explanation.traces],
    }


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
    return {"policy": trace.policy, "held": trace.held, "checks": steps}


def _lines(explanation: Explanation, last: Sequence[str] | None) -> Iterator[str]:
    for trace in explanation.traces[:MAX_TRACES]:
        yield f"policy {trace.policy}: {'every check holds' if trace.held else 'no'}"
        width = max((len(step.seen.key) for step in trace.steps), default=0)
        for step in trace.steps:
            yield from _step(step, width)
        yield ""
    if len(explanation.traces) > MAX_TRACES:
        yield f"... and {len(explanation.traces) - MAX_TRACES} policies that came less near"
        yield ""
    if last is not None:
        yield from last
        return
    yield _verdict(explanation)
    if explanation.hint:
        yield f"  hint: {explanation.hint}"


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


def _verdict(explanation: Explanation) -> str:
    verdict = explanation.verdict
    match verdict:
        case Grant(policy=policy, scopes=scopes, tags=tags, tailnet=tailnet):
            more = f", tags {' '.join(tags)}" if tags else ""
            return f"allowed by policy {policy}: scopes {' '.join(scopes)}{more}, tailnet {tailnet}"
        case Consult(policy=policy, opa=opa):
            return f"allowed by policy {policy}, if the Open Policy Agent at {opa.url} says true"
        case Refusal():
            near = f", nearest policy {explanation.traces[0].policy}" if explanation.traces else ""
            return f"denied: {explanation.reason}{near}"
        case Rejected(reason=reason, detail=detail):
            return f"not believed: {reason}: {detail}"
