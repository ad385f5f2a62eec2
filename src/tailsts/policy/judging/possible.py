"""Whether any token can meet a policy: things asked that no token has, or that none has together. Pure.

What is said here is sure, as far as the documentation of those who make the tokens is. A policy that nobody meets does
no harm by itself; but its author thinks otherwise, and the next to touch it will widen it until it works.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

from tailsts.policy.cel.expression import Expression
from tailsts.policy.claims import Path, Scalar, spelled
from tailsts.policy.condition import ClaimIs, ClaimMatches
from tailsts.policy.draft import Draft
from tailsts.policy.finding import Page, Severity
from tailsts.policy.judging.providers import Provider
from tailsts.policy.judging.supposed import Asked
from tailsts.policy.judging.texts import patterns_of
from tailsts.policy.patterns.language import matches_nothing
from tailsts.policy.patterns.syntax import parse

# So many combinations of the values that are pinned are tried.
_MAX_TRIED = 64
_SUBJECT: Path = ("sub",)
_ISSUER: Path = ("iss",)
_NEVER = "is never true: no token meets it"
_TOGETHER = "no token meets both"
_COPY = "copy both from one real token"

# What a claim must be: a text, or of a form; None where it is not there.
_Said = str | re.Pattern[str] | None


def judge_possible(asked: Asked, page: Page) -> None:
    """Note what no token can meet."""
    draft = asked.draft
    for key, pattern in patterns_of(draft):
        node = parse(pattern.text)
        if node is not None and matches_nothing(node):
            page.note(Severity.SECURITY, "never-met", key, "matches no text at all: no token meets it")
    if draft.condition is not None and (message := _never_true(draft, draft.condition)):
        page.note(Severity.SECURITY, "never-met", "condition", message, "try it with tailsts explain")
    if asked.provider is not None:
        _judge_algorithms(draft, asked.provider, page)
        _judge_subject(asked, asked.provider, page)


def _judge_algorithms(draft: Draft, provider: Provider, page: Page) -> None:
    if draft.algorithms.isdisjoint(provider.algorithms):
        usual = " or ".join(sorted(provider.algorithms, reverse=True))
        message = f"is one with which {provider.name} does not sign: no token meets it"
        page.note(Severity.SECURITY, "never-met", "algorithm", message, f"it signs with {usual}")


def _never_true(draft: Draft, condition: Expression) -> str:
    """Return why the condition is never true, beside what else is asked; or ''."""
    if condition.implied is None:
        return _NEVER
    for path, values in condition.implied.items():
        if key := _excluded(draft, path, values):
            return f"asks for another {spelled(path)} than {key}: {_TOGETHER}"
    reads = condition.reads_all_of
    pinned = _pinned(draft)
    if reads is None or not pinned.keys() >= set(reads):
        return ""
    ways = itertools.islice(itertools.product(*(pinned[name] for name in reads)), _MAX_TRIED + 1)
    tried = [condition.evaluate(dict(zip(reads, way, strict=True)), ("x",), (), 0.0) is True for way in ways]
    if any(tried) or len(tried) > _MAX_TRIED:
        return ""
    return f"is never true with the {' and '.join(reads)} asked for: {_TOGETHER}" if reads else _NEVER


def _excluded(draft: Draft, path: Path, values: frozenset[str | bool]) -> str:
    """Return the key of the policy by which the claim is none of `values`, or ''."""
    texts = [value for value in values if isinstance(value, str)]
    patterns = {("claim_patterns", *other): pattern for other, pattern in draft.claim_patterns if other == path}
    if path == _SUBJECT and draft.subject_pattern is not None:
        patterns["subject_pattern",] = draft.subject_pattern
    if path == _ISSUER and draft.issuer_pattern is not None:
        patterns["issuer_pattern",] = draft.issuer_pattern
    for key, pattern in patterns.items():
        if not any(map(pattern.matches, texts)):
            return spelled(key)
    exact: dict[Path, Sequence[Scalar]] = {("claims", *other): own for other, own in draft.claims if other == path}
    if path == _SUBJECT and draft.subject is not None:
        exact["subject",] = (draft.subject,)
    if path == _ISSUER and draft.issuer:
        exact["issuer",] = (draft.issuer,)
    for key, own in exact.items():
        # By type: 1 is not true.
        if not any(isinstance(value, str | bool) and value in values for value in own):
            return spelled(key)
    return ""


def _pinned(draft: Draft) -> Mapping[str, Sequence[Scalar]]:
    """Return the claims that are known exactly, as far as they are not nested."""
    pinned: dict[str, Sequence[Scalar]] = {path[0]: values for path, values in draft.claims if len(path) == 1}
    if draft.subject is not None:
        pinned["sub"] = (draft.subject,)
    if draft.issuer:
        pinned["iss"] = (draft.issuer,)
    return pinned


def _judge_subject(asked: Asked, provider: Provider, page: Page) -> None:
    """Note the claims that no token has beside the subject."""
    each = [list(_said(one, provider)) for one in asked.each() if one.subject is not None]
    if not each:
        return
    noted: set[str] = set()
    for key, path, condition in _asked(asked):
        reasons = [_contradiction(path, condition, said) for said in each]
        # Of the forms that a pattern allows, one may go with it.
        if all(reasons) and key not in noted:
            noted.add(key)
            asks = f"asks for {spelled(path)}, and so " if key == "condition" else ""
            message = f"{asks}contradicts the subject, which {reasons[0]}: {_TOGETHER}"
            page.note(Severity.SECURITY, "contradicting-claims", key, message, _COPY)


def _said(one: Asked, provider: Provider) -> Iterator[tuple[Path, _Said, str]]:
    """Yield what the subject says of claims, with how it says that."""
    subject = one.subject or ""
    if one.draft.subject is not None:
        for name, text in one.parts.items():
            if name in provider.named:
                yield provider.named[name], text, f'says "{text}"'
    for form in provider.says:
        if form.subject.fullmatch(subject):
            for path, allowed in form.claims.items():
                yield path, allowed, f"is that of {form.whose}"


_Condition = ClaimIs | ClaimMatches | frozenset[str | bool]


def _asked(asked: Asked) -> Iterator[tuple[str, Path, _Condition]]:
    for condition in asked.conditions:
        if isinstance(condition, ClaimIs):
            yield spelled(("claims", *condition.path)), condition.path, condition
        elif isinstance(condition, ClaimMatches):
            yield spelled(("claim_patterns", *condition.path)), condition.path, condition
    implied = None if asked.draft.condition is None else asked.draft.condition.implied
    for path, values in (implied or {}).items():
        yield "condition", path, values


def _contradiction(path: Path, condition: _Condition, said: Sequence[tuple[Path, _Said, str]]) -> str:
    """Return how the subject says that the claim is not as the condition asks, or ''."""
    return next((how for other, what, how in said if other == path and not _can_be(condition, what)), "")


def _can_be(condition: _Condition, said: _Said) -> bool:
    if said is None:
        return False
    if isinstance(condition, ClaimMatches):
        # Of two patterns it is not known whether they have a text in common.
        return condition.pattern.matches(said) if isinstance(said, str) else True
    values = condition.values if isinstance(condition, ClaimIs) else condition
    texts = [value for value in values if isinstance(value, str)]
    return said in texts if isinstance(said, str) else any(map(said.fullmatch, texts))
