"""The policies in a git repository: what its branch, tag or commit holds now, and what was good last.

What was good last is kept in one file, as git's own objects, and each is checked against its name when it is read
again. The file is put in place whole, so it is there or not, however a process ends and however many share the folder.
"""

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from urllib.parse import unquote, urlsplit

import msgspec

from tailsts.credentials import Secret
from tailsts.errors import FileError, RepositoryError
from tailsts.files import read_bounded
from tailsts.oidc.source import refuse_url
from tailsts.policy.places import gitlocal, gitremote
from tailsts.policy.places.gitfiles import MAX_FILES_BYTES, Snapshot, snapshot
from tailsts.policy.places.gitobject import GitError, GitObject
from tailsts.policy.places.gitpack import Find
from tailsts.policy.places.gitremote import Fetched

__all__ = ["Remote", "Repository", "Snapshot"]

MAX_TOKEN_BYTES = 4096
# GitHub takes any name with a token; GitLab, Gitea and Bitbucket likewise for tokens of a repository.
DEFAULT_USER = "x-access-token"
# All files with what git says of them.
MAX_KEPT_BYTES = 2 * MAX_FILES_BYTES
# A file that was being written when its process was killed.
_LEFT_OVER_SECONDS = 3600.0
_ENDING = ".policies"


class Remote(msgspec.Struct, frozen=True):
    """Where policies are: the folder `path` at `ref`, a branch, a tag, a full `refs/...` or a commit's 40 digits.

    `token_file` holds a token or `user:token`, and is read for each fetch. `extra_roots` are PEM texts, trusted in
    addition to the system's. With `cache_dir`, what was good last survives a restart.
    """

    url: str
    ref: str = "main"
    path: str = ""
    token_file: PurePath | None = None
    cache_dir: PurePath | None = None
    extra_roots: tuple[bytes, ...] = ()


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """What the cache holds: what the remote said is current, and the objects that are reached from it."""

    tip: bytes
    objects: list[tuple[int, bytes]]


class Repository:
    """A repository of policies. Each method blocks, and is called by one thread at a time, without an event loop.

    `report` hears, in a text for the log, what is wrong and does no harm now: that nothing can be kept.
    """

    def __init__(
        self,
        remote: Remote,
        *,
        report: Callable[[str], None] = lambda _: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._remote = remote
        self._report = report
        self._monotonic = monotonic
        self._good: tuple[bytes, Snapshot] | None = None
        self._latest: tuple[bytes, Snapshot] | None = None

    def fetch(self, is_good: Callable[[Snapshot], bool] = lambda _: True) -> Snapshot:
        """Return what the remote holds now. What is known already is not fetched again.

        It is kept as what was good last only if `is_good` says so: policies that do not load are not to be fallen
        back on.

        Raises:
            RepositoryError: it cannot be had, or cannot be used. What was good before is not touched.
        """
        _refuse_cache(self._remote)
        good = self.last_good()
        if good is not None and good.commit == self._remote.ref:
            return good
        try:
            with self._current() as current:
                return self._taken(current, is_good)
        except GitError as error:
            raise RepositoryError(f"the repository cannot be used: {error}") from None

    def last_good(self) -> Snapshot | None:
        """Return what was good last, also before a restart; None if nothing was, or it is damaged. Asks nobody."""
        if self._good is None and self._remote.cache_dir is not None:
            try:
                _refuse_cache(self._remote)
                self._good = _read(_file(self._remote), self._remote.path)
            except (RepositoryError, FileError, GitError, msgspec.MsgspecError, KeyError) as error:
                if _file(self._remote).exists():
                    self._report(f"what was kept of the repository cannot be used: {error}")
        return None if self._good is None else self._good[1]

    @contextmanager
    def _current(self) -> Iterator[Fetched]:
        latest = self._latest or self._good
        remote, known = self._remote, None if latest is None else latest[0]
        parts = urlsplit(remote.url)
        if parts.scheme == "file" and not parts.netloc:
            with gitlocal.opened(Path(unquote(parts.path)), remote.ref) as current:
                yield current
        elif reason := refuse_url(remote.url, allow_http=False):
            raise RepositoryError(f"the repository's address is refused: {reason}")
        elif parts.query:
            raise RepositoryError("the repository's address is refused: it has a query")
        else:
            yield gitremote.fetch(
                remote.url,
                remote.ref,
                known,
                credential=_credential(remote.token_file),
                extra_roots=remote.extra_roots,
                monotonic=self._monotonic,
            )

    def _taken(self, current: Fetched, is_good: Callable[[Snapshot], bool]) -> Snapshot:
        """Return what `current` holds, and keep it if it is good."""
        latest = self._latest or self._good
        if latest is not None and latest[0] == current.tip:
            return latest[1]
        objects: dict[bytes, GitObject] = {}
        found = snapshot(_noting(current.find, objects), current.tip, self._remote.path)
        self._latest = current.tip, found
        if not is_good(found):
            return found
        self._good = self._latest
        if self._remote.cache_dir is not None:
            try:
                _write(_file(self._remote), _Kept(current.tip, [(o.kind, o.data) for o in objects.values()]))
            except OSError as error:
                self._report(f"what was fetched cannot be kept: {error.strerror}")
        return found


def _noting(find: Find, objects: dict[bytes, GitObject]) -> Find:
    def noting(name: bytes) -> GitObject:
        objects[name] = find(name)
        return objects[name]

    return noting


def _credential(path: PurePath | None) -> Secret | None:
    if path is None:
        return None
    try:
        text = read_bounded(path, MAX_TOKEN_BYTES, refuse_world_writable=True).decode("latin-1").strip()
    except FileError as error:
        raise RepositoryError(f"the token's file {path} {error}") from None
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise RepositoryError(f"the token's file {path} holds no token")
    return Secret(text if ":" in text else f"{DEFAULT_USER}:{text}")


def _refuse_cache(remote: Remote) -> None:
    """Raise if what is kept could be anybody's. Other than for policies, the sticky bit does not help here."""
    if remote.cache_dir is None:
        return
    folder = Path(remote.cache_dir)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise RepositoryError(f"{folder} cannot keep what is fetched: {error.strerror}") from None
    if found.st_mode & 0o022:
        raise RepositoryError(f"{folder} can be changed by others on this machine; chmod go-w it")
    if hasattr(os, "geteuid") and found.st_uid not in {0, os.geteuid()}:
        raise RepositoryError(f"{folder} belongs to another user, who can change what is kept there")


def _file(remote: Remote) -> Path:
    # Another address, branch or folder must not be answered with what was kept for this one.
    asked = f"{remote.url}\0{remote.ref}\0{remote.path}".encode("utf-8", "surrogateescape")
    return Path(remote.cache_dir or "") / (hashlib.sha256(asked).hexdigest()[:32] + _ENDING)


def _read(path: Path, folder: str) -> tuple[bytes, Snapshot]:
    kept = msgspec.msgpack.decode(read_bounded(path, MAX_KEPT_BYTES, refuse_world_writable=True), type=_Kept)
    held: dict[bytes, GitObject] = {}
    for kind, data in kept.objects:
        found = GitObject(kind, data)
        held[found.name()] = found
    reached: dict[bytes, GitObject] = {}
    whole = snapshot(_noting(held.__getitem__, reached), kept.tip, folder)
    if len(reached) != len(kept.objects):
        # A file that is damaged has another name now, and would pass for one that was left out.
        raise GitError("an object is damaged")
    return kept.tip, whole


def _write(path: Path, kept: _Kept) -> None:
    """Put the file in place, whole, also if the machine stops in the middle."""
    for left_over in path.parent.glob(f"{path.stem}.*.tmp"):
        if left_over.stat().st_mtime < time.time() - _LEFT_OVER_SECONDS:
            left_over.unlink(missing_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f"{path.stem}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.msgpack.encode(kept))
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
