"""Remotes that are down, or do not do what git's own server does: said in our words, and what was good last stays."""

import base64
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes import packs
from fakes.git_http import Answer, Came, Fault, GitFolder, GitServer
from tailsts.errors import RepositoryError
from tailsts.outbound import Limits
from tailsts.policy.places import gitremote
from tailsts.policy.places.repository import Remote, Repository

TOKEN = "ghp_made-up-token"


@pytest.fixture
def git(tmp_path: Path) -> GitFolder:
    """Return a repository with a policy."""
    made = GitFolder(tmp_path / "served" / "git")
    made.commit({"policies/a.toml": b"1"})
    return made


@pytest.fixture
def server(git: GitFolder) -> Iterator[GitServer]:
    """Return git's server for it."""
    with GitServer(git.path.parent) as running:
        yield running


@pytest.fixture
def remote(server: GitServer, tmp_path: Path) -> Remote:
    """Return where it is, with a token and a cache."""
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    return Remote(server.url("git"), path="policies", token_file=tmp_path / "token", cache_dir=tmp_path / "cache")


def fault(remote: Remote) -> str:
    """Return why nothing is fetched; whatever it is, it holds no token."""
    with pytest.raises(RepositoryError) as caught:
        Repository(remote).fetch()
    assert TOKEN not in str(caught.value)
    assert base64.b64encode(TOKEN.encode()).decode()[:12] not in str(caught.value)
    return str(caught.value)


def bounded_fault(server: GitServer, limits: Limits) -> str:
    """Return why nothing is fetched within these limits."""
    with pytest.raises(RepositoryError) as caught:
        gitremote.fetch(
            server.url("git"), "main", None, credential=None, extra_roots=(), monotonic=time.monotonic, limits=limits
        )
    return str(caught.value)


def answering(status: int, body: bytes = b"", **headers: str) -> Fault:
    """Return the fault to answer everything with this."""

    def answer(_: Came, __: Answer) -> Answer:
        return status, headers, body

    return answer


def posts(body: bytes) -> Fault:
    """Return the fault to answer the request for objects with these bytes."""

    def answer(came: Came, right: Answer) -> Answer:
        return right if came.method == "GET" else (200, right[1], body)

    return answer


def line(data: bytes) -> bytes:
    """Return a line as git sends it."""
    return b"%04x" % (len(data) + 4) + data


def sent(pack: bytes) -> bytes:
    """Return the answer that brings a pack, without its history."""
    pieces = [line(b"\x01" + pack[at : at + 60_000]) for at in range(0, len(pack), 60_000)]
    return line(b"shallow " + b"1" * 40) + b"0000" + line(b"NAK\n") + b"".join(pieces) + b"0000"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (301, "it has moved: give its new address"),
        (302, "it leads to another address, which is not followed"),
        (307, "it leads to another address, which is not followed"),
        (308, "it has moved: give its new address"),
        (401, "it wants a token, or another one"),
        (403, "the token may not read it"),
        (404, "there is no repository at this address, or the token may not see it"),
        (500, "it cannot be read now"),
        (503, "it cannot be read now"),
        (204, "it cannot be read now"),
    ],
)
def test_statuses(server: GitServer, remote: Remote, status: int, said: str) -> None:
    """Each status that is not success has its meaning said; where it leads to, nobody is asked."""
    with GitServer(server.root) as other:
        server.fault = answering(status, Location=f"{other.url('git')}/info/refs?service=git-upload-pack")
        assert fault(remote) == f"the remote answers {status}: {said}"
        assert (len(server.requests), other.requests) == (1, [])


@pytest.mark.parametrize(
    "garbage",
    [b"", b"<html>sign in</html>", b"0000", b"zzzz", b"0005", b"\0" * 100, b"001e# service=git-receive-pack\n"],
)
def test_answers_that_are_not_gits(server: GitServer, remote: Remote, garbage: bytes) -> None:
    """An answer that is not git's is said to be so, whatever it is."""
    fields = {"Content-Type": "text/html"}
    server.fault = answering(200, garbage, **fields)
    assert fault(remote).startswith("the re")


@pytest.mark.parametrize("newest", [True, False])
@pytest.mark.parametrize("garbage", [b"", b"<html>sign in</html>", b"0000", b"zzzz", b"\0" * 100, sent(b"PACK")])
def test_objects_that_are_none(server: GitServer, remote: Remote, newest: bool, garbage: bytes) -> None:
    """An answer that is no pack is a fault, and nothing is kept of it."""
    server.newest = newest
    server.fault = posts(garbage)
    assert fault(remote).startswith("the re")
    assert Repository(remote).last_good() is None


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([packs.whole(packs.BLOB, b"1")], "is missing"),
        ([packs.whole(packs.BLOB, bytes(2**20 + 1))] * 600, "its files are larger than 536870912 bytes in all"),
    ],
)
def test_packs_that_are_no_use(server: GitServer, remote: Remote, entries: list[bytes], said: str) -> None:
    """A pack without what was asked for, or one that stands for gigabytes, is a fault."""
    server.newest = False
    server.fault = posts(sent(packs.pack(*entries)))
    assert said in fault(remote)


def test_what_a_remote_says(server: GitServer, remote: Remote) -> None:
    """What a remote says is passed on if it is short and can be shown, and never if it quotes the credential."""
    server.newest = False
    server.fault = posts(sent(b"")[:-4] + line(b"\x03access\ndenied" + b"!" * 500) + b"0000")
    said = fault(remote)
    assert said.startswith("the remote does not answer as git does: 'access")
    assert len(said) < 300
    basic = base64.b64encode(f"x-access-token:{TOKEN}".encode())
    for secret in (TOKEN.encode(), basic):
        server.fault = posts(sent(b"")[:-4] + line(b"\x03" + b"!" * 190 + secret) + b"0000")
        assert fault(remote) == "the remote does not answer as git does: it quotes the credential"
    said = fault(Remote(remote.url))
    assert said.startswith("the remote does not answer as git does: !!!")


def test_a_pack_from_elsewhere(server: GitServer, remote: Remote) -> None:
    """A remote that says that the pack is at another address is not followed there."""
    answer = (
        line(b"packfile-uris\n") + line(b"https://localhost:1/pack sha1 " + b"1" * 40 + b"\n") + line(b"packfile\n")
    )

    def elsewhere(came: Came, right: Answer) -> Answer:
        is_fetch = came.method == "POST" and sum(request.method == "POST" for request in server.requests) == 2
        return (200, right[1], answer + b"0000") if is_fetch else right

    server.fault = elsewhere
    assert fault(remote) == "the remote leads to another address, which is not followed"


@pytest.mark.parametrize("newest", [True, False])
def test_a_remote_that_knows_no_depth(git: GitFolder, server: GitServer, remote: Remote, newest: bool) -> None:
    """From a remote that cannot leave out the history, the history comes as well."""

    def without(_: Came, right: Answer) -> Answer:
        return right[0], right[1], right[2].replace(b"shallow", b"shadows")

    git.commit({"policies/a.toml": b"2"})
    server.newest, server.fault = newest, without
    assert Repository(remote).fetch().files == {"a.toml": b"2"}


def test_a_body_that_is_cut_off(server: GitServer, remote: Remote) -> None:
    """An answer that ends early is a fault."""

    def cut(came: Came, right: Answer) -> Answer:
        length = {"Content-Length": str(len(right[2]))}
        return right if came.method == "GET" else (right[0], {**right[1], **length}, right[2][:-30])

    server.fault = cut
    assert fault(remote).startswith("the remote cannot be reached: ")


def test_a_remote_that_is_too_large(server: GitServer) -> None:
    """Of an answer that is larger than any repository of policies no more is read."""
    server.fault = posts(bytes(201))
    assert bounded_fault(server, Limits(connect=5, total=30, body=200)) == (
        "the remote cannot be reached: the answer is larger than 200 bytes"
    )


def test_a_remote_that_hangs(server: GitServer) -> None:
    """A remote that does not answer is not waited for longer than a fetch may take, all its requests together."""
    short = Limits(connect=5, total=0.5, body=1000)
    server.fault = lambda came, right: right if came.method == "GET" else server.hang(came, right)
    assert bounded_fault(server, short) == "the remote does not answer in time"
    server.fault = server.hang
    assert bounded_fault(server, short) == "the remote does not answer in time"


def test_the_last_good_commit(git: GitFolder, server: GitServer, remote: Remote) -> None:
    """While the remote is down, what was good last is still there, before and after a restart; then the new comes."""
    repository = Repository(remote)
    good = repository.fetch()
    git.commit({"policies/a.toml": b"2"})
    server.fault = answering(503)
    for _ in range(2):
        with pytest.raises(RepositoryError):
            repository.fetch()
        assert repository.last_good() == good
        repository = Repository(remote)
    server.fault = None
    assert repository.fetch().files == {"a.toml": b"2"}


def test_a_remote_that_is_gone(git: GitFolder, tmp_path: Path) -> None:
    """Where nobody listens, that is said, and what was good last is there."""
    with GitServer(git.path.parent) as server:
        remote = Remote(server.url("git"), path="policies", cache_dir=tmp_path / "cache")
        good = Repository(remote).fetch()
    assert fault(remote).startswith("the remote cannot be reached: ")
    assert Repository(remote).last_good() == good


FETCHING = """
import sys
from pathlib import Path
from tailsts.policy.places.repository import Remote, Repository
print("begun", flush=True)
while True:
    Repository(Remote(sys.argv[1], sys.argv[2], "policies", None, Path(sys.argv[3]))).fetch()
    for file in Path(sys.argv[3]).glob("*.policies"):
        file.unlink(missing_ok=True)
"""


def test_processes_that_share_a_cache_and_are_killed(git: GitFolder, tmp_path: Path) -> None:
    """However often processes that write one cache are killed in the middle, what is kept is good, or not there."""
    git.commit({f"policies/{n}.toml": os.urandom(5000) for n in range(100)})
    said: list[str] = []
    cache = tmp_path / "cache"
    remote = Remote(git.path.as_uri(), "main", "policies", None, cache)
    good = Repository(remote).fetch()
    for n in range(6):
        command = [sys.executable, "-c", FETCHING, remote.url, remote.ref, str(cache)]
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begun\n"
        time.sleep(0.1 + n / 50)
        for process in processes:
            process.kill()
            process.communicate()
        assert Repository(remote, report=said.append).last_good() in (None, good)
    assert said == []
    assert Repository(remote).fetch() == good
