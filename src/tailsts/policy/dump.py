"""From a `Draft` to the TOML text that says it, as people read: who, when, what, and where the keys are. Pure.

`parse` makes the same draft of it again, whatever the draft holds. What has its usual value is left out.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from itertools import groupby

import tomli_w

from tailsts.policy.claims import Path, Scalar
from tailsts.policy.draft import Draft
from tailsts.policy.model import DEFAULT_MAX_LIFETIME, DEFAULT_TAILNET
from tailsts.policy.rate import rate_text

MAX_LINE = 100
MAX_REMARK = 200
NO_REMARKS: Mapping[Path, Sequence[str]] = {}

_USUAL_ALGORITHMS = frozenset({"RS256"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A time with an offset may lie in the year 0 or 10000 of UTC, which TOML cannot write.
_OFFSETS = (UTC, timezone(timedelta(hours=23, minutes=59)), timezone(-timedelta(hours=23, minutes=59)))
_LAST = datetime.max.replace(tzinfo=_OFFSETS[-1])

Value = Scalar | datetime | Sequence[Scalar]
Leaf = tuple[Path, Value]


def dump(draft: Draft, remarks: Mapping[Path, Sequence[str]] = NO_REMARKS) -> str:
    """Return the text of the policy. `remarks` are comments, each above the key, or the table, at that path."""
    lines = [line for key, value in _keys(draft) for line in _entry((key,), value, remarks.get((key,), ()))]
    for table, leaves in _tables(draft):
        if leaves:
            lines += ["", *remark_lines(remarks.get((table,), ())), *table_lines((table,), leaves, remarks)]
    return "\n".join(lines) + "\n"


def remark_lines(remarks: Sequence[str]) -> list[str]:
    """Return comments. What they quote may have been made by somebody else: each stays one line that only shows."""
    return [
        f"# {_printable(remark if len(remark) <= MAX_REMARK else remark[:MAX_REMARK] + '...')}" for remark in remarks
    ]


def table_lines(
    table: Path, leaves: Sequence[Leaf], remarks: Mapping[Path, Sequence[str]] = NO_REMARKS
) -> Iterator[str]:
    """Yield the lines of a table, with a table of its own for each nested one if that keeps the order."""
    groups = [(parent, list(group)) for parent, group in groupby(leaves, key=_parent)]
    parents = [parent for parent, _ in groups]
    if len(set(parents)) < len(parents) or () in parents[1:]:
        groups = [((), list(leaves))]
    for number, (parent, group) in enumerate(groups):
        if number:
            yield ""
        yield f"[{key_text((*table, *parent))}]"
        for path, value in group:
            yield from _entry(path[len(parent) :], value, remarks.get((*table, *path), ()))


def key_text(path: Path) -> str:
    """Return a dotted key as TOML writes it."""
    return ".".join(_escaped(tomli_w.dumps({name: 0}).removesuffix(" = 0\n")) for name in path)


def value_text(value: Value) -> str:
    """Return a value as TOML writes it; a list on one line if it is short."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, str | bool | int | float):
        return _escaped(tomli_w.dumps({"x": value}).removeprefix("x = ").removesuffix("\n"))
    items = [value_text(item) for item in value]
    line = f"[{', '.join(items)}]"
    return line if len(line) <= MAX_LINE else "[\n" + "".join(f"  {item},\n" for item in items) + "]"


def _keys(draft: Draft) -> Iterator[tuple[str, Value]]:
    for part in _PARTS:
        for key, value in part(draft):
            if value is not None and value is not False and value != "":
                yield key, value


def _tables(draft: Draft) -> Iterator[tuple[str, list[Leaf]]]:
    yield "claims", [(path, _one_or_list(values)) for path, values in draft.claims]
    yield "claim_patterns", [(path, pattern.text) for path, pattern in draft.claim_patterns]
    yield "opa", [] if draft.opa_url is None else [(("url",), draft.opa_url)]


def _who(draft: Draft) -> Iterator[tuple[str, Value | None]]:
    yield "description", draft.description
    yield "issuer", draft.issuer
    yield "issuer_pattern", None if draft.issuer_pattern is None else draft.issuer_pattern.text
    yield "subject", draft.subject
    yield "subject_pattern", None if draft.subject_pattern is None else draft.subject_pattern.text
    yield "any_subject", draft.any_subject
    yield "audience", _one_or_list(sorted(draft.audiences)) if draft.audiences else None
    yield "audience_pattern", None if draft.audience_pattern is None else draft.audience_pattern.text
    yield "condition", None if draft.condition is None else draft.condition.text


def _when(draft: Draft) -> Iterator[tuple[str, Value | None]]:
    yield "max_lifetime", None if draft.max_lifetime == DEFAULT_MAX_LIFETIME else draft.max_lifetime
    yield "max_age", draft.max_age
    yield "not_before", None if draft.not_before is None else _moment(draft.not_before)
    yield "not_after", None if draft.not_after is None else _moment(draft.not_after)


def _how_often(draft: Draft) -> Iterator[tuple[str, Value | None]]:
    yield "single_use", draft.single_use
    yield "rate_limit", None if draft.rate_limit is None else rate_text(draft.rate_limit)


def _what(draft: Draft) -> Iterator[tuple[str, Value | None]]:
    yield "allowed_scopes", sorted(draft.allowed_scopes)
    yield "allowed_tags", sorted(draft.allowed_tags) or None
    yield "tailnet", None if draft.tailnet == DEFAULT_TAILNET else draft.tailnet


def _signed_with(draft: Draft) -> Iterator[tuple[str, Value | None]]:
    yield "algorithm", None if draft.algorithms == _USUAL_ALGORITHMS else _one_or_list(sorted(draft.algorithms))
    yield "jwks_url", draft.jwks_url
    yield "jwks_file", draft.jwks_file
    yield "ca_file", draft.ca_file
    yield "allow_http", draft.allow_http


_PARTS: tuple[Callable[[Draft], Iterator[tuple[str, Value | None]]], ...] = (
    _who,
    _when,
    _what,
    _how_often,
    _signed_with,
)


def _entry(path: Path, value: Value, remarks: Sequence[str]) -> Iterator[str]:
    yield from remark_lines(remarks)
    yield f"{key_text(path)} = {value_text(value)}"


def _one_or_list(values: Sequence[Scalar]) -> Value:
    return values[0] if len(values) == 1 else values


def _moment(seconds: float) -> datetime:
    for offset in _OFFSETS:
        try:
            return _EPOCH.astimezone(offset) + timedelta(seconds=seconds)
        except OverflowError:
            continue
    # As a float, the last microseconds of all are the year after, wherever they are.
    if seconds == _LAST.timestamp():
        return _LAST
    raise ValueError("no such time")


def _parent(leaf: Leaf) -> Path:
    return leaf[0][:-1]


def _escaped(text: str) -> str:
    """Return a piece of TOML in which nothing can hide or steer a terminal; such characters only stand in strings."""
    return "".join(part if part.isprintable() else f"\\U{ord(part):08X}" for part in text)


def _printable(text: str) -> str:
    return "".join(part if part.isprintable() else ascii(part)[1:-1] for part in text)
