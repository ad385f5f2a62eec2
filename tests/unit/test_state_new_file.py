"""A state file that is not there yet, or empty, and several who open it at the same moment, as workers do."""

import asyncio
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tailsts.errors import FileError
from tailsts.state.sqlite import SqliteState

# Forks, so that each round costs little: all wait for the end of one pipe, and open the file when it comes.
OPENERS = """
import os, pathlib, sys, time
from tailsts.state.sqlite import SqliteState

folder = pathlib.Path(sys.argv[1])
for number in range(int(sys.argv[2])):
    wait, begin = os.pipe()
    children = []
    for _ in range(4):
        child = os.fork()
        if not child:
            os.close(begin)
            os.read(wait, 1)
            try:
                SqliteState(folder / str(number), monotonic=time.monotonic)
            except BaseException as error:
                print(error, flush=True)
            os._exit(0)
        children.append(child)
    os.close(wait)
    os.close(begin)
    for child in children:
        os.waitpid(child, 0)
"""


def test_several_processes(tmp_path: Path) -> None:
    """Of several processes that make the file at once none fails."""
    command = [sys.executable, "-c", OPENERS, str(tmp_path), "40"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    assert len(list(tmp_path.glob("*[0-9]"))) == 40


class Maker:
    """Another process, as SQLite sees it, that is about to make the file its own."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("CREATE TABLE other (x)")
        self._connection.execute("BEGIN IMMEDIATE")

    def end(self) -> None:
        """Let go of the file."""
        self._connection.close()


async def test_a_file_that_another_makes(tmp_path: Path) -> None:
    """It is waited for who makes the file, also at the moment for which SQLite does not wait by itself."""
    maker = Maker(tmp_path / "state")
    opening = asyncio.create_task(asyncio.to_thread(SqliteState, tmp_path / "state", monotonic=time.monotonic))
    await asyncio.wait([opening], timeout=0.2)
    maker.end()
    state = await opening
    assert await state.claim("one", time.time() + 60, time.time(), "mark")
    await state.close()


def test_a_file_that_another_keeps(tmp_path: Path) -> None:
    """Who never lets go of it is not waited for: that the file is locked is said."""
    maker = Maker(tmp_path / "state")
    with pytest.raises(FileError, match="database is locked"):
        SqliteState(tmp_path / "state", monotonic=time.monotonic)
    maker.end()
