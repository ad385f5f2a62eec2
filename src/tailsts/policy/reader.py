"""Takes typed values out of a policy's table, and notes on the page what is wrong with each. Pure."""

import datetime as dt
import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from tailsts.policy.claims import MAX_PATH, NOT_AS_CLAIM, SCALARS, Path, Scalar, exactly, spelled
from tailsts.policy.finding import Page, line_of
from tailsts.policy.patterns.pattern import Pattern, PatternError, compile_pattern
from tailsts.policy.rate import RateError
from tailsts.policy.tomlvalue import are_scalars, is_json, is_list_of_texts, seconds, type_name

MAX_TEXT_LENGTH = 1024
# Nineteen digits are what a token may write: see tailsts.strictjson.
MAX_INTEGER = 10**19
MAX_DURATION = 366 * 24 * 3600
# From here on a key is probably a known one, mistyped.
ALIKE = 0.7
# What people write who know the claims, or other services.
_MEANT = {
    "alg": "algorithm",
    "aud": "audience",
    "claim_pattern": "claim_patterns",
    "iss": "issuer",
    "jwks_uri": "jwks_url",
    "max_ttl": "max_lifetime",
    "scope": "allowed_scopes",
    "scopes": "allowed_scopes",
    "sub": "subject",
    "tags": "allowed_tags",
    "ttl": "max_lifetime",
}
# Never proposed: whoever mistypes another key must not be led to these.
_RISKY = {"allow_http", "any_subject"}

# How a condition's fault begins that is at one place of it.
_PLACE = re.compile(r"line (\d+), (column .*)", re.DOTALL)
# Nobody names a claim like this; whoever writes it meant the policy, and forgot that a table does not end.
_OF_POLICIES = re.compile(
    r"(issuer|claim)_patterns?|algorithm|any_subject|(subject|audience)(_pattern)?|claims|condition|allowed_(scopes|tags)"
    r"|max_(lifetime|age)|not_after|single_use|rate_limit|jwks_(url|file)|ca_file|allow_http"
)

_Value = TypeVar("_Value")


class Reader:
    """One table of a policy: the file's own, or the one `within` it. Every key that is asked for is a known one."""

    def __init__(self, table: Mapping[str, object], page: Page, within: str = "") -> None:
        self._table = table
        self._page = page
        self._within = f"{within}." if within else ""
        self._known: set[str] = set()

    @property
    def known(self) -> frozenset[str]:
        """The keys that were asked for."""
        return frozenset(self._known)

    def fault(self, code: str, key: str, message: str, advice: str = "") -> None:
        """Note a fault of the key."""
        self._page.fault(code, self._within + key, message, advice)

    def refuse_unknown(self) -> None:
        """Fault every key that nobody asked for."""
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
        """Take a string."""
        value = self._take(key, required=required)
        return None if value is None else self._text(key, value)

    def texts(self, key: str) -> tuple[str, ...]:
        """Take a string, or a list of strings."""
        if isinstance(self._table.get(key), str):
            value = self.text(key)
            return () if value is None else (value,)
        return self.list_of_texts(key, kind="a string or a list of strings")

    def list_of_texts(self, key: str, *, required: bool = False, kind: str = "a list of strings") -> tuple[str, ...]:
        """Take a list of strings."""
        value = self._take(key, required=required)
        if value is None:
            return ()
        if not is_list_of_texts(value):
            self.fault("type", key, f"is {type_name(value)}, not {kind}")
            return ()
        if not value:
            self.fault("empty", key, "is an empty list")
        return tuple(item for item in value if self._is_proper(key, item))

    def flag(self, key: str) -> bool:
        """Take true or false."""
        value = self._take(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        self.fault("type", key, f"is {type_name(value)}, not true or false")
        return False

    def duration(self, key: str) -> int | None:
        """Take a duration: whole seconds, or a number with s, m, h or d."""
        value = self._take(key)
        if value is None:
            return None
        span = seconds(value)
        if span is None or not 0 < span <= MAX_DURATION:
            self.fault("duration", key, "is not a duration of up to a year", 'whole seconds, or like "90m", "36h"')
            return None
        return span

    def moment(self, key: str) -> float | None:
        """Take a date and time with its offset (RFC 3339); return it as seconds since the epoch."""
        value = self._take(key)
        if value is None:
            return None
        if not isinstance(value, dt.datetime) or value.tzinfo is None:
            message = f"is {type_name(value)}, not a date and time with an offset"
            if isinstance(value, dt.datetime):
                message = "has no offset, so nobody can say when that is"
            self.fault("time", key, message, "without quotes, like 2026-12-31T18:00:00Z")
            return None
        return value.timestamp()

    def compiled(self, key: str, compile_text: Callable[[str], _Value], error: type[ValueError]) -> _Value | None:
        """Take a string, and what `compile_text` makes of it; its `error` is a fault."""
        text = self._take(key)
        if text is None:
            return None
        if not isinstance(text, str):
            self.fault("type", key, f"is {type_name(text)}, not a string")
            return None
        return self._compile(key, text, compile_text, error)

    def table(self, key: str) -> "Reader | None":
        """Take a table, as a reader of its keys."""
        value = self._take(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.fault("type", key, f"is {type_name(value)}, not a table")
            return None
        return Reader(value, self._page, key)

    def tables(self, key: str) -> "list[Reader]":
        """Take an array of tables, each as a reader of its keys."""
        value = self._take(key, required=True)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            if value is not None:
                self.fault("type", key, f"is {type_name(value)}, not tables, each under [[{key}]]")
            return []
        return [Reader(item, self._page, f"{key} {number}") for number, item in enumerate(value, 1)]

    def json_table(self, key: str) -> Mapping[str, object] | None:
        """Take a table whose values JSON can hold too."""
        value = self._take(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.fault("type", key, f"is {type_name(value)}, not a table")
        elif not is_json(value):
            self.fault(
                "type", key, "holds a date, a time, or a number that JSON has not", "tokens have seconds since 1970"
            )
        else:
            return value
        return None

    def values_by_path(self, key: str) -> tuple[tuple[Path, tuple[Scalar, ...]], ...]:
        """Take a table of exact values, nested as claims are; a list means any of its values."""
        found = [(path, self._values(spelled((key, *path)), value)) for path, value in self._leaves(key)]
        return tuple((path, values) for path, values in found if values)

    def patterns_by_path(self, key: str) -> tuple[tuple[Path, Pattern], ...]:
        """Take a table of patterns, nested as claims are."""
        found: list[tuple[Path, Pattern]] = []
        for path, value in self._leaves(key):
            place = spelled((key, *path))
            if not isinstance(value, str):
                message = f"is {type_name(value)}, not a string: a pattern is for a claim with text"
                advice = "move it to [claims]" if type(value) in SCALARS else ""
                self.fault("type", place, message, advice)
            elif (pattern := self._compile(place, value, compile_pattern, PatternError)) is not None:
                found.append((path, pattern))
        return tuple(found)

    def _compile(
        self, key: str, text: str, compile_text: Callable[[str], _Value], error: type[ValueError]
    ) -> _Value | None:
        try:
            return compile_text(text)
        except error as reason:
            said = str(reason).removeprefix("it ")
            if error is RateError:
                self.fault("rate", key, said)
            elif error is PatternError:
                self.fault("pattern", key, said)
            elif found := _PLACE.match(said):
                line = self._page.line_within(key, int(found[1]))
                self._page.fault("condition", key, f"has an error at its {found[2]}", line=line)
            else:
                self.fault("condition", key, said)
            return None

    def _leaves(self, key: str) -> Iterator[tuple[Path, object]]:
        value = self._take(key)
        if value is None:
            return
        if not isinstance(value, dict):
            self.fault("type", key, f"is {type_name(value)}, not a table")
        elif not value:
            self.fault("empty", key, "is an empty table")
        else:
            yield from self._walk((key,), value)

    def _walk(self, path: Path, table: Mapping[str, object]) -> Iterator[tuple[Path, object]]:
        for name, value in table.items():
            place = (*path, name)
            if len(place) == 2 and name in NOT_AS_CLAIM:  # noqa: PLR2004 - directly in the table
                self.fault("claim", spelled(place), "is not judged as a claim", f"use {NOT_AS_CLAIM[name]}")
            elif len(place) == 2 and _OF_POLICIES.fullmatch(name):  # noqa: PLR2004 - as above
                line = line_of(self._page.text, place[0])
                where = f"[{place[0]}]" if line is None else f"[{place[0]}] (line {line})"
                message = f"stands under {where}, and is a key of the policy"
                self.fault("claim", spelled(place), message, "move it above the first [table]")
            elif not isinstance(value, dict):
                yield place[1:], value
            elif not value:
                self.fault("empty", spelled(place), "is an empty table")
            elif len(place) > MAX_PATH:
                self.fault("claim", spelled(place), f"is nested deeper than {MAX_PATH} levels")
            else:
                yield from self._walk(place, value)

    def _values(self, key: str, value: object) -> tuple[Scalar, ...]:
        values = value if isinstance(value, list) else [value]
        if not values:
            self.fault("empty", key, "is an empty list, so no token could have it")
        elif not are_scalars(values):
            message = (
                f"is {type_name(value)}; a claim is compared with a string, a number, true, false, or a list of them"
            )
            self.fault("type", key, message, "write a condition for anything else")
        elif any(isinstance(item, float) and not math.isfinite(item) for item in values):
            self.fault("type", key, "is no number that a token could hold")
        elif any(type(item) is int and abs(item) >= MAX_INTEGER for item in values):
            self.fault("type", key, "is an integer beyond 64 bits, which no token can hold")
        elif any(isinstance(item, str) and len(item) > MAX_TEXT_LENGTH for item in values):
            self.fault("length", key, f"is longer than {MAX_TEXT_LENGTH} characters")
        else:
            return tuple({exactly(item): item for item in values}.values())
        return ()

    def _text(self, key: str, value: object) -> str | None:
        if not isinstance(value, str):
            self.fault("type", key, f"is {type_name(value)}, not a string")
            return None
        return value if self._is_proper(key, value) else None

    def _take(self, key: str, *, required: bool = False) -> object:
        self._known.add(key)
        if required and key not in self._table:
            self.fault("missing", key, "is missing", self._found_below(key))
        return self._table.get(key)

    def _found_below(self, key: str) -> str:
        tables = (table for table, value in self._table.items() if isinstance(value, dict) and key in value)
        table = next(tables, None)
        return "" if table is None else f"it stands under [{table}]: move it above the first [table]"

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
