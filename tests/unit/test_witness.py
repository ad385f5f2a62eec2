"""The event that says whether a receiver refuses us or one event: none that a stranger has worded."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tailsts.audit import Event, json_line
from tailsts.server.webhook.backlog import Backlog

LIMIT = 1024 * 1024
MANY = 500


def event(outcome: str, decision: str, agent: str = "") -> bytes:
    """Return the line of an event."""
    return json_line(Event("2026-01-02T03:04:05Z", decision, "g", "peer", agent, outcome=outcome))


@pytest.fixture
def backlog(tmp_path: Path) -> Iterator[Backlog]:
    """Return an empty backlog."""
    made = Backlog(tmp_path, LIMIT, lambda _fault: None)
    yield made
    made.leave()


def put(backlog: Backlog, *lines: bytes) -> None:
    """Add these, and store them."""
    backlog.add(b"".join(lines), len(lines))
    backlog.store()


def test_no_witness(backlog: Backlog) -> None:
    """Nothing, and what strangers can cause, however they word it, is none."""
    assert backlog.witness(MANY) is None
    put(backlog, event("rejected", "1", '"outcome":"granted"'), event("refused", "2"))
    assert backlog.witness(MANY) is None


def test_the_last_granted_one(backlog: Backlog) -> None:
    """The granted event that came last is it, whatever came around it, and also when it was taken."""
    granted = event("granted", "3")
    put(backlog, event("granted", "1"), event("rejected", "2"), granted, event("rejected", "4"))
    put(backlog, event("rejected", "5"))
    assert granted.rstrip() == backlog.witness(MANY)
    while taken := backlog.peek(MANY):
        backlog.settle(taken, done=True)
    assert granted.rstrip() == backlog.witness(MANY)


def test_one_that_waits(tmp_path: Path) -> None:
    """After a restart it is one of those that wait, and looking for it takes none away."""
    first = Backlog(tmp_path, LIMIT, lambda _fault: None)
    granted = event("granted", "2")
    put(first, event("rejected", "1"), granted, event("rejected", "3"))
    first.leave()
    second = Backlog(tmp_path, LIMIT, lambda _fault: None)
    assert granted.rstrip() == second.witness(MANY)
    assert second.pending == 3
    second.leave()
