"""Looking at the connections lets go of no lock: a process that closes a file loses all its record locks on it."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from fakes.service import environment
from tailsts.server.accepted import Connection, accepted, hang_up
from tailsts.server.workers.turns import AUDIT, Turn, shared_file

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what the kernel tells is Linux's")

# Another process that writes to the same file of a state, or has its turn with the same file of turns.
WRITES = """
import sqlite3, sys
try:
    sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None).execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as error:
    print(error)
"""
HAS_ITS_TURN = """
import fcntl, sys
try:
    fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    print("somebody else's")
"""


def said_by(script: str, argument: object, descriptors: tuple[int, ...] = ()) -> str:
    """Return what another process says of it."""
    command = [sys.executable, "-I", "-S", "-c", script, str(argument)]
    done = subprocess.run(
        command, pass_fds=descriptors, capture_output=True, text=True, env=environment(), timeout=60, check=True
    )
    return done.stdout.strip()


async def look() -> None:
    """Look which connections there are."""
    assert [connection async for connection in accepted(1)] == []


async def hang_up_on_files() -> None:
    """Take every file for a connection: the descriptor of one that is gone may stand for any of them by now."""
    descriptors = map(int, os.listdir("/proc/self/fd"))  # noqa: PTH208 - one of them is gone by then
    files = [each for each in descriptors if is_file(each)]
    assert files
    assert not any(hang_up(Connection(each, "127.0.0.1:1", 0), 1) for each in files)


def is_file(descriptor: int) -> bool:
    """Return whether a file is open under this number."""
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return False


@pytest.fixture(params=["delete", "wal"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, sqlite3.Connection]]:
    """Return a file of a state and a connection to it, with either way to keep a journal."""
    path = tmp_path / "state"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(f"PRAGMA journal_mode = {request.param}; CREATE TABLE t (x)")
    yield path, connection
    connection.close()


@pytest.mark.parametrize("act", [look, hang_up_on_files])
async def test_of_a_state(state: tuple[Path, sqlite3.Connection], act: Callable[[], Awaitable[None]]) -> None:
    """A transaction that is open keeps others out until it ends, however often somebody looks meanwhile."""
    path, connection = state
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO t VALUES (1)")
    await act()
    assert said_by(WRITES, path) == "database is locked"
    connection.execute("COMMIT")
    assert said_by(WRITES, path) == ""


@pytest.mark.parametrize("act", [look, hang_up_on_files])
async def test_of_the_turns(tmp_path: Path, act: Callable[[], Awaitable[None]]) -> None:
    """Whose turn it is to write stays so."""
    shared = shared_file()
    with (tmp_path / "log").open("wb") as log:
        turn = Turn(shared, AUDIT)
        turn.take(log.fileno())
        await act()
        assert said_by(HAS_ITS_TURN, shared, (shared,)) == "somebody else's"
        turn.give_back()
    assert said_by(HAS_ITS_TURN, shared, (shared,)) == ""
