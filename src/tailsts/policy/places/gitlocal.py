"""A git repository in a folder of this machine, read as it lies there: nothing of it is run, no setting of it is read.

Only what is asked for is read, so that a repository may be of any size. Not followed: alternates, which lead to other
folders.
"""

import mmap
import stat
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from dulwich.object_format import SHA1
from dulwich.objects import ObjectID
from dulwich.pack import PackIndex, load_pack_index
from dulwich.refs import DiskRefsContainer, Ref

from tailsts.errors import FileError, RepositoryError
from tailsts.files import read_bounded
from tailsts.policy.places.gitobject import MAX_OBJECT_BYTES, GitError, GitObject, TooLargeError
from tailsts.policy.places.gitpack import loose, object_at
from tailsts.policy.places.gitremote import Fetched, choose, is_commit_id, names_of


@contextmanager
def opened(folder: Path, ref: str) -> Iterator[Fetched]:
    """Return what is current at `ref` in the repository, and how to find its objects as long as it is open.

    Raises:
        RepositoryError: there is none, it cannot be read, or everybody may change it.
    """
    try:
        git = folder / ".git" if (folder / ".git").is_dir() else folder
        objects = git / "objects"
        for needed in (git, objects, git / "refs"):
            _refuse_open(needed)
        tip = _tip(git, ref)
        with ExitStack() as stack:
            yield Fetched(tip, _Objects(objects, stack).find)
    except (GitError, RepositoryError):
        raise
    except OSError as error:
        raise RepositoryError(f"{folder} cannot be read as a git repository: {error.strerror}") from None
    except Exception as error:  # noqa: BLE001 - what dulwich raises on a damaged file is not written down
        raise RepositoryError(f"{folder} cannot be read as a git repository: {type(error).__name__}") from None


def _refuse_open(folder: Path) -> None:
    if folder.stat().st_mode & stat.S_IWOTH:
        raise RepositoryError(f"{folder} can be changed by everybody on this machine; chmod o-w it")


def _tip(git: Path, ref: str) -> bytes:
    if is_commit_id(ref):
        return ref.encode()
    container = DiskRefsContainer(git)
    return choose({name: bytes(container[Ref(name)]) for name in names_of(ref) if Ref(name) in container}, ref)


class _Objects:
    """The objects in a repository's files of their own, and in its packs."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._packs = [_Pack(index, stack) for index in sorted((folder / "pack").glob("*.idx"))]

    def find(self, name: bytes) -> GitObject:
        """Return the object of that name, which is checked.

        Raises:
            KeyError: it is not there.
            TooLargeError: it is too large.
        GitError: it is damaged.
        """
        found = self._loose(name)
        if found is None:
            found = self._packed(name)
        if found.name() != name:
            raise GitError(f"the object {name.decode()} is damaged")
        return found

    def _loose(self, name: bytes) -> GitObject | None:
        text = name.decode()
        path = self._folder / text[:2] / text[2:]
        if not path.exists():
            return None
        # What cannot be compressed grows a little.
        limit = 2 * MAX_OBJECT_BYTES
        if path.stat().st_size > limit:
            raise TooLargeError
        try:
            return loose(read_bounded(path, limit))
        except FileError as error:
            raise GitError(f"the object {text} {error}") from None

    def _packed(self, name: bytes) -> GitObject:
        for pack in self._packs:
            offset = pack.offset(name)
            if offset is not None:
                return object_at(pack.text, offset, self.find)
        raise KeyError(name)


class _Pack:
    """A pack that is at hand, and where its index says that its objects are."""

    def __init__(self, index: Path, stack: ExitStack) -> None:
        with index.with_suffix(".pack").open("rb") as file:
            self.text = stack.enter_context(closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
        self._index: PackIndex = stack.enter_context(closing(load_pack_index(index, SHA1)))

    def offset(self, name: bytes) -> int | None:
        try:
            return self._index.object_offset(ObjectID(name))
        except KeyError:
            return None
