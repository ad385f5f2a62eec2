"""Values that a pattern matches. Pure."""

from collections.abc import Iterable
from functools import lru_cache
from itertools import chain, islice
from typing import assert_never

from tailsts.policy.patterns.pattern import Pattern
from tailsts.policy.patterns.syntax import Alternation, CharSet, Literal, Node, Repeat, Sequence, parse

# What is left open is filled with the first of these that may stand there.
_PREFERRED = "za0-_./:"
_MAX_TIMES = 64
MAX_EXAMPLES = 12
# What may be of any length is most likely a name, or several.
_NAME = "z/z"


def example(pattern: Pattern) -> str | None:
    """Return a value that `pattern` matches, as plain as can be, or None if none is found."""
    return next(iter(examples(pattern)), None)


@lru_cache(1024)
def examples(pattern: Pattern) -> tuple[str, ...]:
    """Return such values, the plainest first: of each of its branches one, up to `MAX_EXAMPLES`."""
    node = parse(pattern.text)
    found = () if node is None else _written(node)
    return tuple(filter(pattern.matches, found))


def _written(node: Node) -> tuple[str, ...]:
    match node:
        case Literal():
            return (node.character,)
        case CharSet(ranges=ranges):
            if not ranges:
                return ()
            usual = (char for char in _PREFERRED if any(first <= ord(char) <= last for first, last in ranges))
            return (next(usual, chr(ranges[0][0])),)
        case Sequence(parts=inner):
            return _in_a_row([_written(part) for part in inner])
        case Alternation(branches=inner):
            written = [found for branch in inner if (found := _written(branch))]
            # Each branch first in one way, so that none is left out.
            return _first((found[0] for found in written), *(found[1:] for found in written))
        case Repeat():
            return _repeated(node)
        case _:
            assert_never(node)


def _in_a_row(written: list[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the plainest text, and those in which one part is another."""
    if not all(written):
        return ()
    plain = [found[0] for found in written]
    others = (
        "".join((*plain[:at], other, *plain[at + 1 :])) for at, found in enumerate(written) for other in found[1:]
    )
    return _first(("".join(plain),), others)


def _repeated(repeat: Repeat) -> tuple[str, ...]:
    maximum = repeat.maximum
    times = max(repeat.minimum, 1) if maximum is None else min(max(repeat.minimum, 1), maximum)
    if times > _MAX_TIMES:
        return ()
    if maximum is None and times <= len(_NAME) and _can_be_name(repeat.node):
        return (_NAME,)
    if times == 0:
        return ("",)
    once = tuple(found * times for found in _written(repeat.node))
    # What is optional need not be there; of what repeats, once is plain enough.
    return _first(once, ("",) if (repeat.minimum, maximum) == (0, 1) else ())


def _first(*found: Iterable[str]) -> tuple[str, ...]:
    return tuple(islice(dict.fromkeys(chain(*found)), MAX_EXAMPLES))


def _can_be_name(node: Node) -> bool:
    return isinstance(node, CharSet) and all(
        any(first <= ord(character) <= last for first, last in node.ranges) for character in _NAME
    )
