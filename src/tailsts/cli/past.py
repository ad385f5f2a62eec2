"""A decision of the past, as the audit log has it."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tailsts.auditing.entries import MAX_LINE_BYTES, Logged, read_line
from tailsts.cli.explaining import printable, rendered
from tailsts.cli.faults import USAGE, give_up
from tailsts.cli.logfile import bounded_lines, opened
from tailsts.errors import FileError

DECISION_LENGTH = 20
NO_SUCH_POLICY = "policy_not_allowed"
# How the reason of a verdict of policies ends, whatever it is about.
_BY_POLICIES = "_not_allowed"
# Why there was no token though no policy said no. {} is the policy that allows it.
_NO_TOKEN = {
    "replayed": "{} allows it, but the token was used already, and may be used once (single_use of the policy, or "
    "--single-use): fetch a new one for each exchange",
    "rate_limited": "{} allows it, but this subject asked more often than its rate_limit allows: wait, and ask again",
    "state_unavailable": "{} allows it, but could not be held to its bounds: what remembers used tokens and rates "
    "could not be asked",
    "audit_unavailable": "{} allows it, but the audit log could not be written, and is required",
    "tailscale_unavailable": "{} allows it, but Tailscale could not give a token then",
    "tailscale_answer": "{} allows it, but Tailscale gave no token that can be handed on",
    "opa_unavailable": "it was not decided: the Open Policy Agent that counts for it did not answer",
    "keys_unavailable": "it was not decided: without the issuer's keys nobody can tell whether the token is good",
}
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
        with opened(str(audit_log)) as file:
            event = next(_matching(bounded_lines(file, MAX_LINE_BYTES), decision), None)
    except FileError as error:
        give_up([f"--audit-log {audit_log} {error}"], USAGE)
    if event is None:
        give_up([f"{audit_log} holds no decision {decision}: is it the log of this server, and of that day?"], USAGE)
    return rendered(event) if as_json else "\n".join(map(printable, _lines(event)))


def _matching(lines: Iterable[bytes], decision: str) -> Iterator[Mapping[str, object]]:
    needle = decision.encode()
    for line in lines:
        if needle in line and isinstance(found := read_line(line), Logged) and found.entry.decision == decision:
            yield json.loads(found.json)


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
    elif why := _NO_TOKEN.get(str(event.get("reason"))):
        yield ""
        yield why.format(f"policy {event['policy']}" if event.get("policy") else "a policy")
    elif str(event.get("reason")).endswith(_BY_POLICIES) and event.get("outcome") == "refused" and not misses:
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
