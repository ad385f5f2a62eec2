"""From what a request says, as JSON has it, to what it wants; or to what is wrong with it. Pure.

The service, explanations and policy tests read a request by this, so that none of them judges what the others refuse.
"""

from collections.abc import Mapping

import msgspec

from tailsts.policy.decide import Wanted
from tailsts.scopes import is_scope_token, is_tag

# Tailscale has some forty scopes.
MAX_SCOPES = 100
MAX_TAGS = 100
MAX_POLICY_LENGTH = 255


class Unfit(msgspec.Struct, frozen=True):
    """Not a request for an exchange, whatever its token says. `message` is for the caller.

    `culprit` is the text that is at fault, '' if it is none or not one alone.
    """

    reason: str
    message: str
    culprit: str = ""


def read_wanted(asked: Mapping[str, object]) -> Wanted | Unfit:
    """Return what a request wants that has these members: `scopes`, perhaps with `tags` and `policy`, no others."""
    if not asked.keys() <= {"scopes", "tags", "policy"}:
        return OTHER_MEMBERS
    scopes, tags, policy = asked.get("scopes", []), asked.get("tags", []), asked.get("policy")
    if refused := _refuse_scopes(scopes) or _refuse_tags(tags):
        return refused
    if "policy" in asked and not (isinstance(policy, str) and 0 < len(policy) <= MAX_POLICY_LENGTH):
        return Unfit("bad_policy", "policy must be the name of one")
    return Wanted(tuple(dict.fromkeys(scopes)), tuple(dict.fromkeys(tags)), policy)  # type: ignore[arg-type,call-overload]  # as was just seen


OTHER_MEMBERS = Unfit(
    "bad_shape", 'the body must be {"scopes": [...]}, perhaps with "tags" and "policy", and nothing else'
)


def _refuse_scopes(scopes: object) -> Unfit | None:
    if not isinstance(scopes, list):
        return Unfit("bad_shape", "scopes must be a list of strings")
    if not scopes:
        # Never passed on: without scopes, Tailscale gives a token everything that the client has.
        return Unfit("missing_scopes", "missing scopes")
    if len(scopes) > MAX_SCOPES:
        return Unfit("too_many_scopes", f"more than {MAX_SCOPES} scopes")
    wrong = [scope for scope in scopes if not (isinstance(scope, str) and is_scope_token(scope))]
    if wrong:
        message = "each scope must be a scope-token (RFC 6749, section 3.3) without commas"
        return Unfit("bad_scope", message, _text(wrong[0]))
    return None


def _refuse_tags(tags: object) -> Unfit | None:
    if not isinstance(tags, list):
        return Unfit("bad_shape", "tags must be a list of strings")
    if len(tags) > MAX_TAGS:
        return Unfit("too_many_tags", f"more than {MAX_TAGS} tags")
    wrong = [tag for tag in tags if not (isinstance(tag, str) and is_tag(tag))]
    if wrong:
        return Unfit("bad_tag", "each tag must be like tag:ci: letters, digits and hyphens", _text(wrong[0]))
    return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
