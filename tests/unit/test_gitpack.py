"""Git's objects out of packs: what git writes is read, and what somebody else writes does no harm."""

import hashlib
import subprocess
import zlib
from pathlib import Path

import pytest

from fakes import packs
from fakes.git_http import ENVIRONMENT, GitFolder
from fakes.packs import BLOB, TREE, by_name, by_place, copy, delta, head, number, pack, whole
from tailsts.policy.places import gitobject, gitpack
from tailsts.policy.places.gitobject import GitError, GitObject, TooLargeError
from tailsts.policy.places.gitpack import loose, object_at, unpack

BASE = b"0123456789" * 10
NAME = GitObject(BLOB, BASE).name()


def fault(raw: bytes) -> str:
    """Return why a pack is not read."""
    with pytest.raises(GitError) as caught:
        unpack(raw)
    return str(caught.value)


def nothing(name: bytes) -> GitObject:
    """Find nothing."""
    raise KeyError(name)


def test_a_pack_of_git(tmp_path: Path) -> None:
    """Every object of a pack with chains of deltas, as git makes it, comes out under the name that git gives it."""
    git = GitFolder(tmp_path)
    text = "".join(f"line {n} {hashlib.sha256(str(n).encode()).hexdigest()}\n" for n in range(400))
    for n in range(30):
        git.commit({"a.toml": (text + f"{n}\n").encode(), f"{n}.toml": b"", "empty": b""})
    names = git.git("rev-list", "--all", "--objects", "--no-object-names").split()
    for option in ("--delta-base-offset", "--window=50"):
        raw = subprocess.run(
            ["git", "-C", str(tmp_path), "pack-objects", "--stdout", "--quiet", option],  # noqa: S607 - from the path
            env=ENVIRONMENT,
            input="\n".join(names).encode(),
            capture_output=True,
            check=True,
        ).stdout
        found = unpack(raw)
        assert {name.encode() for name in names} == set(found)
        assert all(name == found[name].name() for name in found)


def test_deltas() -> None:
    """A delta takes pieces of its base and adds bytes of its own, wherever its base is, also behind it."""
    made = BASE[90:100] + b"new" + BASE[:5]
    change = delta(100, 18, copy(90, 10), b"\x03new", copy(0, 5))
    name = GitObject(BLOB, made).name()
    first = whole(BLOB, BASE)
    chained = by_name(name, delta(18, 1, copy(10, 1)))
    assert set(unpack(pack(first, by_place(len(first), change)))) == {NAME, name}
    assert set(unpack(pack(by_name(NAME, change), first))) == {NAME, name}
    found = unpack(pack(chained, by_name(NAME, change), by_name(NAME, change), first, version=3))
    assert [found[name].data, found[GitObject(BLOB, b"n").name()].data] == [made, b"n"]


def test_a_piece_of_64_kib() -> None:
    """A piece of no length is one of 64 KiB, and numbers of several bytes are read."""
    base = bytes(range(256)) * 300
    first, gap = whole(BLOB, base), whole(BLOB, bytes(range(255)) * 100)
    assert len(first) + len(gap) > 128
    found = unpack(pack(first, gap, by_place(len(first) + len(gap), delta(len(base), 0x10000, copy(256, 0)))))
    assert GitObject(BLOB, base[256 : 256 + 0x10000]).name() in found


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "what was sent is not a pack"),
        (b"<html>" * 20, "what was sent is not a pack"),
        (pack(version=4), "what was sent is not a pack"),
        (pack(whole(BLOB, b"x"))[:-1], "what was sent is damaged or not all of it"),
        (pack(count=200_001), "it has more than 200000 objects"),
        # What follows the last object is the pack's hash, which is no object.
        (pack(whole(BLOB, b"x"), head(BLOB, 1)), "an object is damaged"),
        (pack(head(BLOB, 1) + zlib.compress(b"x" * 9)[:-6]), "an object is damaged"),
        (pack(whole(BLOB, b"xy", size=1)), "an object has not the size that it says"),
        (pack(whole(BLOB, b"xy", size=3)), "an object has not the size that it says"),
        (pack(whole(0, b"x")), "a pack holds an object of the unknown kind 0"),
        (pack(whole(5, b"x")), "a pack holds an object of the unknown kind 5"),
        (pack(b"\xbf" + b"\xff" * 12), "an object has a size that is none"),
        (pack(by_place(13, b"")), "a delta has no base"),
        (pack(by_place(0, b"")), "a delta has no base"),
        (pack(b"\x60" + b"\xff" * 30), "a delta has no base"),
        (pack(by_name(NAME, delta(99, 1, b"\x01x")), whole(BLOB, BASE)), "a delta does not fit its base"),
        (pack(by_name(NAME, delta(100, 9, copy(92, 9))), whole(BLOB, BASE)), "a delta does not fit its base"),
        (pack(by_name(NAME, delta(100, 1, b"\0")), whole(BLOB, BASE)), "a delta holds an unknown instruction"),
        (pack(by_name(NAME, delta(100, 1, b"\x02x")), whole(BLOB, BASE)), "an object ends too early"),
        (pack(by_name(NAME, delta(100, 5, b"\x91")), whole(BLOB, BASE)), "an object ends too early"),
        (pack(by_name(NAME, b""), whole(BLOB, BASE)), "an object ends too early"),
        (pack(by_name(NAME, delta(100, 1)), whole(BLOB, BASE)), "a delta makes not the size that it says"),
        (pack(by_name(NAME, delta(100, 1, copy(0, 2), copy(0, 2))), whole(BLOB, BASE)), "a delta makes not the size"),
    ],
)
def test_what_is_no_pack(raw: bytes, said: str) -> None:
    """Whatever is wrong with a pack is said, and nothing of it is used."""
    assert fault(raw).startswith(said)


def test_an_object_that_has_no_end() -> None:
    """A pack that ends within an object is not read beyond its end."""
    raw = pack(head(BLOB, 2**40) + zlib.compressobj(0).compress(b"x" * 5000))
    assert fault(raw) == "its files are larger than 536870912 bytes in all"
    raw = pack(head(BLOB, 2**20) + zlib.compressobj(1).compress(b"x" * 5000))
    assert fault(raw) in {"an object ends too early", "an object is damaged"}
    text = zlib.compressobj(0)
    stored = text.compress(b"x" * 100_000) + text.flush(zlib.Z_SYNC_FLUSH)
    with pytest.raises(GitError, match="an object ends too early"):
        object_at(b"x" * 12 + head(BLOB, 200_000) + stored, 12, nothing)


def test_what_is_too_large_is_passed_over() -> None:
    """What is larger than anything of ours, and what is made of it or becomes it, is as if it were not there."""
    limit = gitobject.MAX_OBJECT_BYTES
    large, most = bytes(limit + 1), bytes(limit)
    name, other = GitObject(BLOB, most).name(), GitObject(BLOB, large).name()
    found = unpack(
        pack(
            whole(BLOB, large),
            by_name(other, delta(limit + 1, 1, copy(0, 1))),
            whole(BLOB, most),
            by_name(name, delta(limit, limit + 1, copy(0, limit), b"\x01x")),
            whole(BLOB, BASE),
        )
    )
    assert {name, NAME} == set(found)


def test_a_bomb_of_deltas() -> None:
    """A few bytes that stand for gigabytes, as deltas or by compression, are refused when they begin to be large."""
    limit = gitobject.MAX_OBJECT_BYTES
    base = GitObject(BLOB, bytes(limit)).name()
    change = delta(limit, limit, copy(0, limit // 2), copy(0, limit // 2))
    bomb = pack(*[by_name(base, change)] * 1000, whole(BLOB, bytes(limit)))
    assert len(bomb) < 100_000
    assert fault(bomb) == "its files are larger than 134217728 bytes in all"
    flat = pack(*[whole(BLOB, bytes(limit + 1))] * 600)
    assert fault(flat) == "its files are larger than 536870912 bytes in all"


def test_one_object_at_its_place() -> None:
    """An object is read alone, with the bases of its deltas by place and by name."""
    first = whole(BLOB, BASE)
    second = by_place(len(first), delta(100, 3, copy(1, 3)))
    third = by_place(len(second), delta(3, 2, copy(1, 2)))
    raw = pack(first, second, third)
    assert object_at(raw, 12 + len(first) + len(second), nothing) == GitObject(BLOB, b"23")
    raw = pack(by_name(NAME, delta(100, 3, copy(1, 3))))
    assert object_at(raw, 12, {NAME: GitObject(TREE, BASE)}.__getitem__) == GitObject(TREE, b"123")
    with pytest.raises(KeyError):
        object_at(raw, 12, nothing)


@pytest.mark.parametrize("large", [bytes(gitobject.MAX_OBJECT_BYTES + 1), b"123"])
def test_one_object_that_is_too_large(large: bytes) -> None:
    """An object that is too large, or was, is not read."""
    change = delta(3, gitobject.MAX_OBJECT_BYTES + 1, copy(0, 3))
    first = whole(BLOB, large)
    with pytest.raises(TooLargeError, match="a file is larger than 1048576 bytes, or was"):
        object_at(pack(first, by_place(len(first), change)), 12 + len(first), nothing)


def test_a_chain_without_end() -> None:
    """A chain of deltas that is longer than any of git's is not followed to its end."""
    change = by_place(len(by_place(12, delta(3, 3, copy(0, 3)))), delta(3, 3, copy(0, 3)))
    first = whole(BLOB, b"123")
    entries = [first, by_place(len(first), delta(3, 3, copy(0, 3))), *[change] * 9]
    assert object_at(pack(*entries), 12 + sum(map(len, entries[:4])), nothing, longest_chain=5) == GitObject(
        BLOB, b"123"
    )
    with pytest.raises(GitError):
        object_at(pack(*entries), 12 + sum(map(len, entries[:-1])), nothing, longest_chain=5)


def test_loose_objects() -> None:
    """An object in a file of its own is read, and not what is damaged, too large, or says another size."""
    assert loose(zlib.compress(b"blob 100\0" + BASE)).name() == NAME
    for text in (
        b"",
        b"no zlib",
        zlib.compress(b"blob 99\0" + BASE),
        zlib.compress(b"blob 100" + BASE),
        zlib.compress(b"blub 100\0" + BASE),
        zlib.compress(b"blob 100\0" + BASE)[:-5],
    ):
        with pytest.raises(GitError, match="an object is damaged"):
            loose(text)
    for size in (1, 2**26):
        with pytest.raises(TooLargeError):
            loose(zlib.compress(b"blob %d\0" % size + bytes(gitobject.MAX_OBJECT_BYTES + size)))


def test_numbers() -> None:
    """The numbers of the tests are those of git: this is what 300 looks like."""
    assert (number(300), packs.distance(300)) == (b"\xac\x02", b"\x81\x2c")


def test_more_deltas_than_anybody_needs() -> None:
    """Deltas are counted by their bytes: each may be an instruction, and a small pack could hold very many."""
    change = delta(100, 500_000, copy(0, 1) * 500_000)
    entries = [by_name(b"%040x" % number, change) for number in range(gitpack.MAX_DELTA_BYTES // len(change) + 1)]
    assert fault(pack(*entries)) == f"it holds more than {gitpack.MAX_DELTA_BYTES} bytes of deltas"
