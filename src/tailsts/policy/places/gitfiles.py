"""The files of one folder in one commit, out of git's objects.

Each object is asked for by the name that another one gives it, from the commit on: what is found is what was committed.
"""

import re
import stat
from collections.abc import Iterator, Mapping

import msgspec
from dulwich.errors import ObjectFormatException
from dulwich.objects import parse_tree

from tailsts.policy.places.gitobject import (
    BLOB,
    COMMIT,
    MAX_OBJECT_BYTES,
    TAG,
    TREE,
    GitError,
    GitObject,
    TooLargeError,
)
from tailsts.policy.places.gitpack import Find

# 10,000 policies, each with a test, and what they name. A tree can name itself in effect, so all entries count.
MAX_ENTRIES = 50_000
MAX_FILES_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 16
# A tag may name a tag.
MAX_TAGS = 5

_HASH_BYTES = 20
_KINDS = {stat.S_IFDIR: "is a folder", stat.S_IFLNK: "is a link"}
_COMMIT_TEXT = re.compile(rb"tree ([0-9a-f]{40})\n")
_TAG_TEXT = re.compile(rb"object ([0-9a-f]{40})\ntype (?:commit|tag)\n")


class Snapshot(msgspec.Struct, frozen=True):
    """What a commit holds in the folder of the policies: names relative to it, with `/`, and contents.

    Empty if the commit has no such folder: git keeps no folder without files, and so the last policy was deleted.
    `passed_over` has, by name, what is no file that is read.
    """

    commit: str
    files: Mapping[str, bytes]
    passed_over: Mapping[str, str] = {}


def snapshot(find: Find, tip: bytes, folder: str) -> Snapshot:
    """Return the files of `folder` in the commit that `tip` is, or is a tag of.

    Raises:
        GitError: something is missing or malformed, or there is more than the limits allow.
    """
    commit, tree = _commit(find, tip)
    for name in _parts(folder):
        entries = {entry: (mode, child) for entry, mode, child in _entries(find, tree)}
        mode, tree = entries.get(name, (stat.S_IFDIR, b""))
        if not stat.S_ISDIR(mode):
            raise GitError(f"{folder} is not a folder in commit {commit.decode()}")
        if not tree:
            return Snapshot(commit.decode(), {})
    return Snapshot(commit.decode(), *_files(find, tree))


def _parts(folder: str) -> list[bytes]:
    return [part.encode() for part in folder.split("/") if part not in {"", "."}]


def _commit(find: Find, name: bytes) -> tuple[bytes, bytes]:
    for _ in range(MAX_TAGS + 1):
        found = _found(find, name)
        is_commit = found.kind == COMMIT
        match = (_COMMIT_TEXT if is_commit else _TAG_TEXT).match(found.data)
        if found.kind not in {COMMIT, TAG} or match is None:
            raise GitError("it names neither a commit nor a tag of one")
        if is_commit:
            return name, match[1]
        name = match[1]
    raise GitError(f"it is a tag of a tag, more than {MAX_TAGS} times")


def _found(find: Find, name: bytes) -> GitObject:
    try:
        return find(name)
    except KeyError:
        raise GitError(f"the object {name.decode('latin-1')} is missing") from None


def _entries(find: Find, tree: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield name, mode and object of each entry of a tree."""
    found = _found(find, tree)
    if found.kind != TREE:
        raise GitError("a folder is none")
    seen = set()
    try:
        for name, mode, child in parse_tree(found.data, _HASH_BYTES):
            if name in seen or name in {b"", b".", b".."} or b"/" in name:
                raise GitError("a folder has a name twice, or one that no file can have")
            seen.add(name)
            yield name, mode, child
    except (ObjectFormatException, ValueError) as error:
        raise error if isinstance(error, GitError) else GitError("a folder is damaged") from None


def _files(find: Find, tree: bytes) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the files in and below a folder, and what else is there."""
    files: dict[str, bytes] = {}
    others: dict[str, str] = {}
    todo, entries, size = [("", tree, 0)], 0, 0
    while todo:
        above, name, depth = todo.pop()
        for entry, mode, child in _entries(find, name):
            entries += 1
            path = above + entry.decode("utf-8", "surrogateescape")
            if stat.S_ISDIR(mode):
                todo.append((f"{path}/", child, depth + 1))
            # Where links and other repositories lead to is not in this commit.
            if not stat.S_ISREG(mode):
                others[path] = _KINDS.get(stat.S_IFMT(mode), "is another repository")
            elif (content := _content(find, child, path)) is not None:
                files[path] = content
                size += len(content)
            else:
                others[path] = f"is larger than {MAX_OBJECT_BYTES} bytes"
        if entries > MAX_ENTRIES or size > MAX_FILES_BYTES or depth > MAX_DEPTH:
            raise GitError(
                f"the folder holds more than {MAX_ENTRIES} files or {MAX_FILES_BYTES} bytes, "
                f"or is more than {MAX_DEPTH} folders deep: name the folder of the policies alone"
            )
    return files, others


def _content(find: Find, name: bytes, path: str) -> bytes | None:
    """Return what a file holds, or None if it is too large to be anything that a policy names."""
    try:
        found = find(name)
    except (KeyError, TooLargeError):
        # The remote was asked to leave out large files, and we do so ourselves. A policy is never passed over.
        if path.endswith(".toml"):
            raise GitError(f"{path!a} is missing, or larger than {MAX_OBJECT_BYTES} bytes") from None
        return None
    if found.kind != BLOB:
        raise GitError(f"{path!a} is not a file")
    return found.data
