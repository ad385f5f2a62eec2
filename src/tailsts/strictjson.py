"""JSON that only one reading is possible of.

Parsers differ on duplicate member names, NaN, byte order marks, unpaired surrogates and depth, and an attacker
who knows two parsers can show each a different token. So whatever is ambiguous is refused (RFC 8259, sections 4
and 8; RFC 7515, section 4, and RFC 7519, section 4, allow and recommend to refuse duplicate names).
"""

import json
import math
import re
from typing import Annotated, Never, TypeGuard

import msgspec

from tailsts.errors import StrictJsonError

# Deep nesting is what overflows stacks behind us (a claim nested 100,000 deep crashed a CEL evaluator), and no
# issuer's token comes near 32.
MAX_DEPTH = 32
# With its sign, what fits into 64 bits whatever the digits are.
MAX_INTEGER_LENGTH = 19

# RFC 8259, section 2.
_WHITE_SPACE = " \t\n\r"
_SURROGATES = re.compile("[\ud800-\udfff]")
# One pass, also over a string that never ends: possessive, and the end of the text closes it.
_STRINGS = re.compile(r'"(?:[^"\\]|\\[\s\S])*+(?:"|\\?\Z)')


class Ambiguous:
    """Stands where something stood that two readers could read differently, in documents that are read leniently."""


def decode(raw: bytes) -> object:
    """Return the value of `raw`, which must be UTF-8 without a byte order mark.

    Raises:
        StrictJsonError: not JSON, or ambiguous: duplicate names, NaN, infinities, unpaired surrogates, integers
            beyond 64 bits, more than 32 levels.
    """
    usual = _decode_usual(raw)
    return _decode(raw, _STRICT) if usual is None else usual


def decode_isolating(raw: bytes) -> object:
    """Like `decode`, but faults of one member stay with it, so that one bad key does not cost the good ones.

    An object with duplicate names, and a number that is none or has no bounds, becomes an `Ambiguous`; strings may
    hold unpaired surrogates (`is_text` tells).
    """
    return _decode(raw, _ISOLATING)


def is_text(value: object) -> TypeGuard[str]:
    """Return whether `value` is a string that can be written as UTF-8."""
    return isinstance(value, str) and not _SURROGATES.search(value)


# What tokens and requests usually hold; anything else takes the long way.
_Scalar = str | bool | float | Annotated[int, msgspec.Meta(gt=-(10**18), lt=10**18)] | None
_Usual = dict[str, _Scalar | list[_Scalar] | dict[str, _Scalar | list[_Scalar] | dict[str, _Scalar]]]
_USUAL = msgspec.json.Decoder(_Usual)
_ENCODER = msgspec.json.Encoder()


def _decode_usual(raw: bytes) -> _Usual | None:
    """Return the value of `raw` if it is an object of the usual shape in its shortest spelling, else None.

    This is the fast way for what most issuers write. It needs none of the checks of the long way: where writing the
    value gives back the very same bytes, nothing in them could be read differently.
    """
    try:
        value = _USUAL.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return value if _ENCODER.encode(value) == raw else None


def _decode(raw: bytes, decoder: json.JSONDecoder) -> object:
    try:
        text = raw.decode("utf-8").strip(_WHITE_SPACE)
        if text.count("[") + text.count("{") > MAX_DEPTH:
            _refuse_depth(text)
        value: object
        value, end = decoder.raw_decode(text)
        if end != len(text):
            raise ValueError("followed by other text")  # noqa: TRY301 - said with the other reasons
        if decoder is _STRICT and "\\u" in text:
            _refuse_unpaired_surrogates(value)
    except ValueError as error:
        # Chained errors carry the text; nothing of it may reach a log.
        raise StrictJsonError(_reason(error)) from None
    return value


def _reason(error: ValueError) -> str:
    if isinstance(error, UnicodeError):
        return "not UTF-8"
    return error.args[0] if type(error) is ValueError else "not JSON"


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("JSON with duplicate member names")
    return members


def _unique_or_ambiguous(pairs: list[tuple[str, object]]) -> dict[str, object] | Ambiguous:
    members = dict(pairs)
    return members if len(members) == len(pairs) else Ambiguous()


def _refuse_constant(_name: str) -> Never:
    raise ValueError("JSON with NaN or infinity")


def _ambiguous(_text: str) -> Ambiguous:
    return Ambiguous()


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("JSON with NaN or infinity")
    return number


def _finite_or_ambiguous(digits: str) -> float | Ambiguous:
    number = float(digits)
    return Ambiguous() if math.isinf(number) else number


def _integer(digits: str) -> int:
    # What is longer is exact for one reader and rounded for the next, and costs the square of its length.
    if len(digits) > MAX_INTEGER_LENGTH:
        raise ValueError("JSON with an integer beyond 64 bits")
    return int(digits)


def _integer_or_ambiguous(digits: str) -> int | Ambiguous:
    return Ambiguous() if len(digits) > MAX_INTEGER_LENGTH else int(digits)


def _refuse_depth(text: str) -> None:
    depth = 0
    for character in _STRINGS.sub("", text):
        if character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError("nested too deep")
        elif character in "]}":
            depth -= 1


def _refuse_unpaired_surrogates(value: object) -> None:
    json.dumps(value, ensure_ascii=False).encode("utf-8")


_STRICT = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_constant=_refuse_constant,
    parse_float=_finite,
    parse_int=_integer,
)
_ISOLATING = json.JSONDecoder(
    object_pairs_hook=_unique_or_ambiguous,
    parse_constant=_ambiguous,
    parse_float=_finite_or_ambiguous,
    parse_int=_integer_or_ambiguous,
)
