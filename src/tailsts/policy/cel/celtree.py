"""The syntax tree of a compiled CEL expression, read from what the compiler writes of it.

The compiler gives its tree away only as a serialized `cel.expr.CheckedExpr` (cel-spec, proto/cel/expr/checked.proto
and syntax.proto) in an `Any`. The few fields that matter are read here, without a protobuf library. Macros are
already expanded in it: what is evaluated is what is seen.
"""

from collections.abc import Iterator
from typing import assert_never

import msgspec


class TreeError(ValueError):
    """The serialized expression holds what this reader does not know, so nobody can say what it would cost."""


class Constant(msgspec.Struct, frozen=True):
    """A literal. `text` is set for strings only, `truth` for booleans; `size` is in bytes, of strings and bytes."""

    text: str | None
    size: int
    truth: bool | None = None


class Name(msgspec.Struct, frozen=True):
    """A variable, that of a loop or of the environment, or the name of a type."""

    name: str


class Select(msgspec.Struct, frozen=True):
    """`operand.field`, or `has(operand.field)` if it only `asks` whether it is there."""

    operand: "Node"
    field: str
    asks: bool = False


class Call(msgspec.Struct, frozen=True):
    """A function or an operator. What it is called on is the first argument."""

    function: str
    arguments: "tuple[Node, ...]"


class ListLiteral(msgspec.Struct, frozen=True):
    """`[a, b]`."""

    elements: "tuple[Node, ...]"


class MapLiteral(msgspec.Struct, frozen=True):
    """`{k: v}`: keys and values in turn."""

    elements: "tuple[Node, ...]"


class Loop(msgspec.Struct, frozen=True):
    """What `all`, `exists`, `exists_one`, `map` and `filter` become."""

    variable: str
    source: "Node"
    accumulator: str
    start: "Node"
    condition: "Node"
    step: "Node"
    result: "Node"


Node = Constant | Name | Select | Call | ListLiteral | MapLiteral | Loop


def read_tree(serialized: bytes) -> Node:
    """Return the tree of a serialized `CheckedExpr`.

    Raises:
        TreeError: it holds something else than this reader knows.
    """
    try:
        envelope = dict(_fields(serialized))
        return _node(_bytes(dict(_fields(_bytes(envelope[2])))[4]))
    except (KeyError, IndexError, UnicodeDecodeError) as error:
        raise TreeError("the compiled expression cannot be read") from error


def children(node: Node) -> tuple[Node, ...]:
    """Return the nodes right below `node`."""
    match node:
        case Constant() | Name():
            return ()
        case Select():
            return (node.operand,)
        case Call():
            return node.arguments
        case ListLiteral() | MapLiteral():
            return node.elements
        case Loop():
            return (node.source, node.start, node.condition, node.step, node.result)
        case _:
            assert_never(node)


def walk(node: Node) -> Iterator[Node]:
    """Yield `node` and all below it."""
    yield node
    for child in children(node):
        yield from walk(child)


# The wire format of protobuf: a key is the field's number and one of these.
_VARINT, _EIGHT_BYTES, _LENGTH = 0, 1, 2


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    position = 0
    while position < len(raw):
        key, position = _varint(raw, position)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, position = _varint(raw, position)
            yield number, value
        elif kind in {_EIGHT_BYTES, _LENGTH}:
            length, position = (8, position) if kind == _EIGHT_BYTES else _varint(raw, position)
            yield number, raw[position : position + length]
            position += length
        else:
            raise TreeError(f"the compiled expression holds a field of kind {kind}")


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004 - the bit that says that more follows
            return value, position


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise TreeError("the compiled expression holds a number where a message belongs")
    return value


def _text(value: int | bytes) -> str:
    return _bytes(value).decode()


# syntax.proto, message Expr: the numbers of its `oneof`.
_ID, _CONSTANT, _NAME, _SELECT, _CALL, _LIST, _STRUCT, _LOOP = 2, 3, 4, 5, 6, 7, 8, 9


def _node(raw: bytes) -> Node:
    for number, value in _fields(raw):
        if number == _ID:
            continue
        reader = _READERS.get(number)
        if reader is None:
            raise TreeError(f"the compiled expression holds a node of kind {number}")
        return reader(_bytes(value))
    raise TreeError("the compiled expression holds an empty node")


def _constant(raw: bytes) -> Node:
    truth, string, octets = 2, 6, 7
    for number, value in _fields(raw):
        if number == truth:
            return Constant(None, 0, bool(value))
        if number in {string, octets}:
            return Constant(_text(value) if number == string else None, len(_bytes(value)))
    return Constant(None, 0)


def _name(raw: bytes) -> Node:
    return Name(_text(dict(_fields(raw))[1]))


def _select(raw: bytes) -> Node:
    fields = dict(_fields(raw))
    return Select(_node(_bytes(fields[1])), _text(fields[2]), asks=bool(fields.get(3)))


def _call(raw: bytes) -> Node:
    function, target, arguments = "", [], []
    for number, value in _fields(raw):
        if number == 1:
            target.append(_node(_bytes(value)))
        elif number == 2:  # noqa: PLR2004 - the field's number
            function = _text(value)
        else:
            arguments.append(_node(_bytes(value)))
    return Call(function, (*target, *arguments))


def _list(raw: bytes) -> Node:
    return ListLiteral(tuple(_node(_bytes(value)) for number, value in _fields(raw) if number == 1))


def _struct(raw: bytes) -> Node:
    key, content = 3, 4
    elements: list[Node] = []
    for number, value in _fields(raw):
        if number == 1:
            raise TreeError(f"{_text(value)}: messages cannot be made in a condition")
        entry = dict(_fields(_bytes(value)))
        elements += (_node(_bytes(entry[key])), _node(_bytes(entry[content])))
    return MapLiteral(tuple(elements))


def _loop(raw: bytes) -> Node:
    variable, source, accumulator, start, condition, step, result, second = 1, 2, 3, 4, 5, 6, 7, 8
    fields = dict(_fields(raw))
    if second in fields:
        raise TreeError("the compiled expression holds a loop with two variables")
    return Loop(
        _text(fields[variable]),
        _node(_bytes(fields[source])),
        _text(fields[accumulator]),
        _node(_bytes(fields[start])),
        _node(_bytes(fields[condition])),
        _node(_bytes(fields[step])),
        _node(_bytes(fields[result])),
    )


_READERS = {
    _CONSTANT: _constant,
    _NAME: _name,
    _SELECT: _select,
    _CALL: _call,
    _LIST: _list,
    _STRUCT: _struct,
    _LOOP: _loop,
}
