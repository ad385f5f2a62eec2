# ruff: noqa: INP001 - read by Sphinx, part of no package
"""The documentation as a site.

Sphinx reads the pages as they are, from the top of the repository: the front page is the README, and every link that
works on a code host works here. `sphinx-build -W -c docs . OUTPUT`
"""

import re
import shutil
from importlib.metadata import version as version_of
from pathlib import Path

from pygments.lexers import TextLexer  # type: ignore[import-untyped]
from sphinx.application import Sphinx

FRONT = "README"
# What stands where in the side bar; every page of the site is in one of them, or Sphinx complains.
CHAPTERS = {
    "Policies": ["policies", "conditions", "policy-tests", "where-policies-live", "cookbook/*", "moving"],
    "Running it": ["deploying", "settings", "operations", "probes", "denied", "http", "performance"],
    "Trusting it": ["security", "threats", "architecture", "adr/*"],
}
ABOUT = ["CHANGELOG", "CONTRIBUTING", "SECURITY"]
LINK = re.compile(r"\[([^\]]+)\]\(([^)\s#]+)\)")

project = "TailSTS"
author = "the authors of TailSTS"
project_copyright = author
release = version_of("tailsts")
root_doc = FRONT

extensions = ["myst_parser"]
include_patterns = [f"{FRONT}.md", *(f"{name}.md" for name in ABOUT), "docs/**.md"]
exclude_patterns = [".*", "bench", "deploy", "examples", "fuzz", "policies", "src", "tests"]
# Anchors as code hosts make them.
myst_heading_anchors = 4
# The pages are full of texts to be copied.
smartquotes = False

html_theme = "furo"
html_title = "TailSTS"
html_copy_source = False


def setup(app: Sphinx) -> None:
    """Have each page changed a little before it is read, and the front page found."""
    # Code hosts draw it. Here it is text: a script from elsewhere on every page would be a high price for a picture.
    app.add_lexer("mermaid", TextLexer)
    app.connect("source-read", _adapt)
    app.connect("build-finished", _open)


def _adapt(app: Sphinx, page: str, source: list[str]) -> None:
    folder = Path(app.srcdir, page).parent
    source[0] = LINK.sub(lambda link: _link(folder, link), source[0])
    if page == FRONT:
        source[0] += "".join(_chapter(*chapter) for chapter in _chapters())


def _open(app: Sphinx, failure: Exception | None) -> None:
    front = Path(app.outdir, f"{FRONT}.html")
    if failure is None and front.exists():
        shutil.copyfile(front, front.with_name("index.html"))


def _link(folder: Path, link: re.Match[str]) -> str:
    """Return a link to a folder, which a site does not have, as links to its page or to the files in it."""
    text, target = link.groups()
    place = folder / target
    if target.startswith("https:") or not place.is_dir():
        return link[0]
    if (place / "README.md").exists():
        return f"[{text}]({target}/README.md)"
    files = sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())
    return f"{text} ({', '.join(f'[{name}]({target}/{name})' for name in files)})"


def _chapters() -> list[tuple[str, list[str]]]:
    of_docs = [(title, [f"docs/{name}" for name in pages]) for title, pages in CHAPTERS.items()]
    return [*of_docs, ("About", ABOUT)]


def _chapter(title: str, pages: list[str]) -> str:
    return "\n".join(["\n```{toctree}", ":hidden:", ":glob:", f":caption: {title}", "", *pages, "```\n"])
