"""The documentation as a site."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fakes.pages import PAGES, ROOT
from fakes.service import environment

needs_sphinx = pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="needs the group `docs`")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the site, built without a warning."""
    folder = tmp_path_factory.mktemp("site")
    options = ["-W", "--keep-going", "-q", "-c", str(ROOT / "docs"), "-d", str(folder / "read"), "-b", "html"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(ROOT), str(folder / "site")],
        # What Sphinx itself does that is deprecated is no fault of the pages.
        env={**environment(), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "site"


@needs_sphinx
def test_every_page_is_there(site: Path) -> None:
    """Each page has its page on the site, and the front page is found."""
    for page in PAGES:
        assert (site / page.relative_to(ROOT)).with_suffix(".html").exists(), page
    assert (site / "index.html").read_text() == (site / "README.html").read_text()


@needs_sphinx
def test_links_stay_on_the_site(site: Path) -> None:
    """Links between pages, and to files beside them, lead to what the site has."""
    seen = 0
    for page in site.rglob("*.html"):
        for target in re.findall(r'<a class="[^"]*" (?:download="[^"]*" )?href="(?!https?:)([^"#]+)', page.read_text()):
            seen += 1
            assert (page.parent / target).exists(), (page.name, target)
    assert seen > len(PAGES)


@needs_sphinx
def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    """No page has a reader's browser fetch anything from another host."""
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|link|iframe)\b[^>]*(?:src|href)="(?:https?:)?//[^"]*"', page.read_text())
        assert loaded == [], page.name
