"""Policies that change while the service runs, in a real folder and a real repository: whole, or not at all."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import pytest
import structlog
from structlog.testing import LogCapture

from fakes.git_http import GitFolder
from fakes.http import eventually_async
from fakes.policies import policy
from tailsts.policy.finding import Finding, Severity
from tailsts.policy.model import Generation, assemble
from tailsts.policy.places.repository import Remote, Repository
from tailsts.policy.places.steady import IS_OPEN
from tailsts.policy.store import Options
from tailsts.server.reloading import MAX_SAID, NO_POLICY, NOBODY, Reloading, worth_saying
from tailsts.server.shown.metrics import Metrics
from tailsts.server.sources import Commits, Folder, Source

ISSUER = "https://issuer.example.com"
GOOD = policy(ISSUER, allowed_scopes=["dns:read"])


class Service:
    """What policies are in force, and those that were."""

    def __init__(self, source: Source) -> None:
        self.history: list[Generation] = [assemble([], "at start")]
        self.metrics = Metrics()
        self.reloading = Reloading(source, lambda: self.history[-1], self.history.append, self.metrics)

    def names(self) -> list[str]:
        """Return the names of the policies that are in force."""
        return [found.name for found in self.history[-1].policies]


@pytest.fixture(autouse=True)
def log() -> Iterator[LogCapture]:
    """Return what the service says."""
    captured = LogCapture()
    structlog.configure(processors=[captured])
    yield captured
    structlog.reset_defaults()


@pytest.fixture
def service(folder: Path) -> Service:
    """Return a service with one policy in a folder."""
    (folder / "a.toml").write_text(GOOD)
    return Service(Folder(folder, Options(), time.time, time.monotonic))


@asynccontextmanager
async def following(service: Service, seconds: float = 0.05) -> AsyncIterator[None]:
    """Follow the changes."""
    stop = asyncio.Event()
    task = asyncio.create_task(service.reloading.follow(stop, seconds=seconds))
    await asyncio.sleep(0.3)
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)


def move(path: Path, to: Path) -> None:
    """Give the folder another name, in one step."""
    path.rename(to)


def events(log: LogCapture) -> list[str]:
    """Return what was said, without what policies are warned of."""
    return [str(entry["event"]) for entry in log.entries if entry["event"] != "policy"]


async def test_reload(service: Service, folder: Path, log: LogCapture) -> None:
    """Valid policies come into force in one step, and it is said and counted."""
    await service.reloading.reload()
    (folder / "b.toml").write_text(GOOD)
    await service.reloading.reload()
    assert [[found.name for found in generation.policies] for generation in service.history] == [[], ["a"], ["a", "b"]]
    assert (service.reloading.faults, service.metrics.reloads) == ((), {"ok": 2, "failed": 0})
    assert events(log) == ["policies reloaded"] * 2
    assert log.entries[-1]["generation"] == service.history[-1].digest


async def test_a_fault_keeps_the_last_good_generation(service: Service, folder: Path, log: LogCapture) -> None:
    """A fault changes nothing but what is said: once, however often the same folder is read; each is counted."""
    await service.reloading.reload()
    (folder / "b.toml").write_text("[")
    for _ in range(3):
        await service.reloading.reload(asked=False)
    assert (service.names(), len(service.history)) == (["a"], 2)
    assert len(service.reloading.faults) == 1
    assert str(folder / "b.toml") in service.reloading.faults[0]
    assert service.metrics.reloads == {"ok": 1, "failed": 3}
    assert events(log) == ["policies reloaded", "policies not reloaded: the old ones stay in force"]
    assert [entry["log_level"] for entry in log.entries if entry["event"] == "policy"] == ["error"]
    (folder / "b.toml").write_text(GOOD)
    await service.reloading.reload()
    assert service.names() == ["a", "b"]
    assert not service.reloading.faults


async def test_who_asks_is_told(service: Service, folder: Path, log: LogCapture) -> None:
    """Whoever asks for a reload reads what came of it in the log, also if nothing has changed since."""
    await service.reloading.reload()
    (folder / "b.toml").write_text("[")
    for _ in range(2):
        await service.reloading.reload()
    assert events(log)[1:] == ["policies not reloaded: the old ones stay in force"] * 2


async def test_a_fault_that_is_over(service: Service, folder: Path, log: LogCapture) -> None:
    """That a fault is over is said, also if what is in force never changed."""
    await service.reloading.reload()
    (folder / "b.toml").write_text("[")
    await service.reloading.reload(asked=False)
    (folder / "b.toml").unlink()
    for _ in range(2):
        await service.reloading.reload(asked=False)
    assert (len(service.history), service.reloading.faults) == (2, ())
    assert events(log)[2:] == ["the policies are in order again: those in force stay"]


async def test_p18_the_last_policy_is_deleted(service: Service, folder: Path) -> None:
    """P-18: a folder without any policy any more trusts nobody."""
    await service.reloading.reload()
    (folder / "a.toml").unlink()
    await service.reloading.reload()
    assert service.names() == []
    assert service.reloading.faults == (NO_POLICY,)


async def test_a_folder_that_is_gone(service: Service, folder: Path, tmp_path: Path) -> None:
    """A folder that is not there is a fault: the policies stay in force, for now."""
    await service.reloading.reload()
    move(folder, tmp_path / "away")
    await service.reloading.reload()
    assert service.names() == ["a"]
    assert "cannot be read" in service.reloading.faults[0]


async def test_reloads_come_one_after_the_other(service: Service, folder: Path) -> None:
    """Reloads that are asked for at once do not overtake each other: the newest policies are in force at the end."""
    tasks = []
    for number in range(5):
        (folder / f"p{number}.toml").write_text(GOOD)
        tasks.append(asyncio.create_task(service.reloading.reload()))
        await asyncio.sleep(0.02)
    await asyncio.gather(*tasks)
    assert service.names() == ["a", "p0", "p1", "p2", "p3", "p4"]
    sizes = [len(generation.policies) for generation in service.history]
    assert sizes == sorted(sizes)


class Broken(Folder):
    """A source with a bug of ours."""

    def again(self) -> NoReturn:
        """Read it."""
        raise ZeroDivisionError("secret words")


async def test_a_bug_of_ours_is_no_reload(folder: Path, log: LogCapture) -> None:
    """What nobody thought of keeps the policies that are in force, and is a fault in few words."""
    service = Service(Broken(folder, Options(), time.time, time.monotonic))
    await service.reloading.reload()
    assert service.reloading.faults == ("reading the policies failed unexpectedly",)
    assert (len(service.history), service.metrics.reloads) == (1, {"ok": 0, "failed": 1})
    assert events(log)[0] == "reading the policies failed unexpectedly"


async def test_warnings_are_said_once(service: Service, folder: Path, log: LogCapture) -> None:
    """What policies are warned of is said when it is new, and advice is not said at all."""
    (folder / "a.toml").write_text(policy(ISSUER, audience=None, allowed_scopes=["dns:read"]))
    for _ in range(3):
        await service.reloading.reload()
    said = [entry for entry in log.entries if entry["event"] == "policy"]
    assert [(entry["log_level"], "[no-audience]" in entry["finding"]) for entry in said] == [("warning", True)]


def test_a_log_is_for_what_one_can_read(service: Service, log: LogCapture) -> None:
    """Of very many findings the first are said, faults before warnings, and how many more there are."""
    kinds = [Severity.ADVICE, Severity.SECURITY, Severity.FAULT]
    findings = [Finding(kinds[n % 3], "x", f"{n}.toml", None, "", "y") for n in range(3 * MAX_SAID)]
    said = worth_saying(findings)
    assert [severity for severity, _ in said] == [Severity.FAULT] * MAX_SAID + [Severity.SECURITY] * MAX_SAID
    service.reloading.say(said)
    assert [entry["log_level"] for entry in log.entries] == ["error"] * MAX_SAID + ["warning"]
    assert log.entries[-1]["more"] == MAX_SAID


async def test_a_watched_folder(service: Service, folder: Path) -> None:
    """A change of the folder comes into force by itself, and so does the next one."""
    async with following(service):
        (folder / "b.toml").write_text(GOOD)
        await eventually_async(lambda: service.names() == ["a", "b"])
        (folder / "a.toml").unlink()
        await eventually_async(lambda: service.names() == ["b"])


async def test_a_folder_that_vanishes_for_a_moment(service: Service, folder: Path, tmp_path: Path) -> None:
    """A folder that is replaced by another is not taken for one that was taken away."""
    await service.reloading.reload()
    async with following(service):
        move(folder, tmp_path / "away")
        await eventually_async(lambda: bool(service.reloading.faults))
        assert service.names() == ["a"]
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "c.toml").write_text(GOOD)
        move(tmp_path / "new", folder)
        await eventually_async(lambda: service.names() == ["c"])
    assert NOBODY not in service.history


async def test_a_folder_that_stays_away(service: Service, folder: Path, tmp_path: Path, log: LogCapture) -> None:
    """A folder that stays away takes all trust with it, and gives it back when it returns."""
    await service.reloading.reload()
    async with following(service):
        move(folder, tmp_path / "away")
        await eventually_async(lambda: service.history[-1] is NOBODY, 30)
        assert "the folder of the policies is gone: nobody is trusted any more" in events(log)
        move(tmp_path / "away", folder)
        await eventually_async(lambda: service.names() == ["a"])


async def test_p17_a_file_that_is_being_written(service: Service, folder: Path, log: LogCapture) -> None:
    """P-17: what is being written for long is said once, changes nothing, and counts when it is closed."""
    await service.reloading.reload()
    with (folder / "b.toml").open("w") as half:
        half.write(GOOD)
        half.flush()
        for _ in range(2):
            await service.reloading.reload(asked=False)
        assert (service.names(), len(service.history)) == (["a"], 2)
        assert service.reloading.faults == (f"{folder}/b.toml: fault: {IS_OPEN} [file]",)
        assert events(log).count("policies not reloaded: the old ones stay in force") == 1
        assert service.metrics.reloads["failed"] == 2
    await eventually_async(lambda: service.names() == ["a", "b"])
    assert not service.reloading.faults


async def test_p17_a_file_that_goes_while_it_is_being_written(service: Service, folder: Path) -> None:
    """P-17: a file that was being written and is gone is at rest, and all is as before."""
    await service.reloading.reload()
    with (folder / "b.toml").open("w") as half:
        half.write(GOOD)
        half.flush()
        await service.reloading.reload()
        assert len(service.reloading.faults) == 1
        (folder / "b.toml").unlink()
        await eventually_async(lambda: service.reloading.faults == ())
    assert service.names() == ["a"]


@pytest.fixture
def git(tmp_path: Path) -> GitFolder:
    """Return a repository with one policy."""
    made = GitFolder(tmp_path / "git")
    made.commit({"a.toml": GOOD.encode()})
    return made


async def test_a_repository(git: GitFolder, tmp_path: Path, log: LogCapture) -> None:
    """Commits come into force as they appear; the same one only once; while the remote is down the last one stays."""
    service = Service(Commits(Repository(Remote(git.path.as_uri())), "the place", Options()))
    async with following(service):
        await eventually_async(lambda: service.names() == ["a"])
        newest = git.commit({"b.toml": GOOD.encode()})
        await eventually_async(lambda: service.names() == ["a", "b"])
        assert service.history[-1].digest == newest
        move(git.path, tmp_path / "away")
        await eventually_async(lambda: service.metrics.reloads["failed"] >= 3)
        assert service.names() == ["a", "b"]
        assert len(service.reloading.faults) == 1
        move(tmp_path / "away", git.path)
        await eventually_async(lambda: service.reloading.faults == ())
    assert len(service.history) == 3
    assert events(log).count("policies not reloaded: the old ones stay in force") == 1
