"""Watching a folder of policies: saying when it may have changed and is quiet again.

The operating system's notifications make it quick, and a look at the folder every few seconds makes sure: a lost
event is not lost for ever. Where there are no notifications, looking is all there is, only more often.
"""

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

import msgspec
from watchfiles import Change, awatch

# A change is told when nothing was written for QUIET, and at the latest LONGEST after it began: whoever writes another
# file all the time must not keep it from coming into force within a second. Half of a file is nobody's concern here.
QUIET_SECONDS = 0.1
LONGEST_SECONDS = 0.5
# How often a folder is looked at though nothing was heard of it; and how often if nothing can be heard.
SAFETY_SECONDS = 10.0
DEAF_SECONDS = 0.5
# Beyond these a folder is no folder of policies. The rest is not looked at, and its changes are not noticed.
MAX_ENTRIES = 50_000
MAX_DIRECTORIES = 500

Report = Callable[[str], None]


class View(msgspec.Struct, frozen=True):
    """What a folder looked like: a digest of names, sizes, times and identities; and the directories to listen to.

    A directory is its path and its identity, so that another directory under the same name is another one.
    """

    digest: bytes
    directories: tuple[tuple[str, str], ...]


class Bounds(msgspec.Struct, frozen=True):
    """Of how much of a folder a look is taken."""

    entries: int = MAX_ENTRIES
    directories: int = MAX_DIRECTORIES


USUAL_BOUNDS = Bounds()


def look(folder: Path, bounds: Bounds = USUAL_BOUNDS) -> View:
    """Return what `folder` looks like now. What cannot be read looks like what is not there."""
    folder = folder.absolute()
    digest = hashlib.sha256()
    # In one of those above it the folder, or a link on the way to it, may be replaced.
    directories = [os.fspath(parent) for parent in reversed(folder.parents) if parent.is_dir()]
    for path in (*directories, os.fspath(folder)):
        digest.update(_identity(path)[0].encode("utf-8", "surrogateescape"))
    todo = [os.fspath(folder)] if folder.is_dir() else []
    left = bounds.entries
    while todo and len(directories) < bounds.directories:
        directories.append(todo.pop())
        names = _entries(directories[-1])[:left]
        left -= len(names)
        for path in names:
            identity, is_own_directory = _identity(path)
            digest.update(identity.encode("utf-8", "surrogateescape"))
            if is_own_directory:
                todo.append(path)
    return View(digest.digest(), tuple((path, _identity(path)[0]) for path in directories))


def _entries(directory: str) -> list[str]:
    try:
        return sorted(os.path.join(directory, name) for name in os.listdir(directory))  # noqa: PTH118, PTH208 - quick
    except OSError:
        return []


def _identity(path: str) -> tuple[str, bool]:
    """Return what differs when another file is behind the name or another content in it; and whether to look inside."""
    try:
        link = os.lstat(path)
        # A link may lead anywhere, to the root of everything or back to where it is: never looked inside.
        is_link = stat.S_ISLNK(link.st_mode)
        found = os.stat(path) if is_link else link  # noqa: PTH116 - a Path for each of 10,000 files is slow
    except OSError:
        return f"{path}\0-\n", False
    common = f"{path}\0{link.st_ino} {found.st_dev} {found.st_ino} {found.st_mode}"
    if stat.S_ISDIR(found.st_mode):
        # Its own times change with what is in it, which is looked at by itself or does not matter.
        return f"{common}\n", not is_link
    return f"{common} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}\n", False


async def changes(
    folder: Path,
    stop: asyncio.Event,
    report: Report,
    *,
    since: View | None = None,
    safety: float = SAFETY_SECONDS,
) -> AsyncGenerator[None, None]:
    """Yield whenever `folder` may have changed and is quiet again, until `stop` is set.

    `since` is what it looked like before the caller read it, so that a change in between is told as well.
    `report` hears of trouble, in a text for the log. Every `safety` seconds the folder is looked at though nothing was
    heard of it. Nothing is raised.
    """
    seen = await asyncio.to_thread(look, folder) if since is None else since
    directories = seen.directories
    listener = _Listener(folder, report, safety)
    try:
        while not stop.is_set():
            await listener.listen_to(directories)
            # Looked at after listening began: what happens from here on is heard.
            view = await asyncio.to_thread(look, folder)
            has_changed = view.digest != seen.digest
            if has_changed:
                view = await _settled(folder, view)
            elif view.directories == directories and await listener.heard(stop):
                has_changed = True
                view = await asyncio.to_thread(look, folder)
            directories = view.directories
            if has_changed and not stop.is_set():
                seen = view
                yield
    finally:
        await listener.cease()


async def _settled(folder: Path, view: View) -> View:
    """Return what the folder looks like when nothing changes any more, or has changed for too long."""
    for _ in range(int(LONGEST_SECONDS / QUIET_SECONDS)):
        await asyncio.sleep(QUIET_SECONDS)
        before, view = view, await asyncio.to_thread(look, folder)
        if before == view:
            break
    return view


class _Listener:
    """Listens to notifications of the operating system, as long as it gives any."""

    def __init__(self, folder: Path, report: Report, safety: float) -> None:
        folder = folder.absolute()
        self._ways = frozenset(os.fspath(path) for path in (folder, *folder.parents))
        self._paths = self._ways
        self._inside = os.path.join(folder, "")  # noqa: PTH118 - with its last slash
        self._report = report
        self._safety = safety
        self._directories: Sequence[tuple[str, str]] = ()
        self._is_stale = False
        self._halt = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._event = asyncio.Event()
        self._reason: str | None = None
        self._again_at = 0.0

    async def listen_to(self, directories: Sequence[tuple[str, str]]) -> None:
        """Listen to these from now on. Where that failed a while ago, try again."""
        may_try = self._is_deaf() and asyncio.get_running_loop().time() >= self._again_at
        if directories == self._directories and not self._is_stale and not may_try:
            return
        await self.cease()
        task = self._begin(directories)
        # Its first step asks the operating system for notifications.
        await asyncio.sleep(0)
        if not task.done():
            self._say(None)

    def _begin(self, directories: Sequence[tuple[str, str]]) -> asyncio.Task[None]:
        paths = [path for path, _ in directories]
        self._directories = directories
        self._paths = self._ways.union(paths)
        self._is_stale = False
        self._halt = asyncio.Event()
        self._task = asyncio.create_task(self._listen(paths, self._halt))
        return self._task

    async def cease(self) -> None:
        """Listen no more."""
        self._halt.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    def _is_deaf(self) -> bool:
        return self._task is None or self._task.done()

    async def heard(self, stop: asyncio.Event) -> bool:
        """Return whether something was heard of the folder, and it is quiet again; or nothing, for long enough."""
        seconds = DEAF_SECONDS if self._is_deaf() else self._safety
        waiters = [asyncio.create_task(event.wait()) for event in (stop, self._event)]
        try:
            await asyncio.wait(waiters, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()
        heard = self._event.is_set()
        self._event.clear()
        return heard

    async def _listen(self, paths: Sequence[str], halt: asyncio.Event) -> None:
        try:
            # Everything is said here, so that nothing of it is read from the environment.
            async for _ in awatch(
                *paths,
                watch_filter=self._concerns,
                debounce=int(LONGEST_SECONDS * 1000),
                step=int(QUIET_SECONDS * 1000),
                stop_event=halt,
                debug=False,
                force_polling=False,
                recursive=False,
                # Nor is it trouble that a directory vanished in between, which is found by looking.
                ignore_permission_denied=True,
            ):
                self._event.set()
        except Exception as error:  # noqa: BLE001 - the library has errors of its own for what the system refuses
            self._again_at = asyncio.get_running_loop().time() + self._safety
            self._say(str(error))

    def _concerns(self, _: Change, path: str) -> bool:
        if path in self._paths:
            # A new directory may have the name and even the number of the old one, and nothing is heard of it yet.
            self._is_stale = True
            return True
        return path.startswith(self._inside)

    def _say(self, reason: str | None) -> None:
        if reason != self._reason:
            self._reason = reason
            self._report(
                "changes are noticed at once again"
                if reason is None
                else f"no notifications of changes, so it is looked at every {DEAF_SECONDS:g} s: {reason}"
            )
