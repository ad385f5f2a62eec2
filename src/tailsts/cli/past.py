"""A decision of the past, as the audit log has it."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tailsts.cli.explaining import printable, rendered
from tailsts.cli.faults import USAGE, give_up

DECISION_LENGTH = 20
MAX_LINE_BYTES = 1024 * 1024
NO_SUCH_POLICY = "policy_not_allowed"
_BEGINNING = b'{"event":"exchange"'
_SHOWN = (
    "would_refuse",
    "requested_scopes",
    "requested_tags",
    "requested_policy",
    "granted_scopes",
    "granted_tags",
    "policy",
    "tailnet",
    "generation",
    "claims",
)


def shown(audit_log: Path, decision: str, *, as_json: bool) -> str:
    """Return the event of the decision, for people or as JSON. Ends the program if there is none."""
    decision = decision.strip().lower()
    if len(decision) != DECISION_LENGTH or not set(decision) <= set("0123456789abcdef"):
        give_up([f"a decision id has {DECISION_LENGTH} hexadecimal digits"], USAGE)
    try:
        with audit_log.open("rb") as lines:
            event = next(_matching(lines, decision), None)
    except OSError as error:
        give_up([f"--audit-log {audit_log} cannot be read: {error.strerror}"], USAGE)
    if event is None:
        give_up([f"{audit_log} holds no decision {decision}: is it the log of this server, and of that day?"], USAGE)
    return rendered(event) if as_json else "\n".join(map(printable, _lines(event)))


def _matching(lines: Iterable[bytes], decision: str) -> Iterator[Mapping[str, object]]:
    needle = f'"decision":"{decision}"'.encode()
    for line in lines:
        if needle in line and len(line) <= MAX_LINE_BYTES:
            # A line for the console has words before the event, with braces of the subject's perhaps, but no quotes.
            try:
                event = json.loads(line[line.index(_BEGINNING) :])
            except (ValueError, RecursionError):
                continue
            if isinstance(event, dict) and event.get("decision") == decision:
                yield event


def _lines(event: Mapping[str, object]) -> Iterator[str]:
    yield f"decision {event['decision']} at {event.get('time')}: {event.get('outcome')}, {event.get('reason')}"
    if event.get("detail"):
        yield f"  {event['detail']}"
    verified = "" if event.get("verified") else " (not verified: the token's own words)"
    for name in ("issuer", "subject"):
        if event.get(name):
            yield f"  {name:16} {event[name]}{verified}"
    for name in _SHOWN:
        if event.get(name):
            yield f"  {name:16} {_text(event[name])}"
    yield from _why(event)


def _why(event: Mapping[str, object]) -> Iterator[str]:
    misses = list(_misses(event))
    if event.get("reason") == NO_SUCH_POLICY:
        named = json.dumps(event.get("requested_policy"))
        yield ""
        yield f"the request named the policy {named}, and for this token's issuer there is none of that name"
        yield "tailsts explain --token lists those that there are"
    elif event.get("outcome") == "refused" and not misses:
        yield ""
        yield "no policy is for such a token; tailsts explain --token says how near each of them is"
    for miss in misses:
        yield ""
        yield f"policy {miss.get('policy')}: {miss.get('key')} does not hold"
        for name in ("expected", "actual", "detail"):
            if miss.get(name):
                yield f"  {name:8} {miss[name]}"


def _misses(event: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    misses = event.get("misses")
    if isinstance(misses, list):
        yield from (miss for miss in misses if isinstance(miss, dict))


def _text(value: object) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return " ".join(value)
    return value if isinstance(value, str) else json.dumps(value)
