"""The list of attacks against the tests."""

import re

from fakes.pages import ROOT, read

ROW = re.compile(r"^\| ([A-Z]-\d\d) \|", re.MULTILINE)
IN_TESTS = re.compile(r"\b([A-Z])-(\d\d)\b|_([a-z])(\d\d)(?=_)")


def shown() -> set[str]:
    """Return the rows that the names and docstrings of tests hold."""
    found: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        if path.parent.name != "docs":
            for match in IN_TESTS.finditer(path.read_text()):
                found.add("-".join(match.group(1, 2) if match[1] else (match[3].upper(), match[4])))
    return found


def test_every_row_is_shown_by_a_test() -> None:
    """Each attack in the list has tests that name it, and each that tests name is in the list."""
    rows = ROW.findall(read("docs/security.md"))
    assert len(rows) == len(set(rows))
    assert set(rows) - shown() == set()
    assert shown() - set(rows) == set()
