"""From the text of one policy file to a `Draft`, or to every fault in it at once.

Pure: files that a policy names are opened by the store. Unknown keys, wrong types and empty values are faults: a
policy whose author mistyped `subject` must not load as one that trusts every subject.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping
from typing import TypeGuard

import msgspec

from tailsts.oidc.source import refuse_url
from tailsts.oidc.token import ALGORITHMS
from tailsts.policy.finding import Finding, Page, Severity
from tailsts.policy.issuers import SHARED, refuse_issuer
from tailsts.policy.model import DEFAULT_MAX_LIFETIME
from tailsts.scopes import is_scope_token

MAX_TEXT_LENGTH = 1024
MAX_LIFETIME = 366 * 24 * 3600
# From here on a key is probably a known one, mistyped.
ALIKE = 0.7
# What people write who know the claims, or other services.
_MEANT = {
    "alg": "algorithm",
    "aud": "audience",
    "iss": "issuer",
    "jwks_uri": "jwks_url",
    "max_ttl": "max_lifetime",
    "scope": "allowed_scopes",
    "scopes": "allowed_scopes",
    "sub": "subject",
    "ttl": "max_lifetime",
}
# Never proposed: whoever mistypes another key must not be led to these.
_RISKY = {"allow_http", "any_subject"}

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}
_DURATION = re.compile(r"([1-9][0-9]{0,8})([smhd])")


class Draft(msgspec.Struct, frozen=True):
    """A policy as its text says it: the files that it names are not opened yet. Fields as in `Policy`."""

    name: str
    issuer: str
    algorithms: frozenset[str]
    subject: str | None
    any_subject: bool
    audiences: frozenset[str]
    allowed_scopes: frozenset[str]
    max_lifetime: int
    description: str
    jwks_url: str | None
    jwks_file: str | None
    ca_file: str | None
    allow_http: bool


def parse(name: str, page: Page) -> Draft | None:
    """Read the policy `name` from the TOML text on `page`; return None if that is not possible.

    Every fault is noted on the page.
    """
    try:
        table = tomllib.loads(page.text)
    except tomllib.TOMLDecodeError as error:
        page.findings.append(_syntax_fault(str(error), page))
        return None
    except ValueError:
        # Python reads no number of more than 4300 digits.
        page.findings.append(_syntax_fault("a number with too many digits", page))
        return None
    except RecursionError:
        page.findings.append(_syntax_fault("nested too deep", page))
        return None
    reader = _Reader(table, page)
    draft = _read(name, reader)
    reader.refuse_unknown()
    return None if page.findings else draft


def _read(name: str, reader: "_Reader") -> Draft:
    draft = Draft(
        name=name,
        issuer=reader.text("issuer", required=True) or "",
        algorithms=frozenset(reader.texts("algorithm") or ("RS256",)),
        subject=reader.text("subject"),
        any_subject=reader.flag("any_subject"),
        audiences=frozenset(reader.texts("audience")),
        allowed_scopes=frozenset(reader.list_of_texts("allowed_scopes", required=True)),
        max_lifetime=reader.duration("max_lifetime", DEFAULT_MAX_LIFETIME),
        description=reader.text("description") or "",
        jwks_url=reader.text("jwks_url"),
        jwks_file=reader.text("jwks_file"),
        ca_file=reader.text("ca_file"),
        allow_http=reader.flag("allow_http"),
    )
    _check_who(draft, reader)
    _check_keys(draft, reader)
    _check_scopes(draft, reader)
    return draft


def _check_who(draft: Draft, reader: "_Reader") -> None:
    if draft.issuer and (reason := refuse_issuer(draft.issuer)):
        reader.fault("issuer", "issuer", f"cannot be used: {reason}", "copy the iss claim of a real token")
    elif draft.issuer not in SHARED and draft.issuer.rstrip("/") in SHARED:
        advice = f'write "{draft.issuer.rstrip("/")}"'
        reader.fault("issuer", "issuer", "ends in a slash, which the tokens of this issuer do not have", advice)
    for algorithm in sorted(draft.algorithms - ALGORITHMS):
        advice = f"one of {', '.join(sorted(ALGORITHMS))}"
        reader.fault("algorithm", "algorithm", f'"{algorithm}" is not a signature algorithm that is accepted', advice)
    if draft.any_subject and draft.subject is not None:
        reader.fault("contradiction", "any_subject", "contradicts subject", "remove one of the two")
    if draft.issuer in SHARED and not reader.has("subject") and not draft.any_subject:
        reader.fault(
            "shared-issuer",
            "subject",
            f"is missing, and everybody can get a token from {SHARED[draft.issuer]}",
            "name the subject, or say any_subject = true if the whole world is meant",
        )


def _check_keys(draft: Draft, reader: "_Reader") -> None:
    if draft.jwks_url is not None and draft.jwks_file is not None:
        reader.fault("contradiction", "jwks_file", "contradicts jwks_url", "remove one of the two")
    if draft.jwks_file is not None and draft.ca_file is not None:
        reader.fault("contradiction", "ca_file", "contradicts jwks_file, which is not fetched", "remove ca_file")
    if draft.jwks_url is not None:
        if reason := refuse_url(draft.jwks_url, allow_http=draft.allow_http):
            reader.fault("jwks-url", "jwks_url", f"cannot be used: {reason}", "an https URL, or allow_http = true")
    elif draft.jwks_file is None:
        _check_discovery(draft, reader)


def _check_discovery(draft: Draft, reader: "_Reader") -> None:
    if not draft.issuer or refuse_issuer(draft.issuer):
        return
    if reason := refuse_url(draft.issuer, allow_http=draft.allow_http):
        advice = "name the jwks_url, or say allow_http = true"
        reader.fault("discovery", "issuer", f"is where keys would be looked up, but {reason}", advice)


def _check_scopes(draft: Draft, reader: "_Reader") -> None:
    for scope in sorted(draft.allowed_scopes):
        if not is_scope_token(scope):
            advice = "one scope per entry, without blanks and commas (RFC 6749, 3.3)"
            reader.fault("scope", "allowed_scopes", f"{scope!r} is not a scope", advice)


class _Reader:
    """Takes typed values out of a table and notes on the page what is wrong with each."""

    def __init__(self, table: Mapping[str, object], page: Page) -> None:
        self.fault = page.fault
        self._table = table
        self._known: set[str] = set()

    def refuse_unknown(self) -> None:
        for key in sorted(self._table.keys() - self._known):
            meant = self._meant(key)
            advice = f"did you mean {meant}?" if meant else f"known: {', '.join(sorted(self._known))}"
            self.fault("unknown-key", key, "is not a key of a policy", advice)

    def _meant(self, key: str) -> str | None:
        proposed = sorted(self._known - _RISKY)
        nearest = difflib.get_close_matches(key.lower(), proposed, n=1, cutoff=ALIKE)
        return _MEANT.get(key.lower()) or (nearest[0] if nearest else None)

    def has(self, key: str) -> bool:
        """Return whether the key is there, however wrong its value is."""
        return key in self._table

    def text(self, key: str, *, required: bool = False) -> str | None:
        value = self._take(key, required=required)
        if value is None:
            return None
        if not isinstance(value, str):
            self.fault("type", key, f"is {_type_name(value)}, not a string")
            return None
        return value if self._is_proper(key, value) else None

    def texts(self, key: str) -> tuple[str, ...]:
        """Take a string, or a list of strings."""
        if isinstance(self._table.get(key), str):
            value = self.text(key)
            return () if value is None else (value,)
        return self.list_of_texts(key, kind="a string or a list of strings")

    def list_of_texts(self, key: str, *, required: bool = False, kind: str = "a list of strings") -> tuple[str, ...]:
        value = self._take(key, required=required)
        if value is None:
            return ()
        if not _is_list_of_texts(value):
            self.fault("type", key, f"is {_type_name(value)}, not {kind}")
            return ()
        if not value:
            self.fault("empty", key, "is an empty list")
        return tuple(item for item in value if self._is_proper(key, item))

    def flag(self, key: str) -> bool:
        value = self._take(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        self.fault("type", key, f"is {_type_name(value)}, not true or false")
        return False

    def duration(self, key: str, default: int) -> int:
        """Take a duration: whole seconds, or a number with s, m, h or d."""
        value = self._take(key)
        if value is None:
            return default
        seconds = _seconds(value)
        if seconds is None or not 0 < seconds <= MAX_LIFETIME:
            self.fault("duration", key, "is not a duration of up to a year", 'whole seconds, or like "90m", "36h"')
            return default
        return seconds

    def _take(self, key: str, *, required: bool = False) -> object:
        self._known.add(key)
        if required and key not in self._table:
            self.fault("missing", key, "is missing")
        return self._table.get(key)

    def _is_proper(self, key: str, value: str) -> bool:
        if not value.strip():
            self.fault("empty", key, "is an empty string", "leave the key out if nothing is meant")
        elif len(value) > MAX_TEXT_LENGTH:
            self.fault("length", key, f"is longer than {MAX_TEXT_LENGTH} characters")
        elif value != value.strip():
            self.fault("blank", key, "has blanks at its ends, which no token has")
        else:
            return True
        return False


def _syntax_fault(message: str, page: Page) -> Finding:
    line = None
    if found := re.search(r"\(at line (\d+)", message):
        line = int(found[1])
    elif "at end of document" in message:
        line = page.text.count("\n") + 1
    return Finding(Severity.FAULT, "syntax", page.file, line, "", f"not TOML: {message}")


def _seconds(value: object) -> int | None:
    if type(value) is int:
        return value
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return int(found[1]) * _UNIT_SECONDS[found[2]] if found else None


def _is_list_of_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _type_name(value: object) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", str: "a string", dict: "a table"}
    if isinstance(value, list):
        return "a list with other things than strings in it"
    return names.get(type(value), "a date or time")
