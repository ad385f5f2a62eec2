"""The credentials of all tailnets: from the options, the configuration file, and the files that these name."""

import os
from pathlib import Path

import msgspec

from tailsts.cli.options import read_page
from tailsts.cli.precedence import preferred
from tailsts.credentials import Secret, refuse_secret
from tailsts.errors import FileError
from tailsts.oidc.source import refuse_url
from tailsts.outbound import is_url
from tailsts.policy.claims import spelled
from tailsts.policy.finding import Page
from tailsts.policy.model import DEFAULT_TAILNET
from tailsts.server.configuration import Configuration, read_configuration
from tailsts.server.settings import Tailnet
from tailsts.tailscale.secret_file import read_secret

# In place of one that is not there for a reason that was said, so that it does not count as missing, too.
UNREADABLE = Secret("unreadable")


class Flags(msgspec.Struct, frozen=True):
    """What the options say of the tailnet `default`, if they do."""

    client_id: str
    client_secret: str | None
    client_secret_file: Path | None
    token_url: str


def open_configuration(config: Path, flags: Flags, lines: list[str]) -> Configuration | None:
    """Read the configuration file and the secrets that it names; None if the file itself is at fault.

    All that is wrong is added to `lines`. A secret that cannot be read leaves its tailnet known.
    """
    page = read_page(config, lines)
    if page is None:
        return None
    found = read_configuration(page, os.environ)
    if found is not None:
        tailnets = {name: _opened(name, tailnet, page) for name, tailnet in found.tailnets.items()}
        found = Configuration(tailnets, found.trusted_issuers)
        if flags.client_id and DEFAULT_TAILNET in tailnets:
            place = f"tailnets.{DEFAULT_TAILNET}"
            page.fault("contradiction", place, "contradicts --ts-client-id", "remove one of the two")
    lines.extend(str(finding) for finding in page.findings)
    return found


def _opened(name: str, tailnet: Tailnet, page: Page) -> Tailnet:
    place = spelled(("tailnets", name))
    if not is_url(tailnet.token_url):
        page.fault("token-url", f"{place}.token_url", "cannot be used: it is not a URL")
    if tailnet.client_secret_file is None:
        return tailnet
    try:
        secret = read_secret(tailnet.client_secret_file)
    except FileError as error:
        page.fault("secret", f"{place}.client_secret_file", f"{tailnet.client_secret_file} {error}")
        secret = UNREADABLE
    return msgspec.structs.replace(tailnet, client_secret=secret)


def tailnets_of(flags: Flags, configuration: Configuration | None, lines: list[str]) -> dict[str, Tailnet]:
    """Return the tailnets by name: those of the file, and `default` if the options name it or nothing else does."""
    tailnets = {} if configuration is None else dict(configuration.tailnets)
    # What a file that cannot be read would have named is not known, so nothing is missed.
    if flags.client_id or not (tailnets or configuration is None):
        tailnets[DEFAULT_TAILNET] = _default(flags, lines)
    return tailnets


def _default(flags: Flags, lines: list[str]) -> Tailnet:
    file = flags.client_secret_file
    if file is not None and flags.client_secret:
        match preferred("ts_client_secret", "ts_client_secret_file"):
            case "ts_client_secret":
                file = None
            case None:
                lines.append("both --ts-client-secret and --ts-client-secret-file are given: which one is meant?")
    secret = _value(flags.client_secret, lines) if file is None else _content(file, lines)
    if refuse_url(flags.token_url, allow_http=False) is None and not is_url(flags.token_url):
        lines.append(f"--ts-token-url {flags.token_url}: it is not a URL")
    return Tailnet(flags.client_id, secret, file, flags.token_url)


def _value(text: str | None, lines: list[str]) -> Secret:
    text = (text or "").strip()
    # That it is missing is said with what else is.
    if text and (reason := refuse_secret(text)):
        lines.append(f"the OAuth client's secret {reason}")
    return Secret(text)


def _content(file: Path, lines: list[str]) -> Secret:
    try:
        return read_secret(file)
    except FileError as error:
        lines.append(f"--ts-client-secret-file {file} {error}")
        return UNREADABLE
