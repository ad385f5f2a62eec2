"""The part of RE2's syntax whose meaning is plain, as a tree.

What is said about a pattern before any token is seen is decided on this tree, never on the text: there are too many
ways to write one thing. What it reads it reads as RE2 does when the whole value must match; all else it declines.
"""

import re
from functools import lru_cache
from typing import NoReturn

import msgspec

# Nobody writes groups this deep; it bounds the recursion of all that walks a tree.
MAX_DEPTH = 32
_LAST = 0x10FFFF
# RE2's own.
_MAX_COUNT = 1000

_COUNT = re.compile(r"\{(0|[1-9][0-9]{0,3})(,(0|[1-9][0-9]{0,3})?)?\}")
_GROUP = re.compile(r"\?(:|P?<[A-Za-z0-9_]+>)")
# Where they say nothing: at the ends of a branch that has to match the whole value.
_START = re.compile(r"\^|\\A")
_END = re.compile(r"(\$|\\z)(?=\||\Z)")
_HEX = re.compile(r"[0-9A-Fa-f]{2}|\{[0-9A-Fa-f]{1,6}\}")
_NAMED_CLASS = re.compile(r"\[:(\^?)([a-z]+):\]")
_SIMPLE_ESCAPES = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_MARKS = {"*": (0, None), "+": (1, None), "?": (0, 1)}


class Literal(msgspec.Struct, frozen=True):
    """One character. A class of one, such as `[.]`, is that too."""

    character: str


class CharSet(msgspec.Struct, frozen=True):
    """One character out of `ranges`: first and last code points, in order, with gaps between them."""

    ranges: tuple[tuple[int, int], ...]


class Sequence(msgspec.Struct, frozen=True):
    """One after the other; without parts the empty string. A part is never a `Sequence`."""

    parts: tuple["Node", ...]


class Alternation(msgspec.Struct, frozen=True):
    """Any one of these."""

    branches: tuple["Node", ...]


class Repeat(msgspec.Struct, frozen=True):
    """`node`, at least `minimum` and at most `maximum` times; None: no end."""

    node: "Node"
    minimum: int
    maximum: int | None


Node = Literal | CharSet | Sequence | Alternation | Repeat


@lru_cache(maxsize=4096)
def parse(text: str) -> Node | None:
    """Return the tree of `text`, a pattern that `compile_pattern` takes, or None if it uses something else.

    That is: flags, quotations, Unicode classes, octal escapes, word boundaries, anchors other than at the ends of the
    pattern or of its branches, where they say nothing.
    """
    try:
        return _Reader(text).whole()
    except _DeclinedError:
        return None


def char_set(*ranges: tuple[int, int]) -> CharSet:
    """Return the set of `ranges`, which may be in any order and overlap."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return CharSet(tuple(merged))


def complement(of: CharSet) -> CharSet:
    """Return every other character."""
    starts = (0, *(last + 1 for _, last in of.ranges))
    ends = (*(first - 1 for first, _ in of.ranges), _LAST)
    return CharSet(tuple((start, end) for start, end in zip(starts, ends, strict=True) if start <= end))


def _of(*spans: str) -> CharSet:
    return char_set(*((ord(span[0]), ord(span[-1])) for span in spans))


# What a bare dot matches.
ANY = complement(_of("\n"))
_PERL_CLASSES = {"d": _of("09"), "s": _of("\t\n", "\f\r", " "), "w": _of("09", "AZ", "_", "az")}
_PERL_CLASSES |= {letter.upper(): complement(inner) for letter, inner in _PERL_CLASSES.items()}
_NAMED_CLASSES = {
    "alnum": _of("09", "AZ", "az"),
    "alpha": _of("AZ", "az"),
    "ascii": _of("\0\x7f"),
    "blank": _of("\t", " "),
    "cntrl": _of("\0\x1f", "\x7f"),
    "digit": _of("09"),
    "graph": _of("!~"),
    "lower": _of("az"),
    "print": _of(" ~"),
    "punct": _of("!/", ":@", "[`", "{~"),
    "space": _of("\t\r", " "),
    "upper": _of("AZ"),
    "word": _PERL_CLASSES["w"],
    "xdigit": _of("09", "AF", "af"),
}


class _DeclinedError(Exception):
    """Something that is not read."""


class _Reader:
    """Reads from left to right, one function for each construct."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def whole(self) -> Node:
        node = self._alternation(0)
        return node if self._at == len(self._text) else self._decline()

    def _alternation(self, depth: int) -> Node:
        branches = [self._sequence(depth)]
        while self._take("|"):
            branches.append(self._sequence(depth))
        return branches[0] if len(branches) == 1 else Alternation(tuple(branches))

    def _sequence(self, depth: int) -> Node:
        parts: list[Node] = []
        if depth == 0:
            self._skip(_START)
        while self._peek() not in {"", "|", ")"} and not (depth == 0 and self._skip(_END)):
            part = self._repeated(depth)
            parts.extend(part.parts if isinstance(part, Sequence) else [part])
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _skip(self, anchor: re.Pattern[str]) -> bool:
        found = anchor.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return found is not None

    def _repeated(self, depth: int) -> Node:
        node = self._atom(depth)
        count = self._count()
        if count is None:
            return node
        # Lazy or greedy decides where a match ends, not what matches as a whole.
        self._take("?")
        if self._count() is not None:
            self._decline()
        return Repeat(node, *count)

    def _count(self) -> tuple[int, int | None] | None:
        mark = self._peek()
        if mark and mark in _MARKS:
            self._at += 1
            return _MARKS[mark]
        found = _COUNT.match(self._text, self._at)
        if found is None:
            return None
        self._at = found.end()
        minimum = int(found[1])
        maximum = minimum if found[2] is None else None if found[3] is None else int(found[3])
        if max(minimum, maximum or 0) > _MAX_COUNT or (maximum is not None and maximum < minimum):
            self._decline()
        return minimum, maximum

    def _atom(self, depth: int) -> Node:
        character = self._next()
        if character == "(":
            return self._group(depth)
        if character == "[":
            return _single(self._class())
        if character == ".":
            return ANY
        if character == "\\":
            return self._escape()
        if character in "*+?^$" or (character == "{" and self._peek().isdecimal()):
            self._decline()
        return Literal(character)

    def _group(self, depth: int) -> Node:
        if named := _GROUP.match(self._text, self._at):
            self._at = named.end()
        elif self._peek() == "?":
            self._decline()
        if depth == MAX_DEPTH:
            self._decline()
        node = self._alternation(depth + 1)
        return node if self._take(")") else self._decline()

    def _escape(self) -> Literal | CharSet:
        character = self._next()
        if character in _PERL_CLASSES:
            return _PERL_CLASSES[character]
        if character in _SIMPLE_ESCAPES:
            return Literal(_SIMPLE_ESCAPES[character])
        if character == "x":
            return Literal(self._hex())
        if not character.isascii() or character.isalnum():
            self._decline()
        return Literal(character)

    def _hex(self) -> str:
        found = _HEX.match(self._text, self._at)
        if found is None or (code := int(found[0].strip("{}"), 16)) > _LAST:
            self._decline()
        self._at = found.end()
        return chr(code)

    def _class(self) -> CharSet:
        negated = self._take("^")
        ranges = [*self._class_item()]
        # A bracket that comes first is an item.
        while not self._take("]"):
            ranges += self._class_item()
        return complement(char_set(*ranges)) if negated else char_set(*ranges)

    def _class_item(self) -> tuple[tuple[int, int], ...]:
        if self._text.startswith("[:", self._at):
            return self._named_class().ranges
        first = self._class_character()
        if isinstance(first, CharSet):
            return first.ranges
        # A hyphen that comes last is an item.
        if self._peek() != "-" or self._text.startswith("-]", self._at):
            return ((first, first),)
        self._at += 1
        last = self._class_character()
        if isinstance(last, CharSet) or last < first:
            self._decline()
        return ((first, last),)

    def _named_class(self) -> CharSet:
        found = _NAMED_CLASS.match(self._text, self._at)
        if found is None or found[2] not in _NAMED_CLASSES:
            self._decline()
        self._at = found.end()
        return complement(_NAMED_CLASSES[found[2]]) if found[1] else _NAMED_CLASSES[found[2]]

    def _class_character(self) -> int | CharSet:
        character = self._next()
        if character != "\\":
            return ord(character)
        escaped = self._escape()
        return ord(escaped.character) if isinstance(escaped, Literal) else escaped

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        character = self._peek() or self._decline()
        self._at += 1
        return character

    def _take(self, text: str) -> bool:
        taken = self._text.startswith(text, self._at)
        self._at += len(text) if taken else 0
        return taken

    def _decline(self) -> NoReturn:
        raise _DeclinedError


def _single(of: CharSet) -> Literal | CharSet:
    if len(of.ranges) == 1 and of.ranges[0][0] == of.ranges[0][1]:
        return Literal(chr(of.ranges[0][0]))
    return of
