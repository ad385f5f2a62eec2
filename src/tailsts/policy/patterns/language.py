"""What the strings are like that a pattern matches, told from its tree."""

from functools import lru_cache
from typing import assert_never

from tailsts.policy.patterns.syntax import ANY, Alternation, CharSet, Literal, Node, Repeat, Sequence, char_set, parse

NOTHING = CharSet(())


def characters(node: Node) -> CharSet:
    """Return all characters of all strings that `node` matches."""
    match node:
        case Literal():
            return _set_of(node)
        case CharSet():
            return node
        case Sequence(parts=inner):
            return NOTHING if matches_nothing(node) else _union(inner)
        case Alternation(branches=inner):
            return _union(inner)
        case Repeat():
            return NOTHING if node.maximum == 0 else characters(node.node)
        case _:
            assert_never(node)


def can_match_char(node: Node, character: str) -> bool:
    """Return whether some string that `node` matches has this character."""
    return _holds(characters(node), character)


def first_beyond(node: Node, allowed: CharSet) -> str | None:
    """Return the first character, by code point, that `node` can match and that is not `allowed`, if there is one."""
    for first, last in characters(node).ranges:
        beyond = first
        for start, end in allowed.ranges:
            if start <= beyond <= end:
                beyond = end + 1
        if beyond <= last:
            return chr(beyond)
    return None


def can_be_made_of(node: Node, allowed: CharSet) -> bool:
    """Return whether `node` matches some string of `allowed` characters alone. The empty string is one."""
    match node:
        case Literal() | CharSet():
            return _overlap(_set_of(node), allowed)
        case Sequence():
            return all(can_be_made_of(part, allowed) for part in node.parts)
        case Alternation():
            return any(can_be_made_of(branch, allowed) for branch in node.branches)
        case Repeat():
            return node.minimum == 0 or can_be_made_of(node.node, allowed)
        case _:
            assert_never(node)


def matches(node: Node, text: str) -> bool:
    """Return whether `node` matches the whole of `text`, a short one: as RE2 does, for a part of a pattern."""
    return len(text) in _ends(node, text, frozenset({0}))


def surely_within(narrow: Node, wide: Node) -> bool:
    """Return whether all that `narrow` matches, `wide` matches too, as far as that is plain.

    It is where they are the same, and where `wide` goes on with anything of its characters from where `narrow` does.
    """
    if narrow == wide:
        return True
    start, end = _parts(wide)[:-1], _parts(wide)[-1:]
    open_end = end[0] if end else None
    if not isinstance(open_end, Repeat) or open_end.maximum is not None or open_end.minimum > 1:
        return False
    if not isinstance(open_end.node, Literal | CharSet) or _parts(narrow)[: len(start)] != start:
        return False
    rest = Sequence(_parts(narrow)[len(start) :])
    long_enough = open_end.minimum == 0 or not can_be_made_of(rest, NOTHING)
    return long_enough and first_beyond(rest, _set_of(open_end.node)) is None


def _parts(node: Node) -> tuple[Node, ...]:
    return node.parts if isinstance(node, Sequence) else (node,)


def matches_nothing(node: Node) -> bool:
    """Return whether no string matches, not even the empty one."""
    match node:
        case Literal():
            return False
        case CharSet():
            return not node.ranges
        case Sequence():
            return any(matches_nothing(part) for part in node.parts)
        case Alternation():
            return all(matches_nothing(branch) for branch in node.branches)
        case Repeat():
            return node.minimum > 0 and matches_nothing(node.node)
        case _:
            assert_never(node)


# Asked of each policy that has the pattern.
@lru_cache(maxsize=4096)
def unescaped_dots(text: str) -> bool:
    r"""Return whether the pattern `text` has a dot, for any character, where a name would have a dot.

    That is a single one between two letters or digits, as in `chainguard.dev`; `.*` and `\.` are not. A pattern that
    `parse` declines has none that could be told.
    """
    node = parse(text)
    return node is not None and _has_dot_in_name(node)


def _has_dot_in_name(node: Node) -> bool:
    match node:
        case Literal() | CharSet():
            return False
        case Sequence(parts=inner):
            return _is_dotted(inner) or any(_has_dot_in_name(part) for part in inner)
        case Alternation(branches=inner):
            return any(_has_dot_in_name(branch) for branch in inner)
        case Repeat():
            return _has_dot_in_name(node.node)
        case _:
            assert_never(node)


def _is_dotted(parts: tuple[Node, ...]) -> bool:
    triples = zip(parts, parts[1:], parts[2:], strict=False)
    return any(middle == ANY and _is_of_name(before) and _is_of_name(after) for before, middle, after in triples)


def _is_of_name(node: Node) -> bool:
    return isinstance(node, Literal) and node.character.isalnum()


def _ends(node: Node, text: str, starts: frozenset[int]) -> frozenset[int]:
    """Return where in `text` a match of `node` can end that begins at one of `starts`."""
    match node:
        case Literal() | CharSet():
            of = _set_of(node)
            return frozenset(at + 1 for at in starts if at < len(text) and _holds(of, text[at]))
        case Sequence(parts=inner):
            for part in inner:
                starts = _ends(part, text, starts)
            return starts
        case Alternation(branches=inner):
            return frozenset().union(*(_ends(branch, text, starts) for branch in inner))
        case Repeat():
            return _repeated_ends(node, text, starts)
        case _:
            assert_never(node)


def _repeated_ends(repeat: Repeat, text: str, starts: frozenset[int]) -> frozenset[int]:
    for _ in range(repeat.minimum):
        starts = _ends(repeat.node, text, starts)
    found = reached = starts
    # Without end: until nothing is new.
    left = len(text) + 1 if repeat.maximum is None else repeat.maximum - repeat.minimum
    while reached and left > 0:
        reached = _ends(repeat.node, text, reached) - found
        found |= reached
        left -= 1
    return found


def _set_of(node: Literal | CharSet) -> CharSet:
    return CharSet(((ord(node.character),) * 2,)) if isinstance(node, Literal) else node


def _union(nodes: tuple[Node, ...]) -> CharSet:
    return char_set(*(span for node in nodes for span in characters(node).ranges))


def _holds(of: CharSet, character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in of.ranges)


def _overlap(left: CharSet, right: CharSet) -> bool:
    return any(first <= end and start <= last for first, last in left.ranges for start, end in right.ranges)
