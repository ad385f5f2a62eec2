"""Base64url as JOSE writes it (RFC 7515, section 2): no padding, no white space, one spelling per value."""

import re

import msgspec

_ALPHABET = re.compile(rb"[A-Za-z0-9_-]*")
_TO_STANDARD_ALPHABET = bytes.maketrans(b"-_", b"+/")
# By the length modulo 4: the characters in which an incomplete last group may end without stray bits, and what
# completes it.
_CANONICAL_ENDS = (None, b"", b"AQgw", b"AEIMQUYcgkosw048")
_COMPLETIONS = (b'"', b'"', b'=="', b'="')
# Three times as fast as binascii, which matters because this is done for each exchange, and as strict as it.
_DECODER = msgspec.json.Decoder(bytes)


def decode(segment: bytes) -> bytes:
    """Return the bytes that `segment` spells.

    Raises:
        ValueError: another alphabet, padding, or a second spelling of the same bytes (stray bits at the end).
    """
    if not _ALPHABET.fullmatch(segment):
        raise ValueError("not base64url")
    return decode_checked(segment)


def decode_checked(segment: bytes) -> bytes:
    """Like `decode`, for a segment whose characters are known to be those of base64url."""
    remainder = len(segment) % 4
    ends = _CANONICAL_ENDS[remainder]
    if ends is not None and segment[-1] not in ends:
        raise ValueError("not canonical base64url")
    return _DECODER.decode(b'"' + segment.translate(_TO_STANDARD_ALPHABET) + _COMPLETIONS[remainder])
