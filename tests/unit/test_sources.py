"""Where policies come from: a folder, or commits of a repository; real files and real git."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fakes.git_http import GitFolder
from fakes.issuer import Issuer
from fakes.policies import policy
from tailsts.errors import RepositoryError
from tailsts.policy.finding import Severity
from tailsts.policy.places.repository import Remote, Repository
from tailsts.policy.places.steady import IS_OPEN, REST_SECONDS
from tailsts.policy.store import Loaded, Options
from tailsts.server.sources import PATIENCE_SECONDS, Commits, Folder

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
    return Folder(folder, Options(), time.time, time.monotonic)


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


def test_p17_a_file_that_is_being_written(folder: Path) -> None:
    """P-17: a file that somebody has open for writing is waited for, and judged when it is whole."""
    (folder / "a.toml").write_text(GOOD)
    source = source_of(folder)
    assert names(source.first()) == ["a"]
    lines = GOOD.splitlines(keepends=True)

    def write() -> None:
        for line in lines[1:]:
            time.sleep(PATIENCE_SECONDS / 4 / len(lines))
            half.write(line)
        half.close()

    with ThreadPoolExecutor(1) as pool, (folder / "b.toml").open("w") as half:
        half.write(lines[0])
        half.flush()
        writing = pool.submit(write)
        assert names(source.again()) == ["a", "b"]
        assert (writing.done(), source.is_being_written) == (True, False)


def test_p17_a_file_that_goes_on_being_written(folder: Path) -> None:
    """P-17: what is still being written after a while is a fault, until it is at rest; the text so far is no policy."""
    (folder / "a.toml").write_text(GOOD)
    source = source_of(folder)
    source.first()
    with (folder / "b.toml").open("w") as half:
        half.write(GOOD)
        half.flush()
        loaded = source.again()
        assert (loaded.generation, messages(loaded)) == (None, [IS_OPEN])
        assert (source.is_being_written, source.rests()) == (True, False)
    time.sleep(REST_SECONDS)
    assert source.rests()
    assert names(source.again()) == ["a", "b"]
    assert not source.is_being_written


def test_p17_a_file_of_keys_that_is_being_written(folder: Path) -> None:
    """P-17: so is a file that a policy names; and so it is at the start, where no generation could stay in force."""
    (folder / "a.toml").write_text(policy(ISSUER, jwks_url=None, jwks_file="keys.json"))
    with (folder / "keys.json").open("w") as half:
        half.write(json.dumps(Issuer(ISSUER).jwks()))
        half.flush()
        source = source_of(folder)
        loaded = source.first()
        assert (loaded.generation, messages(loaded)) == (None, [IS_OPEN])
        assert source.is_being_written
    assert names(source.again()) == ["a"]
    with (folder / "keys.json").open("a"):
        # Nothing was written to it since.
        assert names(source.again()) == ["a"]


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
    assert source.again().generation is first.generation
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


def test_links_in_a_repository(git: GitFolder) -> None:
    """A link, a folder or another repository with the name of a policy is not read, and it is said, file by file."""
    (git.path / "policies" / "linked.toml").symlink_to("a.toml")
    git.commit({"policies/folder.toml/x": b"", "policies/.hidden.toml": b"", "policies/keys/linked.toml": b""})
    loaded = commits(git).first()
    assert names(loaded) == ["a"]
    assert [(found.code, found.file, found.message) for found in loaded.findings if found.code == "passed-over"] == [
        ("passed-over", "folder.toml", "is a folder, and is not read"),
        ("passed-over", "linked.toml", "is a link, and is not read"),
    ]


def test_a_source_that_is_never_half(git: GitFolder) -> None:
    """Of a repository, there is nothing that is being written."""
    source = commits(git)
    source.first()
    assert (source.is_being_written, source.rests()) == (False, True)
