"""Which reloads are counted: those that change what is in force, and those that somebody asked for."""

import asyncio
import os
import time
from pathlib import Path

from fakes.git_http import GitFolder
from fakes.http import eventually_async
from fakes.policies import policy
from tailsts.policy.model import Generation, assemble
from tailsts.policy.places.repository import Remote, Repository
from tailsts.policy.store import Options
from tailsts.server.reloading import Reloading
from tailsts.server.shown.metrics import Metrics
from tailsts.server.sources import Commits, Folder, Source

GOOD = policy("https://issuer.example.com", allowed_scopes=["dns:read"])


class Looks(Commits):
    """A repository that counts how often it is looked at."""

    count = 0

    def forget(self) -> None:
        """Let go of the policies that are not in force any more, which ends each look."""
        super().forget()
        self.count += 1


class Service:
    """What is in force, and what was counted."""

    def __init__(self, source: Source) -> None:
        self.history: list[Generation] = [assemble([], "at start")]
        self.metrics = Metrics()
        self.reloading = Reloading(source, lambda: self.history[-1], self.history.append, self.metrics)


async def test_looks_at_a_repository(tmp_path: Path) -> None:
    """However often a repository is looked at, each new commit counts once; asked for, one without news counts too."""
    git = GitFolder(tmp_path / "git")
    git.commit({"a.toml": GOOD.encode()})
    source = Looks(Repository(Remote(git.path.as_uri())), "the place", Options())
    service, stop = Service(source), asyncio.Event()
    following = asyncio.create_task(service.reloading.follow(stop, seconds=0.02))
    await eventually_async(lambda: source.count >= 5)
    assert service.metrics.reloads == {"ok": 1, "failed": 0}
    git.commit({"b.toml": GOOD.encode()})
    await eventually_async(lambda: len(service.history) == 3)
    looks = source.count
    await eventually_async(lambda: source.count >= looks + 5)
    assert service.metrics.reloads == {"ok": 2, "failed": 0}
    await service.reloading.reload()
    assert service.metrics.reloads == {"ok": 3, "failed": 0}
    stop.set()
    await asyncio.wait_for(following, 10)


async def test_a_folder_that_is_touched(folder: Path) -> None:
    """A file that is written anew with the same text is no reload that counts; SIGHUP is."""
    (folder / "a.toml").write_text(GOOD)
    service = Service(Folder(folder, Options(), time.time, time.monotonic))
    await service.reloading.reload(asked=False)
    os.utime(folder / "a.toml", (1, 1))
    await service.reloading.reload(asked=False)
    assert service.metrics.reloads == {"ok": 1, "failed": 0}
    await service.reloading.reload()
    assert service.metrics.reloads == {"ok": 2, "failed": 0}
