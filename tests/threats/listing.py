"""The page of threats, docs/threats.md, from threats.toml and the tests: `python -m threats.listing` writes it."""

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import msgspec

from fakes.pages import ROOT

PAGE = ROOT / "docs" / "threats.md"
TESTS = ROOT / "tests"
# So many tests of a threat are named on the page, those with its id in their name first.
MAX_SHOWN = 3
_RANGE = re.compile(r"\b([A-Z])-(\d\d) to \1-(\d\d)\b")
_ROW = re.compile(r"\b[JKNPIUHL]-\d\d\b")
# Docstrings have a colon there.
_CASE = re.compile(r"([JKNPIUHL]-\d\d) ")

INTRODUCTION = """# Threats, one by one

Made from the tests by `./dev threats`; do not edit it. What each threat gets, and the tests that show it: their names
or docstrings hold its id. Where there are more than three, three are named. Who attacks from where, and what is not
protected, is in [the security model](security.md).
"""
OTHERS = """
What was published about others in this trade and about the libraries that they use, tried here.
"""


class Threat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A row of the page.

    `also` are other names of the same hole, `of` whose it was, `rows` the threats whose tests show it, `not_ours` why
    there is nothing to test.
    """

    id: str
    group: str
    attack: str
    answer: str = ""
    of: str = ""
    also: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    not_ours: str = ""


Shown = Mapping[str, Sequence[str]]


def threats() -> tuple[Threat, ...]:
    """Return all threats, in the order of the page."""
    table = tomllib.loads((TESTS / "threats" / "threats.toml").read_text())
    return msgspec.convert(table["threat"], tuple[Threat, ...])


def shown() -> Shown:
    """Return the names of the tests that show each threat; also of ids that are no threat of ours."""
    aliases = {name: threat.id for threat in threats() for name in (threat.id, *threat.also)}
    found: dict[str, list[tuple[bool, str]]] = {}
    for test, name, text in _tests():
        said = {aliases[alias] for alias in aliases if _says(text, alias)} | set(_ROW.findall(text))
        named = {threat for alias, threat in aliases.items() if f"_{_slug(alias)}_" in name}
        for threat in said | named:
            found.setdefault(threat, []).append((threat not in named, test))
    return {threat: [test for _, test in sorted(set(tests))] for threat, tests in found.items()}


def page(found: Shown) -> str:
    """Return the text of the page."""
    parts = [INTRODUCTION]
    for group, rows in groupby(threats(), key=lambda threat: threat.group):
        of_others = group == "Holes of others"
        head = "| id | of | hole | here | shown by |" if of_others else "| id | threat | what it gets | shown by |"
        lines = [
            head,
            "|---|---|---|---|---|" if of_others else "|---|---|---|---|",
            *(_row(row, found) for row in rows),
        ]
        parts.append(f"## {group}\n{OTHERS if of_others else ''}\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _row(threat: Threat, found: Shown) -> str:
    names = ", ".join([threat.id, *threat.also])
    tests = [f"`{test}`" for test in found.get(threat.id, ())[:MAX_SHOWN]]
    shown_by = "<br>".join([*tests, *([f"the tests of {', '.join(threat.rows)}"] if threat.rows else [])])
    whose = [threat.of] if threat.of else []
    return f"| {' | '.join([names, *whose, threat.attack, threat.answer or threat.not_ours, shown_by or 'not ours'])} |"


def _tests() -> Iterator[tuple[str, str, str]]:
    """Yield each test as it is shown, its name, and what it says of itself."""
    for path in sorted(TESTS.rglob("test_*.py")):
        place = path.relative_to(TESTS).as_posix()
        if path.parent.name == "docs":
            continue
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield f"{place}::{node.name}", f"{node.name}_", _with_ranges(ast.get_docstring(node) or "")
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and (case := _CASE.match(node.value)):
                # A case in a table that a test goes through.
                yield place, "", case[1]
    for path in sorted(TESTS.rglob("*.test.toml")):
        for name in re.findall(r'name = "([^"]+)"', path.read_text()):
            yield path.relative_to(TESTS).as_posix(), "", name


def _with_ranges(text: str) -> str:
    """Return the text with ranges of ids written out."""
    return _RANGE.sub(
        lambda found: " ".join(f"{found[1]}-{n:02}" for n in range(int(found[2]), int(found[3]) + 1)), text
    )


def _slug(name: str) -> str:
    if _ROW.fullmatch(name):
        return name.replace("-", "").lower()
    return re.sub(r"[^a-z0-9]+", "_", name.lower())


def _says(text: str, name: str) -> bool:
    return name in text and re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text) is not None


def main(target: Path = PAGE) -> None:
    """Write the page."""
    target.write_text(page(shown()))


if __name__ == "__main__":
    main()
