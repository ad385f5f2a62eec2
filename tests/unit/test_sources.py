"""Where policies come from: a folder, or commits of a repository; real files and real git."""

import os
import time
from pathlib import Path

import pytest

from fakes.git_http import GitFolder
from fakes.policies import policy
from tailsts.errors import RepositoryError
from tailsts.policy.finding import Severity
from tailsts.policy.places.repository import Remote, Repository
from tailsts.policy.store import Loaded, Options
from tailsts.server.sources import MAX_READINGS, STEADY_SECONDS, Commits, Folder

ISSUER = "https://issuer.example.com"
GOOD = policy(ISSUER, allowed_scopes=["dns:read"])


def names(loaded: Loaded) -> list[str]:
    """Return the names of the policies."""
    assert loaded.generation is not None, loaded.findings
    return [found.name for found in loaded.generation.policies]


def messages(loaded: Loaded, severity: Severity = Severity.FAULT) -> list[str]:
    """Return what is said with this severity."""
    return [found.message for found in loaded.findings if found.severity is severity]


def source_of(folder: Path) -> Folder:
    """Return the folder as a source."""
    return Folder(folder, Options(), time.time)


def test_p18_a_folder_without_policies(folder: Path) -> None:
    """P-18: an empty folder is a fault at the start; later it means that nobody is trusted."""
    source = source_of(folder)
    assert messages(source.first()) == ["holds no policy: no *.toml file directly in it"]
    assert names(source.again()) == []
    folder.rmdir()
    assert not source.is_there()
    assert messages(source.again()) == ["cannot be read: No such file or directory"]


def test_a_folder_is_read_again(folder: Path) -> None:
    """What changed is read anew, and what did not is the same policy as before."""
    for name in ("a", "b"):
        (folder / f"{name}.toml").write_text(GOOD)
    source = source_of(folder)
    first = source.first()
    assert source.is_there()
    (folder / "b.toml").write_text(policy(ISSUER, subject="other", allowed_scopes=["dns:read"]))
    second = source.again()
    assert names(first) == names(second) == ["a", "b"]
    assert first.generation is not None
    assert second.generation is not None
    assert second.generation.policies[0] is first.generation.policies[0]
    assert second.generation.policies[1] != first.generation.policies[1]
    assert first.generation.digest != second.generation.digest


def test_p16_a_file_that_is_being_written(folder: Path) -> None:
    """P-16: a file that was changed just now may be half a file: it is read again, and judged when it is whole."""
    half = folder / "b.toml"
    half.write_text(GOOD[:10])
    (folder / "a.toml").write_text(GOOD)
    looks: list[float] = []

    def now() -> float:
        looks.append(half.stat().st_mtime)
        if len(looks) == 1:
            half.write_text(GOOD)
            return looks[0] + STEADY_SECONDS / 2
        return looks[-1] + 2 * STEADY_SECONDS

    assert names(Folder(folder, Options(), now).again()) == ["a", "b"]
    assert len(looks) == 2


def test_a_folder_that_never_rests(folder: Path) -> None:
    """A folder whose files always seem to be just written is read all the same, after a bounded number of looks."""
    path = folder / "a.toml"
    path.write_text(GOOD)
    looks: list[float] = []

    def now() -> float:
        looks.append(path.stat().st_mtime)
        return looks[-1]

    assert names(Folder(folder, Options(), now).again()) == ["a"]
    assert len(looks) == MAX_READINGS


def test_a_clock_of_another_machine(folder: Path) -> None:
    """Files that seem to be from the future, by the clock of a file server, are read at once."""
    path = folder / "a.toml"
    path.write_text(GOOD)
    os.utime(path, (time.time() + 3600, time.time() + 3600))
    assert names(source_of(folder).again()) == ["a"]


@pytest.fixture
def git(tmp_path: Path) -> GitFolder:
    """Return a repository with one policy."""
    made = GitFolder(tmp_path / "git")
    made.commit({"policies/a.toml": GOOD.encode()})
    return made


def commits(git: GitFolder, cache: Path | None = None) -> Commits:
    """Return the repository as a source."""
    return Commits(Repository(Remote(git.path.as_uri(), "main", "policies", None, cache)), "the place", Options())


def test_a_repository(git: GitFolder) -> None:
    """The generation is that of the commit, and stays the very same until there is another."""
    source = commits(git)
    first = source.first()
    assert first.generation is not None
    assert (names(first), first.generation.digest) == (["a"], git.git("rev-parse", "HEAD"))
    assert source.again() is first
    newest = git.commit({"policies/b.toml": GOOD.encode(), "policies/a.toml": None})
    second = source.again()
    assert second.generation is not None
    assert (names(second), second.generation.digest) == (["b"], newest)


def test_p18_a_commit_without_policies(git: GitFolder) -> None:
    """P-18: a commit that takes the last policy away trusts nobody."""
    source = commits(git)
    source.first()
    git.commit({"policies/a.toml": None, "policies/README.md": b"none left"})
    assert names(source.again()) == []


def test_p18_what_was_deleted_does_not_come_back(git: GitFolder, tmp_path: Path) -> None:
    """P-18: after a restart too, a branch that has lost its last policy trusts nobody; it never had any: a fault."""
    cache = tmp_path / "cache"
    assert names(commits(git, cache).first()) == ["a"]
    git.commit({"policies/a.toml": None, "policies/README.md": b"none left"})
    assert names(commits(git, cache).first()) == []
    assert names(commits(git, cache).first()) == []
    for _ in range(2):
        assert commits(git, tmp_path / "other").first().generation is None


def test_a_commit_with_a_fault(git: GitFolder) -> None:
    """A commit with a fault is no generation; after the next one without, there is one again."""
    source = commits(git)
    source.first()
    git.commit({"policies/b.toml": b"["})
    for _ in range(2):
        assert source.again().generation is None
    git.commit({"policies/b.toml": GOOD.encode()})
    assert names(source.again()) == ["a", "b"]


def test_a_remote_that_is_down(git: GitFolder, tmp_path: Path) -> None:
    """While the remote is down the last good commit serves, also after a restart, and it is said so."""
    cache = tmp_path / "cache"
    before = commits(git, cache).first()
    away = git.path.rename(tmp_path / "away")
    restarted = commits(git, cache)
    kept = restarted.first()
    assert names(kept) == names(before)
    (warning,) = messages(kept, Severity.SECURITY)
    assert "cannot be" in warning
    with pytest.raises(RepositoryError):
        restarted.again()
    away.rename(git.path)
    assert restarted.again().generation == before.generation


def test_a_remote_that_never_was(git: GitFolder, tmp_path: Path) -> None:
    """Without the remote, and without anything kept, there are no policies to start with."""
    git.path.rename(tmp_path / "away")
    loaded = commits(git).first()
    assert loaded.generation is None
    assert [(found.code, found.file) for found in loaded.findings] == [("folder", "the place")]
