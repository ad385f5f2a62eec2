"""The spool of audit events: order, bounds, restarts, disks that fail. All on real files."""

import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tailsts.errors import FileError
from tailsts.server.webhook.spool import Spool
from tailsts.server.webhook.spools import orphans, refuse_folder, take

LIMIT = 1024 * 1024
SEGMENT = LIMIT // 8
MANY, LARGE = 10_000, 10 * LIMIT


def line(number: int, size: int = 0) -> bytes:
    """Return a line, at least so long."""
    start = b'{"n":%d,"fill":"' % number
    return start.ljust(size - 3, b"x") + b'"}\n'


def numbers(first: int, behind: int) -> list[bytes]:
    """Return lines with these numbers."""
    return [line(number) for number in range(first, behind)]


def rest_of(spool: Spool, most: int = MANY, most_bytes: int = LARGE) -> list[bytes]:
    """Take all that is in the spool."""
    found: list[bytes] = []
    while batch := spool.peek(most, most_bytes):
        found += batch.lines
        spool.acknowledge(batch)
    return found


def kill(spool: Spool) -> None:
    """Leave the spool as a process does that is killed: nothing is written, and the operating system unlocks it."""
    spool.abandon()


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Let no file grow beyond `size`, as on a disk that is full: a write is cut short, and the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def segments(folder: Path) -> list[Path]:
    """Return the files that hold lines."""
    return sorted(folder.glob("0/*.jsonl"))


def test_lines_come_out_in_their_order(tmp_path: Path) -> None:
    """Lines are handed out as they were added, however they are cut into batches, and stay until they are taken."""
    spool = take(tmp_path, LIMIT)
    assert spool.append(b"".join(numbers(0, 3)))
    assert spool.append(line(3))
    first = spool.peek(2, LARGE)
    assert first is not None
    assert (line(0), line(1)) == first.lines
    assert first == spool.peek(2, LARGE)
    assert spool.pending == 4
    spool.acknowledge(first)
    assert spool.pending == 2
    assert numbers(2, 4) == rest_of(spool)
    assert spool.peek(2, LARGE) is None
    spool.close()


def test_a_batch_has_whole_lines_and_few_bytes(tmp_path: Path) -> None:
    """A batch ends before the line that would make it too large; a single line that is too large comes in parts."""
    spool = take(tmp_path, LIMIT)
    spool.append(b"".join(line(number, 100) for number in range(5)))
    batch = spool.peek(MANY, 250)
    assert batch is not None
    assert (line(0, 100), line(1, 100)) == batch.lines
    short = spool.peek(MANY, 50)
    assert short is not None
    assert (line(0, 100)[:50],) == short.lines
    spool.close()


def test_what_was_taken_is_not_handed_out_after_a_restart(tmp_path: Path) -> None:
    """A process that is killed loses nothing that it added; the next one goes on behind what was taken."""
    spool = take(tmp_path, LIMIT)
    spool.append(b"".join(numbers(0, 10)))
    batch = spool.peek(4, LARGE)
    assert batch is not None
    spool.acknowledge(batch)
    kill(spool)
    again = take(tmp_path, LIMIT)
    assert again.pending == 6
    again.append(line(10))
    assert numbers(4, 11) == rest_of(again)
    again.close()


def test_a_torn_line_stays_the_last_of_its_segment(tmp_path: Path) -> None:
    """What a crash tore is handed out as it is, and does not swallow the line that is added after it."""
    spool = take(tmp_path, LIMIT)
    spool.append(line(0))
    kill(spool)
    with segments(tmp_path)[0].open("ab") as file:
        file.write(line(1)[:7])
    again = take(tmp_path, LIMIT)
    assert again.pending == 2
    again.append(line(2))
    assert [line(0), line(1)[:7], line(2)] == rest_of(again)
    assert again.pending == 0
    again.close()


@pytest.mark.parametrize("position", [b"", b"\0" * 34, b"3", b"one two\n", b"-1 -1\n", "² ³\n".encode()])
def test_a_position_that_cannot_be_read(tmp_path: Path, position: bytes) -> None:
    """Where the position is lost, as with the power, everything that is there is handed out again."""
    spool = take(tmp_path, LIMIT)
    spool.append(b"".join(numbers(0, 3)))
    batch = spool.peek(1, LARGE)
    assert batch is not None
    spool.acknowledge(batch)
    kill(spool)
    (tmp_path / "0" / "position").write_bytes(position)
    again = take(tmp_path, LIMIT)
    assert numbers(0, 3) == rest_of(again)
    again.close()


@pytest.mark.parametrize("position", [b"0000000000000009 0000000000000000\n", b"0000000000000001 0000000000999999\n"])
def test_a_position_beyond_all_lines(tmp_path: Path, position: bytes) -> None:
    """Where the position outlived the lines before it, as with the power, what is added next is handed out."""
    spool = take(tmp_path, LIMIT)
    spool.append(line(0))
    kill(spool)
    (tmp_path / "0" / "position").write_bytes(position)
    again = take(tmp_path, LIMIT)
    assert again.pending == 0
    again.append(line(1))
    assert [line(1)] == rest_of(again)
    again.close()


def test_it_is_bounded_and_the_newest_stay_out(tmp_path: Path) -> None:
    """What does not fit is refused; when a segment was taken whole there is room again, and order is kept."""
    spool = take(tmp_path, LIMIT)
    count = 0
    while spool.append(line(count, 10_000)):
        count += 1
    assert LIMIT - 10_000 <= spool.used <= LIMIT
    assert spool.used == sum(path.stat().st_size for path in segments(tmp_path))
    batch = spool.peek(20, LARGE)
    assert batch is not None
    spool.acknowledge(batch)
    assert spool.append(line(count, 10_000))
    assert [line(number, 10_000) for number in range(len(batch.lines), count + 1)] == rest_of(spool)
    assert len(segments(tmp_path)) <= 1
    spool.close()
    assert segments(tmp_path) == []


def test_segments_survive_a_restart_in_their_order(tmp_path: Path) -> None:
    """Several segments, some of them of processes that are long gone, are read one after the other."""
    for start in range(0, 12, 4):
        spool = take(tmp_path, LIMIT)
        for number in range(start, start + 4):
            spool.append(line(number, SEGMENT // 2))
        kill(spool)
    again = take(tmp_path, LIMIT)
    assert again.pending == 12
    assert again.used == 12 * (SEGMENT // 2)
    assert [line(number, SEGMENT // 2) for number in range(12)] == rest_of(again)
    assert again.used == 0
    again.close()


def test_a_segment_that_should_be_gone(tmp_path: Path) -> None:
    """A process that is killed before it can remove a segment that was taken leaves it to the next one."""
    spool = take(tmp_path, LIMIT)
    spool.append(line(0, SEGMENT))
    spool.append(line(1))
    left = segments(tmp_path)[0]
    kept = left.read_bytes()
    assert [line(0, SEGMENT), line(1)] == rest_of(spool)
    kill(spool)
    left.write_bytes(kept)
    again = take(tmp_path, LIMIT)
    assert again.pending == 0
    assert not left.exists()
    again.close()


def test_a_full_disk_leaves_no_part_of_a_line(tmp_path: Path) -> None:
    """Lines that could not be written are not in the spool, not even after a restart; they can be added again."""
    spool = take(tmp_path, LIMIT)
    spool.append(line(0, 1000))
    with files_end_at(1500), pytest.raises(OSError, match="File too large"):
        spool.append(line(1, 1000))
    assert [path.stat().st_size for path in segments(tmp_path)] == [1000]
    assert spool.pending == 1
    assert spool.append(line(1, 1000))
    kill(spool)
    again = take(tmp_path, LIMIT)
    assert [line(0, 1000), line(1, 1000)] == rest_of(again)
    again.close()


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    """If somebody removes the folder, adding fails with the system's reason, and works again when it is back."""
    spool = take(tmp_path, LIMIT)
    shutil.rmtree(tmp_path / "0")
    with pytest.raises(FileNotFoundError):
        spool.append(line(0))
    (tmp_path / "0").mkdir()
    assert spool.append(line(0))
    assert [line(0)] == rest_of(spool)
    spool.close()


def test_what_was_added_is_brought_to_the_disk(tmp_path: Path) -> None:
    """`sync` works with nothing, with a new segment, and again; the lines are there whatever follows."""
    spool = take(tmp_path, LIMIT)
    spool.sync()
    spool.append(line(0))
    spool.sync()
    spool.append(line(1))
    spool.sync()
    kill(spool)
    assert numbers(0, 2) == segments(tmp_path)[0].read_bytes().splitlines(keepends=True)


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    """Audit events are for the owner's eyes."""
    spool = take(tmp_path / "spool", LIMIT)
    spool.append(line(0))
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "spool").rglob("*")}
    assert modes == {0o700, 0o600}
    spool.close()


def test_each_process_has_its_own(tmp_path: Path) -> None:
    """Whoever takes a spool gets the first that nobody uses; what was left in it comes with it."""
    first, second = take(tmp_path, LIMIT), take(tmp_path, LIMIT)
    first.append(line(0))
    second.append(line(1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]
    kill(second)
    again = take(tmp_path, LIMIT)
    assert [line(1)] == rest_of(again)
    first.close()
    again.close()


def test_what_nobody_uses_is_found(tmp_path: Path) -> None:
    """Spools of processes that are gone can be taken over, those that are in use or empty are not."""
    used, gone, empty = (take(tmp_path, LIMIT) for _ in range(3))
    for spool in (used, gone, empty):
        spool.append(line(spool._descriptor))
    rest_of(empty)
    number = gone._descriptor
    kill(gone)
    kill(empty)
    found = list(orphans(tmp_path, LIMIT))
    assert [[line(number)]] == [rest_of(spool) for spool in found]
    assert list(orphans(tmp_path, LIMIT)) == []
    for spool in (used, *found):
        spool.close()


def test_too_many(tmp_path: Path) -> None:
    """There is an end to looking for a folder that is free."""
    spools = [take(tmp_path, LIMIT), take(tmp_path, LIMIT)]
    with pytest.raises(FileError, match=r"^holds 2 spools that are in use$"):
        take(tmp_path, LIMIT, 2)
    for spool in spools:
        spool.close()


def test_a_folder_that_can_be_used(tmp_path: Path) -> None:
    """A folder is made if it is not there, and looking at it leaves nothing in it."""
    assert refuse_folder(tmp_path / "a" / "b") is None
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    """What cannot hold a spool is refused with the system's reason."""
    (tmp_path / "file").write_text("")
    assert refuse_folder(tmp_path / "file") == "cannot be written: File exists"
    assert refuse_folder(tmp_path / "file" / "x") == "cannot be written: Not a directory"
    assert refuse_folder(Path("/proc/1")) is not None
