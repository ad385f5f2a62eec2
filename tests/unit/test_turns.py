"""Several processes that write to one file or pipe: whose turn it is, and what one that was killed leaves behind."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fakes.http import eventually
from fakes.service import environment
from tailsts.server.journal import Journal, appending_to
from tailsts.server.workers.turns import AUDIT, LOG, Turn, shared_file

# Longer than what a pipe takes at once.
LINE_BYTES = 10_000
WRITER = """
import os, sys
from tailsts.server.journal import Journal
from tailsts.server.workers.turns import AUDIT, Turn
shared, target, name, count, length = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:])
journal = Journal(lambda: os.dup(target), print, Turn(shared, AUDIT, 60))
print("ready", flush=True)
for _ in range(count):
    journal.add(name.encode() * length + b"\\n")
assert journal.close(60)
"""
# Says that it writes `of`, writes `part`, says so, and waits for its end.
LEAVER = """
import os, signal, sys
from tailsts.server.workers.turns import AUDIT, Turn
shared, target, of, part = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].encode(), sys.argv[4].encode()
turn = Turn(shared, AUDIT)
turn.take(target)
write, os.write = os.write, lambda descriptor, _text: write(descriptor, part)
turn.write(target, of)
write(1, b"written")
signal.pause()
"""


@pytest.fixture
def shared() -> Iterator[int]:
    """Return the file that all processes have."""
    made = shared_file()
    yield made
    os.close(made)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[int]:
    """Return a file to write to, which holds a line."""
    (tmp_path / "log").write_bytes(b"before\n")
    opened = appending_to(tmp_path / "log")()
    yield opened
    os.close(opened)


def started(program: str, *arguments: object, open_files: tuple[int, ...]) -> subprocess.Popen[bytes]:
    """Start a program that has these files."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=open_files, env=environment())


def leave(shared: int, target: int, of: str, part: str, *, kill: bool = True) -> subprocess.Popen[bytes]:
    """Let another process write a part of something, and kill it; or leave it there."""
    process = started(LEAVER, shared, target, of, part, open_files=(shared, target))
    assert process.stdout is not None
    assert process.stdout.read(7) == b"written"
    if kill:
        process.kill()
        process.wait()
    process.stdout.close()
    return process


def write(shared: int, target: int, text: bytes, seconds: float = 5.0) -> None:
    """Write in this process, when it is its turn."""
    turn = Turn(shared, AUDIT, seconds)
    turn.take(target)
    turn.write(target, text)
    turn.give_back()


@pytest.mark.parametrize("through_a_pipe", [False, True])
def test_lines_of_several_processes(tmp_path: Path, shared: int, through_a_pipe: bool) -> None:
    """Three processes write at the same time: every line comes, and each is whole."""
    seen = bytearray()
    if through_a_pipe:
        reader, target = os.pipe()
    else:
        reader, target = os.open(os.devnull, os.O_RDONLY), appending_to(tmp_path / "log")()
    writers = [
        started(WRITER, shared, target, name, 100, LINE_BYTES - 1, open_files=(shared, target)) for name in "abc"
    ]
    os.close(target)
    # All of them are at it before the first line is read.
    for process in writers:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"

    def read() -> None:
        while part := os.read(reader, 65536):
            seen.extend(part)

    reading = threading.Thread(target=read)
    reading.start()
    for process in writers:
        assert process.wait(60) == 0
        assert process.stdout is not None
        process.stdout.close()
    reading.join()
    os.close(reader)
    lines = (bytes(seen) if through_a_pipe else (tmp_path / "log").read_bytes()).splitlines()
    assert sorted(lines) == sorted([name * (LINE_BYTES - 1) for name in (b"a", b"b", b"c")] * 100)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("", b"before\nmine\n"),
        ("half", b"before\nhalf\nmine\n"),
        ("half a line\n", b"before\nhalf a line\nmine\n"),
    ],
)
def test_what_a_killed_process_leaves(tmp_path: Path, shared: int, log: int, part: str, expected: bytes) -> None:
    """Who comes after one that was killed ends its line, if half of one is there, and adds no empty one if not."""
    leave(shared, log, "half a line\n", part)
    write(shared, log, b"mine\n")
    assert (tmp_path / "log").read_bytes() == expected
    # Once is enough.
    write(shared, log, b"mine\n")
    assert (tmp_path / "log").read_bytes() == expected + b"mine\n"


def test_what_a_killed_process_leaves_in_an_old_file(tmp_path: Path, shared: int, log: int) -> None:
    """Half a line in a file that was moved away since then adds nothing to the new one."""
    leave(shared, log, "half a line\n", "half")
    write(shared, new := appending_to(tmp_path / "new")(), b"mine\n")
    os.close(new)
    assert (tmp_path / "new").read_bytes() == b"mine\n"


def test_what_a_killed_process_leaves_in_a_pipe(shared: int) -> None:
    """What went through a pipe cannot be known: the next line begins anew."""
    reader, writer = os.pipe()
    leave(shared, writer, "half a line\n", "half")
    write(shared, writer, b"mine\n")
    assert os.read(reader, 100) == b"half\nmine\n"
    os.close(reader)
    os.close(writer)


def test_half_a_line_waits_for_who_can_end_it(tmp_path: Path, shared: int, log: int) -> None:
    """If the line that was left cannot be ended, because the disk is full, somebody else will."""
    leave(shared, log, "half a line\n", "half")
    unwritable = os.open(tmp_path / "log", os.O_RDONLY)
    with pytest.raises(OSError, match="Bad file descriptor"):
        Turn(shared, AUDIT).take(unwritable)
    os.close(unwritable)
    write(shared, log, b"mine\n")
    assert (tmp_path / "log").read_bytes() == b"before\nhalf\nmine\n"


def test_nobody_writes_into_the_line_of_another(tmp_path: Path, shared: int, log: int) -> None:
    """While one is in the middle of its line, others fail after a while; other streams do not wait."""
    other = leave(shared, log, "half a line\n", "half", kill=False)
    os.kill(other.pid, signal.SIGSTOP)
    with pytest.raises(OSError, match="another worker does not finish its line"):
        write(shared, log, b"mine\n", 0.1)
    assert (tmp_path / "log").read_bytes() == b"before\nhalf"
    another = Turn(shared, LOG, 0.1)
    another.take(log)
    another.give_back()
    other.kill()
    other.wait()
    write(shared, log, b"mine\n")
    assert (tmp_path / "log").read_bytes() == b"before\nhalf\nmine\n"


def test_a_journal_keeps_its_turn_within_a_line(shared: int) -> None:
    """A journal whose line is broken off halfway keeps others out until it has ended it."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    told: list[str | None] = []
    journal = Journal(lambda: writer, told.append, Turn(shared, AUDIT))
    journal.add(b"x" * 100_000 + b"\n")
    eventually(lambda: journal.fault is not None)
    other = started(WRITER, shared, writer, "y", 1, LINE_BYTES - 1, open_files=(shared, writer))
    read = bytearray()
    os.set_blocking(reader, False)

    def all_is_there() -> bool:
        with suppress(BlockingIOError):
            read.extend(os.read(reader, 65536))
        return len(read) >= 100_001 + LINE_BYTES

    eventually(all_is_there, 30)
    assert bytes(read) == b"x" * 100_000 + b"\n" + b"y" * (LINE_BYTES - 1) + b"\n"
    assert other.wait(10) == 0
    assert other.stdout is not None
    other.stdout.close()
    assert journal.close(5)
    os.close(reader)
    os.close(writer)
