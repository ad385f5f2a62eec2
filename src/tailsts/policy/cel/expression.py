"""A policy's `condition`: one CEL expression, compiled and judged when the policy is loaded.

It sees `claims` (a map), `scopes` and `tags` (lists of strings: the request's) and `now` (a timestamp). It is plain
CEL with the standard macros; no extension is on, so there is no `charAt`, `split`, `math`, `optional` or `cel.bind`.

CEL's types are strict, but not as strict as those of `[claims]`:

- Literals of different types cannot be compared: `1 == 1.0`, `1 == "1"` and `true == 1` are faults at load.
- What a claim is is only known when it is there. Compared with another type it is unequal: `claims.n == "1"` is false
  for the number 1, `claims.t == 1` is false for true. Numbers are compared by value: `claims.n == 1` is true for 1.0.
- A claim that is not there is an error, not null: write `has(claims.x) && claims.x == "a"`, or `"x.y" in claims` for
  names with dots. An error decides nothing, unless the other side of `&&` or `||` decides alone.
- Integers of a token are `int`, from 2^63 on `uint`. Numbers with a point or an exponent are `double`.
- `matches` looks for the pattern anywhere in the string. `^` and `$` make it match the whole.

What is evaluated is bounded: by CEL (10,000 rounds of all loops together, 32 levels) and by `tailsts.policy.cel.cost`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from tailsts.policy.cel.celtree import Call, Constant, Name, Node, Select, TreeError, children, read_tree, walk
from tailsts.policy.cel.cost import CostError, Costs, judge_costs
from tailsts.policy.cel.dialect import DialectError, patterns, refuse_dialect, zones
from tailsts.policy.cel.implied import Implied, compared, implied
from tailsts.policy.claims import Path

MAX_LENGTH = 4_096

_MAX_REASON = 200

_SEARCHES = frozenset({"matches", "contains", "startsWith", "endsWith"})

_ENCODER = msgspec.json.Encoder()

_FIRST_ERROR = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")
# What the library puts around its messages.
_STATUS = re.compile(r"\A[A-Z_]+: |\s*\[[A-Z_]+\]\Z")
# What people write who know other languages.
_HINTS = (
    (re.compile(r"input 'and'"), ": write && for and"),
    (re.compile(r"input 'or'"), ": write || for or"),
    (re.compile(r"at: '=+ ?"), ": write == to compare, and matches() for patterns"),
    (re.compile(r"at: '& ?"), ": write &&"),
    (re.compile(r"at: '\| ?"), ": write ||"),
    (re.compile(r"reference to '(True|False|None)'"), ": write true, false or null"),
    (re.compile(r"reference to 'claim\b"), ": write claims"),
    (re.compile(r"reference to '(sub|iss|aud)\b"), ": write claims. before it"),
)
# An escaped backslash before it would make it the plain text "\u0000".
_ZERO_CHARACTER = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class ExpressionError(ValueError):
    """A text is no condition. The message is short and printable."""


class Undecided(msgspec.Struct, frozen=True):
    """The condition is neither true nor false for these values, and so it does not hold."""

    reason: str


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled condition. May be shared by threads, and kept."""

    text: str
    patterns: tuple[str, ...] = field(compare=False, repr=False)
    """What it gives to `matches`."""
    literals: tuple[str, ...] = field(compare=False, repr=False)
    """The strings that are written out in it."""
    equals: tuple[tuple[Path, str], ...] = field(compare=False, repr=False)
    """The claims that it compares with a string by `==` or `in`, wherever in it that is."""
    searches: bool = field(compare=False, repr=False)
    """Whether it looks at parts of a text."""
    implied: Implied | None = field(compare=False, repr=False)
    """The values that claims have wherever it is true; None if it never is."""
    _program: Any = field(compare=False, repr=False)
    _costs: Costs = field(compare=False, repr=False)
    _names: frozenset[str] = field(compare=False, repr=False)
    """The variables that it reads, which are the ones that it gets."""
    _claims: tuple[str, ...] | None = field(compare=False, repr=False)
    """The claims that it reads; None if it takes them all."""

    @property
    def reads_all_of(self) -> tuple[str, ...] | None:
        """The claims that it reads, if it reads nothing else: neither all claims, nor the request or the time."""
        return self._claims if self._names <= {"claims"} else None

    def evaluate(
        self, claims: Mapping[str, object], scopes: tuple[str, ...], tags: tuple[str, ...], now: float
    ) -> bool | Undecided:
        """Return what the condition says; never raises. `now` is in seconds since the epoch."""
        try:
            data = self._data(claims, scopes, tags)
            reason = self._refuse(data)
            if reason is not None:
                return Undecided(reason)
            if "now" in self._names:
                data["now"] = datetime.fromtimestamp(now, UTC)
            value = self._program.eval(data=data).plain_value()
        # Whatever goes wrong, in whatever library: it is not a yes.
        except Exception as error:  # noqa: BLE001
            return Undecided(_because(str(error)))
        # An error is a value as well, which reads as text.
        return value if isinstance(value, bool) else Undecided(_because(str(value)))

    def _data(self, claims: Mapping[str, object], scopes: tuple[str, ...], tags: tuple[str, ...]) -> dict[str, object]:
        # CEL converts all that it is given before it starts, which costs more than most conditions.
        data: dict[str, object] = {}
        if "claims" in self._names:
            names = claims if self._claims is None else self._claims
            data["claims"] = {name: claims[name] for name in names if name in claims}
        if "scopes" in self._names:
            data["scopes"] = list(scopes)
        if "tags" in self._names:
            data["tags"] = list(tags)
        return data

    def _refuse(self, data: dict[str, object]) -> str | None:
        # Also refuses what is nested without end, and what is no JSON: both could crash what comes next.
        encoded = _ENCODER.encode(data)
        if b"\\u0000" in encoded and _ZERO_CHARACTER.search(encoded):
            # The binding ends a string there: "admin\0x" would equal "admin".
            return "something that the condition reads holds a zero character"
        if not self._costs.affordable(len(encoded), data):
            return "the condition would cost too much for this token"
        return None


@lru_cache(maxsize=1)
def _environment() -> Any:  # noqa: ANN401 - the library has no types
    # Only where a policy has a condition: the library takes several megabytes.
    from cel_expr_python import cel  # type: ignore[import-untyped]  # noqa: PLC0415 - as above; has no py.typed

    return cel.NewEnv(
        variables={
            "claims": cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
            "scopes": cel.Type.List(cel.Type.STRING),
            "tags": cel.Type.List(cel.Type.STRING),
            "now": cel.Type.TIMESTAMP,
        }
    )


# Compiling takes a millisecond and is repeated for each policy that has the same condition.
@lru_cache(maxsize=1024)
def compile_expression(text: str) -> Expression:
    """Return the condition that `text` is.

    Raises:
        ExpressionError: too long, not CEL, not boolean, or without a bound on what it costs.
    """
    _refuse_text(text)
    try:
        program = _environment().compile(text)
    except RuntimeError as error:
        raise ExpressionError(_fault(str(error))) from None
    kind = program.return_type().name().lower()
    if kind != "bool":
        raise ExpressionError(f"must be boolean, but is {kind}: compare it with something")
    try:
        return _judge(text, program)
    except (TreeError, DialectError, CostError) as error:
        raise ExpressionError(_printable(str(error))) from None


def _judge(text: str, program: Any) -> Expression:  # noqa: ANN401 - the library has no types
    tree = read_tree(program.serialize())
    refuse_dialect(tree)
    programs = patterns(tree)
    for zone in sorted(zones(tree)):
        _refuse_zone(zone)
    names, claims = _reads(tree)
    costs = judge_costs(tree, programs)
    literals = tuple(dict.fromkeys(node.text for node in walk(tree) if isinstance(node, Constant) and node.text))
    searches = any(isinstance(node, Call) and node.function in _SEARCHES for node in walk(tree))
    return Expression(
        text, tuple(programs), literals, tuple(_equals(tree)), searches, implied(tree), program, costs, names, claims
    )


def _equals(tree: Node) -> Iterator[tuple[Path, str]]:
    for node in walk(tree):
        path, texts = compared(node)
        if path:
            yield from ((path, text) for text in texts)


def _refuse_text(text: str) -> None:
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise ExpressionError("is not Unicode text") from None
    if length > MAX_LENGTH:
        raise ExpressionError(f"is longer than {MAX_LENGTH} bytes")


def _refuse_zone(zone: str) -> None:
    # Which zones there are is known to the machine alone, and is better asked for now than in each exchange.
    probe = _environment().compile(f'timestamp("2000-01-01T00:00:00Z").getHours("{zone}") >= 0')
    if probe.eval(data={}).plain_value() is not True:
        raise ExpressionError(f"the time zone {zone} is not known on this machine")


def _reads(tree: Node) -> tuple[frozenset[str], tuple[str, ...] | None]:
    """Return the variables that are read, and of which claims it can be said by name."""
    names: set[str] = set()
    claims: set[str] = set()
    everything = False
    pending = [tree]
    while pending:
        node = pending.pop()
        claim = _claim(node)
        if claim is not None:
            names.add("claims")
            claims.add(claim)
            continue
        if isinstance(node, Name):
            names.add(node.name)
            everything = everything or node.name == "claims"
        pending.extend(children(node))
    return frozenset(names), None if everything else tuple(sorted(claims))


def _claim(node: Node) -> str | None:
    """Return the name of the claim if `node` is `claims.name`, `claims["name"]` or `"name" in claims`."""
    match node:
        case Select(Name("claims"), name):
            return name
        case Call("_[_]", (Name("claims"), Constant(str(name)))) | Call("@in", (Constant(str(name)), Name("claims"))):
            return name
        case _:
            return None


def _fault(message: str) -> str:
    """Return CEL's first error without its drawing."""
    if "recursion" in message:
        return "is nested too deep, or has too many terms in a row"
    found = _FIRST_ERROR.search(message)
    if found is None:
        return _printable(_STATUS.sub("", message))
    line, column, words = found.groups()
    words = words.removesuffix(" (in container '')")
    hint = next((hint for sign, hint in _HINTS if sign.search(words)), "")
    return _printable(f"line {line}, column {column}: {words}{hint}")


def _because(message: str) -> str:
    words = _STATUS.sub("", message)
    hint = "; ask has(...) first" if words.startswith("Key not found") else ""
    return _printable(f"the condition cannot be evaluated: {words}{hint}")


def _printable(text: str) -> str:
    shown = "".join(character if character.isprintable() else "?" for character in text[: _MAX_REASON + 1])
    return shown if len(shown) <= _MAX_REASON else shown[: _MAX_REASON - 3] + "..."
