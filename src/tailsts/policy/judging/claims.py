"""Whether the tokens of an issuer can be what a policy asks of them. Pure."""

import difflib
from collections.abc import Iterator, Sequence

from tailsts.policy.claims import MISSING, NOT_AS_CLAIM, Path, Scalar, kind, spelled
from tailsts.policy.draft import Draft
from tailsts.policy.finding import Page, Severity
from tailsts.policy.judging.providers import Provider
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
    _judge_forms(asked, provider, page)
    for key, path, kinds in _asked_claims(asked):
        if provider.known(path) is not MISSING:
            _judge_kind(key, path, kinds, provider, page)
        elif path[0] in _OURS:
            asks = f"asks for {spelled(path)}, which " if key == "condition" else ""
            message = f"{asks}is a key of a policy, and no claim of {provider.name}"
            page.note(Severity.SECURITY, "claim-form", key, message, "move it above the first [table]")
        elif not provider.is_custom(path):
            _judge_name(key, path, provider, page)


def _judge_forms(asked: Asked, provider: Provider, page: Page) -> None:
    for path, values in asked.draft.claims:
        if wrong := _of_no_form(path, values, provider):
            message = f'is "{wrong[0]}", which no token of {provider.name} has'
            said = provider.claim_forms[path][1]
            page.note(Severity.SECURITY, "claim-form", spelled(("claims", *path)), message, said)
    for path, implied in _of_condition(asked.draft):
        wrong = _of_no_form(path, implied, provider)
        if len(wrong) == len(implied):
            message = f'asks that {spelled(path)} is "{wrong[0]}", which no token of {provider.name} has'
            page.note(Severity.SECURITY, "claim-form", "condition", message, provider.claim_forms[path][1])


def _of_no_form(path: Path, values: Sequence[Scalar], provider: Provider) -> list[str]:
    form, _ = provider.claim_forms.get(path, (None, ""))
    texts = (value for value in values if isinstance(value, str))
    return [] if form is None else [text for text in texts if not form.fullmatch(text)]


def _of_condition(draft: Draft) -> Iterator[tuple[Path, list[str | bool]]]:
    """Yield the claims that the condition asks for, with the values that they must have."""
    implied = None if draft.condition is None else draft.condition.implied
    for path, values in (implied or {}).items():
        if path[0] not in NOT_AS_CLAIM:
            yield path, sorted(values, key=str)


def _judge_subject(asked: Asked, provider: Provider, page: Page) -> None:
    subject = asked.draft.subject
    if subject is None or set(subject) & {"*", "?"}:
        return
    if provider.unspelt is not None and provider.unspelt.fullmatch(subject):
        message = f"has a colon within a name, which {provider.name} writes as {provider.colon}: no token has it"
        advice = f"write {provider.colon} for it; claims have the colon as it is"
        page.note(Severity.SECURITY, "claim-form", "subject", message, advice)
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


def _asked_claims(asked: Asked) -> Iterator[tuple[str, Path, list[str]]]:
    for path, values in asked.draft.claims:
        yield spelled(("claims", *path)), path, [kind(value) for value in values]
    for path, _ in asked.draft.claim_patterns:
        yield spelled(("claim_patterns", *path)), path, ["a string"]
    for path, implied in _of_condition(asked.draft):
        yield "condition", path, [kind(value) for value in implied]


def _judge_kind(key: str, path: Path, kinds: list[str], provider: Provider, page: Page) -> None:
    actual = kind(provider.known(path))
    if actual in kinds:
        return
    asks = f"asks that {spelled(path)} " if key == "condition" else ""
    message = f"{asks}is {' or '.join(dict.fromkeys(kinds))}, and {provider.name} writes {actual}: no token has it"
    advice = 'write a condition, like "x" in claims.NAME' if actual == "a list" else f"write {actual}"
    page.note(Severity.SECURITY, "claim-type", key, message, advice)


def _judge_name(key: str, path: Path, provider: Provider, page: Page) -> None:
    known = [spelled(other) for other in (*provider.claims, *provider.optional)]
    nearest = difflib.get_close_matches(spelled(path), known, n=1, cutoff=_ALIKE)
    if nearest:
        asks = f"asks for {spelled(path)}, which " if key == "condition" else ""
        message = f"{asks}is a claim that {provider.name} is not known to have"
        page.note(Severity.ADVICE, "unknown-claim", key, message, f"did you mean {nearest[0]}?")
