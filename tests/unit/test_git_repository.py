"""Policies over http and https from git's own server."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.git_http import GitFolder, GitServer
from fakes.tls import Authority
from tailsts.errors import RepositoryError
from tailsts.policy.places.gitobject import MAX_OBJECT_BYTES
from tailsts.policy.places.repository import Remote, Repository

TOKEN = "ghp_made-up-token"


@pytest.fixture
def git(tmp_path: Path) -> GitFolder:
    """Return a repository with a policy."""
    made = GitFolder(tmp_path / "served" / "git")
    made.commit({"policies/a.toml": b"1", "policies/keys/a.json": b"{}"})
    return made


@pytest.fixture
def server(git: GitFolder) -> Iterator[GitServer]:
    """Return git's server for it."""
    with GitServer(git.path.parent) as running:
        yield running


def fault(remote: Remote) -> str:
    """Return why nothing is fetched; whatever it is, it holds no token."""
    with pytest.raises(RepositoryError) as caught:
        Repository(remote).fetch()
    assert TOKEN not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


def token_file(folder: Path, text: str = TOKEN, mode: int = 0o600) -> Path:
    """Write a token's file."""
    path = folder / "token"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("newest", [True, False])
def test_the_newest_commit(git: GitFolder, server: GitServer, newest: bool) -> None:
    """The branch's newest commit comes without its history; what is known is not fetched again, what is new is."""
    server.newest = newest
    git.commit({"policies/a.toml": os.urandom(200_000)})
    first = git.commit({"policies/a.toml": b"2"})
    repository = Repository(Remote(server.url("git"), path="policies"))
    found = repository.fetch()
    assert (found.commit, dict(found.files)) == (first, {"a.toml": b"2", "keys/a.json": b"{}"})
    asked = len(server.requests)
    assert repository.fetch() is found
    assert [came.method for came in server.requests[asked:]] == ["GET", "POST"][: 1 + newest]
    git.git("commit", "--quiet", "--amend", "--allow-empty", "--message=rewritten")
    assert repository.fetch().commit == git.git("rev-parse", "HEAD") != first
    git.commit({"policies/a.toml": None, "policies/keys/a.json": None})
    assert repository.fetch().files == {}


@pytest.mark.parametrize("newest", [True, False])
def test_what_stands_for_a_commit(git: GitFolder, server: GitServer, newest: bool) -> None:
    """A tag of either kind, a branch with a slash and a commit's own name can be fetched."""
    server.newest = newest
    first = git.git("rev-parse", "HEAD")
    git.git("branch", "feature/x")
    git.git("tag", "light")
    git.git("tag", "--annotate", "--message=x", "heavy")
    git.git("config", "uploadpack.allowAnySHA1InWant", "true")
    second = git.commit({"policies/a.toml": b"2"})
    found = {
        ref: Repository(Remote(server.url("git"), ref, "policies")).fetch().commit
        for ref in ("light", "heavy", "feature/x", "refs/tags/heavy", first, "main")
    }
    assert found == {**dict.fromkeys(("light", "heavy", "feature/x", "refs/tags/heavy", first), first), "main": second}
    assert fault(Remote(server.url("git"), "gone")) == "the repository has no branch or tag 'gone'"
    assert fault(Remote(server.url("git"), "1" * 40)).startswith("the remote does not answer as git does: ")


def test_a_token(git: GitFolder, tmp_path: Path, server: GitServer) -> None:
    """The token is read for each fetch, goes with a user name of its own or the usual one, and a wrong one is said."""
    server.credential = f"x-access-token:{TOKEN}"
    path = token_file(tmp_path, f"{TOKEN}\n")
    repository = Repository(Remote(server.url("git"), path="policies", token_file=path))
    assert repository.fetch().files["a.toml"] == b"1"
    assert fault(Remote(server.url("git"))) == "the remote answers 401: it wants a token, or another one"
    server.credential = f"me:{TOKEN}"
    token_file(tmp_path, f"me:{TOKEN}")
    git.commit({"policies/a.toml": b"2"})
    assert repository.fetch().files["a.toml"] == b"2"
    assert {came.headers["user-agent"] for came in server.requests} == {"tailsts"}


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (TOKEN, 0o666, " can be changed by everybody on this machine; chmod o-w it"),
        ("", 0o600, " holds no token"),
        (f"{TOKEN} {TOKEN}", 0o600, " holds no token"),
        (f"{TOKEN}\n{TOKEN}", 0o600, " holds no token"),
        ("\xff", 0o600, " holds no token"),
    ],
)
def test_token_files_that_hold_none(server: GitServer, tmp_path: Path, text: str, mode: int, said: str) -> None:
    """What is no token is not sent."""
    path = token_file(tmp_path, text, mode)
    assert fault(Remote(server.url("git"), token_file=path)) == f"the token's file {path}{said}"
    assert server.requests == []


def test_tls(git: GitFolder, tmp_path: Path) -> None:
    """A private certificate is trusted if its authority is configured, and not otherwise."""
    authority = Authority()
    with GitServer(git.path.parent, tls=authority.server_context(tmp_path)) as server:
        trusted = Remote(server.url("git"), path="policies", extra_roots=(authority.pem,))
        assert Repository(trusted).fetch().files["a.toml"] == b"1"
        assert fault(Remote(server.url("git"))).startswith("the remote cannot be reached: ")


def test_large_files(git: GitFolder, server: GitServer) -> None:
    """A large file is left out, whether the remote leaves it out when asked to or not; a large policy is a fault."""
    git.commit({"policies/large.bin": os.urandom(MAX_OBJECT_BYTES + 1)})
    for allowed in ("true", "false"):
        git.git("config", "uploadpack.allowFilter", allowed)
        found = Repository(Remote(server.url("git"), path="policies")).fetch()
        assert set(found.files) == {"a.toml", "keys/a.json"}
    git.commit({"policies/b.toml": os.urandom(MAX_OBJECT_BYTES + 1)})
    assert fault(Remote(server.url("git"), path="policies")).startswith("the repository cannot be used: 'b.toml' is ")


def test_links_and_modules(git: GitFolder, server: GitServer) -> None:
    """Symbolic links and other repositories in the folder are left out: where they lead to is not in the commit."""
    (git.path / "policies" / "passwd.toml").symlink_to("/etc/passwd")
    GitFolder(git.path / "policies" / "module").commit({"b.toml": b"1"})
    git.commit()
    assert set(Repository(Remote(server.url("git"), path="policies")).fetch().files) == {"a.toml", "keys/a.json"}
    (git.path / "linked").symlink_to("policies")
    git.commit()
    assert "linked is not a folder" in fault(Remote(server.url("git"), path="linked"))


def test_an_empty_repository(tmp_path: Path, server: GitServer) -> None:
    """A repository without any commit has no branch yet; one with other hashes than git's usual ones is refused."""
    GitFolder(server.root / "empty")
    assert fault(Remote(server.url("empty"))) == "the repository has no branch or tag 'main'"
    other = GitFolder(server.root / "other")
    (other.path / ".git").rename(tmp_path / "gone")
    other.git("init", "--quiet", "--initial-branch=main", "--object-format=sha256")
    other.commit()
    assert fault(Remote(server.url("other"))) == ("the repository names its objects by SHA-256, which is not supported")


@pytest.mark.usefixtures("git")
def test_nothing_of_the_environment(tmp_path: Path, server: GitServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies, git's settings, and credentials of the user who runs the service have no part in it."""
    secret = "hunter2"
    (tmp_path / ".netrc").write_text(f"machine localhost login me password {secret}\n")
    (tmp_path / ".netrc").chmod(0o600)
    (tmp_path / ".git-credentials").write_text(f"http://me:{secret}@localhost\n")
    settings = (
        f'[url "http://localhost:1/"]\n\tinsteadOf = {server.url("")}\n[http]\n\textraHeader = X-Secret: {secret}\n'
    )
    (tmp_path / ".gitconfig").write_text(f"{settings}\tproxy = http://localhost:1\n[credential]\n\thelper = store\n")
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / ".gitconfig"))
    server.credential = f"x-access-token:{TOKEN}"
    remote = Remote(server.url("git"), path="policies", token_file=token_file(tmp_path))
    assert Repository(remote).fetch().files["a.toml"] == b"1"
    assert fault(Remote(server.url("git"))) == "the remote answers 401: it wants a token, or another one"
    assert secret not in str(server.requests)
    assert "authorization" not in server.requests[-1].headers
