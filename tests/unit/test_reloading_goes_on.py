"""What must not keep the policies from being watched, and nobody from being trusted whom nobody trusts any more."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
import pytest
import structlog
from structlog.testing import LogCapture

from fakes.http import eventually_async
from fakes.policies import policy
from tailsts.policy.model import Generation, assemble
from tailsts.policy.store import Loaded, Options
from tailsts.server.reloading import NOBODY, Reloading
from tailsts.server.shown.metrics import Metrics
from tailsts.server.sources import Folder
from tailsts.server.workers.keeping import pack, unpack

ISSUER = "https://issuer.example.com"
FAILED = "judging the policies failed unexpectedly"
GONE = "the folder of the policies is gone: nobody is trusted any more"


@pytest.fixture(autouse=True)
def log() -> Iterator[LogCapture]:
    """Return what the service says."""
    captured = LogCapture()
    structlog.configure(processors=[captured])
    yield captured
    structlog.reset_defaults()


def said(log: LogCapture, text: str) -> int:
    """Return how often that was said."""
    return [entry["event"] for entry in log.entries].count(text)


def trusts(history: list[Generation], name: str) -> bool:
    """Return whether that policy is in force."""
    return name in [found.name for found in history[-1].policies]


class CannotLetGo(Folder):
    """A folder with a bug in what is done when the policies are in force."""

    def forget(self) -> None:
        """Fail."""
        raise RecursionError


class CannotBeJudged(Folder):
    """A folder of policies that cannot be judged."""

    def again(self) -> Loaded:
        """Return what is there, with nothing that a judge could look at."""
        loaded = super().again()
        assert loaded.later is not None
        return msgspec.structs.replace(loaded, later=msgspec.structs.replace(loaded.later, read=[object()]))


@asynccontextmanager
async def following(source: Folder, first: Loaded) -> AsyncIterator[list[Generation]]:
    """Follow the changes, beginning with these policies; return what comes into force, from them on."""
    history, stop = [first.generation or assemble([], "none")], asyncio.Event()
    reloading = Reloading(source, lambda: history[-1], history.append, Metrics())
    reloading.begin(first.findings, first.sheaf)
    task = asyncio.create_task(reloading.follow(stop, seconds=0))
    try:
        yield history
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)


@pytest.mark.parametrize("kind", [CannotLetGo, CannotBeJudged])
async def test_a_bug_does_not_end_the_watch(folder: Path, log: LogCapture, kind: type[Folder]) -> None:
    """Whatever fails once policies are in force, what comes after them is noticed; and it is said that it failed."""
    (folder / "a.toml").write_text(policy(ISSUER))
    source = kind(folder, Options(), time.time, time.monotonic)
    async with following(source, source.first()) as history:
        for name in ("b", "c"):
            (folder / f"{name}.toml").write_text(policy(ISSUER))
            await eventually_async(partial(trusts, history, name))
        # Once for each, or more often: a file that was just written may be looked at again.
        await eventually_async(lambda: said(log, FAILED) >= 2)


@pytest.fixture
def handed(folder: Path) -> tuple[Folder, Loaded]:
    """Return a folder that went before this process began, and what others had in force of it."""
    (folder / "a.toml").write_text(policy(ISSUER))
    packed = pack(Folder(folder, Options(), time.time, time.monotonic).first().sheaf)
    assert packed is not None
    folder.rename(folder.with_name("away"))
    source = Folder(folder, Options(), time.time, time.monotonic)
    return source, source.handed_over(unpack(packed))


async def test_p18_a_folder_that_was_gone_before(handed: tuple[Folder, Loaded], log: LogCapture) -> None:
    """P-18: a process that begins with policies whose folder is gone trusts nobody either, when the others do not."""
    async with following(*handed) as history:
        assert [found.name for found in history[-1].policies] == ["a"]
        await eventually_async(lambda: history[-1] == NOBODY, 20)
        assert said(log, GONE) == 1


async def test_a_folder_that_comes_back(handed: tuple[Folder, Loaded], log: LogCapture) -> None:
    """If it is back in time, its policies stay in force, and what changes in it from then on counts."""
    async with following(*handed) as history:
        folder = handed[0].path
        folder.with_name("away").rename(folder)
        (folder / "b.toml").write_text(policy(ISSUER))
        await eventually_async(lambda: [found.name for found in history[-1].policies] == ["a", "b"])
    assert (NOBODY in history, said(log, GONE)) == (False, 0)
