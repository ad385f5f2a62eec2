"""The `traceparent` header field (W3C Trace Context, level 1, 3.2): which trace a request belongs to. Pure.

It is the word of a stranger. `tracestate` and baggage are not read at all: nothing of them would be passed on.
"""

import re

import msgspec

SAMPLED = 1
# Version 00 ends after the flags. A later one may go on after a hyphen; how it goes on is not for us to judge.
_FIELD = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[!-~]{0,200})?")
_FIRST_VERSION = "00"


class Parent(msgspec.Struct, frozen=True):
    """The span of the caller within which its request was made. Neither id is 0."""

    trace_id: int
    span_id: int
    sampled: bool


def parse(text: str | None) -> Parent | None:
    """Return what the field says; None if it is not there, or not one."""
    found = _FIELD.fullmatch(text) if text else None
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    if version == _FIRST_VERSION and rest is not None:
        return None
    parent = Parent(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & SAMPLED))
    return parent if parent.trace_id and parent.span_id else None


def render(trace_id: int, span_id: int) -> str:
    """Return the field of a request that is made within a span that is recorded."""
    return f"{_FIRST_VERSION}-{trace_id:032x}-{span_id:016x}-{SAMPLED:02x}"
