"""Whether a policy gives more than its author meant: scopes and tags. Pure."""

import difflib

from tailsts.policy.draft import Draft
from tailsts.policy.finding import Page, Severity
from tailsts.policy.reader import ALIKE
from tailsts.scopes import CARRY_TAGS, ESCALATING, KNOWN, LEGACY, NEED_TAGS, OPEN_ENDED, is_within

_SCOPES = "allowed_scopes"
# Tailscale takes a policy file only from a token that has these as well (tailscale.com/kb/1623).
_COMPANIONS = {
    "policy_file": ("devices:core:read", "devices:posture_attributes"),
    "policy_file:read": ("devices:core:read", "devices:posture_attributes:read"),
}


def judge_rights(draft: Draft, page: Page) -> None:
    """Note scopes that give much, or nothing, and tags that are not limited, or of no use."""
    for scope in sorted(draft.allowed_scopes):
        _judge_scope(scope, page)
        _judge_companions(scope, draft, page)
        if scope in NEED_TAGS and not draft.allowed_tags:
            message = f'holds "{scope}", whose tokens get every tag of the OAuth client'
            page.note(Severity.SECURITY, "scope-needs-tags", _SCOPES, message, "name the tags in allowed_tags")
    if draft.allowed_tags and CARRY_TAGS.isdisjoint(draft.allowed_scopes):
        message = "has no effect: no scope of this policy is one whose tokens carry tags"
        page.note(Severity.ADVICE, "idle-tags", "allowed_tags", message, f"those are {', '.join(sorted(CARRY_TAGS))}")


def _judge_scope(scope: str, page: Page) -> None:
    if scope in OPEN_ENDED:
        message = f'holds "{scope}", which gives every right, also those that Tailscale adds later'
        page.note(Severity.SECURITY, "open-ended-scope", _SCOPES, message, "name the scopes")
    elif scope in LEGACY:
        message = f'holds "{scope}", a name that new OAuth clients cannot be given'
        page.note(Severity.ADVICE, "legacy-scope", _SCOPES, message, f"today: {LEGACY[scope]}")
    elif scope not in KNOWN:
        message = f'holds "{scope}", which Tailscale is not known to have'
        # There is none for writing: the one without an ending is it.
        written = scope.removesuffix(":write")
        nearest = [written] if written in KNOWN else difflib.get_close_matches(scope, sorted(KNOWN), n=1, cutoff=ALIKE)
        advice = f"did you mean {nearest[0]}?" if nearest else "see tailscale.com/kb/1623"
        page.note(Severity.ADVICE, "unknown-scope", _SCOPES, message, advice)
    elif scope in ESCALATING:
        message = f'holds "{scope}", with which further rights can be gained'
        page.note(Severity.ADVICE, "escalating-scope", _SCOPES, message, "for few and well-kept workloads")


def _judge_companions(scope: str, draft: Draft, page: Page) -> None:
    missing = [other for other in _COMPANIONS.get(scope, ()) if not is_within(other, draft.allowed_scopes)]
    if missing:
        message = f'holds "{scope}", which Tailscale takes only together with {" and ".join(missing)}'
        page.note(Severity.ADVICE, "companion-scopes", _SCOPES, message, "add them, for requests to name them as well")
