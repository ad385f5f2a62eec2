"""State in a file: for the workers of one machine; it survives a restart."""

import asyncio
import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from tailsts.errors import FileError, StateUnavailableError
from tailsts.policy.rate import Rate
from tailsts.state.pace import Pace, advance, micros, pace_of, retreat, whole_seconds
from tailsts.state.state import KEPT_LONGER
from tailsts.state.undoing import InDoubtError, Undoing

# Seconds to wait for another process that writes; and between two looks, where SQLite does not wait by itself.
_BUSY, _BUSY_PAUSE = 1.0, 0.01
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
  key TEXT PRIMARY KEY, until REAL NOT NULL, made REAL NOT NULL, ends REAL NOT NULL, mark TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS claims_until ON claims (until);
CREATE TABLE IF NOT EXISTS rates (key TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS rates_number ON rates (number);
"""
# `made` and `ends` are by the clock that nobody sets. It begins anew with the machine: then it mostly is before
# `made`, and the other clock alone decides.
_IS_OVER = "until <= :now AND NOT (made <= :steady AND :steady < ends)"
_CLAIM = f"""
INSERT INTO claims (key, until, made, ends, mark) VALUES (:key, :until, :steady, :ends, :mark)
ON CONFLICT (key) DO UPDATE
SET until = excluded.until, made = excluded.made, ends = excluded.ends, mark = excluded.mark WHERE {_IS_OVER}
"""  # noqa: S608 - our own words
_CLEAR_CLAIMS = f"""
DELETE FROM claims WHERE key IN (SELECT key FROM claims WHERE until <= :now ORDER BY until LIMIT :most) AND {_IS_OVER}
"""  # noqa: S608 - our own words
_CLEAR_RATES = """
DELETE FROM rates WHERE key IN (SELECT key FROM rates WHERE number <= :now * 1000000 ORDER BY number LIMIT :most)
"""
_GIVE_BACK = "DELETE FROM claims WHERE key = ? AND mark = ?"
_KEPT = "SELECT number FROM rates WHERE key = ?"
_KEEP = "INSERT INTO rates (key, number) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET number = excluded.number"

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
        self._undoing = Undoing()
        # One thread, so that a disk is waited for outside of the event loop, by one at a time.
        self._thread = ThreadPoolExecutor(1, "state")
        try:
            self._thread.submit(self._file.connection).result()
        except (OSError, sqlite3.Error) as error:
            raise FileError(f"cannot be used: {_words(error)}") from None

    async def claim(self, key: str, until: float, now: float, mark: str) -> bool:
        """Return whether nobody had claimed `key`; see `State`."""
        await self._undoing.settle(key)
        steady = self._monotonic()
        ends = steady + (until - now) + KEPT_LONGER
        values = {"key": key, "until": until + KEPT_LONGER, "ends": ends, "now": now, "steady": steady, "mark": mark}
        with self._undoing.if_in_doubt(key, partial(self._give_back, key, mark)):
            return await self._ask(lambda: self._claim(values))

    async def give_back(self, key: str, mark: str) -> None:
        """Let `key` be claimed again; see `State`."""
        await self._undoing.now_or_later(key, partial(self._give_back, key, mark))

    async def take(self, key: str, rate: Rate, now: float, mark: str) -> int:  # noqa: ARG002 - the thread knows what it did
        """Return 0, or how many seconds `key` is above its rate; see `State`."""
        await self._undoing.settle(key)
        use = _Use(key, pace_of(rate))
        with self._undoing.if_in_doubt(key, partial(self._untake, use, now)):
            return await self._ask(lambda: self._take(use, micros(now)))

    async def untake(self, key: str, rate: Rate, now: float, mark: str) -> None:  # noqa: ARG002 - as was just said
        """Count one no more; see `State`."""
        use = _Use(key, pace_of(rate))
        use.is_counted = True
        await self._undoing.now_or_later(key, partial(self._untake, use, now))

    async def close(self) -> None:
        """Close the file, after a last attempt to undo. A disk that does not answer is not waited for."""
        await self._undoing.close()
        with contextlib.suppress(StateUnavailableError):
            await self._ask(self._file.close)
        self._closed = True
        self._thread.shutdown(wait=False)

    async def _ask(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise StateUnavailableError("the state file is closed", retry_after=1)
        future = self._thread.submit(work)
        try:
            async with asyncio.timeout(_DEADLINE):
                return await asyncio.wrap_future(future)
        except (OSError, sqlite3.Error) as error:
            # What failed was undone, and what was not begun in time will not be. All else goes on in the thread.
            kind = InDoubtError if isinstance(error, TimeoutError) and not future.cancelled() else StateUnavailableError
            raise kind(f"the state file cannot be used: {_words(error)}", retry_after=1) from None

    async def _give_back(self, key: str, mark: str) -> None:
        # In the thread this comes after all that was asked of it before.
        await self._ask(lambda: self._file.connection().execute(_GIVE_BACK, (key, mark)))

    async def _untake(self, use: "_Use", now: float) -> None:
        await self._ask(lambda: self._count_no_more(use, micros(now)))

    def _claim(self, values: dict[str, object]) -> bool:
        with self._file.transaction() as connection:
            self._clear(connection, values)
            return connection.execute(_CLAIM, values).rowcount == 1

    def _take(self, use: "_Use", now: int) -> int:
        with self._file.transaction() as connection:
            self._clear(connection, {"now": now / 1e6, "steady": self._monotonic()})
            row = connection.execute(_KEPT, (use.key,)).fetchone()
            number, early = advance(row and row[0], use.pace, now)
            connection.execute(_KEEP, (use.key, number))
        use.is_counted = not early
        return whole_seconds(early)

    def _count_no_more(self, use: "_Use", now: int) -> None:
        if not use.is_counted:
            return
        with self._file.transaction() as connection:
            row = connection.execute(_KEPT, (use.key,)).fetchone()
            if row:
                connection.execute(_KEEP, (use.key, retreat(row[0], use.pace, now)))
        use.is_counted = False

    def _clear(self, connection: sqlite3.Connection, times: dict[str, object]) -> None:
        self._writes += 1
        if self._writes % _CLEARED_EVERY == 0:
            for words in (_CLEAR_CLAIMS, _CLEAR_RATES):
                connection.execute(words, {**times, "most": _CLEARED_AT_ONCE})


class _Use:
    """One use of a rate, and whether it counts: only the thread knows."""

    def __init__(self, key: str, pace: Pace) -> None:
        self.key = key
        self.pace = pace
        self.is_counted = False


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
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        _make(connection)
        connection.execute(f"PRAGMA busy_timeout = {int(_BUSY * 1000)}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _make(connection: sqlite3.Connection) -> None:
    """Make the tables. For who does the same just now, SQLite does not wait by itself in each case."""
    for _ in range(int(_BUSY / _BUSY_PAUSE)):
        try:
            connection.executescript(_SCHEMA)
        except sqlite3.OperationalError as error:
            # The lowest byte: the others tell kinds of it.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            time.sleep(_BUSY_PAUSE)
        else:
            return
    connection.executescript(_SCHEMA)


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
