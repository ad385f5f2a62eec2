"""The audit webhook against a receiver on a socket, with spools on a real disk."""

import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from fakes.collector import FakeCollector
from fakes.http import HANG, eventually_async, http
from fakes.leaks import note_secret
from fakes.pages import read
from fakes.service import unused_port
from tailsts.audit import Event, json_line
from tailsts.credentials import Secret
from tailsts.server.webhook.backlog import MAX_MEMORY_BYTES
from tailsts.server.webhook.cloudevents import Receiver
from tailsts.server.webhook.webhook import Webhook
from tailsts.tailscale.secret_file import Kept, Restored

LIMIT = 1024 * 1024
OLD, NEW = "webhook-token-0123456789", "webhook-token-9876543210"
note_secret(OLD)
note_secret(NEW)


def event(number: int, detail: str = "") -> bytes:
    """Return the line of an event."""
    return json_line(Event("2026-01-02T03:04:05.678Z", f"{number:020x}", "g", "peer", "agent", detail=detail))


def events(first: int, behind: int) -> bytes:
    """Return the lines of these events."""
    return b"".join(event(number) for number in range(first, behind))


def ids(first: int, behind: int) -> list[str]:
    """Return their ids."""
    return [f"{number:020x}" for number in range(first, behind)]


def segments(folder: Path) -> list[Path]:
    """Return the files of all spools that hold events."""
    return sorted(folder.glob("*/*.jsonl"))


@pytest.fixture
def collector() -> Iterator[FakeCollector]:
    """Return a receiver that takes everything."""
    with FakeCollector() as running:
        yield running


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[EventDict]]:
    """Return what is logged."""
    with capture_logs() as lines:
        yield lines


@asynccontextmanager
async def sending(url: str, folder: Path, limit: int = LIMIT, seconds: float = 5.0) -> AsyncIterator[Webhook]:
    """Run a webhook, and end it in so many seconds."""
    webhook = Webhook(Receiver(url), folder, limit)
    try:
        yield webhook
    finally:
        await webhook.close(seconds)


def put_out_of_order(folder: Path) -> None:
    """Put a file where the spools' folder was: nothing can be kept there."""
    shutil.rmtree(folder)
    folder.write_bytes(b"")


async def test_events_arrive(collector: FakeCollector, tmp_path: Path) -> None:
    """What is added arrives, in order and in batches, and nothing of it stays on the disk."""
    async with sending(collector.url, tmp_path) as webhook:
        for start in range(0, 2000, 100):
            webhook.add(events(start, start + 100), 100)
        await eventually_async(lambda: webhook.delivered == 2000)
        assert webhook.pending == 0
    assert ids(0, 2000) == [event["id"] for event in collector.events]
    assert max(collector.sizes) <= 500
    assert len(collector.sizes) < 20
    assert segments(tmp_path) == []
    assert set(webhook.lost.values()) == {0}
    assert webhook.failed == 0


async def test_what_is_left_at_the_end_is_sent(collector: FakeCollector, tmp_path: Path) -> None:
    """When the service stops, what was just added is sent yet."""
    webhook = Webhook(Receiver(collector.url), tmp_path, LIMIT)
    webhook.add(events(0, 1200), 1200)
    assert await webhook.close(10)
    assert ids(0, 1200) == collector.decisions()


async def test_a_receiver_that_is_down(tmp_path: Path, logs: list[EventDict]) -> None:
    """Events wait for a receiver that cannot be reached, and arrive in order when it can; both is said, once."""
    port = unused_port()
    async with sending(f"http://127.0.0.1:{port}/events", tmp_path) as webhook:
        webhook.add(events(0, 10), 10)
        await eventually_async(lambda: webhook.failed > 0)
        webhook.add(events(10, 20), 10)
        await eventually_async(lambda: webhook.pending == 20)
        with FakeCollector(port) as collector:
            await eventually_async(lambda: webhook.pending == 0)
            assert ids(0, 20) == collector.decisions()
        assert webhook.fault is None
    assert [line["log_level"] for line in logs] == ["error", "info"]
    assert str(logs[0]["event"]).startswith("the audit webhook cannot be reached: ")
    assert logs[1]["event"] == "the audit webhook takes events again"


async def test_what_was_not_sent_survives(collector: FakeCollector, tmp_path: Path) -> None:
    """A receiver that hangs holds up the end for the time that it was given; the next process sends what is left."""
    collector.trouble = HANG
    webhook = Webhook(Receiver(collector.url), tmp_path, LIMIT)
    webhook.add(events(0, 5), 5)
    await eventually_async(lambda: len(collector.requests) == 1)
    webhook.add(events(5, 7), 2)
    assert not await webhook.close(0.2)
    collector.trouble = None
    async with sending(collector.url, tmp_path) as again:
        assert again.pending == 7
        await eventually_async(lambda: again.pending == 0)
    assert ids(0, 7) == collector.decisions()


async def test_a_receiver_that_asks_for_time(collector: FakeCollector, tmp_path: Path) -> None:
    """A receiver that asks to be left alone is, also at the end, which does not wait: the spool keeps the events."""
    collector.trouble = http(503, b"", Retry_After="300")
    webhook = Webhook(Receiver(collector.url), tmp_path, LIMIT)
    webhook.add(event(0))
    await eventually_async(lambda: webhook.failed == 1)
    webhook.add(event(1))
    assert not await webhook.close(60)
    assert webhook.pending == 2
    assert len(collector.requests) == 1


async def test_a_last_attempt(collector: FakeCollector, tmp_path: Path) -> None:
    """A receiver that has failed gets one more chance at the end, and no second one."""
    collector.trouble = http(500, b"")
    webhook = Webhook(Receiver(collector.url), tmp_path, LIMIT)
    webhook.add(event(0))
    await eventually_async(lambda: webhook.failed == 1)
    assert not await webhook.close(60)
    assert webhook.failed == 2


async def test_the_spools_of_others(collector: FakeCollector, tmp_path: Path, logs: list[EventDict]) -> None:
    """What processes that are gone have left is sent first; what they tore is counted, and nobody else is held up."""
    first = Webhook(Receiver(f"http://127.0.0.1:{unused_port()}"), tmp_path, LIMIT)
    second = Webhook(Receiver(f"http://127.0.0.1:{unused_port()}"), tmp_path, LIMIT)
    first.add(events(0, 3), 3)
    second.add(events(3, 6), 3)
    for each in (first, second):
        await each.close(0)
    with segments(tmp_path)[1].open("ab") as file:
        file.write(event(6)[:9])
    async with sending(collector.url, tmp_path) as webhook:
        webhook.add(event(7))
        await eventually_async(lambda: webhook.delivered == 7)
        assert webhook.lost["torn"] == 1
        assert webhook.pending == 0
    assert sorted(ids(0, 6) + ids(7, 8)) == sorted(collector.decisions())
    assert "audit events that another process left are sent" in {line["event"] for line in logs}


async def test_a_full_spool(tmp_path: Path, logs: list[EventDict]) -> None:
    """With the spool half full it says so; when it is full, the newest are lost, counted, and spoken of."""
    async with sending(f"http://127.0.0.1:{unused_port()}/", tmp_path, seconds=0) as webhook:
        assert not webhook.is_crowded()
        size = len(event(0))
        half = LIMIT // 2 // size + 1
        webhook.add(events(0, half), half)
        await eventually_async(lambda: webhook.used > 0.5)
        assert webhook.is_crowded()
        webhook.add(events(0, half), half)
        await eventually_async(lambda: webhook.lost["spool"] == half)
        assert webhook.pending == half
        webhook.leave_out(3)
        assert webhook.lost["crowded"] == 3
        await eventually_async(lambda: any("they are lost" in str(line["event"]) for line in logs))


async def test_a_disk_that_fails(collector: FakeCollector, tmp_path: Path, logs: list[EventDict]) -> None:
    """While the spool cannot be written, events go from memory to the receiver; then everything is as before."""
    folder = tmp_path / "spool"
    async with sending(collector.url, folder) as webhook:
        put_out_of_order(folder)
        webhook.add(events(0, 1200), 1200)
        await eventually_async(lambda: webhook.delivered == 1200)
        folder.unlink()
        webhook.add(events(1200, 1203), 3)
        await eventually_async(lambda: webhook.delivered == 1203)
    assert ids(0, 1203) == [event["id"] for event in collector.events]
    said = [line["event"] for line in logs if "be written" in str(line["event"])]
    assert said == [
        "the audit spool cannot be written: Not a directory",
        "the audit spool can be written again",
    ]


async def test_a_disk_and_a_receiver_that_fail(tmp_path: Path) -> None:
    """With neither disk nor receiver, memory is bounded, and what is in it at the end is counted as lost."""
    folder = tmp_path / "spool"
    async with sending(f"http://127.0.0.1:{unused_port()}/", folder, 8 * MAX_MEMORY_BYTES, 0) as webhook:
        put_out_of_order(folder)
        large = event(0, "x" * (MAX_MEMORY_BYTES // 2))
        for _ in range(3):
            webhook.add(large)
        assert webhook.is_crowded()
        assert webhook.lost["memory"] == 1
    assert webhook.lost["stopped"] == 2


def test_memory_is_as_large_as_is_promised() -> None:
    """The memory that stands in for a disk that fails holds as much as the page says."""
    (promised,) = re.findall(r"Events go from memory \((\d+) MiB\) to the webhook", read("docs/operations.md"))
    assert MAX_MEMORY_BYTES == int(promised) * 2**20 == 8 * 2**20


async def test_an_event_that_is_refused(collector: FakeCollector, tmp_path: Path) -> None:
    """One event of many that the receiver never takes is given up and counted as that; all others arrive, in order."""
    (refused,) = ids(7, 8)
    collector.refuses = lambda event: 422 if event["id"] == refused else None
    async with sending(collector.url, tmp_path) as webhook:
        webhook.add(events(0, 20), 20)
        await eventually_async(lambda: webhook.pending == 0 and webhook.delivered == 19, 30)
        assert {reason: count for reason, count in webhook.lost.items() if count} == {"refused": 1}
    assert ids(0, 7) + ids(8, 20) == [event["id"] for event in collector.events]
    assert segments(tmp_path) == []


async def test_after_the_end(collector: FakeCollector, tmp_path: Path) -> None:
    """Who adds something after the end is not hindered."""
    webhook = Webhook(Receiver(collector.url), tmp_path, LIMIT)
    assert await webhook.close(1)
    webhook.add(event(0))
    assert collector.requests == []


async def test_the_token(collector: FakeCollector, tmp_path: Path, logs: list[EventDict]) -> None:
    """The token comes from a file; one that is not accepted any more is read anew, and nothing shows either."""
    file = tmp_path / "token"
    file.write_text(OLD)
    collector.token = OLD
    receiver = Receiver(collector.url, token=Secret(OLD), token_file=file)
    webhook = Webhook(receiver, tmp_path / "spool", LIMIT)
    webhook.add(event(0))
    await eventually_async(lambda: webhook.delivered == 1)
    collector.token = NEW
    webhook.add(event(1))
    await eventually_async(lambda: webhook.failed == 1)
    assert webhook.fault == "answers 401"
    new = tmp_path / "new"
    new.write_text(NEW)
    new.rename(file)
    await eventually_async(lambda: webhook.delivered == 2, 20)
    assert await webhook.close(5)
    assert "the audit webhook's token was renewed" in {line["event"] for line in logs}
    assert not any(token in f"{logs!r}{receiver!r}" for token in (OLD, NEW))


async def test_news_of_the_token(collector: FakeCollector, tmp_path: Path, logs: list[EventDict]) -> None:
    """A token that cannot be read any more is kept, and said to be."""
    async with sending(collector.url, tmp_path) as webhook:
        webhook._say_token(Kept("is empty"))
        webhook._say_token(Restored())
        await eventually_async(lambda: len(logs) == 2)
    assert [(line["log_level"], line["event"]) for line in logs] == [
        ("error", "the file of the audit webhook's token is empty: the old one is kept"),
        ("info", "the file of the audit webhook's token can be read again"),
    ]


async def test_adding_waits_for_nothing(collector: FakeCollector, tmp_path: Path) -> None:
    """Adding is a matter of memory: it is done before the thread has done anything, and all of it arrives."""
    webhook = Webhook(Receiver(collector.url), tmp_path, LIMIT)
    for number in range(1000):
        webhook.add(event(number))
    assert await webhook.close(10)
    assert ids(0, 1000) == [event["id"] for event in collector.events]


async def test_a_bug_stops_nothing(collector: FakeCollector, tmp_path: Path) -> None:
    """Whatever goes wrong with a batch, the events stay, and are tried again."""
    segment = tmp_path / "0" / "0000000000000001.jsonl"
    async with sending(collector.url, tmp_path) as webhook:
        collector.trouble = http(503, b"")
        webhook.add(event(0))
        await eventually_async(lambda: webhook.failed == 1)
        collector.trouble = None
        segment.rename(tmp_path / "kept")
        segment.mkdir()
        await eventually_async(lambda: webhook.fault == "cannot be served: IsADirectoryError" or webhook.failed > 1)
        segment.rmdir()
        (tmp_path / "kept").rename(segment)
        await eventually_async(lambda: webhook.delivered == 1, 20)
