"""What the service says of itself: each thing one line, and no more than was asked for."""

import json as jsonlib
import logging
import re
from collections.abc import Iterator

import pytest
import structlog

from tailsts.credentials import Secret
from tailsts.server import logs
from tailsts.server.settings import LEVELS, Level


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Undo what a test configured."""
    yield
    structlog.reset_defaults()


def logging_to(*, json: bool = True, level: Level = "info") -> list[bytes]:
    """Configure logging; return the list to which each write is added."""
    written: list[bytes] = []
    logs.configure(json=json, level=level, write=written.append)
    return written


def test_a_line_as_json() -> None:
    """A line for programs is one JSON object with the event, its values, the level and the time."""
    written = logging_to()
    structlog.get_logger().info("policies reloaded", policies=3, generation="0123", bound=None)
    (line,) = written
    assert line.endswith(b"}\n")
    told = jsonlib.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", told.pop("time"))
    assert told == {
        "event": "policies reloaded",
        "policies": 3,
        "generation": "0123",
        "bound": None,
        "level": "info",
    }


def test_a_line_for_people() -> None:
    """A line for people begins with the time and the level, then says what happened, without colours."""
    written = logging_to(json=False)
    structlog.get_logger().warning("policies not reloaded", faults=2)
    (line,) = written
    text = line.decode()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z \[warning  \] policies not reloaded +faults=2\n", text)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("json", [True, False])
def test_levels(level: Level, json: bool) -> None:
    """Only what is at least as bad as the level is written."""
    written = logging_to(json=json, level=level)
    log = structlog.get_logger()
    for name in LEVELS:
        getattr(log, name)(f"at {name}")
    shown = [name for name in LEVELS for line in written if f"at {name}".encode() in line]
    assert shown == list(LEVELS[LEVELS.index(level) :])


def test_a_logger_that_was_made_before() -> None:
    """A logger that a module made before logging was configured writes where it is told now."""
    log = structlog.get_logger()
    written = logging_to()
    log.bind(issuer="https://issuer.example.com").error("keys cannot be fetched")
    assert jsonlib.loads(written[0])["issuer"] == "https://issuer.example.com"


def crash(held: Secret) -> None:
    """Fail, with a secret at hand."""
    at_hand = held.reveal()
    raise ZeroDivisionError(held, len(at_hand))


def crash_and_say() -> None:
    """Fail, and say so as the routes do."""
    held = Secret("tskey-client-k1")
    try:
        crash(held)
    except ZeroDivisionError:
        structlog.get_logger().exception("an exchange failed unexpectedly")


def test_l01_an_exception_as_json() -> None:
    """L-01: an exception is one line too, with the way to where it was raised, and without the variables there."""
    written = logging_to()
    crash_and_say()
    (line,) = written
    assert line.count(b"\n") == 1
    told = jsonlib.loads(line)
    assert (told["event"], told["level"]) == ("an exchange failed unexpectedly", "error")
    assert told["exception"].splitlines()[-1] == "ZeroDivisionError: (Secret(***), 15)"
    assert ", in crash\n" in told["exception"]
    assert b"tskey-client-k1" not in line


def test_l01_an_exception_for_people() -> None:
    """L-01: an exception is written with the way to where it was raised, and without the variables there."""
    written = logging_to(json=False)
    crash_and_say()
    text = b"".join(written).decode()
    assert text.endswith("ZeroDivisionError: (Secret(***), 15)\n")
    assert ", in crash\n" in text
    assert "tskey-client-k1" not in text


@pytest.mark.parametrize("json", [True, False])
@pytest.mark.parametrize("value", ["a\nb", "a\r\nb", "\x1b[2J\x1b[31m", "\u2028", "\u0085", "\x00", "\ud800", "a\x7fb"])
def test_l02_hostile_values(json: bool, value: str) -> None:
    """L-02: a value with line ends, escapes or what cannot be written is one line that a terminal shows harmlessly."""
    written = logging_to(json=json)
    structlog.get_logger().warning("a key was dropped", kid=value)
    (line,) = written
    assert line.endswith(b"\n")
    text = line[:-1].decode()
    assert text.isprintable()
    assert len(text.splitlines()) == 1


def test_l02_hostile_values_are_told_whole_as_json() -> None:
    """L-02: what was escaped can be read back."""
    written = logging_to()
    structlog.get_logger().warning("a key was dropped", kid="a\nb\x1b[2J\u2028")
    assert jsonlib.loads(written[0])["kid"] == "a\nb\x1b[2J\u2028"


def test_standard_error_by_a_journal(capfd: pytest.CaptureFixture[str]) -> None:
    """While the service runs, lines go to standard error in their order, by a thread of their own."""
    journal = logs.stderr_journal()
    logs.configure(json=True, level="info", write=journal.add)
    for number in range(100):
        structlog.get_logger().info("said", number=number)
    assert journal.close(5)
    captured = capfd.readouterr()
    assert [jsonlib.loads(line)["number"] for line in captured.err.splitlines()] == list(range(100))
    assert captured.out == ""


def test_levels_are_those_of_the_standard_library() -> None:
    """Each level that can be asked for has a number."""
    assert {name: getattr(logging, name.upper()) for name in LEVELS} == logs._NUMBERS
