"""The state in a file: several processes, restarts, and files that are broken, gone or somebody else's."""

import asyncio
import contextlib
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tailsts.errors import FileError, StateUnavailableError
from tailsts.policy.rate import Rate
from tailsts.state.sqlite import SqliteState

NOW = 1_800_000_000.0
UNTIL = NOW + 665
MARK = "mark"
DAY = 86400

_RIVAL = """
import asyncio, sys, time
from pathlib import Path
from tailsts.policy.rate import Rate
from tailsts.state.sqlite import SqliteState

async def rival(path):
    state = SqliteState(path, monotonic=time.monotonic)
    won = [
        await asyncio.gather(*(state.claim(f"{key}", 1.8e9 + 600, 1.8e9, "m") for _ in range(5))) for key in range(40)
    ]
    waits = [await state.take("one", Rate(1000, 86400), 1.8e9, "m") for _ in range(500)]
    await state.close()
    print(sum(map(sum, won)), waits.count(0))

print("ready", flush=True)
sys.stdin.readline()
asyncio.run(rival(Path(sys.argv[1])))
"""


class Opening:
    """Opens the file as often as asked, with clocks that the test sets, and closes everything."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.steady = 1000.0
        self._opened: list[SqliteState] = []

    def __call__(self) -> SqliteState:
        """Open it."""
        opened = SqliteState(self.path, monotonic=lambda: self.steady)
        self._opened.append(opened)
        return opened

    async def close(self) -> None:
        """Close them."""
        for opened in self._opened:
            await opened.close()


@pytest.fixture
async def opening(tmp_path: Path) -> AsyncIterator[Opening]:
    """Return what opens the file."""
    made = Opening(tmp_path / "state")
    yield made
    await made.close()


async def test_it_survives_a_restart(opening: Opening) -> None:
    """Claims and rates are there after a restart, also when the clock that nobody sets began anew with the machine."""
    first = opening()
    await first.claim("one", UNTIL, NOW, MARK)
    await first.take("one", Rate(1, 60), NOW, MARK)
    await first.close()
    for steady in (1001.0, 5.0):
        opening.steady = steady
        second = opening()
        assert not await second.claim("one", UNTIL, NOW, MARK)
        assert await second.take("one", Rate(1, 60), NOW, MARK) == 60


def test_it_survives_a_kill(tmp_path: Path) -> None:
    """What was claimed by a process that was killed right after is claimed."""
    program = _RIVAL.replace("await state.close()", "import os; os.kill(os.getpid(), 9)")
    killed = subprocess.run([sys.executable, "-c", program, tmp_path / "state"], input=b"\n", timeout=60, check=False)
    assert killed.returncode == -9
    asyncio.run(_find_40_claims(tmp_path / "state"))


async def _find_40_claims(path: Path) -> None:
    state = SqliteState(path, monotonic=time.monotonic)
    assert [await state.claim(f"{key}", UNTIL, NOW, MARK) for key in range(41)] == [False] * 40 + [True]
    await state.close()


def test_processes_share_it(tmp_path: Path) -> None:
    """Four processes that make the file at once and claim the same keys: each is granted to one, and rates are one."""
    command = [sys.executable, "-W", "error", "-c", _RIVAL, str(tmp_path / "state")]
    rivals = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for rival in rivals:
        assert rival.stdout is not None
        assert rival.stdout.readline() == "ready\n"
    # Only now, when all wait for it: one that starts while others run would have little left to contend for.
    for rival in rivals:
        assert rival.stdin is not None
        rival.stdin.write("\n")
        rival.stdin.flush()
    said = [rival.communicate(timeout=90) for rival in rivals]
    assert [errors for _, errors in said] == [""] * 4
    counts = [tuple(map(int, printed.split())) for printed, _ in said]
    assert tuple(map(sum, zip(*counts, strict=True))) == (40, 1000)


async def test_nobody_else_may_read_it(opening: Opening) -> None:
    """The file and those beside it are for their owner alone."""
    await opening().claim("one", UNTIL, NOW, MARK)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in opening.path.parent.iterdir()}
    assert modes == {0o600}


async def test_what_is_over_is_cleared_away(opening: Opening) -> None:
    """While 20,000 claims and rates come and go, the file stays at the size that those of one period need."""
    state = opening()
    sizes = []
    for minute in range(10):
        for number in range(1000):
            now = NOW + minute * 3600 + number
            opening.steady = now - NOW
            # A disk that stalls for a moment, beside other tests, is not what this is about.
            with contextlib.suppress(StateUnavailableError):
                await state.claim(f"{minute}.{number}", now + 60, now, MARK)
                await state.take(f"{minute}.{number}", Rate(1, 1), now, MARK)
        sizes.append(opening.path.stat().st_size)
    # A page or two, as they happen to be filled.
    assert sizes[-1] <= 1.2 * sizes[4]
    counted = sqlite3.connect(opening.path)
    assert counted.execute("SELECT count(*) FROM claims").fetchone()[0] < 4000
    assert counted.execute("SELECT count(*) FROM rates").fetchone()[0] < 100
    counted.close()


async def test_a_claim_ends_by_both_clocks(opening: Opening) -> None:
    """A claim is over an hour after its time by both clocks, and not if only one of them says so."""
    state = opening()
    await state.claim("one", UNTIL, NOW, MARK)
    over = 665 + 3600
    for passed, steady in ((DAY, 0), (0, DAY), (over - 1, over), (over, over - 1)):
        opening.steady = 1000 + steady
        assert not await state.claim("one", UNTIL, NOW + passed, MARK)
    opening.steady = 1000 + over
    assert await state.claim("one", UNTIL + DAY, NOW + over, MARK)


@pytest.mark.parametrize("content", [b"no database" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_broken_file_at_start(tmp_path: Path, content: bytes) -> None:
    """What is no database is a fault, and is left as it is."""
    path = tmp_path / "state"
    path.write_bytes(content)
    with pytest.raises(FileError, match="cannot be used: "):
        SqliteState(path, monotonic=time.monotonic)
    assert path.read_bytes() == content


def test_a_file_for_everybody_at_start(tmp_path: Path) -> None:
    """A file that everybody may change is a fault: anybody could use a token twice."""
    path = tmp_path / "state"
    path.touch()
    path.chmod(0o666)
    with pytest.raises(FileError, match="can be changed by everybody"):
        SqliteState(path, monotonic=time.monotonic)


@pytest.mark.parametrize("name", ["missing/state", "folder", "fifo"])
def test_no_file_at_start(tmp_path: Path, name: str) -> None:
    """A folder that is not there, a folder, and a pipe that nobody writes are faults, at once."""
    (tmp_path / "folder").mkdir()
    subprocess.run(["mkfifo", tmp_path / "fifo"], check=True)  # noqa: S607 - from the path
    with pytest.raises(FileError, match="cannot be used: "):
        SqliteState(tmp_path / name, monotonic=time.monotonic)


async def test_a_file_that_breaks(opening: Opening) -> None:
    """A file that was overwritten is unavailable to everybody who asks; when it is removed, a new one is made."""
    state = opening()
    await state.claim("one", UNTIL, NOW, MARK)
    for path in opening.path.parent.iterdir():
        path.write_bytes(b"broken" * 1000)
    with pytest.raises(StateUnavailableError) as found:
        await state.claim("two", UNTIL, NOW, MARK)
    assert found.value.retry_after == 1
    with pytest.raises(StateUnavailableError):
        await state.take("two", Rate(1, 1), NOW, MARK)
    await state.give_back("one", MARK)
    for path in opening.path.parent.iterdir():
        path.unlink()
    assert await state.claim("two", UNTIL, NOW, MARK)


async def test_a_file_that_is_removed(opening: Opening) -> None:
    """When the file is removed, all who share it go over to the same new one."""
    states = opening(), opening()
    for path in opening.path.parent.iterdir():
        path.unlink()
    assert await states[0].claim("one", UNTIL, NOW, MARK)
    assert not await states[1].claim("one", UNTIL, NOW, MARK)


async def test_a_file_that_another_holds(opening: Opening) -> None:
    """While another process writes for longer than a second it is unavailable, to all who wait; then it works."""
    state = opening()
    holder = sqlite3.connect(opening.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    outcomes = await asyncio.gather(
        *(state.claim(f"{number}", UNTIL, NOW, MARK) for number in range(5)), return_exceptions=True
    )
    assert all(isinstance(outcome, StateUnavailableError) for outcome in outcomes)
    holder.execute("COMMIT")
    holder.close()
    assert await state.claim("one", UNTIL, NOW, MARK)


async def test_a_disk_that_is_full(opening: Opening) -> None:
    """When nothing more can be written it is unavailable, and what was claimed holds."""
    state = opening()
    await state.claim("one", UNTIL, NOW, MARK)
    await state._ask(lambda: state._file.connection().execute("PRAGMA max_page_count = 1"))
    keys = [f"{number} {'k' * 1000}" for number in range(100)]
    outcomes = await asyncio.gather(*(state.claim(key, UNTIL, NOW, MARK) for key in keys), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes if isinstance(outcome, StateUnavailableError)][:1] == [
        "the state file cannot be used: database or disk is full"
    ]
    assert not await state.claim("one", UNTIL, NOW, MARK)


async def test_closed(opening: Opening) -> None:
    """What was closed is unavailable, and may be closed again."""
    state = opening()
    await state.close()
    await state.close()
    with pytest.raises(StateUnavailableError):
        await state.claim("one", UNTIL, NOW, MARK)
