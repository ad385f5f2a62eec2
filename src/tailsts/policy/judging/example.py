"""A value that a pattern matches. Pure."""

from functools import lru_cache
from typing import assert_never

from tailsts.policy.patterns.pattern import Pattern
from tailsts.policy.patterns.syntax import Alternation, CharSet, Literal, Node, Repeat, Sequence, parse

# What is left open is filled with the first of these that may stand there.
_PREFERRED = "za0-_./:"
_MAX_TIMES = 64
# What may be of any length is most likely a name, or several.
_NAME = "z/z"


@lru_cache(1024)
def example(pattern: Pattern) -> str | None:
    """Return a value that `pattern` matches, as plain as can be, or None if none is found."""
    node = parse(pattern.text)
    found = None if node is None else _written(node)
    return found if found is not None and pattern.matches(found) else None


def _written(node: Node) -> str | None:
    match node:
        case Literal():
            return node.character
        case CharSet(ranges=ranges):
            if not ranges:
                return None
            usual = (char for char in _PREFERRED if any(first <= ord(char) <= last for first, last in ranges))
            return next(usual, chr(ranges[0][0]))
        case Sequence(parts=inner):
            written = [_written(part) for part in inner]
            return None if None in written else "".join(filter(None, written))
        case Alternation(branches=inner):
            return next((found for branch in inner if (found := _written(branch)) is not None), None)
        case Repeat(node=inner, minimum=minimum, maximum=maximum):
            times = max(minimum, 1) if maximum is None else min(max(minimum, 1), maximum)
            if times > _MAX_TIMES:
                return None
            if maximum is None and times <= len(_NAME) and _can_be_name(inner):
                return _NAME
            once = "" if times == 0 else _written(inner)
            return None if once is None else once * times
        case _:
            assert_never(node)


def _can_be_name(node: Node) -> bool:
    return isinstance(node, CharSet) and all(
        any(first <= ord(character) <= last for first, last in node.ranges) for character in _NAME
    )
