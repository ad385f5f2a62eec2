"""What the values of a TOML file are. Pure."""

import math
import re
from typing import TypeGuard

from tailsts.policy.claims import SCALARS, Scalar

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}
_DURATION = re.compile(r"([1-9][0-9]{0,8})([smhd])")


def type_name(value: object) -> str:
    """Return what a value of a TOML file is."""
    names = {bool: "true or false", int: "a number", float: "a number", str: "a string", dict: "a table"}
    if isinstance(value, list):
        return "a list with other things than strings in it"
    return names.get(type(value), "a date or time")


def seconds(value: object) -> int | None:
    """Return how long a value says, in seconds, or None if it is no duration."""
    if type(value) is int:
        return value
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return int(found[1]) * _UNIT_SECONDS[found[2]] if found else None


def is_list_of_texts(value: object) -> TypeGuard[list[str]]:
    """Return whether it is a list of strings."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def are_scalars(values: list[object]) -> TypeGuard[list[Scalar]]:
    """Return whether each is a string, a number, true or false."""
    return all(type(item) in SCALARS for item in values)


def is_json(value: object) -> bool:
    """Return whether JSON can hold it."""
    if isinstance(value, dict | list):
        return all(map(is_json, value.values() if isinstance(value, dict) else value))
    return type(value) in SCALARS and not (isinstance(value, float) and not math.isfinite(value))
