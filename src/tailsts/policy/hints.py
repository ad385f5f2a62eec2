"""What probably went wrong, said to whoever wrote the policy or asked for the token. Pure.

Hints guess; conditions decide. So here a subject may be taken apart that a decision only ever compares.
"""

import re
from collections.abc import Iterable
from typing import assert_never

from tailsts.policy.claims import MISSING, kind, lookup
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
from tailsts.policy.observe import shown
from tailsts.policy.patterns.pattern import Pattern
from tailsts.scopes import LEGACY, is_tag

# Audiences that issuers put in by themselves, or that are asked for on behalf of others.
_OTHER_SERVICES = (
    (re.compile(r"https://github\.com/[^/]+"), "GitHub's default"),
    (re.compile(r"sts\.amazonaws\.com"), "AWS STS"),
    (re.compile(r"https://buildkite\.com/.*"), "Buildkite's default"),
    (re.compile(r"https://fly\.io/.*"), "Fly.io's default"),
    (re.compile(r"ari:cloud:bitbucket::.*"), "Bitbucket's default"),
    (re.compile(r"https://iam\.googleapis\.com/.*|//iam\.googleapis\.com/.*"), "Google Cloud"),
    (re.compile(r"https://kubernetes\.default\.svc.*"), "the Kubernetes API server's own"),
    (re.compile(r"api://AzureADTokenExchange"), "Microsoft Entra"),
    (re.compile(r"sigstore|octo-sts\.dev|https://octo-sts\.dev"), "another service"),
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "the id of an organisation or application"),
)
# GitHub's subject for repositories that were created, renamed or moved since July 2026.
_WITH_IDS = re.compile(r"repo:([^/@:]+)@([0-9]+)/([^/@:]+)@([0-9]+):(.*)")


def hint(condition: Condition | OpaAllows, facts: Facts) -> str:
    """Return what may explain that `condition` did not hold, or ''."""
    match condition:
        case SubjectIs() | SubjectMatches():
            return _subject(condition, facts)
        case ClaimIs() | ClaimMatches():
            return _claim(condition, facts)
        case AudienceAmong() | AudienceMatches():
            return _audience(condition, facts)
        case ScopesAmong(allowed=allowed):
            return _scopes(allowed, facts.scopes)
        case TagsAmong(allowed=allowed):
            return "" if allowed else "the policy has no allowed_tags, so no tag may be asked for"
        case LifetimeAtMost() | AgeAtMost():
            return _times(condition, facts)
        case AlgorithmAmong() | ExpressionHolds() | Within() | OpaAllows():
            return ""
        case _:
            assert_never(condition)


def near_issuer(issuer: str, named: Iterable[str], patterns: Iterable[Pattern] = ()) -> str:
    """Return what may explain that no policy names `issuer`, given the names and patterns that policies have."""
    for other in named:
        if said := _twin(other, issuer):
            return f"{shown(other)}: {said}"
    twins = (issuer.rstrip("/"), f"{issuer}/", issuer.casefold(), issuer.strip(), f"https://{issuer}")
    for pattern in patterns:
        for other in twins:
            if pattern.matches(other) and (said := _twin(other, issuer)):
                return f"issuer_pattern /{pattern.text}/ matches {shown(other)}: {said}"
    return ""


def unfit(reason: str, culprit: str) -> str:
    """Return what is wrong with a request that is none, given the text that is at fault."""
    if not culprit:
        return ""
    if reason == "bad_tag" and is_tag(f"tag:{culprit}"):
        return f"{shown(culprit)}: write tag:{culprit}"
    return f"{shown(culprit)} is none"


def duration(seconds: float) -> str:
    """Return a duration in the largest unit that keeps it readable."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _subject(condition: SubjectIs | SubjectMatches, facts: Facts) -> str:
    if isinstance(condition, SubjectIs):
        return _exact_subject(condition.subject, facts.token.subject)
    return _subject_pattern(condition.pattern.text, facts.token.subject)


def _exact_subject(expected: str, actual: str) -> str:
    if said := _twin(expected, actual):
        return said
    if (found := _WITH_IDS.fullmatch(actual)) and expected.startswith(f"repo:{found[1]}/{found[3]}:"):
        return _with_ids(found) + ("" if expected.endswith(found[5]) else "; what follows differs too")
    if (found := _WITH_IDS.fullmatch(expected)) and actual.startswith(f"repo:{found[1]}/{found[3]}:"):
        return (
            "the token has GitHub's subject without ids: pin repository_id and repository_owner_id in [claims] instead"
        )
    if "*" in expected:
        return "* stands for itself in subject: write a subject_pattern"
    return _github_parts(expected, actual)


def _with_ids(found: re.Match[str]) -> str:
    return (
        "the token has GitHub's subject with ids, which repositories have that were created, renamed or moved since "
        f'July 2026: pin repository_id = "{found[4]}" and repository_owner_id = "{found[2]}" in [claims] instead'
    )


def _github_parts(expected: str, actual: str) -> str:
    head, _, asked = expected.partition(":")[2].partition(":")
    same, _, had = actual.partition(":")[2].partition(":")
    if not expected.startswith("repo:") or head != same:
        return ""
    if asked.startswith("environment:") and not had.startswith("environment:"):
        return "the same repository, but the job names no environment"
    if had.startswith("environment:") and not asked.startswith("environment:"):
        return "the same repository; a job with an environment has that in its subject, and not its ref"
    return "the same repository, from somewhere else in it"


def _subject_pattern(pattern: str, actual: str) -> str:
    found = _WITH_IDS.fullmatch(actual)
    if found and pattern.replace("\\", "").startswith(f"repo:{found[1]}/"):
        return _with_ids(found)
    return "a pattern matches the whole of the subject, from its first to its last character"


def _claim(condition: ClaimIs | ClaimMatches, facts: Facts) -> str:
    actual = lookup(facts.token.claims, condition.path)
    name = condition.path[-1]
    if actual is MISSING:
        return _missing(condition.path, facts)
    if isinstance(actual, list | tuple):
        return f'the claim is a list: write a condition, like "x" in claims.{name}'
    if isinstance(condition, ClaimMatches):
        if isinstance(actual, str):
            return "a pattern matches the whole of the claim, from its first to its last character"
        return f"a pattern is for a string, and the claim is {kind(actual)}"
    for value in condition.values:
        if type(value) is not type(actual) and str(value).lower() == str(actual).lower():
            return f"same text, other type: the policy has {kind(value)}, the token {kind(actual)}"
        if isinstance(value, str) and isinstance(actual, str) and (said := _twin(value, actual)):
            return said
    return ""


def _missing(path: tuple[str, ...], facts: Facts) -> str:
    parent = lookup(facts.token.claims, path[:-1]) if len(path) > 1 else facts.token.claims
    names = parent.keys() if isinstance(parent, dict) else ()
    twins = [name for name in names if name.lower() == path[-1].lower()]
    if twins:
        return f'the token has "{twins[0]}": names of claims are compared with their case'
    if len(path) > 1 and ".".join(path) in facts.token.claims:
        return f'the token has a claim whose name has dots in it: write "{".".join(path)}" in quotes'
    return "the token has no such claim"


def _audience(condition: AudienceAmong | AudienceMatches, facts: Facts) -> str:
    expected = condition.audiences if isinstance(condition, AudienceAmong) else frozenset[str]()
    actual = facts.token.audiences
    if not actual:
        return "the token has no audience: ask its issuer for one with ours"
    for ours in expected:
        for theirs in actual:
            if said := _twin(ours, theirs):
                return said
    for pattern, whose in _OTHER_SERVICES:
        if any(pattern.fullmatch(audience) for audience in actual):
            return f"the token was made for another service ({whose}): ask its issuer for one with ours"
    return "the token was made for another service: ask its issuer for one with ours"


def _scopes(allowed: frozenset[str], wanted: tuple[str, ...]) -> str:
    beyond = [scope for scope in wanted if scope not in allowed]
    for scope in beyond:
        if f"{scope}:read" in allowed:
            return f"only {scope}:read is allowed, not {scope}"
        if scope in LEGACY:
            return f"{scope} is an old name: ask for {LEGACY[scope]}"
    return ""


def _times(condition: LifetimeAtMost | AgeAtMost, facts: Facts) -> str:
    token = facts.token
    if isinstance(condition, AgeAtMost):
        beyond = None if token.issued_at is None else facts.now - token.issued_at - condition.seconds
        return "" if beyond is None else f"too old by {duration(beyond)}"
    start = facts.now if token.issued_at is None else token.issued_at
    beyond = token.expires_at - start - condition.seconds
    return f"it lives {duration(beyond)} too long: ask the issuer for a shorter one" if beyond > 0 else ""


def _twin(expected: str, actual: str) -> str:
    """Return in what two texts differ that look alike, or ''."""
    if expected == actual:
        return ""
    if expected.rstrip("/") == actual.rstrip("/"):
        who = "the policy" if expected.endswith("/") else "the token"
        return f"they differ by a slash at the end, which only {who} has"
    if expected.casefold() == actual.casefold():
        return "they differ by case, and are compared exactly"
    if expected.strip() == actual.strip():
        return "they differ by blanks at the ends"
    if expected.partition("://")[2] == actual and actual:
        return "the token has it without https://"
    return ""
