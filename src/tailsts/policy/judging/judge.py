"""What a valid policy should be warned about. Pure.

Who may come is judged by examples: tokens that the author probably did not mean, and the policy would take.
"""

from tailsts.policy.draft import Draft
from tailsts.policy.finding import Page, Severity
from tailsts.policy.issuers import is_http
from tailsts.policy.judging.branches import judge_branches
from tailsts.policy.judging.claims import judge_claims
from tailsts.policy.judging.possible import judge_possible
from tailsts.policy.judging.reach import judge_reach
from tailsts.policy.judging.rights import judge_rights
from tailsts.policy.judging.supposed import asked_of
from tailsts.policy.judging.texts import judge_texts
from tailsts.policy.judging.who import judge_who, refuse_strangers
from tailsts.policy.model import DEFAULT_MAX_LIFETIME
from tailsts.policy.trusted import TrustedIssuers


def is_refused(draft: Draft, page: Page) -> bool:
    """Return whether `judge` would find a fault: whatever else it finds is no more than a warning."""
    # Hardly anything that is asked, where the issuer is one's own.
    return draft.shared_by() is not None and refuse_strangers(asked_of(draft), Page(page.file, page.text))


def judge(draft: Draft, page: Page, *, server_audience: bool, trusted: TrustedIssuers | None = None) -> None:
    """Note the warnings about `draft` on its `page`.

    `server_audience`: the server names one for all policies. `trusted`: its allow-list of issuers.
    """
    asked = asked_of(draft)
    judge_who(asked, page, server_audience=server_audience)
    judge_branches(asked, page)
    judge_reach(asked, page)
    judge_claims(asked, page)
    judge_possible(asked, page)
    judge_texts(draft, page)
    _judge_transport(draft, page)
    _judge_trust(draft, page, trusted)
    judge_rights(draft, page)
    if draft.max_lifetime > DEFAULT_MAX_LIFETIME:
        message = "accepts tokens that live longer than a day"
        page.note(Severity.ADVICE, "long-lifetime", "max_lifetime", message, "ask the issuer for shorter ones")
    page.sort()


def _judge_transport(draft: Draft, page: Page) -> None:
    if is_http(draft.issuer):
        message = "is plain http: nothing proves that its tokens and keys are its own"
        page.note(Severity.SECURITY, "http-issuer", "issuer", message, "https, except in development")
    if draft.allow_http:
        message = "lets keys be fetched in the clear: who changes them on the way can sign any token"
        page.note(Severity.SECURITY, "allow-http", "allow_http", message, "https with ca_file, or jwks_file")


def _judge_trust(draft: Draft, page: Page, trusted: TrustedIssuers | None) -> None:
    if trusted is None or draft.issuer_pattern is not None or trusted.permits(draft.issuer):
        return
    said = "will be accepted" if trusted.mode == "enforce" else "would be accepted if the allow-list were enforced"
    message = f"is not among the trusted issuers of the configuration: no token of it {said}"
    page.note(
        Severity.SECURITY, "untrusted-issuer", "issuer", message, "add it to trusted_issuers, or remove the policy"
    )
