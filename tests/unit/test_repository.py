"""A repository's policies: what stands for what, what is kept, and that nothing damaged is ever used."""

import errno
import os
import zlib
from pathlib import Path

import pytest

from fakes.git_http import GitFolder
from tailsts.errors import RepositoryError
from tailsts.policy.places.gitobject import MAX_OBJECT_BYTES
from tailsts.policy.places.repository import Remote, Repository


@pytest.fixture
def git(tmp_path: Path) -> GitFolder:
    """Return a repository with a policy."""
    made = GitFolder(tmp_path / "git")
    made.commit({"policies/a.toml": b"1", "policies/keys/a.json": b"{}", "other.toml": b""})
    return made


class Keeping:
    """A repository in a folder, what it keeps, and what it says."""

    def __init__(self, git: GitFolder, cache: Path | None, ref: str = "main", path: str = "policies") -> None:
        self.said: list[str] = []
        self.remote = Remote(git.path.as_uri(), ref, path, None, cache)
        self.repository = Repository(self.remote, report=self.said.append)

    def fault(self) -> str:
        """Return why nothing is fetched."""
        with pytest.raises(RepositoryError) as caught:
            self.repository.fetch()
        return str(caught.value)


def test_the_newest_commit(git: GitFolder) -> None:
    """The branch's commit and its files are returned, and after a change or a rewritten history the new ones."""
    keeping = Keeping(git, None)
    first = keeping.repository.fetch()
    assert first.files == {"a.toml": b"1", "keys/a.json": b"{}"}
    assert keeping.repository.fetch() is first
    git.commit({"policies/a.toml": b"2"})
    assert keeping.repository.fetch().files["a.toml"] == b"2"
    git.git("reset", "--quiet", "--hard", "HEAD~1")
    assert keeping.repository.fetch() == first
    assert keeping.repository.last_good() == first


@pytest.mark.parametrize("packed", [False, True])
def test_what_stands_for_a_commit(git: GitFolder, packed: bool) -> None:
    """A branch, a tag of either kind, a full name and a commit's own name stand for it; a branch before a tag."""
    first = git.commit()
    git.git("branch", "feature/x")
    for arguments in (("tag", "light"), ("tag", "--annotate", "--message=x", "heavy"), ("tag", "main")):
        git.git(*arguments)
    second = git.commit({"policies/a.toml": b"2"})
    if packed:
        git.git("gc", "--quiet")
        git.git("pack-refs", "--all")
    found = {}
    for ref in ("main", "light", "heavy", "feature/x", "refs/heads/main", "refs/tags/main", first):
        found[ref] = Keeping(git, None, ref).repository.fetch().commit
    old = dict.fromkeys(("light", "heavy", "feature/x", "refs/tags/main", first), first)
    assert {**old, "main": second, "refs/heads/main": second} == found


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("gone", "the repository has no branch or tag 'gone'"),
        ("a..b", "'a..b' can be no branch, tag or commit"),
        ("../../x", "'../../x' can be no branch, tag or commit"),
        ("refs/heads/../../config", "'refs/heads/../../config' can be no branch, tag or commit"),
        ("", "'' can be no branch, tag or commit"),
        ("a b", "'a b' can be no branch, tag or commit"),
        ("0" * 40, f"the repository cannot be used: the object {'0' * 40} is missing"),
    ],
)
def test_what_stands_for_nothing(git: GitFolder, ref: str, said: str) -> None:
    """A name that is not there, or can be no name, is a fault."""
    assert Keeping(git, None, ref).fault() == said


def test_a_commit_is_fetched_once(git: GitFolder) -> None:
    """A commit's own name never means anything else, so what was fetched serves without asking again."""
    keeping = Keeping(git, None, git.git("rev-parse", "HEAD"))
    found = keeping.repository.fetch()
    git.path.rename(git.path.with_name("away"))
    assert keeping.repository.fetch() is found


@pytest.mark.parametrize("packed", [False, True])
def test_damaged_objects(git: GitFolder, packed: bool) -> None:
    """A file of the repository that is damaged is a fault, also if what it holds is well-formed."""
    if packed:
        git.git("gc", "--quiet")
        (damaged,) = (git.path / ".git" / "objects" / "pack").glob("*.pack")
        raw = bytearray(damaged.read_bytes())
        raw[12:] = bytes(len(raw) - 12)
    else:
        name = git.git("rev-parse", "HEAD:policies/a.toml")
        damaged = git.path / ".git" / "objects" / name[:2] / name[2:]
        raw = bytearray(zlib.compress(b"blob 1\x002"))
    damaged.chmod(0o600)
    damaged.write_bytes(raw)
    assert Keeping(git, None).fault().startswith("the repository cannot be used: ")
    damaged.write_bytes(b"")
    assert "cannot be" in Keeping(git, None).fault()
    damaged.write_bytes(os.urandom(3 * 2**20))
    assert "cannot be" in Keeping(git, None).fault()


def test_several_packs(git: GitFolder) -> None:
    """Objects are found in whichever pack they are, with their bases."""
    text = os.urandom(5000).hex().encode()
    for n in range(3):
        git.commit({f"policies/{n}.toml": text + b"%d" % n})
        git.git("repack", "--quiet", "-d")
    assert len(list((git.path / ".git" / "objects" / "pack").glob("*.pack"))) == 3
    assert {f"{n}.toml" for n in range(3)} < set(Keeping(git, None).repository.fetch().files)


def test_an_object_that_is_no_file(git: GitFolder) -> None:
    """A pipe where an object should be is a fault, and not waited for."""
    name = git.git("rev-parse", "HEAD:policies/a.toml")
    path = git.path / ".git" / "objects" / name[:2] / name[2:]
    path.unlink()
    os.mkfifo(path)
    assert Keeping(git, None).fault() == f"the repository cannot be used: the object {name} is not a regular file"


def test_damaged_packs(git: GitFolder) -> None:
    """An index of a pack that is none is a fault, and no exception of another kind."""
    git.git("gc", "--quiet")
    (index,) = (git.path / ".git" / "objects" / "pack").glob("*.idx")
    index.chmod(0o600)
    index.write_bytes(b"\xfftOc" + b"\xff" * 100)
    assert f"{git.path} cannot be read as a git repository: " in Keeping(git, None).fault()


def test_what_is_no_repository(git: GitFolder, tmp_path: Path) -> None:
    """A folder that is no repository, or one that everybody may change, is a fault; a bare repository is read."""
    bare = tmp_path / "bare repository"
    git.git("clone", "--quiet", "--bare", str(git.path), str(bare))
    assert Repository(Remote(bare.as_uri(), "main", "policies")).fetch().files["a.toml"] == b"1"
    (bare / "objects").chmod(0o1777)
    with pytest.raises(RepositoryError, match="objects can be changed by everybody on this machine; chmod o-w it"):
        Repository(Remote(bare.as_uri(), "main", "policies")).fetch()
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(RepositoryError, match="cannot be read as a git repository: No such file or directory"):
            Repository(Remote(path.as_uri())).fetch()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ssh://git@example.com/r", "its scheme is neither https nor http"),
        ("git://example.com/r", "its scheme is neither https nor http"),
        ("file://host/r", "its scheme is neither https nor http"),
        ("git@example.com:r", "it is not a URL with a host"),
        ("http://example.com/r", "it is plain http, which anyone on the way can change"),
        ("https://user:hunter2@example.com/r", "it holds a user name or a password"),
        ("https://example.com/r?x=y", "it has a query"),
        ("https://example.com/r#x", "it has a fragment"),
    ],
)
def test_addresses_that_are_refused(url: str, said: str) -> None:
    """Only https, http on this machine, and a folder of it are asked; a password in an address is not repeated."""
    with pytest.raises(RepositoryError) as caught:
        Repository(Remote(url)).fetch()
    assert str(caught.value) == f"the repository's address is refused: {said}"


def test_it_survives_a_restart(git: GitFolder, tmp_path: Path) -> None:
    """What was good last is there after a restart, without the remote; for another branch or folder it is not."""
    cache = tmp_path / "a" / "cache"
    fetched = Keeping(git, cache).repository.fetch()
    assert cache.stat().st_mode & 0o777 == 0o700
    git.path.rename(git.path.with_name("away"))
    keeping = Keeping(git, cache)
    assert "cannot be read" in keeping.fault()
    assert keeping.repository.last_good() == fetched
    for other in (Keeping(git, cache, "other"), Keeping(git, cache, path="."), Keeping(git, None)):
        assert other.repository.last_good() is None
        assert other.said == []


def test_nothing_damaged_is_kept(git: GitFolder, tmp_path: Path) -> None:
    """Whatever byte of what is kept changes, or where it is cut off, it is not used, and that is said."""
    keeping = Keeping(git, tmp_path)
    fetched = keeping.repository.fetch()
    (file,) = tmp_path.glob("*.policies")
    good = file.read_bytes()
    for place in range(len(good)):
        for damaged in (good[:place], good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]):
            file.write_bytes(damaged)
            again = Keeping(git, tmp_path)
            found = again.repository.last_good()
            assert found is None or found == fetched
            assert (found is None) == bool(again.said)
    assert Keeping(git, tmp_path).repository.fetch() == fetched
    assert file.read_bytes() == good


def test_who_else_may_change_it(git: GitFolder, tmp_path: Path) -> None:
    """What everybody could have put into the cache is not used, and such a cache is a fault, sticky bit or not."""
    cache = tmp_path / "cache"
    Keeping(git, cache).repository.fetch()
    (file,) = cache.iterdir()
    file.chmod(0o666)
    keeping = Keeping(git, cache)
    assert keeping.repository.last_good() is None
    assert keeping.said == [
        "what was kept of the repository cannot be used: can be changed by everybody on this machine; chmod o-w it"
    ]
    for mode in (0o777, 0o1777):
        cache.chmod(mode)
        assert keeping.fault() == f"{cache} can be changed by others on this machine; chmod go-w it"
        assert keeping.repository.last_good() is None
    cache.chmod(0o700)
    assert keeping.repository.fetch().files["a.toml"] == b"1"
    keeping = Keeping(git, file)
    assert keeping.fault() == f"{file} cannot keep what is fetched: File exists"


def test_a_cache_that_is_full(git: GitFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be kept is used all the same, this is said, and nothing half-written is left."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    keeping = Keeping(git, tmp_path / "cache")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert keeping.repository.fetch().files["a.toml"] == b"1"
    assert keeping.said == ["what was fetched cannot be kept: No space left on device"]
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_a_killed_process_left(git: GitFolder, tmp_path: Path) -> None:
    """What was left half-written is not used, and removed in the end, but not while somebody may be writing it."""
    keeping = Keeping(git, tmp_path / "cache")
    keeping.repository.fetch()
    (file,) = (tmp_path / "cache").iterdir()
    old, new = file.with_suffix(".old.tmp"), file.with_suffix(".new.tmp")
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    git.commit({"policies/a.toml": b"2"})
    keeping.repository.fetch()
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {file.name, new.name}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("size", [MAX_OBJECT_BYTES + 1, 3 * MAX_OBJECT_BYTES])
def test_large_files(git: GitFolder, packed: bool, size: int) -> None:
    """A large file beside the policies is left out; one that is called a policy is a fault, and not passed over."""
    for name in ("large.bin", "b.toml"):
        git.commit({f"policies/{name}": os.urandom(size)})
        if packed:
            git.git("gc", "--quiet")
        if name == "large.bin":
            assert set(Keeping(git, None).repository.fetch().files) == {"a.toml", "keys/a.json"}
    assert Keeping(git, None).fault() == (
        "the repository cannot be used: 'b.toml' is missing, or larger than 1048576 bytes"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_cache_of_somebody_else(git: GitFolder, tmp_path: Path) -> None:
    """A folder that belongs to another user is no cache of ours: that user could put policies into it."""
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    os.chown(cache, 12345, -1)
    assert Keeping(git, cache).fault() == f"{cache} belongs to another user, who can change what is kept there"
