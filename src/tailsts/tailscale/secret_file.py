"""A file that holds a client secret, read anew when it changes: who rotates secrets replaces the file.

Kubernetes swaps a symlink above a mounted secret, others rename a new file over the old one or write in place. So
what is compared is the file that the path leads to, not the path.
"""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path, PurePath

import msgspec

from tailsts.credentials import Secret, refuse_secret
from tailsts.errors import FileError
from tailsts.files import read_bounded

MAX_SECRET_BYTES = 4096
# A secret that was replaced is mostly valid for some time yet, and a look is one call of the operating system.
LOOK_EVERY = 5.0
# However many requests fail, no more looks than this.
LOOK_AT_MOST_EVERY = 1.0

_Identity = tuple[int, ...]


class Renewed(msgspec.Struct, frozen=True):
    """The file holds another secret."""

    secret: Secret


class Kept(msgspec.Struct, frozen=True):
    """The file cannot be used, for the `reason`, which goes on after its name: the old secret is kept."""

    reason: str


class Restored(msgspec.Struct, frozen=True):
    """The file, which could not be used, holds the secret that was kept."""


News = Renewed | Kept | Restored


def read_secret(path: PurePath) -> Secret:
    """Return the secret in the file at `path`, without white space at its ends.

    Raises:
        FileError: it cannot be read, everybody may change it, or it holds no secret.
    """
    # Latin-1 reads any byte; what is not ASCII is refused with all else.
    text = read_bounded(path, MAX_SECRET_BYTES, refuse_world_writable=True).decode("latin-1").strip()
    if reason := refuse_secret(text):
        raise FileError(reason)
    return Secret(text)


class SecretFile:
    """The file at `path`, and what was last known of it: the `secret` that was read when the service started."""

    def __init__(self, path: PurePath, secret: Secret) -> None:
        self._path = path
        self._secret = secret
        self._seen: _Identity | None = None
        self._trouble: str | None = None

    def look(self) -> News | None:
        """Return what is new about the file since the last look, or None. Reads it only if it may have changed."""
        try:
            identity = _identity(self._path)
            if identity == self._seen:
                return None
            # What changes from here on has another identity at the next look.
            secret = read_secret(self._path)
        except FileError as error:
            return self.keep(str(error))
        self._seen = identity
        return self._take(secret)

    def keep(self, reason: str) -> Kept | None:
        """Note that the file cannot be used; return the news if it is some."""
        # The next look reads again, whatever the file looks like: what failed may have been the reading.
        self._seen = None
        if reason == self._trouble:
            return None
        self._trouble = reason
        return Kept(reason)

    def _take(self, secret: Secret) -> News | None:
        restored, self._trouble = self._trouble is not None, None
        if secret.reveal() == self._secret.reveal():
            return Restored() if restored else None
        self._secret = secret
        return Renewed(secret)


async def follow(
    file: SecretFile,
    adopt: Callable[[Secret], None],
    report: Callable[[News], None],
    *,
    every: float = LOOK_EVERY,
    doubted: asyncio.Event | None = None,
) -> None:
    """Look at the file `every` so many seconds, and sooner when `doubted` is set; hand each new secret to `adopt`.

    Each piece of news is reported, once. Never returns, and raises nothing but the cancellation of its task.
    """
    doubted = doubted or asyncio.Event()
    least = min(every, LOOK_AT_MOST_EVERY)
    while True:
        news = await _looked(file)
        if isinstance(news, Renewed):
            adopt(news.secret)
        if news is not None:
            report(news)
        await asyncio.sleep(least)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(doubted.wait(), every - least)
        doubted.clear()


async def _looked(file: SecretFile) -> News | None:
    try:
        # The file may be on a disk that does not answer.
        return await asyncio.to_thread(file.look)
    except Exception as error:  # noqa: BLE001 - the service goes on with the secret that it has
        return file.keep(f"cannot be looked at: {type(error).__name__}")


def _identity(path: PurePath) -> _Identity:
    try:
        found = Path(path).stat()
    except OSError as error:
        raise FileError(f"cannot be read: {error.strerror}") from None
    # The time of the last change of anything as well: a new secret is mostly as long as the old one, and clocks of
    # file systems are coarse.
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
