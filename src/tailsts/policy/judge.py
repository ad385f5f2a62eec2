"""What a valid policy should be warned about. Pure."""

import difflib

from tailsts.policy.finding import Page, Severity
from tailsts.policy.issuers import is_http
from tailsts.policy.model import DEFAULT_MAX_LIFETIME
from tailsts.policy.parse import ALIKE, Draft
from tailsts.scopes import ESCALATING, KNOWN, LEGACY, NEED_TAGS, OPEN_ENDED


def judge(draft: Draft, page: Page, *, server_audience: bool) -> None:
    """Note the warnings about `draft` on its `page`. `server_audience`: the server names one for all policies."""
    _judge_who(draft, page, server_audience=server_audience)
    _judge_transport(draft, page)
    for scope in sorted(draft.allowed_scopes):
        _judge_scope(scope, page)
    if draft.max_lifetime > DEFAULT_MAX_LIFETIME:
        message = "accepts tokens that live longer than a day"
        page.note(Severity.ADVICE, "long-lifetime", "max_lifetime", message, "ask the issuer for shorter ones")


def _judge_who(draft: Draft, page: Page, *, server_audience: bool) -> None:
    if not draft.audiences and not server_audience:
        message = "is missing: tokens that were made for other services are accepted too"
        page.note(Severity.SECURITY, "no-audience", "audience", message, "set it, here or with --audience")
    if draft.subject is None and not draft.any_subject:
        message = "is missing: every workload of this issuer is trusted"
        page.note(Severity.SECURITY, "no-subject", "subject", message, "set it, or say any_subject = true")
    if draft.subject is not None and set(draft.subject) & {"*", "?"}:
        message = "is compared exactly: * and ? stand for themselves, which hardly any token has"
        page.note(Severity.ADVICE, "wildcard", "subject", message, "write the whole sub claim")


def _judge_transport(draft: Draft, page: Page) -> None:
    if is_http(draft.issuer):
        message = "is plain http: nothing proves that its tokens and keys are its own"
        page.note(Severity.SECURITY, "http-issuer", "issuer", message, "https, except in development")
    if draft.allow_http:
        message = "lets keys be fetched in the clear: who changes them on the way can sign any token"
        page.note(Severity.SECURITY, "allow-http", "allow_http", message, "https with ca_file, or jwks_file")


def _judge_scope(scope: str, page: Page) -> None:
    path = "allowed_scopes"
    if scope in OPEN_ENDED:
        message = f'holds "{scope}", which gives every right, also those that Tailscale adds later'
        page.note(Severity.SECURITY, "open-ended-scope", path, message, "name the scopes")
    elif scope in LEGACY:
        message = f'holds "{scope}", a name that new OAuth clients cannot be given'
        page.note(Severity.ADVICE, "legacy-scope", path, message, f"today: {LEGACY[scope]}")
    elif scope not in KNOWN:
        message = f'holds "{scope}", which Tailscale is not known to have'
        nearest = difflib.get_close_matches(scope, sorted(KNOWN), n=1, cutoff=ALIKE)
        advice = f"did you mean {nearest[0]}?" if nearest else "see tailscale.com/kb/1623"
        page.note(Severity.ADVICE, "unknown-scope", path, message, advice)
    elif scope in ESCALATING:
        message = f'holds "{scope}", with which further rights can be gained'
        page.note(Severity.ADVICE, "escalating-scope", path, message, "for few and well-kept workloads")
    elif scope in NEED_TAGS:
        message = f'holds "{scope}", whose tokens get every tag of the OAuth client'
        page.note(Severity.ADVICE, "scope-needs-tags", path, message, "give the client as few tags as will do")
