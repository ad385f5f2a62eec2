"""The reasons that an audit log can have."""

import re

import pytest

from fakes.pages import ROOT, code, read, rows, section
from tailsts.auditing.reasons import REASONS, advice

SOURCE = "\n".join(path.read_text() for path in sorted((ROOT / "src/tailsts").rglob("*.py")))


def test_they_are_those_of_the_page() -> None:
    """Each reason that the page explains is known, and no other but what is granted, or could not be written whole."""
    explained = {code(row[0])[0] for row in rows(section(read("docs/denied.md"), "Reasons"))}
    assert explained | {"granted", "unrecorded"} == REASONS


def test_requests_that_are_none() -> None:
    """Each reason for which a request is none, wherever it stands in the code, is known."""
    written = set(re.findall(r'Malformed\(\s*\d+,\s*"(\w+)"', SOURCE))
    assert written
    assert written <= REASONS


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("scope_not_alowed", "did you mean scope_not_allowed"),
        ("REPLAYED", "did you mean replayed?"),
        ("zzz", "known: aborted, age_not_allowed, "),
        ("", "known: "),
    ],
)
def test_advice(reason: str, said: str) -> None:
    """Of a reason that does not exist, those are named that it is like, the nearest first; else all."""
    assert advice(reason).startswith(said)
