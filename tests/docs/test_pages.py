"""Links of all pages lead somewhere, and no page speaks of what is not there."""

import re
from pathlib import Path

import pytest

from fakes.pages import PAGES, ROOT

LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as the usual renderers make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    """Each link to a file of the repository, and to a heading in it, leads there."""
    for target in LINK.findall(page.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def test_decisions_are_listed() -> None:
    """The list of decisions names each of them."""
    listed = LINK.findall((ROOT / "docs/adr/README.md").read_text())
    assert listed == [path.name for path in sorted((ROOT / "docs/adr").glob("0*.md"))]
