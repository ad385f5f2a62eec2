"""What evaluating a condition can cost at most, told from its tree and from the shape of the token. Pure.

CEL stops by itself after 10,000 rounds of all loops together, but one round has no bound: joining strings, comparing
lists and compiling a pattern cost what their operands are large. So each node of the tree gets an upper bound of its
price and of how large its value is. The prices are nanoseconds, measured and rounded up; `bench/conditions.py` searches
for conditions and tokens that are dearer than their estimate.
"""

from collections.abc import Mapping
from typing import Any, assert_never

import msgspec

from tailsts.policy.cel.celtree import Call, Constant, ListLiteral, Loop, MapLiteral, Name, Node, Select, walk
from tailsts.policy.cel.dialect import CALENDAR, COMPARISONS, CONVERSIONS

# In estimated nanoseconds.
BUDGET = 20_000_000

# Where CEL itself stops.
_ITERATIONS = 10_000

_NODE_PRICE = 50
_CALL_PRICE = 200
# Times, and texts that are no number, are dear however short they are.
_CONVERSION_PRICE = 1_000
_CALENDAR_PRICE = 600
# CEL turns all values that it gets into its own before it starts.
_ITEM_CONVERTED = 700


class Extent(msgspec.Struct, frozen=True):
    """How large a value can be at most.

    `length` counts its elements, `items` those and all below them, `text` the bytes of the longest string in it.
    `below` is the same for its elements; None: no more is known of them than of the whole.
    """

    length: int
    items: int
    text: int
    below: "Extent | None" = None

    def element(self) -> "Extent":
        """Return how large an element can be, or what a value of an unknown type is turned into."""
        return Extent(self.items, self.items, self.text) if self.below is None else self.below

    def either(self, other: "Extent") -> "Extent":
        """Return how large one of two values can be."""
        if _EMPTY in (self, other):
            return other if self == _EMPTY else self
        length, items, text = max(self.length, other.length), max(self.items, other.items), max(self.text, other.text)
        return Extent(length, items, text, self._elements(other))

    def joined(self, other: "Extent", *, lists: bool) -> "Extent":
        """Return how large one value with the other behind it can be."""
        text = max(self.text, other.text) if lists else self.text + other.text
        return Extent(self.length + other.length, self.items + other.items, text, self._elements(other))

    def _elements(self, other: "Extent") -> "Extent | None":
        if _EMPTY in (self, other):
            return other.below if self == _EMPTY else self.below
        return None if self.below is None or other.below is None else self.below.either(other.below)

    def repeated(self, count: int) -> "Extent":
        """Return how large a list of so many such elements is."""
        return Extent(count, count * (1 + self.items), self.text, self)


# A number, a truth value or a time: as text, it is no longer than this.
_SCALAR = Extent(0, 0, 40)
_EMPTY = Extent(0, 0, 0, _SCALAR)

_LARGEST_SIZE = 16_384
_LARGEST_TEXT = Extent(0, 0, _LARGEST_SIZE)
_LARGEST_LIST = Extent(_LARGEST_SIZE // 2, _LARGEST_SIZE // 2, _LARGEST_SIZE, _LARGEST_TEXT)
# Whatever a token of 16 KiB holds, in any shape: an element needs at least a digit and a comma.
_LARGEST = {"claims": Extent(8_192, 8_192, _LARGEST_SIZE), "scopes": _LARGEST_LIST, "tags": _LARGEST_LIST}
# A small token and a small request: claims, lists in them, and what those hold.
_ORDINARY_LIST = Extent(8, 8, 64, Extent(0, 0, 64))
_ORDINARY = {
    "claims": Extent(48, 80, 256, Extent(24, 32, 256, Extent(8, 8, 256, _SCALAR))),
    "scopes": _ORDINARY_LIST,
    "tags": _ORDINARY_LIST,
}


class CostError(ValueError):
    """An expression costs too much for an ordinary token already."""


class Costs(msgspec.Struct, frozen=True):
    """What is known of an expression's cost before a token is seen. `programs` are the sizes of its patterns."""

    tree: Node
    programs: dict[str, int]
    unconcerned: bool
    """Nothing that the decoder lets through is too large for it, so nothing need be measured."""

    def affordable(self, size: int, values: Mapping[str, object]) -> bool:
        """Return whether the expression may be evaluated over `values`, which are `size` bytes of JSON."""
        if self.unconcerned and size <= _LARGEST_SIZE:
            return True
        extents = {name: measure(value) for name, value in values.items()}
        return estimate(self.tree, self.programs, extents) <= BUDGET


def judge_costs(tree: Node, programs: dict[str, int]) -> Costs:
    """Return the costs of `tree`, which keeps to the dialect.

    Raises:
        CostError: it would hardly ever be evaluated, and its author should hear of it.
    """
    read = {node.name for node in walk(tree) if isinstance(node, Name)}
    ordinary, largest = ({name: extents[name] for name in read & extents.keys()} for extents in (_ORDINARY, _LARGEST))
    if estimate(tree, programs, ordinary) > BUDGET:
        raise CostError("costs too much: take something out of the loops")
    return Costs(tree, programs, estimate(tree, programs, largest) <= BUDGET)


def estimate(tree: Node, programs: Mapping[str, int], values: Mapping[str, Extent]) -> int:
    """Return the cost of evaluating `tree` over `values` in nanoseconds. `programs` are its patterns' sizes."""
    estimator = _Estimator(programs)
    estimator.visit(tree, values, 1)
    return estimator.total + sum(value.items * _ITEM_CONVERTED + value.text for value in values.values())


def measure(value: object) -> Extent:
    """Return how large a value of JSON is. It must not be nested so deep that recursion fails."""
    counts: list[int] = []
    texts: list[int] = []
    _count(value, 0, counts, texts)
    below, items, text = _SCALAR, 0, 0
    for length, longest in zip(reversed(counts), reversed(texts), strict=True):
        items, text = items + length, max(text, longest)
        below = Extent(length, items, max(text, _SCALAR.text), below)
    return below


def _count(value: Any, depth: int, counts: list[int], texts: list[int]) -> None:  # noqa: ANN401 - is JSON
    """Add the elements and the longest text of `value` to those of its depth."""
    if depth == len(counts):
        counts.append(0)
        texts.append(0)
    if isinstance(value, str):
        # In UTF-8, a character is four bytes at most.
        length = len(value) if value.isascii() else 4 * len(value)
        texts[depth] = max(texts[depth], length)
    elif isinstance(value, dict):
        counts[depth] += len(value)
        for key, element in value.items():
            _count(key, depth + 1, counts, texts)
            _count(element, depth + 1, counts, texts)
    elif isinstance(value, list):
        counts[depth] += len(value)
        for element in value:
            _count(element, depth + 1, counts, texts)


class _Estimator:
    """Walks a tree and sums the prices. `runs` is how often a node is evaluated in all."""

    def __init__(self, programs: Mapping[str, int]) -> None:
        self.total = 0
        self._programs = programs

    def visit(self, node: Node, scope: Mapping[str, Extent], runs: int) -> Extent:
        self.total += runs * _NODE_PRICE
        match node:
            case Constant():
                return Extent(0, 0, max(node.size, _SCALAR.text))
            case Name():
                return scope.get(node.name, _SCALAR)
            case Select():
                return self.visit(node.operand, scope, runs).element()
            case Call():
                return self._call(node, scope, runs)
            case ListLiteral() | MapLiteral():
                return self._literal(node, scope, runs)
            case Loop():
                return self._loop(node, scope, runs)
            case _:
                assert_never(node)

    def _call(self, call: Call, scope: Mapping[str, Extent], runs: int) -> Extent:
        operands = [self.visit(argument, scope, runs) for argument in call.arguments]
        match call:
            case Call("_+_", arguments):
                lists = any(isinstance(argument, ListLiteral) for argument in arguments)
                value = operands[0].joined(operands[1], lists=lists)
                price = _join_price(value, lists=lists)
            case Call("matches", (_, Constant(str(pattern)))):
                value = _SCALAR
                price = _matches_price(pattern, self._programs[pattern], operands[0].text)
            case _:
                value = _value(call.function, operands)
                price = _price(call.function, operands)
        self.total += runs * (_CALL_PRICE + price)
        return value

    def _literal(self, node: ListLiteral | MapLiteral, scope: Mapping[str, Extent], runs: int) -> Extent:
        if not node.elements:
            return _EMPTY
        count = len(node.elements)
        self.total += runs * count * 2 * _NODE_PRICE
        elements = [self.visit(element, scope, runs) for element in node.elements]
        below = elements[0]
        for element in elements[1:]:
            below = below.either(element)
        return Extent(count, count + sum(element.items for element in elements), below.text, below)

    def _loop(self, loop: Loop, scope: Mapping[str, Extent], runs: int) -> Extent:
        source = self.visit(loop.source, scope, runs)
        rounds = min(source.length, _ITERATIONS)
        all_rounds = min(runs * rounds, _ITERATIONS)
        inner = {**scope, loop.variable: source.element(), loop.accumulator: self.visit(loop.start, scope, runs)}
        if isinstance(loop.start, ListLiteral):
            # What one round adds is found by a round whose price does not count.
            added = _Estimator(self._programs).visit(loop.step, inner, 1)
            inner[loop.accumulator] = added.element().repeated(rounds)
        self.visit(loop.condition, inner, all_rounds)
        self.visit(loop.step, inner, all_rounds)
        return self.visit(loop.result, inner, runs)


def _value(function: str, operands: list[Extent]) -> Extent:
    match function:
        case "_?_:_":
            return operands[1].either(operands[2])
        case "_[_]":
            return operands[0].element()
        case "dyn":
            return operands[0]
        case "bytes" | "string":
            return Extent(0, 0, operands[0].text)
        case _:
            return _SCALAR


def _price(function: str, operands: list[Extent]) -> int:
    """Return what one call costs beyond its fixed price."""
    first = operands[0]
    if function in COMPARISONS:
        other = operands[1]
        # Two that are equal are no larger than the smaller; `in` compares with all elements.
        items = other.items if function == "@in" else min(first.items, other.items)
        return items * 150 + (items + 1) * min(first.text, other.text) // 16
    if function == "_[_]":
        # A key that is not there is quoted in an error.
        return operands[1].text * 10
    if function == "contains":
        # Looks again from each character.
        return first.text * (6 + operands[1].text // 32)
    if function in CONVERSIONS:
        return _CONVERSION_PRICE + first.text * 4
    if function in CALENDAR:
        return _CALENDAR_PRICE
    if function == "size":
        return first.text * 4
    return first.text // 16 if function in {"startsWith", "endsWith"} else 0


def _join_price(joined: Extent, *, lists: bool) -> int:
    # What is made of strings is memory as well: less than a byte for each nanosecond.
    return joined.length * 45 if lists else joined.length * 80 + joined.text * 2


def _matches_price(pattern: str, program: int, text: int) -> int:
    # The pattern is compiled in each call; then, in the worst case, each instruction is tried at each character.
    compiling = 4_000 + (program + len(pattern)) * (400 + program)
    return compiling + text * (20 + program)
