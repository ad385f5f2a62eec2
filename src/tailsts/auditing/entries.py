"""A line of an audit log, or of a log that holds audit events among other lines, as an entry. Pure.

A log is old, torn, of another version, or made by somebody: nothing of a line is taken for granted, and nothing that
is no entry is passed over without a word.
"""

import json
import re
from enum import Enum
from typing import Annotated

import msgspec

MAX_LINE_BYTES = 1024 * 1024

# How an event begins within a line for the console, which has words before it: perhaps with braces, but without quotes.
_BEGINNING = b'{"event":"exchange"'
_OF_THE_CONSOLE = re.compile(rb"(?:\x1b\[[0-9;]*m)*\d{4}-\d\d-\d\dT[0-9:.]+Z?(?:\x1b\[[0-9;]*m)* \[")
_NOT_PLAIN = re.compile(rb"[^ -~]")

# As texts, these are in the order of time. They are shown as they are.
_Time = Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z\Z")]


class Kind(Enum):
    """What came of an exchange, seen from far away. `FAILED`: nobody could tell, or it broke."""

    GRANTED = "granted"
    DENIED = "denied"
    FAILED = "failed"


_KINDS = {
    "granted": Kind.GRANTED,
    "unavailable": Kind.FAILED,
    "fault": Kind.FAILED,
    "aborted": Kind.FAILED,
}


class Entry(msgspec.Struct, frozen=True, gc=False, tag_field="event", tag="exchange"):
    """What of an event is asked for and shown; `tailsts.audit.Event` says what the members mean."""

    time: _Time
    decision: str
    outcome: str
    reason: str
    verified: bool = False
    issuer: str = ""
    subject: str = ""
    policy: str = ""
    requested_policy: str = ""
    requested_scopes: tuple[str, ...] = ()
    requested_tags: tuple[str, ...] = ()
    would_refuse: str = ""
    undelivered: bool = False

    @property
    def kind(self) -> Kind:
        """Return what came of it. What a later version calls otherwise is a denial."""
        return _KINDS.get(self.outcome, Kind.DENIED)


class Logged(msgspec.Struct, frozen=True, gc=False):
    """An entry, and its event as it is in the log: JSON in printable ASCII."""

    entry: Entry
    json: bytes


class Unread(Enum):
    """A line that is no entry. `OTHER`: a line of the service's log about something else."""

    OTHER = "other"
    BROKEN = "broken"


def read_line(line: bytes) -> Logged | Unread:
    """Return what a line of a log is."""
    if len(line) > MAX_LINE_BYTES:
        return Unread.BROKEN
    text = line.strip()
    if not text:
        return Unread.OTHER
    start = 0 if text.startswith(b"{") else text.find(_BEGINNING)
    if start < 0:
        return Unread.OTHER if _OF_THE_CONSOLE.match(text) else Unread.BROKEN
    try:
        event = text[start:] if _NOT_PLAIN.search(text, start) is None else _plain(text[start:])
        return Logged(_DECODER.decode(event), event)
    except (ValueError, RecursionError):
        return Unread.OTHER if _is_about_something_else(text) else Unread.BROKEN


def _plain(text: bytes) -> bytes:
    # The one control character that JSON lets stand; it can only be within a string.
    return json.dumps(json.loads(text), separators=(",", ":")).replace("\x7f", "\\u007f").encode()


def _is_about_something_else(text: bytes) -> bool:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and isinstance(value.get("event"), str) and value["event"] != "exchange"


_DECODER = msgspec.json.Decoder(Entry)
