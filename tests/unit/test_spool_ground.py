"""What is planted where spools are kept is neither sent nor waited for: real folders, links, pipes, owners."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from fakes.collector import FakeCollector
from fakes.http import eventually_async
from tailsts.audit import Event, json_line
from tailsts.errors import FileError
from tailsts.server.webhook.cloudevents import Receiver
from tailsts.server.webhook.ground import strangers
from tailsts.server.webhook.spools import orphans, refuse_folder, take
from tailsts.server.webhook.webhook import Webhook

LIMIT = 1024 * 1024
FORGED = json_line(Event("2026-01-02T03:04:05Z", "f" * 20, "granted", "planted", "a"))
FIRST = "0000000000000001.jsonl"
EVERYBODY = "can be changed by everybody on this machine; chmod o-w it"
NO_FILE = "has a position that is no file"
ONLY_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")


def spool_of(parent: Path, number: int = 0) -> Path:
    """Return a folder for a spool, with one line in it."""
    folder = parent / str(number)
    folder.mkdir(mode=0o700)
    (folder / FIRST).write_bytes(FORGED)
    return folder


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
def test_a_folder_that_everybody_can_change(tmp_path: Path, mode: int) -> None:
    """A folder in which everybody could put events is refused, with the sticky bit too; so is one of its spools."""
    folder = spool_of(tmp_path)
    folder.chmod(mode)
    assert refuse_folder(tmp_path) == f"holds 0, which {EVERYBODY}"
    with pytest.raises(FileError, match="everybody"):
        take(tmp_path, LIMIT)
    assert list(orphans(tmp_path, LIMIT)) == []
    folder.chmod(0o770)
    assert refuse_folder(tmp_path) is None
    tmp_path.chmod(mode)
    assert refuse_folder(tmp_path) == EVERYBODY


@ONLY_ROOT
def test_a_folder_of_another_user(tmp_path: Path) -> None:
    """What belongs to somebody else is refused."""
    folder = spool_of(tmp_path)
    os.chown(folder, 12345, -1)
    assert refuse_folder(tmp_path) == "holds 0, which belongs to another user"
    with pytest.raises(FileError, match="another user"):
        take(tmp_path, LIMIT)
    os.chown(tmp_path, 12345, -1)
    assert refuse_folder(tmp_path) == "belongs to another user"


def test_a_spool_that_is_elsewhere(tmp_path: Path) -> None:
    """A link in the place of a spool is not followed; one in the place of the folder of all is the operator's."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert refuse_folder(tmp_path / "link") is None
    (tmp_path / "real" / "0").symlink_to(tmp_path)
    assert refuse_folder(tmp_path / "link") == "holds 0, which is no folder"
    with pytest.raises(FileError, match="no folder"):
        take(tmp_path / "link", LIMIT)


def test_a_spool_that_is_a_file(tmp_path: Path) -> None:
    """A file in the place of a spool is found before the start."""
    (tmp_path / "3").write_text("")
    assert refuse_folder(tmp_path) == "holds 3, which is no folder"


@pytest.mark.parametrize(
    "plant",
    [lambda path: path.symlink_to("/dev/null"), os.mkfifo, Path.mkdir],
    ids=["link", "pipe", "folder"],
)
def test_a_position_that_is_no_file(tmp_path: Path, plant: Callable[[Path], None]) -> None:
    """A position that leads elsewhere, or that would be waited for, is refused at the start and left alone later."""
    plant(spool_of(tmp_path) / "position")
    assert refuse_folder(tmp_path) == f"holds 0, which {NO_FILE}"
    with pytest.raises(FileError, match=f"^{NO_FILE}$"):
        take(tmp_path, LIMIT)
    assert list(orphans(tmp_path, LIMIT)) == []


def test_what_a_link_leads_to_is_not_written(tmp_path: Path) -> None:
    """A position that is a link to a file of somebody leaves that file as it is."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (spool_of(tmp_path) / "position").symlink_to(victim)
    with pytest.raises(FileError):
        take(tmp_path, LIMIT)
    assert victim.read_text() == "precious"


def plant_all(folder: Path) -> set[Path]:
    """Put into the folder what is no segment, and return it."""
    (folder / "5.jsonl").write_bytes(FORGED)
    (folder / "00000000000000006.jsonl").write_bytes(FORGED)
    (folder / f"{7:016d}.jsonl").mkdir()
    (folder / f"{8:016d}.jsonl").symlink_to("/etc/passwd")
    os.mkfifo(folder / f"{9:016d}.jsonl")
    (folder / "x\x1b[2J").write_text("")
    return {path for path in folder.iterdir() if path.name not in {FIRST, "position"}}


def test_what_is_no_segment_is_left_alone(tmp_path: Path) -> None:
    """Other names, folders, links and pipes are neither read nor removed nor counted, and keep nobody from starting."""
    planted = plant_all(spool_of(tmp_path))
    assert refuse_folder(tmp_path) is None
    spool = take(tmp_path, LIMIT)
    assert (spool.pending, spool.used) == (1, len(FORGED))
    batch = spool.peek(10, LIMIT)
    assert batch is not None
    assert batch.lines == (FORGED,)
    spool.acknowledge(batch)
    assert spool.peek(10, LIMIT) is None
    spool.close()
    assert planted == set(strangers(tmp_path)) == set((tmp_path / "0").iterdir()) - {tmp_path / "0" / "position"}


@pytest.mark.parametrize("position", [b"0 9999999999999999999\n", b"9" * 60, b"%s 0\n" % (b"9" * 40)])
def test_a_position_that_no_file_can_have(tmp_path: Path, position: bytes) -> None:
    """Numbers that are too large for a file are no position: everything is handed out."""
    (spool_of(tmp_path) / "position").write_bytes(position)
    spool = take(tmp_path, LIMIT)
    assert spool.pending == 1
    assert spool.append(FORGED)
    spool.close()
    assert {FIRST, "0000000000000002.jsonl"} == {path.name for path in tmp_path.glob("0/*.jsonl")}


async def test_it_is_said_once(tmp_path: Path) -> None:
    """The log says once that something strange is there, with its name escaped, and events go on."""
    (spool_of(tmp_path) / "x\x1b[2J").write_text("")
    (spool_of(tmp_path, 1) / "y").write_text("")
    (tmp_path / "1").chmod(0o777)
    with FakeCollector() as collector, capture_logs() as lines:
        webhook = Webhook(Receiver(collector.url), tmp_path, LIMIT)
        await eventually_async(lambda: webhook.delivered == 1)
        webhook._say_strange()
        assert await webhook.close(5)
        assert len(collector.events) == 1
    said = [line for line in lines if line["log_level"] == "warning"]
    assert [(line["event"], line["name"]) for line in said] == [
        ("the audit spool holds what is none of the service's: it is left alone", r"'0/x\x1b[2J'")
    ]
