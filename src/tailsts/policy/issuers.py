"""What can be said of an issuer by its name alone."""

import re

MAX_ISSUER_LENGTH = 255

# Everybody who has an account there gets tokens from them, so the issuer alone says nothing about who is asking.
SHARED = {
    "https://token.actions.githubusercontent.com": "GitHub Actions",
    "https://gitlab.com": "GitLab.com",
    "https://accounts.google.com": "Google",
    "https://agent.buildkite.com": "Buildkite",
    "https://oidc.circleci.com": "CircleCI",
    "https://app.terraform.io": "HCP Terraform",
}

_HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*\.?|\[[0-9a-f:.]+\]")
_PATH = re.compile(r"(/[A-Za-z0-9._~@:{}-]+)*/?")


def refuse_issuer(issuer: str) -> str | None:
    """Return why `issuer` cannot be the issuer of a policy, or None if it can.

    An issuer is a URL without query and fragment (OpenID Connect Core 1.0, section 2), and is compared byte for
    byte: what a browser would repair (case, dots, slashes) would here be a policy that matches nothing, or a
    discovery document asked from somewhere else.
    """
    if len(issuer) > MAX_ISSUER_LENGTH:
        return f"it is longer than {MAX_ISSUER_LENGTH} characters"
    if not issuer.isascii() or not issuer.isprintable() or " " in issuer:
        return "it holds white space, control characters or characters beyond ASCII"
    scheme, separator, rest = issuer.partition("://")
    if not separator or scheme.lower() not in {"https", "http"}:
        return "it is not an https URL"
    if any(character in rest for character in "?#"):
        return "it has a query or a fragment"
    if "@" in rest.partition("/")[0]:
        return "it holds a user name or a password"
    return _refuse_parts(scheme, rest)


def _refuse_parts(scheme: str, rest: str) -> str | None:
    authority, slash, path = rest.partition("/")
    host = authority.rpartition(":")[0] if re.search(r":[0-9]*\Z", authority) else authority
    if scheme != scheme.lower() or host != host.lower():
        return "scheme and host are written in lower case, as the tokens have them; upper case can never match"
    if not _HOST.fullmatch(host):
        return "its host is not a host name"
    if not re.fullmatch(r"(:[1-9][0-9]{0,4})?", authority.removeprefix(host)):
        return "its port is not a number"
    if not _PATH.fullmatch(slash + path) or {".", ".."} & set(path.split("/")):
        return "its path holds empty, dot or encoded parts"
    return None


def is_http(issuer: str) -> bool:
    """Return whether the issuer is a plain http URL."""
    return issuer.startswith("http://")
