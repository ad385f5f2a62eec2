"""A watched folder: each way in which it may change is told, once it is quiet, and nothing is told of nothing."""

import asyncio
import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.watched import no_notifications, watching
from tailsts.policy.places import watch
from tailsts.policy.places.watch import changes, look

NOTHING = 1.5


def kubernetes(folder: Path, version: str, text: str) -> None:
    """Put a file into a volume as Kubernetes does: a new directory, then one rename of the link to it."""
    (folder / f"..{version}").mkdir()
    (folder / f"..{version}" / "p.toml").write_text(text)
    (folder / "..data_tmp").symlink_to(f"..{version}")
    (folder / "..data_tmp").rename(folder / "..data")
    (folder / "p.toml").unlink()
    (folder / "p.toml").symlink_to("..data/p.toml")


def rename_over(folder: Path) -> None:
    """Save a file as editors do."""
    (folder / ".p.toml.swp").write_text("new")
    (folder / ".p.toml.swp").rename(folder / "p.toml")


def replace(folder: Path) -> None:
    """Put another folder in its place."""
    other = folder.with_name("other")
    other.mkdir()
    folder.rename(folder.with_name("old"))
    other.rename(folder)


def in_place(folder: Path) -> None:
    """Write other content of the same length into the same file."""
    with (folder / "p.toml").open("r+") as file:
        file.write("2")


WAYS: list[Callable[[Path], object]] = [
    in_place,
    rename_over,
    replace,
    lambda folder: (folder / "p.toml").unlink(),
    lambda folder: (folder / "p.toml").chmod(0o600),
    lambda folder: (folder / "q.toml").write_text("1"),
    lambda folder: (folder / "keys" / "jwks.json").write_text("2"),
    lambda folder: kubernetes(folder, "1", "2"),
    lambda folder: folder.chmod(0o700),
    shutil.rmtree,
    lambda folder: folder.rename(folder.with_name("away")),
]


def prepare(folder: Path) -> Path:
    """Make a folder with a policy, and a key set below it."""
    (folder / "keys").mkdir(parents=True)
    (folder / "p.toml").write_text("1")
    (folder / "keys" / "jwks.json").write_text("1")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a prepared folder."""
    return prepare(tmp_path / "policies")


async def changed(folder: Path, change: Callable[[Path], object]) -> list[bool]:
    """Return whether a change is told, and what is done afterwards."""
    await asyncio.to_thread(prepare, folder)
    async with watching(folder) as watched:
        change(folder)
        told = [await watched.tells()]
        await asyncio.to_thread(folder.mkdir, exist_ok=True)
        for text in ("1", "2"):
            (folder / "next.toml").write_text(text)
            told.append(await watched.tells())
    return [*told, watched.said == []]


async def test_each_way_to_change(tmp_path: Path) -> None:
    """Whatever is done to a policy or its folder is told soon, and what is done next is told as well."""
    told = await asyncio.gather(*(changed(tmp_path / str(n) / "policies", way) for n, way in enumerate(WAYS)))
    assert [[True] * 4] * len(WAYS) == told


async def test_nothing_is_told_of_nothing(folder: Path) -> None:
    """Reading the folder, and writing beside it, is no change of it."""
    async with watching(folder) as watched:
        (folder.parent / "beside.toml").write_text("1")
        look(folder)
        (folder / "p.toml").read_text()
        assert not await watched.tells(NOTHING)


async def test_many_changes_are_few(folder: Path) -> None:
    """A hundred quick writes are one change or a few, and the last of them is told."""
    async with watching(folder) as watched:
        for n in range(100):
            (folder / f"{n}.toml").write_text("1")
        assert await watched.tells()
        assert watched.told <= 3


@pytest.mark.parametrize("deaf", [False, True])
async def test_who_writes_all_the_time_is_told_of(folder: Path, deaf: bool) -> None:
    """Somebody who never stops writing does not keep changes from being told."""
    with no_notifications() if deaf else contextlib.nullcontext():
        async with watching(folder) as watched:
            written = 0
            while not watched.told:
                written += 1
                assert written < 1000
                (folder / "p.toml").write_text(str(written))
                await asyncio.sleep(0.01)


async def test_a_change_before_watching_began(folder: Path) -> None:
    """What changed between the caller's reading and its watching is told."""
    before = look(folder)
    (folder / "q.toml").write_text("1")
    async with watching(folder, before) as watched:
        assert await watched.tells()


async def test_kubernetes(folder: Path) -> None:
    """Each swap of the link that a Kubernetes volume is made of is told, though no file that is read is written."""
    kubernetes(folder, "1", "same")
    async with watching(folder) as watched:
        for version in ("2", "3"):
            kubernetes(folder, version, "same")
            assert await watched.tells()


async def test_a_folder_behind_links(folder: Path, tmp_path: Path) -> None:
    """A link on the way to the folder that leads elsewhere now is told, and so is what happens there then."""
    for release in ("1", "2"):
        (tmp_path / release).mkdir()
        shutil.copytree(folder, tmp_path / release / "policies", copy_function=shutil.copy2)
    (tmp_path / "current").symlink_to("1")
    async with watching(tmp_path / "current" / "policies") as watched:
        (tmp_path / "next").symlink_to("2")
        (tmp_path / "next").rename(tmp_path / "current")
        assert await watched.tells()
        (tmp_path / "2" / "policies" / "p.toml").write_text("2")
        assert await watched.tells()
        (tmp_path / "1" / "policies" / "p.toml").write_text("2")
        assert not await watched.tells(NOTHING)


async def test_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    """A folder may come, with all above it, and vanish and come again."""
    folder = tmp_path / "a" / "b" / "policies"
    async with watching(folder) as watched:
        for _ in range(2):
            folder.mkdir(parents=True)
            assert await watched.tells()
            (folder / "p.toml").write_text("1")
            assert await watched.tells()
            shutil.rmtree(tmp_path / "a")
            assert await watched.tells()


async def test_without_notifications(folder: Path) -> None:
    """Where the system gives no notifications, changes are told all the same, and it is said once."""
    with no_notifications():
        async with watching(folder, safety=1.0) as watched:
            for change in (in_place, replace):
                change(folder)
                assert await watched.tells()
            assert not await watched.tells(NOTHING)
            assert watched.said[0].startswith("no notifications of changes, so it is looked at every 0.5 s: ")
            assert len(watched.said) == 1
    async with watching(folder) as watched:
        pass
    assert watched.said == []


async def test_notifications_that_come_back(folder: Path) -> None:
    """Notifications that were refused are asked for again, and it is said when they are there."""
    with no_notifications():
        task = watching(folder, safety=0.5)
        watched = await task.__aenter__()
    await asyncio.sleep(2.0)
    assert watched.said[1:] == ["changes are noticed at once again"]
    in_place(folder)
    assert await watched.tells()
    await task.__aexit__(None, None, None)


async def test_what_vanished_in_between(tmp_path: Path) -> None:
    """A directory that vanishes between a look and the listening is no trouble to speak of."""
    said: list[str] = []
    listener = watch._Listener(tmp_path, said.append, 0.2)
    await listener.listen_to([(str(tmp_path / "gone"), "")])
    assert not await listener.heard(asyncio.Event())
    assert said == []
    assert watch._entries(str(tmp_path / "gone")) == []
    await listener.cease()


async def test_a_lost_event(folder: Path) -> None:
    """What no notification told is found by the look that makes sure: here, behind a link that leads out."""
    outside = folder.parent / "outside.toml"
    outside.write_text("1")
    (folder / "link.toml").symlink_to(outside)
    async with watching(folder, safety=0.5) as watched:
        outside.write_text("22")
        assert await watched.tells()


async def test_ends(folder: Path) -> None:
    """It ends when told to, when it is closed and when it is cancelled, and leaves no thread that waits."""
    stopped = asyncio.Event()
    stopped.set()
    assert [None async for _ in changes(folder, stopped, print)] == []
    generator = changes(folder, asyncio.Event(), print)
    waiting = asyncio.create_task(anext(generator))
    await asyncio.sleep(0.3)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await generator.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_what_it_looks_like(folder: Path, tmp_path: Path) -> None:
    """Looking ends whatever a folder holds: links to itself, what cannot be followed, no folder."""
    (folder / "self").symlink_to(folder)
    (folder / "root").symlink_to("/")
    (folder / "nowhere.toml").symlink_to("nowhere")
    assert look(folder) == look(folder)
    paths = [path for path, _ in look(folder).directories]
    assert [str(tmp_path), str(folder), str(folder / "keys")] == paths[-3:]
    assert look(folder / "p.toml").directories == look(folder / "missing").directories


def test_a_folder_without_end(folder: Path) -> None:
    """Of a folder that is far too large to be one of policies no more than a part is looked at."""
    for n in range(20):
        (folder / f"{n}").mkdir()
    most = len(folder.parents) + 3
    assert len(look(folder, watch.Bounds(directories=most)).directories) == most
    before = look(folder, watch.Bounds(1, most)).digest
    (folder / "z").mkdir()
    assert look(folder, watch.Bounds(1, most)).digest == before
