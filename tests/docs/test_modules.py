"""The tests themselves: that all of them can be asked for in one run."""

from collections import defaultdict
from pathlib import Path

from fakes.pages import ROOT

TESTS = ROOT / "tests"


def imported_as(path: Path) -> str:
    """Return the name under which pytest imports a module: from the first folder upwards that is no package."""
    names, folder = [path.stem], path.parent
    while (folder / "__init__.py").exists():
        names, folder = [folder.name, *names], folder.parent
    return ".".join(names)


def test_no_two_modules_have_one_name() -> None:
    """No two test modules of different folders are imported by one name: the second would be taken for the first."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("*.py")):
        if path.name not in {"__init__.py", "conftest.py"}:
            found[imported_as(path)].append(str(path.relative_to(TESTS)))
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}
