"""Whether the tokens of an issuer can be what a policy asks of them. Pure."""

import difflib
from collections.abc import Iterator

import msgspec

from tailsts.policy.claims import MISSING, Path, kind, spelled
from tailsts.policy.condition import ClaimIs, ClaimMatches
from tailsts.policy.finding import Page, Severity
from tailsts.policy.judging.providers import Provider, nested
from tailsts.policy.judging.supposed import Asked

# From here on the name of a claim is probably a known one, mistyped.
_ALIKE = 0.85
# Keys of a policy that some tokens have as claims, those of Tailscale for one.
_OURS = frozenset({"tailnet", "description"})


def judge_claims(asked: Asked, page: Page) -> None:
    """Note the claims that no token has, and subjects that hardly any has."""
    provider = asked.provider
    if provider is None:
        return
    _judge_subject(asked, provider, page)
    _judge_contradictions(asked, provider, page)
    _judge_forms(asked, provider, page)
    for key, path, kinds in _asked_claims(asked):
        if provider.known(path) is not MISSING:
            _judge_kind(key, path, kinds, provider, page)
        elif path[0] in _OURS:
            message = "is a key of a policy, and no claim of " + provider.name
            page.note(Severity.SECURITY, "claim-form", key, message, "move it above the first [table]")
        elif not provider.is_custom(path):
            _judge_name(key, path, provider, page)


def _judge_forms(asked: Asked, provider: Provider, page: Page) -> None:
    for path, values in asked.draft.claims:
        form, said = provider.claim_forms.get(path, (None, ""))
        wrong = [value for value in values if form is not None and isinstance(value, str) and not form.fullmatch(value)]
        if wrong:
            message = f'is "{wrong[0]}", which no token of {provider.name} has'
            page.note(Severity.SECURITY, "claim-form", spelled(("claims", *path)), message, said)


def _judge_subject(asked: Asked, provider: Provider, page: Page) -> None:
    subject = asked.draft.subject
    if subject is None or set(subject) & {"*", "?"}:
        return
    if provider.fleeting is not None and provider.fleeting.fullmatch(subject):
        message = f"is another one each time: {provider.name} puts an id of the run into it"
        advice = "pin claims instead, or write a subject_pattern"
        page.note(Severity.ADVICE, "fleeting-subject", "subject", message, advice)
    elif not _is_usual(subject, provider):
        message = f"has not the form that {provider.name} gives it"
        page.note(Severity.ADVICE, "subject-form", "subject", message, f"usually {provider.usual}")


def _is_usual(subject: str, provider: Provider) -> bool:
    if provider.subject.fullmatch(subject):
        return True
    if provider.subject_is_id is not None and provider.subject_is_id.fullmatch(subject):
        return True
    # Customers may have other claims in it, in the place of the usual ones or behind them.
    starts = {form.partition("{")[0] for form in provider.forms}
    custom = {f"{path[0]}:" for path in provider.claims}
    return not provider.only and subject.startswith((*starts, *custom))


def _judge_contradictions(asked: Asked, provider: Provider, page: Page) -> None:
    if asked.draft.subject is None or not asked.parts:
        return
    said = {provider.named[name]: text for name, text in asked.parts.items() if name in provider.named}
    claims = {**nested(said), "sub": asked.draft.subject}
    for condition in asked.conditions:
        if not isinstance(condition, ClaimIs | ClaimMatches) or condition.path not in said:
            continue
        if not msgspec.structs.replace(asked, conditions=(condition,)).takes(claims):
            key = "claims" if isinstance(condition, ClaimIs) else "claim_patterns"
            message = f'contradicts the subject, which says "{said[condition.path]}": no token meets both'
            place = spelled((key, *condition.path))
            page.note(Severity.SECURITY, "contradicting-claims", place, message, "copy both from one real token")


def _asked_claims(asked: Asked) -> Iterator[tuple[str, Path, list[str]]]:
    for path, values in asked.draft.claims:
        yield spelled(("claims", *path)), path, [kind(value) for value in values]
    for path, _ in asked.draft.claim_patterns:
        yield spelled(("claim_patterns", *path)), path, ["a string"]


def _judge_kind(key: str, path: Path, kinds: list[str], provider: Provider, page: Page) -> None:
    actual = kind(provider.known(path))
    if actual in kinds:
        return
    message = f"is {' or '.join(dict.fromkeys(kinds))}, and {provider.name} writes {actual}: no token has it"
    advice = 'write a condition, like "x" in claims.NAME' if actual == "a list" else f"write {actual}"
    page.note(Severity.SECURITY, "claim-type", key, message, advice)


def _judge_name(key: str, path: Path, provider: Provider, page: Page) -> None:
    known = [spelled(other) for other in (*provider.claims, *provider.optional)]
    nearest = difflib.get_close_matches(spelled(path), known, n=1, cutoff=_ALIKE)
    if nearest:
        message = f"is a claim that {provider.name} is not known to have"
        page.note(Severity.ADVICE, "unknown-claim", key, message, f"did you mean {nearest[0]}?")
