"""Whether a policy trusts more people than its author meant. Pure."""

import re

from tailsts.policy.claims import Path
from tailsts.policy.condition import ClaimMatches, Condition, ExpressionHolds, SubjectMatches
from tailsts.policy.draft import Draft
from tailsts.policy.finding import Page, Severity
from tailsts.policy.judging.example import examples
from tailsts.policy.judging.known import provider_of_issuer
from tailsts.policy.judging.lookalikes import takes_lookalike
from tailsts.policy.judging.providers import Provider
from tailsts.policy.judging.supposed import Asked
from tailsts.policy.patterns.breadth import is_catch_all

_EMAIL: Path = ("email",)
_EMAIL_VERIFIED: Path = ("email_verified",)
# Tokens with these were made for somebody else, who is given them all the time.
_FOREIGN = re.compile(
    r"https://github\.com/[^/]+|sts\.amazonaws\.com|(https:)?//iam\.googleapis\.com/.+|api://AzureADTokenExchange"
    r"|sigstore|(https://)?octo-sts\.dev|(https://)?api\.tailscale\.com(/.*)?|https://kubernetes\.default\.svc(\.cluster\.local)?"
)
_OF_ANY_CLUSTER = re.compile(r"https://kubernetes\.default(\.svc(\.cluster\.local)?)?/?")
_FOREIGN_EXAMPLES = ("https://github.com/walnut-zq", "sts.amazonaws.com", "sigstore", "https://kubernetes.default.svc")


def judge_who(asked: Asked, page: Page, *, server_audience: bool) -> None:
    """Note where strangers pass, or whoever gets a name after its owner."""
    draft = asked.draft
    _judge_audience(asked, page, server_audience=server_audience)
    _judge_issuer(draft, page)
    _judge_wildcard(asked, page)
    if draft.any_subject:
        return
    if not draft.asks_who():
        message = "is missing: every workload of this issuer is trusted"
        page.note(Severity.SECURITY, "no-subject", "subject", message, "set it, or say any_subject = true")
    elif not _judge_strangers(asked, page):
        _judge_names(asked, page)
        _judge_email(asked, page)


def key_of(draft: Draft) -> str:
    """Return the first key with which the policy asks who comes."""
    said = {
        "subject": draft.subject,
        "subject_pattern": draft.subject_pattern,
        "claims": draft.claims or None,
        "claim_patterns": draft.claim_patterns or None,
    }
    return next((key for key, value in said.items() if value is not None), "condition")


def _judge_audience(asked: Asked, page: Page, *, server_audience: bool) -> None:
    draft = asked.draft
    if not draft.audiences and draft.audience_pattern is None and not server_audience:
        message = "is missing: tokens that were made for other services are accepted too"
        if asked.provider is not None and asked.provider.name == "Kubernetes":
            message += ", and every pod has one for the API server"
        page.note(Severity.SECURITY, "no-audience", "audience", message, "set it, here or with --audience")
    for audience in sorted(draft.audiences):
        if _FOREIGN.fullmatch(audience):
            message = f'holds "{audience}", which tokens for other services have'
            page.note(
                Severity.SECURITY, "foreign-audience", "audience", message, "ask the issuer for an audience of ours"
            )
    pattern = draft.audience_pattern
    if pattern is not None and (met := next(filter(pattern.matches, _FOREIGN_EXAMPLES), None)):
        message = f'matches "{met}", which tokens for other services have'
        page.note(Severity.SECURITY, "foreign-audience", "audience_pattern", message, "name the host in it")


def _judge_wildcard(asked: Asked, page: Page) -> None:
    subject = asked.draft.subject
    if subject is None or not set(subject) & {"*", "?"}:
        return
    message = "is compared exactly: * and ? stand for themselves, which hardly any token has"
    advice = f"write subject_pattern = '{_as_pattern(subject)}'"
    if asked.provider is None:
        page.note(Severity.ADVICE, "wildcard", "subject", message, advice)
    else:
        page.note(Severity.SECURITY, "subject-wildcard", "subject", message, advice)


def _as_pattern(subject: str) -> str:
    """Return the pattern that is probably meant by a text with * and ? in it."""
    text = re.sub(r"[.+()\[\]{}|^$\\]", r"\\\g<0>", subject)
    text = re.sub(r"(?<=[:/])\*\Z", ".+", text)
    return text.replace("?", "[^/:]").replace("*", "[^/:]+")


def _judge_issuer(draft: Draft, page: Page) -> None:
    if _OF_ANY_CLUSTER.fullmatch(draft.issuer) and draft.jwks_url is None and draft.jwks_file is None:
        message = "is what many clusters call themselves: keys would be those of the cluster that TailSTS runs in"
        page.note(Severity.ADVICE, "cluster-issuer", "issuer", message, "name jwks_file or jwks_url for another one")
    if draft.issuer_pattern is not None or provider_of_issuer(draft.issuer) is not None:
        return
    other = draft.issuer.removesuffix("/") if draft.issuer.endswith("/") else f"{draft.issuer}/"
    if (provider := provider_of_issuer(other)) is not None:
        said = "has no slash at the end, and the tokens" if other.endswith("/") else "ends in a slash, and no tokens"
        message = f"{said} of {provider.name} do: no token matches"
        page.note(Severity.SECURITY, "issuer-slash", "issuer", message, f'write "{other}"')


def refuse_strangers(asked: Asked, page: Page) -> bool:
    """Fault a policy whose conditions anybody in the world can meet, and return whether it is one."""
    draft, key, shared = asked.draft, key_of(asked.draft), asked.draft.shared_by()
    if shared is None or draft.any_subject or not draft.asks_who():
        return False
    if all(map(_says_nothing, asked.conditions)) or asked.takes_stranger():
        message = f"is met by strangers: everybody can get such a token from {shared}"
        page.fault(
            "shared-issuer", key, message, "pin whose it is, or say any_subject = true if the whole world is meant"
        )
    elif takes_lookalike(asked):
        message = f"is met by strangers, who choose their names, branches and addresses at {shared} to fit"
        page.fault("shared-issuer", key, message, "name the whole of who is meant; best by ids, in [claims]")
    else:
        return False
    return True


def _judge_strangers(asked: Asked, page: Page) -> bool:
    """Note the finding, if there is one, and return whether there is."""
    draft, provider, key = asked.draft, asked.provider, key_of(asked.draft)
    shared = draft.shared_by()
    if refuse_strangers(asked, page):
        return True
    if all(map(_says_nothing, asked.conditions)):
        message = "is met by nearly everybody: every workload of this issuer is trusted"
        page.note(Severity.SECURITY, "catch-all", key, message, "name somebody, or say any_subject = true")
    elif provider is None or not (shared is not None or _spans_strangers(draft, provider)):
        return False
    elif shared is None and asked.takes_stranger():
        message = f"matches issuers of strangers too, whose tokens meet all that is asked ({provider.name})"
        page.note(Severity.SECURITY, "open-issuer", "issuer_pattern", message, "name the issuers, or pin whose it is")
    elif asked.takes_stranger(weak=True):
        why = "; ".join(sorted({provider.weak[path] for path in asked.values if path in provider.weak}))
        message = f"is met by strangers who have that in common: {why}"
        page.note(Severity.SECURITY, "weak-claim", key, message, "pin whose it is as well")
    elif shared is not None and _only_searches(draft, provider):
        message = "is all that says who comes, and looks at a part of a text only, which somebody else's may have too"
        page.note(Severity.SECURITY, "condition-alone", key, message, "name in [claims] whose it is; best by ids")
    else:
        return False
    return True


def _only_searches(draft: Draft, provider: Provider) -> bool:
    """Return whether a condition says who comes by parts of texts, and nothing else does."""
    said = (draft.subject, draft.subject_pattern)
    if draft.condition is None or not draft.condition.searches or any(part is not None for part in said):
        return False
    pinned = (path for path, _ in (*draft.claims, *draft.claim_patterns, *draft.condition.equals))
    return all(provider.is_choosable(path) or path in provider.weak for path in pinned)


def _spans_strangers(draft: Draft, provider: Provider) -> bool:
    pattern = draft.issuer_pattern
    if pattern is None:
        return False
    # Where the policy says the region, or the name of a cluster: a stranger can have one there as well.
    theirs = (
        part.sub(stranger, issuer)
        for issuer in examples(pattern)
        for part, stranger in provider.whose
        if part.search(issuer)
    )
    return any(map(pattern.matches, (*provider.samples, *theirs)))


def _says_nothing(condition: Condition) -> bool:
    match condition:
        case SubjectMatches(pattern=pattern) | ClaimMatches(pattern=pattern):
            return is_catch_all(pattern)
        case ExpressionHolds(expression=expression):
            # It holds for a token without any claim.
            return expression.evaluate({}, ("x",), (), 0.0) is True
        case _:
            return False


def _judge_names(asked: Asked, page: Page) -> None:
    provider, subject = asked.provider, asked.draft.subject
    if provider is None or not provider.ids or not asked.values:
        return
    if subject is not None and provider.subject_is_id is not None and provider.subject_is_id.fullmatch(subject):
        return
    if asked.takes_namesake():
        message = "goes by names alone: whoever gets the same ones later passes too"
        page.note(Severity.ADVICE, "names-alone", key_of(asked.draft), message, provider.id_advice)


def _judge_email(asked: Asked, page: Page) -> None:
    if _EMAIL not in asked.values or asked.draft.subject is not None:
        return
    if any(one.takes_changed({_EMAIL_VERIFIED: False}) for one in asked.each()):
        message = "names an address that need not be verified: whoever claims to have it passes too"
        page.note(
            Severity.SECURITY, "unverified-email", "claims.email", message, "add email_verified = true to [claims]"
        )
