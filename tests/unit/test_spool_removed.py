"""Somebody removes files of the spool, or cuts them short: what waited in them is counted, and all else goes on."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.collector import FakeCollector
from fakes.http import eventually_async
from tailsts.audit import Event, json_line
from tailsts.server.webhook.backlog import Backlog
from tailsts.server.webhook.cloudevents import Receiver
from tailsts.server.webhook.ground import segment_name
from tailsts.server.webhook.spool import Spool
from tailsts.server.webhook.spools import take
from tailsts.server.webhook.webhook import Webhook

LIMIT = 8 * 1024 * 1024
LINE = b'{"n":%d}\n'


def lines(first: int, behind: int) -> bytes:
    """Return lines with these numbers."""
    return b"".join(LINE % number for number in range(first, behind))


def numbered(first: int, behind: int) -> tuple[bytes, ...]:
    """Return the same, each by itself."""
    return tuple(LINE % number for number in range(first, behind))


def event(number: int) -> bytes:
    """Return the line of an event."""
    return json_line(Event("2026-01-02T03:04:05.678Z", f"{number:020x}", "g", "peer", "agent"))


def rest_of(spool: Spool) -> tuple[bytes, ...]:
    """Take all that is in the spool."""
    found: tuple[bytes, ...] = ()
    while batch := spool.peek(100, LIMIT):
        found += batch.lines
        spool.acknowledge(batch)
    return found


def rest_of_all(backlog: Backlog) -> tuple[bytes, ...]:
    """Take all that the backlog has, one line at a time."""
    found: tuple[bytes, ...] = ()
    while taken := backlog.peek(1):
        # Nothing is nothing to be sent.
        assert taken.lines
        found += taken.lines
        backlog.settle(taken, done=True)
    return found


@pytest.fixture
def said() -> list[str | None]:
    """Return what was said of the disk."""
    return []


@pytest.fixture
def backlog(tmp_path: Path, said: list[str | None]) -> Iterator[Backlog]:
    """Return a backlog with three lines that were stored."""
    backlog = Backlog(tmp_path, LIMIT, said.append)
    backlog.add(lines(0, 3), 3)
    backlog.store()
    yield backlog
    backlog.leave()


def test_the_segment_that_is_written(tmp_path: Path) -> None:
    """If it is removed, what waited in it is lost and counted; the next lines are in a segment that is there."""
    spool = take(tmp_path, LIMIT)
    spool.append(lines(0, 5))
    batch = spool.peek(2, LIMIT)
    assert batch is not None
    spool.acknowledge(batch)
    (tmp_path / "0" / segment_name(1)).unlink()
    spool.append(lines(5, 8))
    assert (spool.removed, spool.pending, spool.used) == (3, 3, len(lines(5, 8)))
    assert rest_of(spool) == numbered(5, 8)
    assert spool.pending == 0


def test_a_segment_of_an_earlier_run(tmp_path: Path) -> None:
    """The same for one that was there before the start, and is removed before it is read."""
    for start in (0, 3):
        earlier = take(tmp_path, LIMIT)
        earlier.append(lines(start, start + 3))
        earlier.close()
    spool = take(tmp_path, LIMIT)
    (tmp_path / "0" / segment_name(1)).unlink()
    assert rest_of(spool) == numbered(3, 6)
    assert (spool.removed, spool.pending, spool.used) == (3, 0, 0)


def test_lines_under_way(tmp_path: Path) -> None:
    """Lines that are being sent when their file is removed can be acknowledged; none after them is passed over."""
    spool = take(tmp_path, LIMIT)
    spool.append(lines(0, 3))
    batch = spool.peek(2, LIMIT)
    assert batch is not None
    (tmp_path / "0" / segment_name(1)).unlink()
    spool.append(lines(3, 5))
    spool.acknowledge(batch)
    assert rest_of(spool) == numbered(3, 5)
    assert spool.pending == 0


@pytest.mark.parametrize("arrives", [None, False, True])
def test_the_folder(tmp_path: Path, backlog: Backlog, said: list[str | None], *, arrives: bool | None) -> None:
    """If it is removed, what waited in it is lost and counted, and another one is made for what comes.

    What is being sent is lost, and counted, only if it does not arrive.
    """
    taken = None if arrives is None else backlog.peek(1)
    shutil.rmtree(tmp_path / "0")
    backlog.sync()
    assert (backlog.lost["removed"], backlog.pending) == (3 if taken is None else 2, 0)
    backlog.add(lines(3, 5), 2)
    backlog.store()
    if taken is not None:
        backlog.settle(taken, done=bool(arrives))
    assert backlog.lost["removed"] == (2 if arrives else 3)
    following = backlog.peek(9)
    assert following is not None
    assert following.lines == numbered(3, 5)
    assert (tmp_path / "0" / segment_name(1)).read_bytes() == lines(3, 5)
    assert said == []


@pytest.mark.parametrize("arrives", [False, True])
@pytest.mark.parametrize("has_looked_for_another", [False, True])
def test_events_under_way(tmp_path: Path, backlog: Backlog, *, arrives: bool, has_looked_for_another: bool) -> None:
    """Of a segment that goes while some of its events are being sent, these are lost only if they do not arrive."""
    taken = backlog.peek(1)
    assert taken is not None
    if has_looked_for_another:
        assert backlog.witness(3) is None
    (tmp_path / "0" / segment_name(1)).unlink()
    backlog.add(lines(3, 5), 2)
    backlog.store()
    assert (backlog.lost["removed"], backlog.pending) == (2, 2)
    backlog.settle(taken, done=arrives)
    assert rest_of_all(backlog) == numbered(3, 5)
    assert (backlog.lost["removed"], backlog.pending) == (2 if arrives else 3, 0)


def test_events_that_did_not_arrive(tmp_path: Path, backlog: Backlog) -> None:
    """Events that did not arrive and are removed before they are sent again are counted once."""
    taken = backlog.peek(2)
    assert taken is not None
    (tmp_path / "0" / segment_name(1)).unlink()
    backlog.settle(taken, done=False)
    assert rest_of_all(backlog) == ()
    assert (backlog.lost["removed"], backlog.pending) == (3, 0)


# A line is 8 bytes.
@pytest.mark.parametrize(("size", "arrive"), [(0, 0), (8, 1), (16, 2), (24, 3)])
@pytest.mark.parametrize("taken_before", [0, 1])
def test_a_segment_that_is_cut_short(
    tmp_path: Path, backlog: Backlog, taken_before: int, size: int, arrive: int
) -> None:
    """What is left of it is sent, what is not is lost and counted, once; and it holds up nothing that comes after."""
    for _ in range(taken_before):
        taken = backlog.peek(1)
        assert taken is not None
        backlog.settle(taken, done=True)
    os.truncate(tmp_path / "0" / segment_name(1), size)
    assert rest_of_all(backlog) == numbered(taken_before, arrive)
    assert backlog.lost["removed"] == 3 - max(taken_before, arrive)
    backlog.add(lines(3, 5), 2)
    backlog.store()
    assert rest_of_all(backlog) == numbered(3, 5)
    assert (backlog.pending, backlog.lost["removed"]) == (0, 3 - max(taken_before, arrive))


@pytest.mark.parametrize(("size", "arrive"), [(0, 1), (8, 1), (16, 2)])
def test_the_segment_that_is_written_and_cut_short(tmp_path: Path, backlog: Backlog, size: int, arrive: int) -> None:
    """What is added to one that was cut short is none of what was lost, though it would stand where that stood."""
    taken = backlog.peek(1)
    assert taken is not None
    os.truncate(tmp_path / "0" / segment_name(1), size)
    backlog.add(lines(3, 8), 5)
    backlog.store()
    backlog.settle(taken, done=True)
    assert rest_of_all(backlog) == numbered(1, arrive) + numbered(3, 8)
    assert (backlog.pending, backlog.lost["removed"]) == (0, 3 - arrive)


def test_a_line_that_is_cut_short(tmp_path: Path, backlog: Backlog) -> None:
    """Half a line that is left is handed out by itself: whoever reads it finds out that it is torn."""
    os.truncate(tmp_path / "0" / segment_name(1), len(LINE % 0) + 3)
    assert rest_of_all(backlog) == (LINE % 0, (LINE % 1)[:3])
    assert (backlog.pending, backlog.lost["removed"]) == (0, 1)


def test_the_folder_of_all_is_private(tmp_path: Path) -> None:
    """With the folder of all spools removed, another one is made that is as private as the first was."""
    parent = tmp_path / "spool"
    backlog = Backlog(parent, LIMIT, lambda _fault: None)
    shutil.rmtree(parent)
    backlog.sync()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (parent, parent / "0")] == [0o700, 0o700]
    shutil.rmtree(parent)
    parent.mkdir(mode=0o700)
    parent.chmod(0o777)
    backlog.sync()
    assert backlog.fault == "can be changed by everybody on this machine; chmod o-w it"
    backlog.leave()


def test_the_folder_that_is_another_one_now(tmp_path: Path, backlog: Backlog) -> None:
    """A folder that was moved away, with another one in its place: what is moved is not touched any more."""
    (tmp_path / "0").rename(tmp_path / "moved")
    (tmp_path / "0").mkdir()
    backlog.add(lines(3, 5), 2)
    backlog.store()
    assert (tmp_path / "moved" / segment_name(1)).read_bytes() == lines(0, 3)
    assert (tmp_path / "0" / segment_name(1)).read_bytes() == lines(3, 5)


def test_what_another_process_left(tmp_path: Path, backlog: Backlog) -> None:
    """What another process left and cannot be read holds up nothing; what was removed of it is counted."""
    others = [take(tmp_path, LIMIT) for _ in range(2)]
    for other in others:
        other.append(lines(10, 12))
        other.abandon()
    assert backlog.adopt() == 4
    unreadable, removed = (tmp_path / str(number) / segment_name(1) for number in (1, 2))
    unreadable.unlink()
    unreadable.mkdir()
    removed.unlink()
    taken = backlog.peek(9)
    assert taken is not None
    assert taken.lines == numbered(0, 3)
    assert backlog.lost["removed"] == 2


@pytest.mark.parametrize("name", ["0", f"0/{segment_name(1)}"])
async def test_the_receiver_gets_what_comes(tmp_path: Path, name: str) -> None:
    """Whatever of the spool is removed while nothing waits, each event that comes after it arrives."""
    with FakeCollector() as collector:
        webhook = Webhook(Receiver(collector.url), tmp_path, LIMIT)
        try:
            webhook.add(event(0))
            await eventually_async(lambda: webhook.delivered == 1)
            path = tmp_path / name
            path.unlink(missing_ok=True) if path.suffix else shutil.rmtree(path)
            for number in range(1, 11):
                webhook.add(event(number))
            await eventually_async(lambda: webhook.delivered == 11)
            assert {reason: count for reason, count in webhook.lost.items() if count} == {}
        finally:
            await webhook.close(5)
        assert [event["id"] for event in collector.events] == [f"{number:020x}" for number in range(11)]
