"""The tables of what happens when things fail, in docs/operations.md: against the code, and against the tests."""

import ast

from fakes.pages import ROOT, code, read, rows, section

FAILURES = section(read("docs/operations.md"), "What happens when things fail")
SHOWN_BY = "Which tests show it"
# Number, what fails, what happens, what is seen.
OUTAGES = [
    row
    for title in ("Issuers", "Tailscale", "Policies", "Logs", "Callers", "Processes and clocks")
    for row in rows(section(FAILURES, title))
]
SHOWN = rows(section(FAILURES, SHOWN_BY))


def test_every_table_is_looked_at() -> None:
    """No outage stands under a heading that these tests do not know."""
    numbered = [line for line in FAILURES.splitlines() if line.startswith("| ") and line[2].isdigit()]
    assert len(OUTAGES) + len(SHOWN) == len(numbered)


def test_what_is_seen() -> None:
    """Each log line and metric that a row names is in the code or the HTTP reference."""
    sources = "\n".join(path.read_text() for path in sorted((ROOT / "src/tailsts").rglob("*.py")))
    known = sources + read("docs/http.md")
    for row in OUTAGES:
        for text in code(row[3]):
            assert text.partition("{")[0] in known, text


def test_each_row_is_shown() -> None:
    """The rows are numbered in their order, and each number has one test or more."""
    numbers = [str(number + 1) for number in range(len(OUTAGES))]
    assert [row[0] for row in OUTAGES] == numbers
    assert [row[0] for row in SHOWN] == numbers
    assert [row[0] for row in SHOWN if not code(row[1])] == []


def test_the_tests_exist() -> None:
    """Each test that is named is there."""
    named = [test for row in SHOWN for test in code(row[1])]
    there = {each for file in {test.partition("::")[0] for test in named} for each in functions_of(file)}
    assert [test for test in named if test not in there] == []


def functions_of(file: str) -> list[str]:
    """Return what is defined in a file of tests, as tests are named; nothing if it is not there."""
    path = ROOT / "tests" / file
    nodes = ast.walk(ast.parse(path.read_text())) if path.exists() else ()
    return [f"{file}::{node.name}" for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
