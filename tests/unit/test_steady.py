"""A folder whose files are written while it is read: what counts is whole, one by one and together."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from tailsts.errors import FileError
from tailsts.policy.finding import Severity
from tailsts.policy.places.sheaf import Sheaf
from tailsts.policy.places.steady import IS_MOVING, IS_OPEN, REST_SECONDS, UNTOLD_REST_SECONDS, Steady

LONG_AGO = 1e9


class Clocks:
    """The time of day and the time that passes, which a test sets."""

    def __init__(self) -> None:
        self.now = LONG_AGO
        self.monotonic = 0.0

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.monotonic += seconds


@pytest.fixture
def clocks() -> Clocks:
    """Return the clocks of the test."""
    return Clocks()


def steady(folder: Path, clocks: Clocks, is_open: Callable[[str], bool | None] = lambda _: False) -> Steady:
    """Return the folder."""
    return Steady(folder, lambda: clocks.now, lambda: clocks.monotonic, is_open)


def written(folder: Path, name: str, text: str, at: float) -> str:
    """Write a file that was changed at that time of day, and return its path."""
    (folder / name).write_text(text)
    os.utime(folder / name, (at, at))
    return str(folder / name)


def faults(sheaf: Sheaf) -> dict[str, str]:
    """Return the faults of the files."""
    return {file.name: file.fault for file in sheaf.files if file.fault}


@pytest.mark.parametrize(("is_open", "rest"), [(False, REST_SECONDS), (None, UNTOLD_REST_SECONDS)])
def test_a_young_file(folder: Path, clocks: Clocks, is_open: bool | None, rest: float) -> None:
    """A file counts when it is a moment old; a longer one where nobody tells whether it is open."""
    path = written(folder, "a.toml", "x", clocks.now)
    found = steady(folder, clocks, lambda _: is_open)
    why = f"is being written: it changed less than {rest:g} s ago"
    assert (faults(found.read()), found.restless) == ({"a": why}, {path: why})
    assert found.read().files[0].raw == b""
    clocks.pass_by(rest * 0.9)
    assert not found.rests()
    clocks.pass_by(rest * 0.2)
    assert found.rests()
    assert ([file.raw for file in found.read().files], found.restless) == ([b"x"], {})


def test_a_file_that_is_open(folder: Path, clocks: Clocks) -> None:
    """A file that is open for writing does not count, however old it is; one that is gone is nobody's any more."""
    path = written(folder, "a.toml", "x", clocks.now - 1000)
    found = steady(folder, clocks, lambda _: True)
    assert (faults(found.read()), found.restless) == ({"a": IS_OPEN}, {path: IS_OPEN})
    assert not found.rests()
    (folder / "a.toml").unlink()
    assert found.rests()


def test_a_file_from_the_future(folder: Path, clocks: Clocks) -> None:
    """By the clock of a file server a file may be from the future: it counts when it looked the same for a moment."""
    written(folder, "a.toml", "x", clocks.now + 3600)
    found = steady(folder, clocks)
    assert set(faults(found.read())) == {"a"}
    clocks.pass_by(REST_SECONDS * 0.9)
    written(folder, "a.toml", "xx", clocks.now + 3601)
    assert not found.rests()
    clocks.pass_by(REST_SECONDS * 0.9)
    assert not found.rests()
    clocks.pass_by(REST_SECONDS * 0.2)
    assert found.rests()
    assert faults(found.read()) == {}


def test_a_clock_that_is_set_back(folder: Path, clocks: Clocks) -> None:
    """A clock that is set back does not keep a file from counting."""
    written(folder, "a.toml", "x", clocks.now)
    clocks.now -= 3600
    found = steady(folder, clocks)
    assert set(faults(found.read())) == {"a"}
    clocks.pass_by(REST_SECONDS)
    assert faults(found.read()) == {}


def test_what_was_at_rest(folder: Path, clocks: Clocks) -> None:
    """What counted before counts, also when somebody has it open or touched it; other content does not."""
    written(folder, "a.toml", "x", clocks.now - 1000)
    opened: set[str] = set()
    found = steady(folder, clocks, lambda path: path in opened)
    found.take(found.read())
    opened.add(written(folder, "a.toml", "x", clocks.now))
    assert faults(found.read()) == {}
    written(folder, "a.toml", "y", clocks.now)
    assert faults(found.read()) == {"a": IS_OPEN}


def test_a_file_that_a_policy_names(folder: Path, clocks: Clocks) -> None:
    """A file that a policy names is judged in the same way, when it is read."""
    path = written(folder, "keys.json", "x", clocks.now - 1000)
    opened = {path}
    found = steady(folder, clocks, lambda path: path in opened)
    sheaf = found.read()
    assert found.restless == {}
    with pytest.raises(FileError, match=IS_OPEN):
        sheaf.named("keys.json")
    assert found.restless == {path: IS_OPEN}
    opened.clear()
    assert found.read().named("keys.json") == b"x"
    opened.add(path)
    assert found.read().named("keys.json") == b"x"
    assert found.restless == {}
    with pytest.raises(FileError, match="cannot be read"):
        found.read().named("missing")
    assert found.restless == {}


def test_a_file_that_changes_while_it_is_read(folder: Path, clocks: Clocks) -> None:
    """A file that a policy names and that changes while it is read may be half of each."""
    path = written(folder, "keys.json", "x", clocks.now - 1000)
    found = steady(folder, clocks)

    def read(name: str) -> bytes:
        text = (folder / name).read_bytes()
        written(folder, name, "y", clocks.now - 1000)
        return text

    with pytest.raises(FileError, match=IS_MOVING):
        found._named(read, "keys.json")
    assert found.restless == {path: IS_MOVING}
    assert found.rests()
    assert found.read().named("keys.json") == b"y"


def test_a_file_that_comes_while_it_is_read(folder: Path, clocks: Clocks) -> None:
    """A file that was not there a moment before it was read may be half of what it will be."""
    found = steady(folder, clocks)

    def read(name: str) -> bytes:
        return Path(written(folder, name, "half", clocks.now - 1000)).read_bytes()

    with pytest.raises(FileError, match=IS_MOVING):
        found._named(read, "keys.json")
    assert found.read().named("keys.json") == b"half"


class LastWords:
    """Whoever writes ends at the moment at which it is asked whether somebody does, with a last line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ended = False

    def __call__(self, path: str) -> bool:
        """Say that nobody writes, which is true by now."""
        if not self._ended:
            self._ended = True
            written(self._path.parent, self._path.name, "all of it", LONG_AGO - 500)
        return False


def test_a_writer_that_ends_before_it_is_asked_about(folder: Path, clocks: Clocks) -> None:
    """What was read is half of it, and nobody writes any more: it is not taken, but read again."""
    path = written(folder, "a.toml", "half", clocks.now - 1000)
    found = steady(folder, clocks, LastWords(Path(path)))
    sheaf = found.read()
    assert (found.restless, [finding.severity for finding in sheaf.findings]) == ({path: IS_MOVING}, [Severity.FAULT])
    assert found.rests()
    again = found.read()
    assert ([file.raw for file in again.files], again.findings, found.restless) == ([b"all of it"], [], {})


def test_a_writer_of_a_named_file_that_ends_before_it_is_asked_about(folder: Path, clocks: Clocks) -> None:
    """A file that a policy names is not taken either, if it is another one when it is known that nobody writes."""
    path = written(folder, "keys.json", "half", clocks.now - 1000)
    found = steady(folder, clocks, LastWords(Path(path)))
    with pytest.raises(FileError, match=IS_MOVING):
        found.read().named("keys.json")
    assert found.restless == {path: IS_MOVING}
    assert found.rests()
    assert found.read().named("keys.json") == b"all of it"


def test_a_file_with_a_fault_of_its_own(folder: Path, clocks: Clocks) -> None:
    """What cannot be read is not said to be being written; nor is a folder that is not there."""
    (folder / "a.toml").symlink_to(folder / "nowhere.toml")
    found = steady(folder, clocks, lambda _: True)
    assert faults(found.read()) == {"a": "cannot be read: No such file or directory"}
    assert found.restless == {}
    assert [finding.code for finding in steady(folder / "none", clocks).read().findings] == ["folder"]


def version_of(parent: Path, number: int) -> Path:
    """Make a folder of policies, all of which hold the same number."""
    made = parent / f"version-{number}"
    made.mkdir()
    for name in range(30):
        written(made, f"{name}.toml", str(number), LONG_AGO - 1000)
    return made


@contextmanager
def swapping(link: Path) -> Iterator[None]:
    """Put one version after the other behind a link, as Kubernetes does."""
    ended = threading.Event()
    link.symlink_to(version_of(link.parent, 0))

    def swap() -> None:
        for number in count(1):
            if ended.wait(0.001):
                return
            (link.parent / "next").symlink_to(version_of(link.parent, number))
            (link.parent / "next").rename(link)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_p17_files_that_change_together(tmp_path: Path, clocks: Clocks) -> None:
    """P-17: files of two versions never count together, at whatever moment the one takes the other's place."""
    link = tmp_path / "policies"
    refused, taken, until = 0, 0, time.monotonic() + 30
    with swapping(link):
        found = steady(link, clocks)
        while (refused < 3 or taken < 3) and time.monotonic() < until:
            sheaf = found.read()
            if found.restless:
                refused += 1
                (fault,) = (finding for finding in sheaf.findings if finding.severity is Severity.FAULT)
                assert fault.message.endswith(IS_MOVING)
            else:
                taken += 1
                assert len({file.raw for file in sheaf.files}) == 1
    assert (refused >= 3, taken >= 3) == (True, True)
