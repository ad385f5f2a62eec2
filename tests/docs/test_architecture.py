"""The architecture page against the code, and the shape that the code keeps."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.pages import ROOT, code, read, rows, section

SOURCE = ROOT / "src/tailsts"
PAGE = read("docs/architecture.md")
MODULES = sorted(SOURCE.rglob("*.py"))
MAX_FUNCTION_LINES, MAX_MODULE_LINES = 40, 300
CONTRACTS = tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"]


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions of a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function's body, without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) and len(function.body) > 1 else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1


def test_every_module_has_its_sentence() -> None:
    """The table of modules names each module that has code, and no other."""
    named = {name for row in rows(section(PAGE, "Rooms")) for name in code(row[0])}
    for name in named:
        assert (SOURCE / name).exists(), name
    for path in MODULES:
        relative = path.relative_to(SOURCE)
        covered = {str(relative), *(f"{parent}/" for parent in relative.parents)} & named
        assert covered or path.stem in {"__init__", "__main__"}, relative


def test_layers() -> None:
    """The order of imports on the page is the one that is checked."""
    checked = " > ".join(layer.replace("tailsts.", "") for layer in CONTRACTS[0]["layers"])
    assert f"`{checked}`" in PAGE


def modules_of(name: str) -> set[str]:
    """Return the files of a module of the table, or of a package with all that is in it."""
    found = SOURCE / name
    return {str(path.relative_to(SOURCE)) for path in ([found] if found.is_file() else found.rglob("*.py"))}


def marked_pure() -> set[str]:
    """Return the files that the table calls pure: by their row, but for those that the sentence calls otherwise."""
    pure: set[str] = set()
    for names, mark, sentence in rows(section(PAGE, "Rooms")):
        # Of a package, the sentence may have exceptions: "`a.py` (I)", "`a.py`, `b.py` are pure".
        (package, *_) = code(names)
        touching = {package + name for name in re.findall(r"`(\w+\.py)` \(I\)", sentence)}
        named_pure = {package + name for part in re.findall(r"(.*) are pure", sentence) for name in code(part)}
        if mark == "P":
            pure |= {file for name in code(names) for file in modules_of(name)} - touching
        pure |= named_pure
    # What only marks a folder as a package is not counted.
    return {name for name in pure if len((SOURCE / name).read_text().splitlines()) > 1}


def test_what_is_called_pure_is_checked() -> None:
    """Each module that the table calls pure is among those that import-linter holds to it."""
    (contract,) = (each for each in CONTRACTS if each["name"].startswith("What judges touches nothing"))
    held = {name.removeprefix("tailsts.").replace(".", "/") for name in contract["source_modules"]}
    checked = {file for name in held for file in modules_of(name if (SOURCE / name).is_dir() else f"{name}.py")}
    assert marked_pure() - checked == set()


def test_every_cache_is_in_the_table() -> None:
    """Each module that keeps results for later is in the table of caches."""
    caching = {str(path.relative_to(SOURCE)) for path in MODULES if re.search(r"\blru_cache\(", path.read_text())}
    documented = {name for row in rows(section(PAGE, "Caches")) for name in code(row[0])}
    assert caching <= documented


@pytest.mark.parametrize(
    ("made", "maker"),
    [
        ("VerifiedToken", "oidc/verify.py"),
        ("Grant", "policy/decide.py"),
        ("UnverifiedToken", "oidc/token.py"),
        ("AccessToken", "tailscale/answer.py"),
    ],
)
def test_each_state_of_trust_has_one_maker(made: str, maker: str) -> None:
    """A value that stands for trust is made in one place, so that no step can be left out."""
    makers = {
        str(path.relative_to(SOURCE))
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == made
    }
    assert makers == {maker}


def test_sizes() -> None:
    """Modules can be read at one sitting, and functions at one glance."""
    long = {str(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {path for path, count in long.items() if count > MAX_MODULE_LINES} == set()
    sizes = {f"{path.name}:{function.name}": lines(function) for path in MODULES for function in functions(path)}
    assert {name for name, count in sizes.items() if count > MAX_FUNCTION_LINES} == set()


def test_one_place_reads_the_clock_of_the_service() -> None:
    """In the service, time is an argument: only the composition root reads it."""
    reading = {
        str(path.relative_to(SOURCE)) for path in MODULES if re.search(r"\btime\.(time|monotonic)\b", path.read_text())
    }
    # The client is a program of its own, and the stand-ins are no part of the service. A repository, in a thread of its
    # own, looks at the age of its own files.
    of_the_service = {name for name in reading if not name.startswith("cli/")}
    assert of_the_service == {"server/app.py", "client.py", "standins/issuer.py", "policy/places/repository.py"}
    assert "cli/serve.py" not in reading


def test_one_place_makes_clients() -> None:
    """Every outgoing request goes through `outbound`, with its size, deadline and redirect rule."""
    using = {str(path.relative_to(SOURCE)) for path in MODULES if "ClientBuilder" in path.read_text()}
    assert using == {"outbound.py"}
