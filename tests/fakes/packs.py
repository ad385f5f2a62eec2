"""Packs as no git would write them, byte for byte."""

import hashlib
import zlib

COMMIT, TREE, BLOB, TAG, OFS_DELTA, REF_DELTA = 1, 2, 3, 4, 6, 7


def number(value: int) -> bytes:
    """Return a number as deltas write sizes."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def head(kind: int, size: int) -> bytes:
    """Return the head of an object in a pack."""
    first = kind << 4 | size & 15
    return bytes([first | 0x80]) + number(size >> 4) if size > 15 else bytes([first])


def whole(kind: int, data: bytes, size: int | None = None) -> bytes:
    """Return an object, which may lie about its size."""
    return head(kind, len(data) if size is None else size) + zlib.compress(data)


def distance(value: int) -> bytes:
    """Return how far back a delta's base is."""
    out = [value & 0x7F]
    while value := value >> 7:
        value -= 1
        out.insert(0, value & 0x7F | 0x80)
    return bytes(out)


def by_place(back: int, delta: bytes) -> bytes:
    """Return a delta whose base is so many bytes before it."""
    return head(OFS_DELTA, len(delta)) + distance(back) + zlib.compress(delta)


def by_name(base: bytes, delta: bytes) -> bytes:
    """Return a delta that names its base."""
    return head(REF_DELTA, len(delta)) + bytes.fromhex(base.decode()) + zlib.compress(delta)


def copy(start: int, length: int) -> bytes:
    """Return the instruction to take a piece of the base."""
    out, told = bytearray(), 0x80
    for n in range(4):
        if part := start >> 8 * n & 0xFF:
            told |= 1 << n
            out.append(part)
    for n in range(3):
        if part := length >> 8 * n & 0xFF:
            told |= 0x10 << n
            out.append(part)
    return bytes([told, *out])


def delta(base: int, made: int, *instructions: bytes) -> bytes:
    """Return a delta that says these sizes."""
    return number(base) + number(made) + b"".join(instructions)


def pack(*entries: bytes, count: int | None = None, version: int = 2) -> bytes:
    """Return a pack of these entries."""
    counted = len(entries) if count is None else count
    text = b"PACK" + version.to_bytes(4, "big") + counted.to_bytes(4, "big") + b"".join(entries)
    return text + hashlib.sha1(text, usedforsecurity=False).digest()
