"""Git's objects, out of packs and loose files, within limits: whoever writes a repository chooses what is in them.

Some hundred bytes of a pack can stand for a gigabyte, by compression or by deltas that repeat their base. So sizes are
compared with the limits before anything is made of that size. An object is known by the hash of what it holds, and is
kept under no other name; what is larger than an object of ours can be is passed over, and is as if it were not there.
"""

import hashlib
import mmap
import zlib
from collections import defaultdict
from collections.abc import Callable

import msgspec

from tailsts.policy.places.gitobject import KINDS, MAX_OBJECT_BYTES, GitError, GitObject, TooLargeError

_OFS_DELTA, _REF_DELTA = 6, 7

# All objects that are kept: 10,000 policies of the largest size do not come near it.
MAX_KEPT_BYTES = 128 * 1024 * 1024
# Everything in a pack, with what is passed over: some seconds of work.
MAX_INFLATED_BYTES = 512 * 1024 * 1024
MAX_OBJECTS = 200_000
# Each byte of a delta may be half an instruction, and each of them takes a microsecond: some seconds in all.
MAX_DELTA_BYTES = 8 * 1024 * 1024
# git itself makes chains of 50.
MAX_CHAIN = 4096

_HEADER_BYTES = 12
_HASH_BYTES = 20
_CHUNK = 4096
# A file of its own begins with a kind and a size.
_LONGEST_HEAD = 32
# Numbers of more than 63 bits are not written by any git.
_MAX_SHIFT = 63


# Returns the object of a name. Raises KeyError: there is none; or GitError.
Find = Callable[[bytes], GitObject]
_Pack = bytes | mmap.mmap


class _Cursor:
    """Reads a text of bytes from a place on. Raises GitError at its end."""

    def __init__(self, text: _Pack, at: int = 0) -> None:
        self.text = text
        self.at = at

    def byte(self) -> int:
        if self.at >= len(self.text):
            raise GitError("an object ends too early")
        self.at += 1
        return self.text[self.at - 1]

    def take(self, length: int) -> bytes:
        self.at += length
        if self.at > len(self.text):
            raise GitError("an object ends too early")
        return self.text[self.at - length : self.at]

    def number(self, value: int = 0, shift: int = 0) -> int:
        """Return a number of 7 bits a byte, the lowest first, onto those bits that are known."""
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value
            if shift > _MAX_SHIFT:
                raise GitError("an object has a size that is none")

    def distance(self) -> int:
        """Return how far back a delta's base is: 7 bits a byte, the highest first, no number in two ways."""
        byte = self.byte()
        value = byte & 0x7F
        while byte & 0x80:
            byte = self.byte()
            value = (value + 1) << 7 | byte & 0x7F
            if value > len(self.text):
                raise GitError("a delta has no base")
        return value


class _Entry(msgspec.Struct, frozen=True, gc=False):
    """The head of an object in a pack. `base` is the place or the name of that which a delta changes."""

    kind: int
    size: int
    base: int | bytes | None
    start: int


def _entry(pack: _Pack, offset: int) -> _Entry:
    cursor = _Cursor(pack, offset)
    byte = cursor.byte()
    kind = byte >> 4 & 7
    size = cursor.number(byte & 15, 4) if byte & 0x80 else byte & 15
    base: int | bytes | None = None
    if kind == _OFS_DELTA:
        base = offset - cursor.distance()
        if not _HEADER_BYTES <= base < offset:
            raise GitError("a delta has no base")
    elif kind == _REF_DELTA:
        base = cursor.take(_HASH_BYTES).hex().encode()
    elif kind not in KINDS:
        raise GitError(f"a pack holds an object of the unknown kind {kind}")
    return _Entry(kind, size, base, cursor.at)


def _inflate(pack: _Pack, entry: _Entry) -> tuple[bytes | None, int]:
    """Return what an object holds, or None if it is too large; and where it ends in the pack."""
    inflater = zlib.decompressobj()
    at, size, kept = entry.start, 0, []
    while not inflater.eof:
        fed = inflater.unconsumed_tail
        if not fed:
            fed = pack[at : at + _CHUNK]
            at += len(fed)
            if not fed:
                raise GitError("an object ends too early")
        try:
            made = inflater.decompress(fed, 16 * _CHUNK)
        except zlib.error:
            raise GitError("an object is damaged") from None
        size += len(made)
        if size > entry.size:
            break
        if entry.size <= MAX_OBJECT_BYTES:
            kept.append(made)
    if size != entry.size:
        raise GitError("an object has not the size that it says")
    return b"".join(kept) if size <= MAX_OBJECT_BYTES else None, at - len(inflater.unused_data)


def _changed(base: GitObject, delta: bytes) -> GitObject | None:
    """Return the object that a delta makes of its base, or None if it is too large."""
    cursor = _Cursor(delta)
    if cursor.number() != len(base.data):
        raise GitError("a delta does not fit its base")
    size = cursor.number()
    if size > MAX_OBJECT_BYTES:
        return None
    made = bytearray()
    while cursor.at < len(delta) and len(made) <= size:
        made += _piece(cursor, base.data)
    if len(made) != size:
        raise GitError("a delta makes not the size that it says")
    return GitObject(base.kind, bytes(made))


def _piece(cursor: _Cursor, base: bytes) -> bytes:
    """Return what the next instruction of a delta gives: a piece of the base, or bytes of its own."""
    told = cursor.byte()
    if not told & 0x80:
        if not told:
            raise GitError("a delta holds an unknown instruction")
        return cursor.take(told)
    start = sum(cursor.byte() << 8 * n for n in range(4) if told & 1 << n)
    length = sum(cursor.byte() << 8 * n for n in range(3) if told & 0x10 << n) or 0x10000
    if start + length > len(base):
        raise GitError("a delta does not fit its base")
    return base[start : start + length]


def unpack(pack: bytes) -> dict[bytes, GitObject]:
    """Return the objects of a pack under their names, without those that are too large or change such a one.

    Raises:
        GitError: it is no pack, or a damaged one, or holds more than the limits allow.
    """
    count = int.from_bytes(pack[8:_HEADER_BYTES], "big")
    if pack[:4] != b"PACK" or pack[4:8] not in {b"\0\0\0\2", b"\0\0\0\3"}:
        raise GitError("what was sent is not a pack")
    if hashlib.sha1(pack[:-_HASH_BYTES], usedforsecurity=False).digest() != pack[-_HASH_BYTES:]:
        raise GitError("what was sent is damaged or not all of it")
    if count > MAX_OBJECTS:
        raise GitError(f"it has more than {MAX_OBJECTS} objects")
    unpacking = _Unpacking()
    offset, inflated = _HEADER_BYTES, 0
    for _ in range(count):
        entry = _entry(pack, offset)
        inflated += entry.size
        if inflated > MAX_INFLATED_BYTES:
            raise GitError(f"its files are larger than {MAX_INFLATED_BYTES} bytes in all")
        content, end = _inflate(pack, entry)
        if content is not None:
            unpacking.add(offset, entry, content)
        offset = end
    return unpacking.found


class _Unpacking:
    """The objects of a pack so far, and the deltas whose base was not seen yet."""

    def __init__(self) -> None:
        self.found: dict[bytes, GitObject] = {}
        self._at: dict[int | bytes, GitObject] = {}
        self._waiting: defaultdict[int | bytes, list[tuple[int, bytes]]] = defaultdict(list)
        self._kept = 0
        self._deltas = 0

    def add(self, offset: int, entry: _Entry, content: bytes) -> None:
        """Add what is at a place in the pack, and all that waited for it."""
        if entry.base is not None:
            self._deltas += len(content)
            if self._deltas > MAX_DELTA_BYTES:
                raise GitError(f"it holds more than {MAX_DELTA_BYTES} bytes of deltas")
        todo: list[tuple[int, GitObject, bytes | None]] = []
        if entry.base is None:
            todo.append((offset, GitObject(entry.kind, content), None))
        elif entry.base in self._at:
            todo.append((offset, self._at[entry.base], content))
        else:
            self._count(content)
            self._waiting[entry.base].append((offset, content))
        while todo:
            offset, base, delta = todo.pop()
            found = base if delta is None else _changed(base, delta)
            if found is not None:
                self._count(found.data)
                name = found.name()
                self.found[name] = self._at[name] = self._at[offset] = found
                waiting = self._waiting.pop(offset, []) + self._waiting.pop(name, [])
                todo.extend((place, found, change) for place, change in waiting)

    def _count(self, data: bytes) -> None:
        self._kept += len(data)
        if self._kept > MAX_KEPT_BYTES:
            raise GitError(f"its files are larger than {MAX_KEPT_BYTES} bytes in all")


def object_at(pack: _Pack, offset: int, find: Find, *, longest_chain: int = MAX_CHAIN) -> GitObject:
    """Return the object at a place in a pack that is at hand. `find` is for deltas that name their base.

    No more than `longest_chain` deltas are followed.

    Raises:
        TooLargeError: it is too large, or what it is made from.
        GitError: it is damaged.
        KeyError: from `find`.
    """
    deltas: list[bytes] = []
    found: GitObject | None = None
    while found is None:
        entry = _entry(pack, offset)
        content, _ = _inflate(pack, entry)
        if content is None or len(deltas) > longest_chain:
            raise TooLargeError
        if entry.base is None:
            found = GitObject(entry.kind, content)
        else:
            deltas.append(content)
            if isinstance(entry.base, bytes):
                found = find(entry.base)
            else:
                offset = entry.base
    for delta in reversed(deltas):
        found = _changed(found, delta)
        if found is None:
            raise TooLargeError
    return found


def loose(text: bytes) -> GitObject:
    """Return the object that a file of its own holds.

    Raises:
        TooLargeError: it is too large.
        GitError: it is damaged.
    """
    inflater = zlib.decompressobj()
    try:
        head, end, data = inflater.decompress(text, MAX_OBJECT_BYTES + _LONGEST_HEAD).partition(b"\0")
    except zlib.error:
        raise GitError("an object is damaged") from None
    if len(data) > MAX_OBJECT_BYTES or inflater.unconsumed_tail:
        raise TooLargeError
    for kind, word in KINDS.items():
        if inflater.eof and end and head == b"%s %d" % (word, len(data)):
            return GitObject(kind, data)
    raise GitError("an object is damaged")
