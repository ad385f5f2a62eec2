"""What one condition asked, and what it was given: expected and actual side by side. Pure.

The condition itself says whether it holds; here it is only put into words. What is actual is the token's own.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import assert_never

import msgspec

from tailsts.policy.claims import MISSING, kind, lookup, spelled
from tailsts.policy.condition import (
    AgeAtMost,
    AlgorithmAmong,
    AudienceAmong,
    AudienceMatches,
    ClaimIs,
    ClaimMatches,
    Condition,
    ExpressionHolds,
    Facts,
    LifetimeAtMost,
    OpaAllows,
    ScopesAmong,
    SubjectIs,
    SubjectMatches,
    TagsAmong,
    Within,
)

# A value that a stranger chose is shown up to here.
MAX_SHOWN = 256
MAX_LISTED = 20
# What an Open Policy Agent that was asked may do, beside saying something.
NO_ANSWER = "it gave no answer"


class Observation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One condition of a policy, asked of a request. `key` is that of the policy; `detail` says more, if anything."""

    key: str
    expected: str
    actual: str
    detail: str = ""


def observe(condition: Condition | OpaAllows, facts: Facts) -> Observation:
    """Return what `condition` expects, and what of `facts` it looked at."""
    match condition:
        case SubjectIs() | SubjectMatches():
            return _subject(condition, facts)
        case ClaimIs() | ClaimMatches():
            return _claim(condition, facts)
        case AudienceAmong() | AudienceMatches():
            return _audience(condition, facts)
        case AlgorithmAmong(algorithms=algorithms):
            return Observation("algorithm", _any_of(sorted(algorithms)), shown(facts.token.algorithm))
        case ScopesAmong() | TagsAmong():
            return _rights(condition, facts)
        case ExpressionHolds():
            return _expression(condition, facts)
        case OpaAllows(url=url):
            return Observation("opa", f"{url} says true", "it does not")
        case LifetimeAtMost() | AgeAtMost() | Within():
            return _times(condition, facts)
        case _:
            assert_never(condition)


def record(policy: str, condition: Condition | OpaAllows, facts: Facts) -> dict[str, str]:
    """Return what the audit log keeps of the condition at which `policy` refused: short texts."""
    seen = observe(condition, facts)
    row = {"policy": policy, "check": condition.check.name.lower(), "key": seen.key}
    row |= {"expected": seen.expected, "actual": seen.actual, "detail": seen.detail}
    return {name: cut(text) for name, text in row.items() if text}


def _subject(condition: SubjectIs | SubjectMatches, facts: Facts) -> Observation:
    actual = shown(facts.token.subject)
    if isinstance(condition, SubjectIs):
        return Observation("subject", shown(condition.subject), actual)
    return Observation("subject_pattern", f"/{condition.pattern.text}/", actual)


def _audience(condition: AudienceAmong | AudienceMatches, facts: Facts) -> Observation:
    actual = _all_of([shown(audience) for audience in facts.token.audiences[:MAX_LISTED]])
    if isinstance(condition, AudienceAmong):
        return Observation("audience", _any_of(sorted(condition.audiences)), actual)
    return Observation("audience_pattern", f"/{condition.pattern.text}/", actual)


def _rights(condition: ScopesAmong | TagsAmong, facts: Facts) -> Observation:
    key, wanted = (
        ("allowed_scopes", facts.scopes) if isinstance(condition, ScopesAmong) else ("allowed_tags", facts.tags)
    )
    allowed = condition.allowed
    return Observation(key, _within(allowed), _all_of(wanted), _beyond(wanted, allowed))


def _claim(condition: ClaimIs | ClaimMatches, facts: Facts) -> Observation:
    actual = lookup(facts.token.claims, condition.path)
    if isinstance(condition, ClaimIs):
        key, expected = "claims", _any_of([shown(value) for value in condition.values], quote=False)
        kinds = list(dict.fromkeys(kind(value) for value in condition.values))
    else:
        key, expected, kinds = "claim_patterns", f"/{condition.pattern.text}/", ["a string"]
    detail = ""
    if actual is not MISSING and kind(actual) not in kinds:
        detail = f"the policy has {' or '.join(kinds)}, the token {kind(actual)}"
    return Observation(spelled((key, *condition.path)), expected, shown(actual), detail)


def _expression(condition: ExpressionHolds, facts: Facts) -> Observation:
    expression = condition.expression
    result = expression.evaluate(facts.token.claims, facts.scopes, facts.tags, facts.now)
    if isinstance(result, bool):
        return Observation("condition", expression.text, str(result).lower())
    return Observation("condition", expression.text, "cannot be evaluated", result.reason)


def _times(condition: LifetimeAtMost | AgeAtMost | Within, facts: Facts) -> Observation:
    token = facts.token
    match condition:
        case LifetimeAtMost(seconds=seconds):
            start, since = (facts.now, "from now") if token.issued_at is None else (token.issued_at, "from iat")
            lives = token.expires_at - start
            return Observation("max_lifetime", f"at most {seconds} s", f"{lives:.0f} s {since} to exp")
        case AgeAtMost(seconds=seconds):
            issued_at = token.issued_at
            age = "no iat" if issued_at is None else f"{facts.now - issued_at:.0f} s since iat"
            return Observation("max_age", f"at most {seconds} s", age)
        case Within(not_before=not_before, not_after=not_after):
            first = "" if not_before is None else f"from {moment(not_before)} "
            last = "" if not_after is None else f"before {moment(not_after)}"
            key = "not_before" if not_before is not None and facts.now < not_before else "not_after"
            return Observation(key, f"{first}{last}".strip(), moment(facts.now))
        case _:
            assert_never(condition)


def shown(value: object) -> str:
    """Return a value as JSON, cut to a bounded length; a missing claim as such."""
    if value is MISSING:
        return "missing"
    return cut(msgspec.json.encode(value).decode())


def cut(text: str) -> str:
    """Return the text, or its beginning."""
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."


def moment(seconds: float) -> str:
    """Return a time in seconds since the epoch as RFC 3339 in UTC."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f} s since the epoch"


def _any_of(values: Sequence[str], *, quote: bool = True) -> str:
    texts = [shown(value) for value in values] if quote else values
    return texts[0] if len(texts) == 1 else f"one of {', '.join(texts)}"


def _all_of(values: Sequence[str]) -> str:
    return cut(", ".join(values[:MAX_LISTED])) or "none"


def _within(allowed: frozenset[str]) -> str:
    return f"within {', '.join(sorted(allowed))}" if allowed else "none"


def _beyond(wanted: Sequence[str], allowed: frozenset[str]) -> str:
    beyond = [each for each in wanted if each not in allowed]
    return f"not allowed: {_all_of(beyond)}" if beyond else ""
