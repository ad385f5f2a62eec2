"""The configuration file: the credentials of several tailnets, and the allow-list of issuers. Pure.

Files that it names are not opened here. A secret is not written in it: it is in a file of its own, or in a variable of
the environment, so that the configuration can lie beside the policies for all to read.
"""

import difflib
import re
from collections.abc import Collection, Mapping
from pathlib import PurePath

import msgspec

from tailsts.credentials import Secret, refuse_secret
from tailsts.oidc.source import refuse_url
from tailsts.policy.claims import spelled
from tailsts.policy.finding import Page
from tailsts.policy.parse import read_toml
from tailsts.policy.reader import ALIKE, Reader
from tailsts.policy.tomlvalue import type_name
from tailsts.policy.trusted import TrustedIssuers, read_trusted_issuers
from tailsts.server.settings import DEFAULT_TOKEN_URL, Tailnet

# Some hundred issuers and tailnets, and what is said of a broken one stays bearable.
MAX_CONFIGURATION_BYTES = 64 * 1024
MAX_NAME_LENGTH = 64

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Configuration(msgspec.Struct, frozen=True):
    """What the file says. The secret of a tailnet with a `client_secret_file` is not read yet, and is ''."""

    tailnets: Mapping[str, Tailnet]
    trusted_issuers: TrustedIssuers | None


def read_configuration(page: Page, environment: Mapping[str, str]) -> Configuration | None:
    """Read the TOML text on `page`; return None if anything is wrong with it, all of which is noted on the page."""
    return _read(page, environment)


def read_without_secrets(page: Page) -> Configuration | None:
    """Read the same for those who need no secret: variables are not looked up, and no tailnet has one."""
    return _read(page, None)


def _read(page: Page, environment: Mapping[str, str] | None) -> Configuration | None:
    table = read_toml(page)
    if table is None:
        return None
    reader = Reader(table, page)
    # The reader faults what is there and is no table.
    reader.table("tailnets")
    listed = reader.table("trusted_issuers")
    tailnets, issuers = table.get("tailnets"), table.get("trusted_issuers")
    found = _tailnets(tailnets, page, environment) if isinstance(tailnets, dict) else {}
    trusted = None if listed is None else read_trusted_issuers(listed)
    if listed is not None and isinstance(issuers, dict):
        _refuse_unknown(page, issuers, listed.known, ("trusted_issuers",))
    _refuse_unknown(page, table, reader.known, ())
    if not table:
        # A file that got lost on the way must not pass for one without an allow-list.
        page.fault("empty", "", "holds neither tailnets nor trusted_issuers")
    return None if page.findings else Configuration(found, trusted)


def _tailnets(table: Mapping[str, object], page: Page, environment: Mapping[str, str] | None) -> dict[str, Tailnet]:
    if not table:
        page.fault("empty", "tailnets", "names no tailnet")
    found: dict[str, Tailnet] = {}
    for name, value in table.items():
        place = spelled(("tailnets", name))
        if not _NAME.fullmatch(name) or len(name) > MAX_NAME_LENGTH:
            page.fault("name", place, "is not a name", "letters, digits, dots, hyphens and underscores")
        elif not isinstance(value, dict):
            page.fault("type", place, f"is {type_name(value)}, not a table")
        else:
            reader = Reader(value, page, place)
            found[name] = _tailnet(reader, PurePath(page.file).parent, environment)
            _refuse_unknown(page, value, reader.known, ("tailnets", name))
    return found


def _tailnet(reader: Reader, folder: PurePath, environment: Mapping[str, str] | None) -> Tailnet:
    token_url = reader.text("token_url") or DEFAULT_TOKEN_URL
    # The secret goes there: in the clear only within this machine.
    if reason := refuse_url(token_url, allow_http=False):
        # Not quoted: there may be a password in it.
        reader.fault("token-url", "token_url", f"cannot be used: {reason}")
    client_id = reader.text("client_id", required=True) or ""
    file, secret = reader.text("client_secret_file"), reader.text("client_secret")
    if reader.has("client_secret") and reader.has("client_secret_file"):
        reader.fault("contradiction", "client_secret", "contradicts client_secret_file", "remove one of the two")
    elif not reader.has("client_secret") and not reader.has("client_secret_file"):
        reader.fault("missing", "client_secret_file", "is missing")
    if file is not None and not file.isprintable():
        reader.fault("path", "client_secret_file", "is not the name of a file")
    return Tailnet(
        client_id,
        Secret("") if secret is None else _secret(reader, secret, environment),
        None if file is None else folder / file,
        token_url,
    )


def _secret(reader: Reader, text: str, environment: Mapping[str, str] | None) -> Secret:
    variable = _VARIABLE.fullmatch(text)
    if variable is None:
        # Not quoted: it may well be one.
        message = "is not a variable of the environment, and a secret does not belong in this file"
        reader.fault("secret", "client_secret", message, 'client_secret_file, or like "${PROD_SECRET}"')
        return Secret("")
    if environment is None:
        return Secret("")
    name = variable[1]
    value = environment.get(name, "").strip()
    if not value:
        reader.fault("variable", "client_secret", f"names the variable {name}, which is not set, or empty")
    elif reason := refuse_secret(value):
        reader.fault("variable", "client_secret", f"names the variable {name}, which {reason}")
    return Secret(value)


def _refuse_unknown(page: Page, table: Mapping[str, object], known: Collection[str], within: tuple[str, ...]) -> None:
    for key in sorted(table.keys() - known):
        nearest = difflib.get_close_matches(key.lower(), known, n=1, cutoff=ALIKE)
        advice = f"did you mean {nearest[0]}?" if nearest else f"known: {', '.join(sorted(known))}"
        page.fault("unknown-key", spelled((*within, key)), "is not a key of the configuration", advice)
