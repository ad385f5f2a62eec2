"""The catalogue of Tailscale's OAuth scopes (https://tailscale.com/kb/1623, last compared January 2026).

Scopes that are not in it are not refused, since Tailscale adds some each year: they get a warning.
"""

import re

# RFC 6749, appendix A.4: scope-token = 1*( %x21 / %x23-5B / %x5D-7E ); here without the comma, because Tailscale takes
# "a,b" without complaint and then grants everything that the client has.
_TAG = re.compile(r"tag:[A-Za-z][A-Za-z0-9-]*")
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x2b\x2d-\x5b\x5d-\x7e]+")
# The longest in the catalogue has 32 characters.
MAX_SCOPE_LENGTH = 128

_WITH_READ = (
    "account_settings",
    "all",
    "api_access_tokens",
    "auth_keys",
    "device_invites",
    "devices:core",
    "devices:posture_attributes",
    "devices:routes",
    "dns",
    "feature_settings",
    "federated_keys",
    "log_streaming",
    "logs:network",
    "networking_settings",
    "oauth_apps",
    "oauth_keys",
    "policy_file",
    "services",
    "tailnets",
    "users",
    "webhooks",
)
KNOWN = frozenset(
    {*_WITH_READ, *(f"{name}:read" for name in _WITH_READ), "logs:configuration:read"},
)

# Before November 2024; credentials made since then cannot be given them.
LEGACY = {
    "acl": "policy_file",
    "acl:read": "policy_file:read",
    "acls": "policy_file",
    "acls:read": "policy_file:read",
    "devices": "devices:core, devices:posture_attributes, auth_keys",
    "devices:read": "devices:core:read, devices:posture_attributes:read",
    "logs:read": "logs:configuration:read",
    "network-logs:read": "logs:network:read",
    "routes": "devices:routes",
    "routes:read": "devices:routes:read",
}

# A token with one of these wants tags: Tailscale gives it every tag of the client unless told otherwise.
NEED_TAGS = frozenset({"auth_keys", "devices:core"})
# Where tags matter at all: what a token with one of these may tag keys and devices with (tailscale.com/kb/1215).
CARRY_TAGS = frozenset({*NEED_TAGS, "all", "devices"})
# A token with one of these can make itself, or somebody else, more powerful.
ESCALATING = frozenset(
    {"api_access_tokens", "federated_keys", "oauth_apps", "oauth_keys", "policy_file", "tailnets", "users"},
)
OPEN_ENDED = frozenset({"all", "all:read"})


def is_scope_token(text: str) -> bool:
    """Return whether `text` can stand as one scope (RFC 6749, 3.3), without commas, and is not overlong."""
    return len(text) <= MAX_SCOPE_LENGTH and _SCOPE_TOKEN.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Return whether `text` can be a tag (https://tailscale.com/kb/1068): letters, digits and hyphens after "tag:"."""
    return len(text) <= MAX_SCOPE_LENGTH and _TAG.fullmatch(text) is not None


def is_within(granted: str, asked: frozenset[str]) -> bool:
    """Return whether the scope `granted` gives no right that the scopes `asked` would not give.

    A write scope implies its `:read`; `all` implies everything, `all:read` every `:read`.
    """
    if granted in asked or "all" in asked:
        return True
    return granted.endswith(":read") and ("all:read" in asked or granted.removesuffix(":read") in asked)
