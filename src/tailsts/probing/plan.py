"""A file of probes: a TOML page to a plan. Every fault of a file is noted, with its line. Pure."""

import difflib
import re
from collections.abc import Collection, Mapping
from pathlib import PurePath

import msgspec

from tailsts.oidc.source import refuse_url
from tailsts.policy.decide import Wanted
from tailsts.policy.finding import Page
from tailsts.policy.parse import read_toml
from tailsts.policy.reader import ALIKE, Reader
from tailsts.probing.answers import BY_REASON, FORBIDDEN, OK, Told, expected

# They run one after the other, and each name is a label of a metric.
MAX_PROBES = 100
ERRORS = range(400, 600)

_HEADER = re.compile(r"[ \t]*\[\[[ \t]*(?:probe|\"probe\"|'probe')[ \t]*\]\]")
_CODE = re.compile(r"[a-z_]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class TokenSource(msgspec.Struct, frozen=True):
    """Where the OIDC token is: in a file, or in a variable of the environment."""

    file: PurePath | None = None
    variable: str = ""


class Probe(msgspec.Struct, frozen=True):
    """One exchange, and what must come of it: status 200 is a token. An empty message may be any.

    `tampered`: the token's signature is changed before it is sent.
    """

    name: str
    token: TokenSource
    wanted: Wanted
    told: Told
    tampered: bool = False


class Plan(msgspec.Struct, frozen=True):
    """The probes, in their order, and the server's address, '' if the file names none."""

    server: str
    probes: tuple[Probe, ...]


def read_plan(page: Page) -> Plan | None:
    """Return the plan on the page, or None, with what is wrong noted on it."""
    table = read_toml(page)
    if table is None:
        return None
    top = Reader(table, page)
    server = top.text("server") or ""
    if server and (reason := refuse_server(server)):
        # Not quoted: there may be a password in it.
        top.fault("server", "server", f"cannot be used: {reason}")
    readers = top.tables("probe")
    _refuse_unknown(top, table, top.known)
    if table.get("probe") == []:
        top.fault("empty", "probe", "is an empty list")
    if len(readers) > MAX_PROBES:
        top.fault("probe", "probe", f"there are more than {MAX_PROBES}")
    probes = _probes(page, table.get("probe"), readers)
    return None if page.findings else Plan(server, tuple(probes))


def refuse_server(url: str) -> str | None:
    """Return why `url` cannot be the address of a server, or None if it can."""
    if "//" not in url:
        return "http:// or https:// is missing before the host"
    return refuse_url(url, allow_http=True)


def _probes(page: Page, tables: object, readers: list[Reader]) -> list[Probe]:
    if not readers or not isinstance(tables, list):
        return []
    lines = [number for number, line in enumerate(page.text.split("\n"), 1) if _HEADER.match(line)]
    probes: list[Probe] = []
    names: set[str] = set()
    for position, (reader, table) in enumerate(zip(readers, tables, strict=True)):
        line = lines[position] if len(lines) == len(readers) else None
        before = len(page.findings)
        probe = _probe(reader, table, PurePath(page.file).parent)
        if probe.name and probe.name in names:
            reader.fault("name", "name", "is that of another probe, too")
        names.add(probe.name)
        _refuse_unknown(reader, table, reader.known | {"status"})
        page.findings[before:] = [msgspec.structs.replace(found, line=line) for found in page.findings[before:]]
        probes.append(probe)
    return probes


def _probe(reader: Reader, table: Mapping[str, object], folder: PurePath) -> Probe:
    return Probe(
        name=reader.text("name", required=True) or "",
        token=_token(reader, folder),
        wanted=Wanted(
            tuple(dict.fromkeys(reader.list_of_texts("scopes", required=True))),
            tuple(dict.fromkeys(reader.list_of_texts("tags"))),
            reader.text("policy"),
        ),
        told=_told(reader, table.get("status")),
        tampered=reader.flag("tampered"),
    )


def _token(reader: Reader, folder: PurePath) -> TokenSource:
    file, variable = reader.text("token_file"), reader.text("token_env")
    if reader.has("token_file") == reader.has("token_env"):
        reader.fault("token", "token_file", "or token_env says where the token is: exactly one of the two")
    # Neither is quoted: it may be a token.
    if file is not None and not file.isprintable():
        reader.fault("token", "token_file", "is not the name of a file")
    if variable is not None and not _VARIABLE.fullmatch(variable):
        reader.fault("token", "token_env", "is not the name of a variable")
    return TokenSource(None if file is None else folder / file, variable or "")


def _told(reader: Reader, status: object) -> Told:
    expect, reason = reader.text("expect", required=True), reader.text("reason")
    if expect not in {"allow", "deny", None}:
        reader.fault("expect", "expect", 'is neither "allow" nor "deny"')
    if expect != "deny":
        for key in ("reason", "status"):
            if reader.has(key) and expect == "allow":
                reader.fault("contradiction", key, 'contradicts expect = "allow"', "remove one of the two")
        return Told(OK, "")
    if status is not None and (type(status) is not int or status not in ERRORS):
        reader.fault("status", "status", "is not the HTTP status of a denial, like 403")
        status = None
    told = None if reason is None else expected(reason)
    if told is not None:
        if status not in {None, told.status}:
            reader.fault("contradiction", "status", f"contradicts the reason, which comes with {told.status}")
        return told
    if reason is not None and _CODE.fullmatch(reason):
        near = difflib.get_close_matches(reason, BY_REASON, n=1, cutoff=ALIKE)
        advice = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(BY_REASON))}"
        reader.fault("reason", "reason", "is nothing that a server says to callers", advice)
    return Told(status if isinstance(status, int) else FORBIDDEN, reason or "")


def _refuse_unknown(reader: Reader, table: Mapping[str, object], known: Collection[str]) -> None:
    for key in sorted(table.keys() - known):
        nearest = difflib.get_close_matches(key.lower(), known, n=1, cutoff=ALIKE)
        advice = f"did you mean {nearest[0]}?" if nearest else f"known: {', '.join(sorted(known))}"
        reader.fault("unknown-key", key, "is not a key of it", advice)
