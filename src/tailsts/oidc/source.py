"""Where an issuer's keys come from: four ways, and a policy has one of them."""

import ipaddress
from pathlib import PurePath
from typing import assert_never
from urllib.parse import SplitResult, urlsplit

import msgspec

# One connection may need at most this; a header field of a URL beyond it is a mistake.
MAX_URL_LENGTH = 2048


class Discovery(msgspec.Struct, frozen=True):
    """The issuer's own discovery document tells (OpenID Connect Discovery 1.0, section 4).

    `ca_pem` holds certificates (PEM) to trust in addition; `allow_http` permits plain http for hosts that are
    not loopback.
    """

    ca_pem: bytes | None = None
    allow_http: bool = False


class JwksUrl(msgspec.Struct, frozen=True):
    """The key set is at `url`. The other fields are as in `Discovery`."""

    url: str
    ca_pem: bytes | None = None
    allow_http: bool = False


class JwksFile(msgspec.Struct, frozen=True):
    """The key set is a file: for issuers that cannot be reached from here.

    `digest` is that of its `content` when the policies were read. With other content it is another source, so that no
    key that was withdrawn lives on among those that are kept.
    """

    path: PurePath
    digest: str = ""
    content: bytes = b""

    def __repr__(self) -> str:
        """Return it without the content: by mistake, a private key may be among those of a file."""
        return f"JwksFile({str(self.path)!r}, {self.digest!r})"


class JwksText(msgspec.Struct, frozen=True):
    """The key set itself, as it came with the policies from where there are no files."""

    name: str
    text: bytes

    def __repr__(self) -> str:
        """Return it without the text."""
        return f"JwksText({self.name!r})"


KeySource = Discovery | JwksUrl | JwksFile | JwksText


def discovery_url(issuer: str) -> str:
    """Return the address of the issuer's discovery document (OpenID Connect Discovery 1.0, 4.1)."""
    return issuer.rstrip("/") + "/.well-known/openid-configuration"


def describe(source: KeySource) -> str:
    """Return the source in a few words, for logs and readiness."""
    match source:
        case Discovery():
            return "discovery"
        case JwksUrl(url=url):
            return url
        case JwksFile(path=path):
            return str(path)
        case JwksText(name=name):
            return name
        case _:
            assert_never(source)


def refuse_url(url: str, *, allow_http: bool) -> str | None:
    """Return why keys must not be fetched from `url`, or None if they may be.

    https is required: whoever can change a key set in transit can sign any token. Plain http is for loopback,
    or where the policy says `allow_http = true`.
    """
    parts = _split(url)
    if parts is None or not parts.hostname:
        return "it is not a URL with a host"
    if parts.scheme not in {"https", "http"}:
        return "its scheme is neither https nor http"
    if parts.username is not None or parts.password is not None:
        return "it holds a user name or a password"
    if parts.fragment or "#" in url:
        return "it has a fragment"
    if parts.scheme == "http" and not allow_http and not is_loopback(parts.hostname):
        return "it is plain http, which anyone on the way can change"
    return None


def _split(url: str) -> SplitResult | None:
    if len(url) > MAX_URL_LENGTH or not url.isascii() or not url.isprintable() or set(url) & set(' "<>\\^`{|}'):
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def is_loopback(host: str) -> bool:
    """Return whether `host` names this machine: localhost, 127.0.0.0/8 or ::1."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
