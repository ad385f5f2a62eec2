"""The project's own pages, as data to compare with the code."""

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md")))


def read(name: str) -> str:
    """Return the text of a page, by its path in the repository."""
    return (ROOT / name).read_text()


def section(text: str, title: str) -> str:
    """Return what stands under a heading, up to the next heading of the same or a higher level."""
    found = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
    assert found, f"no heading {title!r}"
    rest = text[found.end() :]
    # Comments of a shell or of TOML are no headings.
    masked = re.sub(r"^```.*?^```", lambda block: "x" * len(block[0]), rest, flags=re.MULTILINE | re.DOTALL)
    end = re.search(rf"^#{{1,{len(found[1])}}} ", masked, re.MULTILINE)
    return rest[: end.start()] if end else rest


def rows(text: str) -> list[list[str]]:
    """Return the cells of the first table in the text, without its head."""
    after = text[text.index("\n| ") + 1 :].splitlines()
    lines = list(itertools.takewhile(lambda line: line.startswith("|"), after))
    return [[cell.strip() for cell in line[1:].removesuffix("|").split("|")] for line in lines[2:]]


def code(cell: str) -> list[str]:
    """Return the pieces of code in a cell."""
    return re.findall(r"`([^`]+)`", cell)


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(block: str) -> Iterator[list[str]]:
    """Yield the words of each command of a shell block; comments are left out."""
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words
