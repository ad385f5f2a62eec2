"""From the text of one policy file to a `Draft`, or to every fault in it at once.

Pure: files that a policy names are opened by the store. Unknown keys, wrong types and empty values are faults: a
policy whose author mistyped `subject` must not load as one that trusts every subject.
"""

import re
import tomllib
from collections.abc import Callable
from functools import lru_cache

from tailsts.oidc.source import refuse_url
from tailsts.oidc.token import ALGORITHMS
from tailsts.policy.cel.expression import ExpressionError, compile_expression
from tailsts.policy.draft import Draft
from tailsts.policy.finding import Finding, Page, Severity
from tailsts.policy.issuers import SHARED, refuse_issuer
from tailsts.policy.model import DEFAULT_MAX_LIFETIME, DEFAULT_TAILNET
from tailsts.policy.patterns.issuer_pattern import refuse_issuer_pattern
from tailsts.policy.patterns.pattern import PatternError, compile_pattern
from tailsts.policy.rate import RateError, read_rate
from tailsts.policy.reader import Reader
from tailsts.scopes import is_scope_token, is_tag

# Thousands of policies may name few issuers. Not where strangers choose the text: they could fill the memory.
_refuse_issuer = lru_cache(1024)(refuse_issuer)
_refuse_url = lru_cache(1024)(refuse_url)


def parse(name: str, page: Page) -> Draft | None:
    """Read the policy `name` from the TOML text on `page`; return None if that is not possible.

    Every fault is noted on the page.
    """
    table = read_toml(page)
    if table is None:
        return None
    reader = Reader(table, page)
    draft = _read(name, reader)
    reader.refuse_unknown()
    page.sort()
    return None if page.findings else draft


def read_toml(page: Page) -> dict[str, object] | None:
    """Return the table that the page's text is, or None with the fault noted."""
    try:
        return tomllib.loads(page.text)
    except tomllib.TOMLDecodeError as error:
        page.findings.append(_syntax_fault(str(error), page))
    except ValueError:
        # Python reads no number of more than 4300 digits.
        page.findings.append(_syntax_fault("a number with too many digits", page))
    except RecursionError:
        page.findings.append(_syntax_fault("nested too deep", page))
    return None


def _read(name: str, reader: Reader) -> Draft:
    opa = reader.table("opa")
    draft = Draft(
        name=name,
        issuer=reader.text("issuer", required=not reader.has("issuer_pattern")) or "",
        issuer_pattern=reader.compiled("issuer_pattern", compile_pattern, PatternError),
        algorithms=frozenset(reader.texts("algorithm") or ("RS256",)),
        subject=reader.text("subject"),
        subject_pattern=reader.compiled("subject_pattern", compile_pattern, PatternError),
        any_subject=reader.flag("any_subject"),
        audiences=frozenset(reader.texts("audience")),
        audience_pattern=reader.compiled("audience_pattern", compile_pattern, PatternError),
        claims=reader.values_by_path("claims"),
        claim_patterns=reader.patterns_by_path("claim_patterns"),
        condition=reader.compiled("condition", compile_expression, ExpressionError),
        opa_url=None if opa is None else opa.text("url", required=True),
        allowed_scopes=frozenset(reader.list_of_texts("allowed_scopes", required=True)),
        allowed_tags=frozenset(reader.list_of_texts("allowed_tags")),
        tailnet=reader.text("tailnet") or DEFAULT_TAILNET,
        max_lifetime=reader.duration("max_lifetime") or DEFAULT_MAX_LIFETIME,
        max_age=reader.duration("max_age"),
        single_use=reader.flag("single_use"),
        rate_limit=reader.compiled("rate_limit", read_rate, RateError),
        not_before=reader.moment("not_before"),
        not_after=reader.moment("not_after"),
        description=reader.text("description") or "",
        jwks_url=reader.text("jwks_url"),
        jwks_file=reader.text("jwks_file"),
        ca_file=reader.text("ca_file"),
        allow_http=reader.flag("allow_http"),
    )
    if opa is not None:
        opa.refuse_unknown()
    for check in _CHECKS:
        check(draft, reader)
    return draft


def _check_one_form_each(draft: Draft, reader: Reader) -> None:
    for exact in ("issuer", "subject", "audience"):
        pattern = f"{exact}_pattern"
        if reader.has(exact) and reader.has(pattern):
            reader.fault("contradiction", pattern, f"contradicts {exact}", "remove one of the two")
    patterns = {path for path, _ in draft.claim_patterns}
    for path, _ in draft.claims:
        if path in patterns:
            reader.fault("contradiction", "claim_patterns", f"names a claim that claims names too: {path[-1]}")
    if draft.any_subject and (draft.subject is not None or draft.subject_pattern is not None):
        other = "subject" if draft.subject is not None else "subject_pattern"
        reader.fault("contradiction", "any_subject", f"contradicts {other}", "remove one of the two")


def _check_issuer(draft: Draft, reader: Reader) -> None:
    if draft.issuer and (reason := _refuse_issuer(draft.issuer)):
        reader.fault("issuer", "issuer", f"cannot be used: {reason}", "copy the iss claim of a real token")
    elif draft.issuer not in SHARED and draft.issuer.rstrip("/") in SHARED:
        advice = f'write "{draft.issuer.rstrip("/")}"'
        reader.fault("issuer", "issuer", "ends in a slash, which the tokens of this issuer do not have", advice)
    if draft.issuer_pattern is not None and (refused := refuse_issuer_pattern(draft.issuer_pattern.text)):
        reader.fault("issuer-pattern", "issuer_pattern", f"cannot be used: {refused.reason}", refused.advice)
    for algorithm in sorted(draft.algorithms - ALGORITHMS):
        advice = f"one of {', '.join(sorted(ALGORITHMS))}"
        reader.fault("algorithm", "algorithm", f'"{algorithm}" is not a signature algorithm that is accepted', advice)


def _check_who(draft: Draft, reader: Reader) -> None:
    said = ("subject", "subject_pattern", "claims", "claim_patterns", "condition")
    shared = draft.shared_by()
    if shared is not None and not any(map(reader.has, said)) and not draft.any_subject:
        reader.fault(
            "shared-issuer",
            "subject",
            f"is missing, and everybody can get a token from {shared}",
            "name the subject or claims, or say any_subject = true if the whole world is meant",
        )


def _check_keys(draft: Draft, reader: Reader) -> None:
    for key in ("jwks_url", "jwks_file", "allow_http"):
        if reader.has("issuer_pattern") and reader.has(key):
            message = "contradicts issuer_pattern, whose issuers are asked for their keys over https"
            reader.fault("contradiction", key, message, f"remove {key}, or write one policy for each issuer")
    if draft.jwks_url is not None and draft.jwks_file is not None:
        reader.fault("contradiction", "jwks_file", "contradicts jwks_url", "remove one of the two")
    if draft.jwks_file is not None and draft.ca_file is not None:
        reader.fault("contradiction", "ca_file", "contradicts jwks_file, which is not fetched", "remove ca_file")
    if draft.jwks_url is not None:
        if reason := _refuse_url(draft.jwks_url, allow_http=draft.allow_http):
            reader.fault("jwks-url", "jwks_url", f"cannot be used: {reason}", "an https URL, or allow_http = true")
    elif draft.jwks_file is None:
        _check_discovery(draft, reader)


def _check_discovery(draft: Draft, reader: Reader) -> None:
    if not draft.issuer or _refuse_issuer(draft.issuer):
        return
    if reason := _refuse_url(draft.issuer, allow_http=draft.allow_http):
        advice = "name the jwks_url, or say allow_http = true"
        reader.fault("discovery", "issuer", f"is where keys would be looked up, but {reason}", advice)


def _check_rights(draft: Draft, reader: Reader) -> None:
    for scope in sorted(draft.allowed_scopes):
        if not is_scope_token(scope):
            advice = "one scope per entry, without blanks and commas (RFC 6749, 3.3)"
            reader.fault("scope", "allowed_scopes", f"{scope!r} is not a scope", advice)
    for tag in sorted(draft.allowed_tags):
        if not is_tag(tag):
            advice = "tag: and a name of letters, digits and hyphens that begins with a letter"
            reader.fault("tag", "allowed_tags", f"{tag!r} is not a tag", advice)


def _check_period(draft: Draft, reader: Reader) -> None:
    if draft.not_before is not None and draft.not_after is not None and draft.not_before >= draft.not_after:
        reader.fault("never", "not_after", "is not later than not_before, so the policy is never in force")


def _check_opa(draft: Draft, reader: Reader) -> None:
    # The claims go there, and what comes back decides: in the clear only within this machine.
    if draft.opa_url is not None and (reason := _refuse_url(draft.opa_url, allow_http=False)):
        reader.fault("opa-url", "opa.url", f"cannot be used: {reason}", "https, or http on this machine")


_CHECKS: tuple[Callable[[Draft, Reader], None], ...] = (
    _check_one_form_each,
    _check_issuer,
    _check_who,
    _check_keys,
    _check_rights,
    _check_period,
    _check_opa,
)


def _syntax_fault(message: str, page: Page) -> Finding:
    line = None
    if found := re.search(r"\(at line (\d+)", message):
        line = int(found[1])
    elif "at end of document" in message:
        line = page.text.count("\n") + 1
    return Finding(Severity.FAULT, "syntax", page.file, line, "", f"not TOML: {message}")
