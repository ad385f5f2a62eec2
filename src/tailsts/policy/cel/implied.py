"""What must be true of the claims wherever a condition is true: the values that some of them must have.

It is read off the tree, and never says too much: what is not understood implies nothing.
"""

from collections.abc import Mapping

from tailsts.policy.cel.celtree import Call, Constant, ListLiteral, Name, Node, Select
from tailsts.policy.claims import Path

# Texts and booleans only: CEL compares numbers of different types by value.
Values = frozenset[str | bool]
Implied = Mapping[Path, Values]

_NOTHING: Implied = {}


def implied(node: Node) -> Implied | None:
    """Return the values that claims have wherever `node` is true, by path; None if it is never true."""
    match node:
        case Constant(truth=False):
            return None
        case Call("_&&_", (left, right)):
            return _both(implied(left), implied(right))
        case Call("_||_", (left, right)):
            return _either(implied(left), implied(right))
        case Call("_==_", (side, Constant() as constant)) | Call("_==_", (Constant() as constant, side)):
            return _is_among(side, (constant,))
        case Call("@in", (side, ListLiteral(elements))):
            return _is_among(side, elements)
        case Call("!_", (Select() | Call("_[_]") as side,)):
            return _has(side, frozenset({False}))
        case Select() | Call("_[_]"):
            return _has(node, frozenset({True}))
        case _:
            return _NOTHING


def path_of(node: Node) -> Path:
    """Return the path of the claim that `node` is, or nothing."""
    match node:
        case Select(asks=True):
            return ()
        case Select(inner, name) | Call("_[_]", (inner, Constant(str(name)))):
            if inner == Name("claims"):
                return (name,)
            return (*outer, name) if (outer := path_of(inner)) else ()
        case _:
            return ()


def compared(node: Node) -> tuple[Path, tuple[str, ...]]:
    """Return which claim `node` compares with which texts, by `==` or `in`; nothing if it does not."""
    match node:
        case Call("_==_", (side, Constant(str(text)))) | Call("_==_", (Constant(str(text)), side)):
            return path_of(side), (text,)
        case Call("@in", (side, ListLiteral(elements))):
            return path_of(side), tuple(one.text for one in elements if isinstance(one, Constant) and one.text)
        case _:
            return (), ()


def _is_among(side: Node, elements: tuple[Node, ...]) -> Implied | None:
    if not elements:
        return None
    values: set[str | bool] = set()
    for one in elements:
        value = _value(one)
        if value is None:
            return _NOTHING
        values.add(value)
    return _has(side, frozenset(values))


def _value(node: Node) -> str | bool | None:
    if not isinstance(node, Constant):
        return None
    return node.truth if node.text is None else node.text


def _has(side: Node, values: Values) -> Implied:
    path = path_of(side)
    return {path: values} if path else _NOTHING


def _both(left: Implied | None, right: Implied | None) -> Implied | None:
    if left is None or right is None:
        return None
    found = {path: left.get(path, values) & values for path, values in right.items()}
    return {**left, **found} if all(found.values()) else None


def _either(left: Implied | None, right: Implied | None) -> Implied | None:
    if left is None or right is None:
        return right if left is None else left
    return {path: values | right[path] for path, values in left.items() if path in right}
