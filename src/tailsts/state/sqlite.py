"""State in a file: for the workers of one machine; it survives a restart."""

import asyncio
import contextlib
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from tailsts.errors import FileError, StateUnavailableError
from tailsts.policy.rate import Rate
from tailsts.state.pace import Pace, advance, micros, pace_of, whole_seconds
from tailsts.state.state import KEPT_LONGER

# Seconds to wait for another process that writes.
_BUSY = 1.0
# Seconds after which a disk that does not answer is given up; the thread may hang on.
_DEADLINE = 1.5
# One write in so many clears away what is over, at most four of each kind for each write.
_CLEARED_EVERY = 16
_CLEARED_AT_ONCE = 64

# Normal: what was committed survives the end of the process; a loss of power can take the last of it.
_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS claims (
  key TEXT PRIMARY KEY, until REAL NOT NULL, made REAL NOT NULL, ends REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS claims_until ON claims (until);
CREATE TABLE IF NOT EXISTS rates (key TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS rates_number ON rates (number);
"""
# `made` and `ends` are by the clock that nobody sets. It begins anew with the machine: then it mostly is before
# `made`, and the other clock alone decides.
_IS_OVER = "until <= :now AND NOT (made <= :steady AND :steady < ends)"
_CLAIM = f"""
INSERT INTO claims (key, until, made, ends) VALUES (:key, :until, :steady, :ends)
ON CONFLICT (key) DO UPDATE SET until = excluded.until, made = excluded.made, ends = excluded.ends WHERE {_IS_OVER}
"""  # noqa: S608 - our own words
_CLEAR_CLAIMS = f"""
DELETE FROM claims WHERE key IN (SELECT key FROM claims WHERE until <= :now ORDER BY until LIMIT :most) AND {_IS_OVER}
"""  # noqa: S608 - our own words
_CLEAR_RATES = """
DELETE FROM rates WHERE key IN (SELECT key FROM rates WHERE number <= :now * 1000000 ORDER BY number LIMIT :most)
"""
_TAKE = "INSERT INTO rates (key, number) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET number = excluded.number"

T = TypeVar("T")


class SqliteState:
    """Claims and rates in the file at `path`. `monotonic` is a clock that nobody sets, the same in all processes."""

    def __init__(self, path: Path, *, monotonic: Callable[[], float]) -> None:
        """Open the file, or make it.

        Raises:
            FileError: it cannot be used.
        """
        self._monotonic = monotonic
        self._file = _File(path)
        self._writes = 0
        self._closed = False
        # One thread, so that a disk is waited for outside of the event loop, by one at a time.
        self._thread = ThreadPoolExecutor(1, "state")
        try:
            self._thread.submit(self._file.connection).result()
        except (OSError, sqlite3.Error) as error:
            raise FileError(f"cannot be used: {_words(error)}") from None

    async def claim(self, key: str, until: float, now: float) -> bool:
        """Return whether nobody had claimed `key`; see `State`."""
        steady = self._monotonic()
        ends = steady + (until - now) + KEPT_LONGER
        values = {"key": key, "until": until + KEPT_LONGER, "ends": ends, "now": now, "steady": steady}
        return await self._ask(lambda: self._claim(values))

    async def give_back(self, key: str) -> None:
        """Let `key` be claimed again, if that can be written."""
        with contextlib.suppress(StateUnavailableError):
            await self._ask(lambda: self._file.connection().execute("DELETE FROM claims WHERE key = ?", (key,)))

    async def take(self, key: str, rate: Rate, now: float) -> int:
        """Return 0, or how many seconds `key` is above its rate; see `State`."""
        return await self._ask(lambda: self._take(key, pace_of(rate), micros(now)))

    async def close(self) -> None:
        """Close the file. A disk that does not answer is not waited for."""
        with contextlib.suppress(StateUnavailableError):
            await self._ask(self._file.close)
        self._closed = True
        self._thread.shutdown(wait=False)

    async def _ask(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise StateUnavailableError("the state file is closed", retry_after=1)
        try:
            async with asyncio.timeout(_DEADLINE):
                return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (OSError, sqlite3.Error) as error:
            raise StateUnavailableError(f"the state file cannot be used: {_words(error)}", retry_after=1) from None

    def _claim(self, values: dict[str, object]) -> bool:
        with self._file.transaction() as connection:
            self._clear(connection, values)
            return connection.execute(_CLAIM, values).rowcount == 1

    def _take(self, key: str, pace: Pace, now: int) -> int:
        with self._file.transaction() as connection:
            self._clear(connection, {"now": now / 1e6, "steady": self._monotonic()})
            row = connection.execute("SELECT number FROM rates WHERE key = ?", (key,)).fetchone()
            number, early = advance(row and row[0], pace, now)
            connection.execute(_TAKE, (key, number))
        return whole_seconds(early)

    def _clear(self, connection: sqlite3.Connection, times: dict[str, object]) -> None:
        self._writes += 1
        if self._writes % _CLEARED_EVERY == 0:
            for words in (_CLEAR_CLAIMS, _CLEAR_RATES):
                connection.execute(words, {**times, "most": _CLEARED_AT_ONCE})


class _File:
    """The file and a connection to it, which is made anew after a failure, and when the file was replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    def connection(self) -> sqlite3.Connection:
        # Otherwise a file that was removed would be written on, and another worker would make a new one.
        if self._connection is not None and self._identity != _identity(self._path):
            self.close()
        if self._connection is None:
            self._identity = _prepared(self._path)
            self._connection = _connected(self._path)
        return self._connection

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection, alone among all processes, and commit what was done; or nothing of it."""
        connection = self.connection()
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            # Undoes what was begun. Nobody knows what is left of a file that failed; the next one opens it anew.
            self.close()
            raise

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()


def _connected(path: Path) -> sqlite3.Connection:
    # Autocommit: transactions are begun where they are meant. Made and used in one thread, closed there as well.
    connection = sqlite3.connect(path, timeout=_BUSY, isolation_level=None)
    try:
        connection.executescript(_SCHEMA)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _prepared(path: Path) -> tuple[int, int]:
    # Made here, so that nobody else may read it; SQLite gives the files beside it the same mode.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0), 0o600)
    try:
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(0, "is not a regular file")
    if found.st_mode & stat.S_IWOTH:
        raise OSError(0, "can be changed by everybody on this machine; chmod o-w it")
    return found.st_dev, found.st_ino


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _words(error: OSError | sqlite3.Error) -> str:
    if isinstance(error, OSError):
        return error.strerror or "no answer in time"
    return str(error)
