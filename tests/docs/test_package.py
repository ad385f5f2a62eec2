"""The package, as it is installed where the tests run: `./dev test` has some of them run on the built wheel."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import tailsts
from fakes.pages import ROOT, read
from tailsts.cli import run

PROJECT = tomllib.loads(read("pyproject.toml"))
INSTALLED = Path(tailsts.__file__).parent
SOURCE = ROOT / "src/tailsts"


def files(folder: Path) -> dict[str, bytes]:
    """Return what a folder holds, by path, but for what the interpreter makes of it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def test_nothing_is_left_out() -> None:
    """What is installed is the sources, with the claims of fixtures and the mark of being typed, byte for byte."""
    installed = files(INSTALLED)
    assert "py.typed" in installed
    assert any(name.endswith(".json") for name in installed)
    assert files(SOURCE) == installed


def test_metadata() -> None:
    """What is installed says of itself what the project says."""
    metadata = importlib.metadata.metadata("tailsts")
    project = PROJECT["project"]
    assert (metadata["Name"], metadata["Version"]) == (project["name"], project["version"])
    assert metadata["Requires-Python"] == project["requires-python"]
    assert metadata["License-Expression"] == project["license"]


def test_the_command() -> None:
    """The command that is installed is ours."""
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="tailsts")
    assert script.load() is run


def test_every_python_is_tested() -> None:
    """The workflows run the tests on each Python that the package says it is for."""
    claimed = re.findall(r"Python :: (3\.\d+)\"", read("pyproject.toml"))
    workflow = read(".github/workflows/ci.yml")
    assert [version for version in claimed if f'"{version}"' not in workflow] == []


def test_the_source_distribution() -> None:
    """The source distribution is built of what is there."""
    for name in PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]:
        assert (ROOT / name.removeprefix("/")).exists(), name


def test_the_builder_is_pinned() -> None:
    """What builds the package is one version, since its bytes are that version's."""
    for name in PROJECT["build-system"]["requires"]:
        assert re.fullmatch(r"hatchling==[\d.]+", name)
