"""Audit events as CloudEvents, and what the answers of a receiver mean."""

import json

import pytest

from tailsts.audit import Event, json_line
from tailsts.server.webhook.cloudevents import Trouble, batch, refuse_source, trouble

TIME = "2026-01-02T03:04:05.678Z"


def event(decision: str = "d1", **members: str) -> bytes:
    """Return the line of an event."""
    return json_line(Event(TIME, decision, "g", "10.1.2.3:4567", "curl/8", **members))  # type: ignore[arg-type]


def test_an_event() -> None:
    """An event is a CloudEvent whose data is the audit event as in its line, and whose subject is the policy."""
    line = event(outcome="granted", reason="granted", policy="infra")
    body, count = batch([line], "https://sts.example.com")
    assert count == 1
    assert json.loads(body) == [
        {
            "specversion": "1.0",
            "type": "dev.tailsts.exchange",
            "source": "https://sts.example.com",
            "id": "d1",
            "time": TIME,
            "subject": "infra",
            "datacontenttype": "application/json",
            "data": json.loads(line),
        }
    ]
    assert line.rstrip(b"\n") in body


def test_no_policy_no_subject() -> None:
    """An attribute of a CloudEvent is not empty: where no policy was found there is no subject."""
    body, _ = batch([event(outcome="rejected")], "/tailsts")
    assert "subject" not in json.loads(body)[0]


def test_two_events_of_one_decision_have_two_ids() -> None:
    """A minting that could not be recorded may leave two events, and one must not be taken for the other."""
    lines = [event(outcome="granted", reason="granted"), event(outcome="unavailable", reason="audit_unavailable")]
    body, _ = batch(lines, "/tailsts")
    assert [event["id"] for event in json.loads(body)] == ["d1", "d1-unavailable"]


@pytest.mark.parametrize(
    "line",
    [
        event()[:-1][:40],
        b"\0" * 40 + b"\n",
        b"\n",
        b"{}\n",
        b'{"event":"other","time":"t","decision":"d"}\n',
        b'{"event":"exchange","time":1,"decision":"d"}\n',
        event()[:-1] + event(),
        b'"\xff"\n',
    ],
)
def test_what_is_no_event_is_left_out(line: bytes) -> None:
    """What a crash tore, and what is not ours, is not sent; the events beside it are."""
    body, count = batch([event("a"), line, event("b")], "/tailsts")
    assert count == 2
    assert [event["id"] for event in json.loads(body)] == ["a", "b"]


def test_nothing() -> None:
    """No events are an empty batch."""
    assert batch([], "/tailsts") == (b"[]", 0)


@pytest.mark.parametrize("source", ["/tailsts", "https://sts.example.com/", "urn:example:sts", "tailsts", "//host/x"])
def test_sources(source: str) -> None:
    """A source is a URI, or the path of one."""
    assert refuse_source(source) is None


@pytest.mark.parametrize("source", ["", "x" * 257, "a b", "\n", "sté", '"', "<x>", "http://[", "a\\b"])
def test_no_sources(source: str) -> None:
    """What receivers would refuse is refused at the start."""
    assert refuse_source(source) is not None


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_taken(status: int) -> None:
    """Any 2xx says that the events were taken."""
    assert trouble(status, None) is None


@pytest.mark.parametrize(
    ("status", "about_content"),
    [
        (100, False),
        (400, True),
        (401, False),
        (404, False),
        (408, False),
        (410, False),
        (413, True),
        (415, False),
        (422, True),
        (429, False),
        (500, False),
        (503, False),
    ],
)
def test_not_taken(status: int, about_content: bool) -> None:
    """Three answers are about an event; with all others but 403 the events wait, whoever has to mend what."""
    assert trouble(status, None) == Trouble(f"answers {status}", about_content)


def test_forbidden() -> None:
    """403 may be about us, or from a firewall that does not like an event; with Retry-After it is about the moment."""
    assert trouble(403, None) == Trouble("answers 403", unclear=True)
    assert trouble(403, "7") == Trouble("answers 403", retry_after=7)


def test_redirects() -> None:
    """Events do not wander to another address."""
    assert trouble(307, None) == Trouble("answers 307, and redirects are not followed")


@pytest.mark.parametrize(("text", "seconds"), [("7", 7), ("999999", 300), ("0", 1), ("soon", 5)])
def test_retry_after(text: str, seconds: int) -> None:
    """A receiver says how long to leave it alone, within reason."""
    assert trouble(503, text) == Trouble("answers 503", retry_after=seconds)
