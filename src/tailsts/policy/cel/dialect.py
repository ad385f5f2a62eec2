"""What of CEL a condition may use: a closed list of functions, and arguments that a stranger cannot choose. Pure.

`matches` compiles its pattern anew in each call, and a time zone is a file that is opened and kept for ever: both must
be written out, so that they are judged once, when the policy is loaded.
"""

import re
from typing import Any

from tailsts.policy.cel.celtree import Call, Constant, ListLiteral, Loop, Node, children, walk
from tailsts.policy.patterns.pattern import library

MAX_PATTERN_LENGTH = 256
# RE2's instructions: the letter of any script is 1,200 of them and costs more than a millisecond in each call.
MAX_PROGRAM = 1_000
# Enough for MAX_PROGRAM: RE2 gives two thirds to the program, 16 bytes for each instruction. Stops the others early.
_PATTERN_MEMORY = 64 * 1024
# Each level doubles the work of estimating, and nobody can read the fourth.
MAX_LOOP_DEPTH = 3

COMPARISONS = frozenset({"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "@in"})
CONVERSIONS = frozenset({"bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint"})
CALENDAR = frozenset(
    {
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getFullYear",
        "getHours",
        "getMilliseconds",
        "getMinutes",
        "getMonth",
        "getSeconds",
    }
)
_ARITHMETIC = frozenset({"_+_", "_-_", "_*_", "_/_", "_%_", "-_"})
_LOGIC = frozenset({"_&&_", "_||_", "!_", "_?_:_", "@not_strictly_false"})
_PARTS = frozenset({"_[_]", "contains", "endsWith", "matches", "size", "startsWith"})
_FUNCTIONS = COMPARISONS | CONVERSIONS | CALENDAR | _ARITHMETIC | _LOGIC | _PARTS

_VARIABLES = frozenset({"claims", "scopes", "tags", "now"})

# A name below the folder of zones, or an offset. CEL would open an absolute path as well.
_ZONE = re.compile(r"[A-Za-z0-9_+\-]+(?:/[A-Za-z0-9_+\-]+){0,3}|[+-]?[0-9]{2}:[0-9]{2}", re.ASCII)


class DialectError(ValueError):
    """An expression uses what no condition may. The message is in our own words."""


def refuse_dialect(tree: Node) -> None:
    """Raise unless `tree` keeps to what a condition may use.

    Raises:
        DialectError: says which function, argument or loop is too much.
    """
    _refuse_deep_loops(tree, 0)
    for node in walk(tree):
        # Names that always mean the same let the reader of the tree tell which claims are read.
        if isinstance(node, Loop) and node.variable in _VARIABLES:
            raise DialectError(f"a loop's variable may not be named {node.variable}")
        if isinstance(node, Call) and node.function not in _FUNCTIONS:
            raise DialectError(f"{node.function} may not be called in a condition")
        if isinstance(node, Loop) and not isinstance(node.start, Constant | ListLiteral):
            raise DialectError("a loop may only count, collect or ask")


def patterns(tree: Node) -> dict[str, int]:
    """Return what `tree` gives to `matches`, and how many instructions each pattern is for RE2.

    Raises:
        DialectError: one is not written out, is too long or too large, or is no pattern.
    """
    calls = (node for node in walk(tree) if isinstance(node, Call) and node.function == "matches")
    texts = [_written_out(call.arguments[1], "the pattern of matches") for call in calls]
    return {text: _program_size(text) for text in texts}


def zones(tree: Node) -> frozenset[str]:
    """Return the time zones that `tree` names, which are safe to be put into quotes.

    Raises:
        DialectError: one is not written out, or cannot be a zone.
    """
    calls = (node for node in walk(tree) if isinstance(node, Call) and node.function in CALENDAR)
    found = {_written_out(call.arguments[1], "a time zone") for call in calls if len(call.arguments) > 1}
    if not all(_ZONE.fullmatch(zone) for zone in found):
        raise DialectError("a time zone must be a name such as Europe/Berlin, or an offset such as +02:00")
    return frozenset(found)


def _refuse_deep_loops(node: Node, depth: int) -> None:
    depth += isinstance(node, Loop)
    if depth > MAX_LOOP_DEPTH:
        raise DialectError(f"loops are nested deeper than {MAX_LOOP_DEPTH}")
    for child in children(node):
        _refuse_deep_loops(child, depth)


def _written_out(node: Node, what: str) -> str:
    if isinstance(node, Constant) and node.text is not None:
        return node.text
    raise DialectError(f"{what} must be written out as a string")


def _program_size(pattern: str) -> int:
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise DialectError(f"a pattern is longer than {MAX_PATTERN_LENGTH} characters")
    re2 = library()
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _PATTERN_MEMORY
    try:
        compiled: Any = re2.compile(pattern, options)
    except re2.error as error:
        raise DialectError(f"not a pattern: {error.args[0].decode(errors='replace')}") from None
    if compiled.programsize > MAX_PROGRAM:
        raise DialectError("a pattern is too large: repeat less")
    return int(compiled.programsize)
