"""What is in force, handed over to a worker to come: real files, real git, and what becomes of either meanwhile."""

import asyncio
import json
import socket
import time
from pathlib import Path

import pytest

from fakes.git_http import GitFolder
from fakes.issuer import Issuer
from fakes.policies import policy
from fakes.tls import Authority
from tailsts.errors import FileError, RepositoryError
from tailsts.oidc.source import JwksText
from tailsts.policy.model import Generation
from tailsts.policy.places import watch
from tailsts.policy.places.repository import Remote, Repository
from tailsts.policy.places.sheaf import File, Sheaf
from tailsts.policy.store import Loaded, Options
from tailsts.server.reloading import NOBODY, Reloading
from tailsts.server.shown.metrics import Metrics
from tailsts.server.sources import Commits, Folder, Source
from tailsts.server.workers.control import REPORTS, Channel, InForce
from tailsts.server.workers.keeping import MAX_PACKED_BYTES, pack, tell, unpack

ISSUER = "https://issuer.example.com"
KEYS = Issuer("https://air-gapped.example")
PRIVATE = "https://private.example"


def fill(folder: Path) -> None:
    """Put three policies into the folder; two name a file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.toml").write_text(policy(ISSUER))
    (folder / "file.toml").write_text(policy(KEYS.url, jwks_url=None, jwks_file="keys.json"))
    (folder / "keys.json").write_text(json.dumps(KEYS.jwks()))
    (folder / "ca.toml").write_text(policy(PRIVATE, jwks_url=None, ca_file="ca.pem"))
    (folder / "ca.pem").write_bytes(Authority("one").pem)


def folder_at(path: Path) -> Folder:
    """Return the folder as a source."""
    return Folder(path, Options(), time.time, time.monotonic)


def repository_at(git: GitFolder) -> Commits:
    """Return the repository as a source, which keeps nothing through a restart."""
    return Commits(Repository(Remote(git.path.as_uri(), "main", "policies")), "the place", Options())


def generation(loaded: Loaded) -> Generation:
    """Return the generation, which must be there."""
    assert loaded.generation is not None, loaded.findings
    return loaded.generation


def handed(loaded: Loaded, source: Source) -> Loaded:
    """Hand over what was loaded to another source, as from one process to another."""
    packed = pack(loaded.sheaf)
    assert packed is not None
    return source.handed_over(unpack(packed))


def trusts(made: Generation) -> list[tuple[object, object, tuple[str, ...]]]:
    """Return what the generation trusts, and for which policies."""
    return [
        (trust.issuer.name, trust.source, tuple(found.name for found in trust.policies)) for trust in made.all_trusts()
    ]


def test_a_folder_that_is_gone(folder: Path, tmp_path: Path) -> None:
    """The same generation, to the last trust, though neither the policies nor what they name are there any more."""
    fill(folder)
    before = folder_at(folder).first()
    folder.rename(tmp_path / "away")
    after = handed(before, folder_at(folder))
    assert generation(after).digest == generation(before).digest
    assert trusts(generation(after)) == trusts(generation(before))
    assert len(trusts(generation(after))) == 3


async def test_what_is_there_by_now(folder: Path) -> None:
    """What changes from then on is noticed, and nothing is put in force anew where there is nothing else."""
    fill(folder)
    source = folder_at(folder)
    loaded = handed(folder_at(folder).first(), source)
    assert source.seen == watch.look(folder)
    history = [generation(loaded)]
    reloading = Reloading(source, lambda: history[-1], history.append, Metrics())
    reloading.begin(loaded.findings, loaded.sheaf)
    await reloading.reload(asked=False)
    assert history == [generation(loaded)]
    (folder / "a.toml").unlink()
    assert source.seen != watch.look(folder)
    await reloading.reload(asked=False)
    assert [len(each.policies) for each in history] == [3, 2]
    assert reloading.sheaf is not None
    assert [file.name for file in reloading.sheaf.files] == ["ca", "file"]


def test_nobody_is_trusted(folder: Path) -> None:
    """Where nobody is trusted, for there is no folder or no policy any more, nobody is trusted afterwards."""
    fill(folder)
    source = folder_at(folder)
    packed = pack(None)
    assert packed is not None
    assert generation(source.handed_over(unpack(packed))) == NOBODY
    for path in folder.glob("*.toml"):
        path.unlink()
    assert generation(handed(source.again(), folder_at(folder))).policies == ()


@pytest.fixture
def git(tmp_path: Path) -> GitFolder:
    """Return a repository with one policy."""
    made = GitFolder(tmp_path / "git")
    made.commit({"policies/a.toml": policy(KEYS.url, jwks_url=None, jwks_file="keys.json").encode()})
    made.commit({"policies/keys.json": json.dumps(KEYS.jwks()).encode()})
    return made


def test_a_remote_that_is_down(git: GitFolder, tmp_path: Path) -> None:
    """The commit that was in force is; it is caught up with the remote when that is back."""
    before = repository_at(git).first()
    away = git.path.rename(tmp_path / "away")
    source = repository_at(git)
    after = handed(before, source)
    assert generation(after).digest == generation(before).digest
    assert trusts(generation(after)) == trusts(generation(before))
    with pytest.raises(RepositoryError):
        source.again()
    away.rename(git.path)
    assert source.again() is after
    git.commit({"policies/b.toml": policy(ISSUER).encode()})
    assert [found.name for found in generation(source.again()).policies] == ["a", "b"]


def test_p18_what_was_deleted_does_not_come_back(git: GitFolder) -> None:
    """P-18: that a branch loses its last policy is an answer also to who began with what was handed over."""
    source = repository_at(git)
    handed(repository_at(git).first(), source)
    git.commit({"policies/a.toml": None})
    assert generation(source.again()).policies == ()


def test_a_file_that_was_not_read(folder: Path) -> None:
    """Nothing is read from where the policies were but what was read before."""
    fill(folder)
    packed = pack(folder_at(folder).first().sheaf)
    assert packed is not None
    with pytest.raises(FileError, match="was not read"):
        unpack(packed).named("other.json")


def of_size(size: int) -> Sheaf:
    """Return policies of so many bytes."""
    return Sheaf("", [File("a", "a.toml", bytes(size))], (), lambda _: b"", lambda name: JwksText(name, b""))


def test_too_large() -> None:
    """What no message can hold is not packed."""
    assert pack(of_size(MAX_PACKED_BYTES)) is None
    assert pack(of_size(MAX_PACKED_BYTES - 100)) is not None


async def test_telling_the_parent() -> None:
    """The parent is told what is in force, as large as it may be; and of what has been replaced meanwhile, nothing."""
    ours, theirs = socket.socketpair()
    parent, worker = await Channel.over(ours), await Channel.over(theirs)
    large, small = of_size(MAX_PACKED_BYTES - 100), of_size(10)
    in_force = [large]
    telling = asyncio.create_task(tell(worker, lambda: in_force[-1]))
    assert await parent.receive(REPORTS) == InForce(pack(large))
    await telling
    replaced = asyncio.create_task(tell(worker, lambda: in_force[-1]))
    await asyncio.sleep(0)
    in_force.append(small)
    await replaced
    await tell(worker, lambda: in_force[-1])
    assert await parent.receive(REPORTS) == InForce(pack(small))
    await tell(None, lambda: in_force[-1])
    await worker.close()
    assert await parent.receive(REPORTS) is None
    await parent.close()
