"""What is handed to a command as a file or on standard input: claims as JSON."""

import json
from collections.abc import Mapping

from tailsts.cli.faults import USAGE, give_up
from tailsts.errors import StrictJsonError
from tailsts.strictjson import decode


def claims_of(raw: bytes) -> Mapping[str, object]:
    """Return the claims that are given as JSON. Ends the program, and says where it is wrong, if they are none."""
    try:
        value = decode(raw)
    except StrictJsonError as error:
        give_up([f"--claims: {error}{_place(raw)}"], USAGE)
    if not isinstance(value, dict):
        give_up(["--claims: not a JSON object"], USAGE)
    return value


def _place(raw: bytes) -> str:
    # The message of a usual reader is not repeated, as it may quote what was read; the place cannot.
    try:
        json.loads(raw)
    except json.JSONDecodeError as error:
        return f": line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError):
        return ""
    return ""
