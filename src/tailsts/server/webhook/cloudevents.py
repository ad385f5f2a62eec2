"""Audit events as CloudEvents 1.0, many in one request (HTTP binding, 3.3), and what its answer means. Pure.

The event itself, as it is in its line, is the `data`; it is not rendered anew.
"""

from collections.abc import Iterable
from pathlib import PurePath
from urllib.parse import urlsplit

import msgspec

from tailsts.credentials import Secret
from tailsts.tailscale.answer import seconds_to_wait

MEDIA_TYPE = "application/cloudevents-batch+json"
TYPE = "dev.tailsts.exchange"
DEFAULT_SOURCE = "/tailsts"
MAX_SOURCE_LENGTH = 256

# These say that what was sent is not liked; all others, that it cannot be taken now, or not from us. 415 is not
# among them: whoever does not know the format takes no event, and none is to blame.
ABOUT_CONTENT = frozenset({400, 413, 422})
# Receivers say this of us, and firewalls before them of what an event quotes, which may be from a stranger.
FORBIDDEN = 403
SUCCESS = range(200, 300)
REDIRECTS = range(300, 400)


class Receiver(msgspec.Struct, frozen=True):
    """Where events are sent to. `source` names the service in them; the token is read anew from `token_file`."""

    url: str
    source: str = DEFAULT_SOURCE
    token: Secret | None = None
    token_file: PurePath | None = None


class Trouble(msgspec.Struct, frozen=True):
    """Events were not taken: why, whether it is about what they hold, and for how many seconds to leave it alone.

    With `unclear`, it may be about what they hold or about us.
    """

    fault: str
    about_content: bool = False
    retry_after: int | None = None
    unclear: bool = False


class _Line(msgspec.Struct, tag_field="event", tag="exchange"):
    """What an envelope says of an event."""

    time: str
    decision: str
    policy: str = ""
    reason: str = ""


def refuse_source(text: str) -> str | None:
    """Return why `text` cannot be the source of events, or None if it can: CloudEvents want a URI reference."""
    if not text or len(text) > MAX_SOURCE_LENGTH:
        return f"it is not 1 to {MAX_SOURCE_LENGTH} characters long"
    if not text.isascii() or not text.isprintable() or set(text) & set(' "<>\\^`{|}'):
        return "it is not a URI, or the path of one"
    try:
        urlsplit(text)
    except ValueError:
        return "it is not a URI, or the path of one"
    return None


def batch(lines: Iterable[bytes], source: str) -> tuple[bytes, int]:
    """Return the body of a request with these events, and how many they are: lines that are no event are left out."""
    shown = msgspec.json.encode(source)
    events = [event for line in lines if (event := _event(line, shown)) is not None]
    return b"[%b]" % b",\n".join(events), len(events)


def _event(line: bytes, source: bytes) -> bytes | None:
    try:
        found = _DECODER.decode(line)
    except msgspec.DecodeError:
        return None
    identity = found.decision
    if found.reason == "audit_unavailable":
        # A minting that could not be recorded may have two events, and receivers take one id for one event.
        identity += "-unavailable"
    subject = b'"subject":%b,' % _ENCODER.encode(found.policy) if found.policy else b""
    return (
        b'{"specversion":"1.0","type":"%b","source":%b,"id":%b,"time":%b,%b"datacontenttype":"application/json","data":%b}'
        % (TYPE.encode(), source, _ENCODER.encode(identity), _ENCODER.encode(found.time), subject, line.rstrip(b"\n"))
    )


def trouble(status: int, retry_after: str | None) -> Trouble | None:
    """Return what is wrong, or None if the events were taken. Nothing that the receiver says is quoted."""
    if status in SUCCESS:
        return None
    if status in REDIRECTS:
        return Trouble(f"answers {status}, and redirects are not followed")
    wait = None if retry_after is None else seconds_to_wait(retry_after)
    # Who asks for time is about to take the same events.
    return Trouble(f"answers {status}", status in ABOUT_CONTENT, wait, status == FORBIDDEN and wait is None)


_DECODER = msgspec.json.Decoder(_Line)
_ENCODER = msgspec.json.Encoder()
