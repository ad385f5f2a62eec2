"""Where a claim is, and of what kind it is: nested claims by their path, types without mercy. Pure.

Issuers write `"true"` where others write `true`, and `1` where others write `"1"` (RFC 7519 leaves the types of private
claims open), so a comparison that converts would let one issuer's text pass for another's number.
"""

import json
import re
from collections.abc import Mapping
from enum import Enum

Path = tuple[str, ...]
Scalar = str | bool | int | float

# Deeper than any issuer nests, and than anybody wants to read.
MAX_PATH = 8
SCALARS = frozenset({str, bool, int, float})

# These have keys of their own, with rules of their own.
NOT_AS_CLAIM = {
    "iss": "issuer",
    "sub": "subject or subject_pattern",
    "aud": "audience or audience_pattern",
    "exp": "max_lifetime",
    "iat": "max_age",
    "nbf": "not_before, of the policy",
}

_BARE = re.compile(r"[A-Za-z0-9_-]+")


class Missing(Enum):
    """Stands for a claim that is not there. Not None, which a claim may be."""

    MISSING = "missing"


MISSING = Missing.MISSING


def lookup(claims: Mapping[str, object], path: Path) -> object:
    """Return the claim at `path`, or MISSING."""
    value: object = claims
    for name in path:
        if type(value) is not dict or name not in value:
            return MISSING
        value = value[name]
    return value


def kind(value: object) -> str:
    """Return the type of a claim or of a policy's value, as both name it."""
    if value is MISSING:
        return "missing"
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "an integer", float: "a number with a fraction", str: "a string"}
    return names.get(type(value)) or ("a list" if isinstance(value, list | tuple) else "an object")


def spelled(path: Path) -> str:
    """Return the path as TOML spells a dotted key."""
    return ".".join(name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False) for name in path)


def exactly(value: Scalar) -> tuple[type, Scalar]:
    """Return what is equal only for values of the same type: Python holds 1, 1.0 and True to be equal."""
    return type(value), value
