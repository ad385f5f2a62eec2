"""The files of a folder in a commit: what is taken, what is left out, and what a malformed tree comes to."""

from collections.abc import Callable

import pytest

from tailsts.policy.places import gitfiles
from tailsts.policy.places.gitfiles import snapshot
from tailsts.policy.places.gitobject import BLOB, COMMIT, TAG, TREE, GitError, GitObject

FILE, EXECUTABLE, LINK, FOLDER, MODULE = "100644", "100755", "120000", "40000", "160000"


class Objects(dict[bytes, GitObject]):
    """Objects under their names."""

    def add(self, kind: int, data: bytes) -> bytes:
        """Add one, and return its name."""
        found = GitObject(kind, data)
        self[found.name()] = found
        return found.name()

    def tree(self, *entries: tuple[str, str, bytes]) -> bytes:
        """Add a folder of these modes, names and objects."""
        text = [f"{mode} {name}".encode() + b"\0" + bytes.fromhex(child.decode()) for mode, name, child in entries]
        return self.add(TREE, b"".join(text))

    def commit(self, tree: bytes) -> bytes:
        """Add a commit of a folder."""
        return self.add(COMMIT, b"tree %s\nauthor a <a> 1 +0000\n\nwhy\n" % tree)

    def tag(self, of: bytes, kind: str = "commit") -> bytes:
        """Add a tag."""
        return self.add(TAG, b"object %s\ntype %s\ntag v1\n\nwhy\n" % (of, kind.encode()))

    def files(self, tip: bytes, folder: str = "") -> dict[str, bytes]:
        """Return the files of a folder."""
        return dict(snapshot(self.__getitem__, tip, folder).files)


@pytest.fixture
def objects() -> Objects:
    """Return none yet."""
    return Objects()


def fault(objects: Objects, tip: bytes, folder: str = "") -> str:
    """Return why a folder is not read."""
    with pytest.raises(GitError) as caught:
        objects.files(tip, folder)
    return str(caught.value)


def test_what_is_taken(objects: Objects) -> None:
    """Files of the folder and below it are taken, executable or not; links and other repositories are left out."""
    one, two = objects.add(BLOB, b"1"), objects.add(BLOB, b"2")
    keys = objects.tree((FILE, "a.json", two), (LINK, "up.toml", two))
    entries = (EXECUTABLE, "a.toml", one), (FOLDER, "keys", keys), (LINK, "l.toml", one), (MODULE, "m.toml", one)
    root = objects.tree((FILE, "README", one), (FOLDER, "p", objects.tree(*entries)))
    tip = objects.commit(root)
    assert objects.files(tip, "p") == {"a.toml": b"1", "keys/a.json": b"2"}
    assert snapshot(objects.__getitem__, tip, "p").passed_over == {
        "keys": "is a folder",
        "keys/up.toml": "is a link",
        "l.toml": "is a link",
        "m.toml": "is another repository",
    }
    assert objects.files(tip, "./p//keys/") == {"a.json": b"2"}
    assert set(objects.files(tip, ".")) == {"README", "p/a.toml", "p/keys/a.json"}
    assert snapshot(objects.__getitem__, tip, "").commit == tip.decode()


def test_a_folder_that_is_not_there(objects: Objects) -> None:
    """Where git keeps no folder there are no files: the last policy was deleted. A file is not a folder."""
    tip = objects.commit(objects.tree((FILE, "p", objects.add(BLOB, b""))))
    assert objects.files(tip, "q") == {}
    assert objects.files(tip, "q/r") == {}
    assert fault(objects, tip, "p") == f"p is not a folder in commit {tip.decode()}"


def test_tags(objects: Objects) -> None:
    """A tag stands for its commit, a tag of a tag likewise, but not without end."""
    tip = commit = objects.commit(objects.tree((FILE, "a", objects.add(BLOB, b"1"))))
    for _ in range(5):
        tip = objects.tag(tip, "tag" if tip != commit else "commit")
        assert snapshot(objects.__getitem__, tip, "").commit == commit.decode()
    assert fault(objects, objects.tag(tip, "tag")) == "it is a tag of a tag, more than 5 times"


@pytest.mark.parametrize(
    "tip",
    [
        lambda objects: objects.add(BLOB, b"tree " + b"0" * 40 + b"\n"),
        lambda objects: objects.tree(),
        lambda objects: objects.add(COMMIT, b""),
        lambda objects: objects.add(TAG, b"tree " + b"0" * 40 + b"\n"),
        lambda objects: objects.tag(objects.tree(), "tree"),
    ],
)
def test_what_is_no_commit(objects: Objects, tip: Callable[[Objects], bytes]) -> None:
    """What is not a commit is not read as one."""
    assert fault(objects, tip(objects)) == "it names neither a commit nor a tag of one"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b"])
def test_names_that_no_file_can_have(objects: Objects, name: str) -> None:
    """A tree with a name that leads elsewhere is refused whole."""
    tip = objects.commit(objects.tree((FILE, name, objects.add(BLOB, b""))))
    assert fault(objects, tip) == "a folder has a name twice, or one that no file can have"


def test_malformed_trees(objects: Objects) -> None:
    """A name that is there twice, a folder that is none, a tree cut off: refused whole."""
    blob = objects.add(BLOB, b"")
    twice = objects.commit(objects.tree((FILE, "a", blob), (FILE, "a", blob)))
    assert fault(objects, twice) == "a folder has a name twice, or one that no file can have"
    assert fault(objects, objects.commit(blob)) == "a folder is none"
    for text in (b"100644 a", b"100644", b"9 a\0" + b"x" * 20, b"100644 a\0short"):
        assert fault(objects, objects.commit(objects.add(TREE, text))) == "a folder is damaged"
    file = objects.commit(objects.tree((FILE, "a", objects.tree())))
    assert fault(objects, file) == "'a' is not a file"


def test_names_that_are_not_utf8(objects: Objects) -> None:
    """A name that is no text is kept as it is, for whoever judges names."""
    text = b"100644 \xff.toml\0" + bytes.fromhex(objects.add(BLOB, b"1").decode())
    assert objects.files(objects.commit(objects.add(TREE, text))) == {"\udcff.toml": b"1"}


def test_what_is_missing(objects: Objects) -> None:
    """A large file that no policy can name is left out; a policy, a folder or a commit that is missing is a fault."""
    none = b"0" * 40
    assert objects.files(objects.commit(objects.tree((FILE, "large.bin", none)))) == {}
    assert "'p.toml' is missing, or larger than" in fault(objects, objects.commit(objects.tree((FILE, "p.toml", none))))
    missing = f"the object {none.decode()} is missing"
    assert fault(objects, none) == missing
    assert fault(objects, objects.commit(none)) == missing
    assert fault(objects, objects.commit(objects.tree((FOLDER, "a", none)))) == missing


def test_a_tree_without_end(objects: Objects) -> None:
    """A few objects that stand for billions of folders are not walked to their end; neither are too many bytes."""
    wide = objects.tree()
    for _ in range(12):
        wide = objects.tree(*((FOLDER, str(n), wide) for n in range(10)))
    deep = objects.tree()
    for _ in range(gitfiles.MAX_DEPTH + 1):
        deep = objects.tree((FOLDER, "a", deep))
    large = objects.add(BLOB, bytes(2**20))
    heavy = objects.tree(*((FILE, str(n), large) for n in range(65)))
    for tree in (wide, deep, heavy):
        assert "name the folder of the policies alone" in fault(objects, objects.commit(tree))
