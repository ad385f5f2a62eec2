"""A git object: a kind and what it holds, known by the hash of both. Pure."""

import hashlib

import msgspec

COMMIT, TREE, BLOB, TAG = 1, 2, 3, 4
KINDS = {COMMIT: b"commit", TREE: b"tree", BLOB: b"blob", TAG: b"tag"}

# A policy has 16 KiB at most, a file that it names 512 KiB; a folder of 20,000 files is a tree of 1 MiB.
MAX_OBJECT_BYTES = 1024 * 1024


class GitError(ValueError):
    """What a repository holds cannot be read, or is beyond the limits. The message says why, in our words."""


class TooLargeError(GitError):
    """An object is larger than any of ours, or is made from such a one."""

    def __init__(self) -> None:
        super().__init__(f"a file is larger than {MAX_OBJECT_BYTES} bytes, or was")


class GitObject(msgspec.Struct, frozen=True, gc=False):
    """An object: its kind, and what it holds."""

    kind: int
    data: bytes

    def name(self) -> bytes:
        """Return the object's name, as 40 hexadecimal digits: it is the hash of what it holds."""
        head = b"%s %d\0" % (KINDS[self.kind], len(self.data))
        # Git names by SHA-1. Nothing hangs on it that hangs not on the remote as well, which says what is current.
        return hashlib.sha1(head + self.data, usedforsecurity=False).hexdigest().encode()
