"""Lines of logs as entries: those of the audit log, those among others, and those that are nothing."""

import json

import pytest

from tailsts.audit import Event, console_line, json_line
from tailsts.auditing.entries import MAX_LINE_BYTES, Entry, Kind, Logged, Unread, read_line
from tailsts.auditing.rendering import entry_line

TIME = "2026-11-24T18:00:00.123Z"
ENTRY = {"event": "exchange", "time": TIME, "decision": "0f", "outcome": "granted", "reason": "granted"}


def event(**changes: object) -> Event:
    """Return an event of the service."""
    made = Event(time=TIME, decision="0f", generation="g", peer="127.0.0.1", user_agent="u")
    for name, value in {"outcome": "refused", "reason": "scope_not_allowed", **changes}.items():
        setattr(made, name, value)
    return made


def line(**changes: object) -> bytes:
    """Return a line of JSON, like the audit log's, changed."""
    return json.dumps({**ENTRY, **changes}, separators=(",", ":")).encode() + b"\n"


@pytest.mark.parametrize("subject", ["s", '{"event":"exchange","decision":"1"}', "\x1b[2J\x7f\u2028\ud7ff {", ""])
def test_what_the_service_writes(subject: str) -> None:
    """Each line that the service writes of an event, in the audit log or for the console, is its entry."""
    made = event(subject=subject, verified=True, requested_scopes=("a", "b"), policy="p q", claims={"x": [1, {}]})
    found = [read_line(written) for written in (json_line(made), console_line(made))]
    entry = Entry(
        time=TIME,
        decision="0f",
        outcome="refused",
        reason="scope_not_allowed",
        verified=True,
        subject=subject,
        policy="p q",
        requested_scopes=("a", "b"),
    )
    assert found == [Logged(entry, json_line(made)[:-1])] * 2


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"", Unread.OTHER),
        (b"\n", Unread.OTHER),
        (b'{"event": "policies reloaded", "level": "info"}\n', Unread.OTHER),
        (b"2026-11-24T18:00:00.123456Z [info     ] ready\n", Unread.OTHER),
        (b"\x1b[2m2026-11-24T18:00:00.123456Z\x1b[0m [info     ] ready\n", Unread.OTHER),
        (b"garbage\n", Unread.BROKEN),
        (b"\0\0\0\n", Unread.BROKEN),
        (b'{"event":"exchange","time":\n', Unread.BROKEN),
        (b'2026-11-24T18:00:00.123Z [info   ] granted {"event":"exchange",\n', Unread.BROKEN),
        (b'ms":1}\n', Unread.BROKEN),
        (b"{}\n", Unread.BROKEN),
        (b'{"event": 1}\n', Unread.BROKEN),
        (b"[" * 100_000, Unread.BROKEN),
        (b'{"event":' + b"[" * 100_000 + b"\n", Unread.BROKEN),
        (line(time="yesterday"), Unread.BROKEN),
        (line(time=TIME + "\n"), Unread.BROKEN),
        (line(decision=1), Unread.BROKEN),
        (line(subject=["x"]), Unread.BROKEN),
        (line()[:-2] + b', "x": "\xff"}', Unread.BROKEN),
        (line(x="y" * MAX_LINE_BYTES), Unread.BROKEN),
    ],
)
def test_lines_that_are_no_entry(text: bytes, found: Unread) -> None:
    """What is about something else is told from what is broken, and nothing stops the reader."""
    assert read_line(text) is found


def test_lines_of_other_versions() -> None:
    """Members that are not known are passed over, and the order and blanks of others' JSON do not matter."""
    assert read_line(line(new={"x": [1]})) == Logged(Entry(TIME, "0f", "granted", "granted"), line(new={"x": [1]})[:-1])
    spaced = json.dumps(dict(reversed(ENTRY.items()))).encode()
    assert read_line(spaced) == Logged(Entry(TIME, "0f", "granted", "granted"), spaced)


def test_json_is_printable() -> None:
    """What is handed on as JSON is printable ASCII that says the same, whatever the line had in it."""
    text = line().replace(b'"0f"', '"\x7f\u009b\u2028é"'.encode())
    found = read_line(text)
    assert isinstance(found, Logged)
    assert found.json.isascii()
    assert found.json.decode().isprintable()
    assert json.loads(found.json) == json.loads(text)


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        ("granted", Kind.GRANTED),
        ("refused", Kind.DENIED),
        ("rejected", Kind.DENIED),
        ("malformed", Kind.DENIED),
        ("of a later version", Kind.DENIED),
        ("unavailable", Kind.FAILED),
        ("fault", Kind.FAILED),
        ("aborted", Kind.FAILED),
    ],
)
def test_kinds(outcome: str, kind: Kind) -> None:
    """An outcome is a token, a no, or neither."""
    assert Entry(TIME, "0f", outcome, "r").kind is kind


def test_an_entry_as_a_line() -> None:
    """A line for people has all that is known, in one order; what could be mistaken or steer a terminal is quoted."""
    full = Entry(
        TIME,
        "0f",
        "refused",
        "tag_not_allowed",
        verified=True,
        issuer="https://i",
        subject="repo:a/b:x y\x1b[2J\x7f",
        policy="infra",
        requested_policy="infra",
        requested_scopes=("a", "b"),
        requested_tags=("tag:x",),
        would_refuse="untrusted_issuer",
        undelivered=True,
    )
    assert entry_line(full) == (
        f"{TIME} refused     tag_not_allowed policy=infra"
        ' subject="repo:a/b:x y\\u001b[2J\\u007f" issuer=https://i scopes=a,b tags=tag:x requested_policy=infra'
        " would_refuse=untrusted_issuer undelivered=yes decision=0f"
    )
    stranger = Entry(TIME, "0f", "rejected", "expired", issuer="https://i", subject="s")
    assert entry_line(stranger) == (
        f"{TIME} rejected    expired unverified_subject=s unverified_issuer=https://i decision=0f"
    )
