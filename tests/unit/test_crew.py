"""How workers are looked after: real processes that do what a test tells them, over real sockets."""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import pytest
import structlog

from fakes.http import eventually_async
from fakes.pages import read
from fakes.service import environment
from tailsts.server.shown.snapshot import Snapshot, Workers
from tailsts.server.workers.control import Channel
from tailsts.server.workers.crew import MAX_SAID, Crew, Pace

# Serves, and counts each look as one decision. What it is told to do wrong is in `manner`.
WORKER = """
import asyncio, os, signal, socket, sys, time
from tailsts.server.workers.control import Channel, InForce, Seen, give_up, obey
from tailsts.server.shown.readiness import Readiness
from tailsts.server.shown.snapshot import Snapshot, Totals
number, manner = int(sys.argv[1]), sys.argv[3]
count, reloads = 0, {("ok",): 0, ("unasked",): 0}
def look():
    global count
    count += 1
    if manner == "stuck" and count == 3:
        time.sleep(1000)
    totals = Totals({"decisions": {("granted", "granted"): count}, "reloads": reloads})
    return Snapshot(totals, Readiness("ready", False, 1, "aa", (), ()), {}, True)
def reload(asked):
    reloads[("ok" if asked else "unasked",)] += 1
async def main():
    if manner == "ends":
        sys.exit(2)
    if manner.startswith("gives up"):
        give_up(socket.socket(fileno=int(sys.argv[2])), [f"{manner} {each}" for each in range(int(manner[9:]))])
        sys.exit(2)
    channel, stop = await Channel.over(socket.socket(fileno=int(sys.argv[2]))), asyncio.Event()
    if manner == "stubborn":
        channel.send(Seen(0, look()))
        await asyncio.sleep(1000)
    obeying = asyncio.create_task(obey(channel, look, reload, stop))
    if manner.startswith("in force"):
        channel.send(InForce(manner[9:].encode() or None))
    await stop.wait()
    channel.send(Seen(0, look()))
    await channel.close()
    if manner == "lingers":
        time.sleep(1000)
asyncio.run(main())
"""
QUICK = Pace(look_each=0.02, answer_within=0.2, silent_looks=2, steady_after=30, first_pause=0.01, longest_pause=0.05)
Starter = Callable[[int], Awaitable[tuple[Process, Channel]]]


class Manners:
    """Starts workers that behave as the list says, one after the other; the last one for all that follow."""

    def __init__(self, *manners: str) -> None:
        self.manners = list(manners)
        self.pids: list[int] = []

    async def start(self, number: int) -> tuple[Process, Channel]:
        """Start one."""
        manner = self.manners.pop(0) if len(self.manners) > 1 else self.manners[0]
        if manner == "cannot start":
            raise OSError(11, "Resource temporarily unavailable")
        ours, theirs = socket.socketpair()
        with theirs:
            arguments = [sys.executable, "-c", WORKER, str(number), str(theirs.fileno()), manner]
            process = await asyncio.create_subprocess_exec(
                *arguments, pass_fds=(theirs.fileno(),), env=environment(), stderr=asyncio.subprocess.DEVNULL
            )
        self.pids.append(process.pid)
        return process, await Channel.over(ours)


@asynccontextmanager
async def crew_of(
    count: int,
    manners: Manners,
    pace: Pace = QUICK,
    *,
    policies: bytes | None = None,
    tell_each_other: bool = False,
) -> AsyncIterator[Crew]:
    """Run a crew; end it in the end."""
    crew = Crew(count, manners.start, pace, policies=policies, tell_each_other=tell_each_other)
    crew.begin()
    try:
        yield crew
    finally:
        await crew.drain(10)


def decisions(snapshot: Snapshot) -> int:
    """Return how many decisions are shown."""
    return sum(snapshot.totals.counters.get("decisions", {}).values())


async def until(crew: Crew, expected: Callable[[Snapshot], bool]) -> Snapshot:
    """Look until what is seen is as expected."""
    async with asyncio.timeout(20):
        while not expected(snapshot := await crew.look()):  # noqa: ASYNC110 - each look is a new one
            await asyncio.sleep(0.01)
    return snapshot


def counts(up: int, restarts: int, snapshot: Snapshot) -> bool:
    """Return whether of two workers so many are up, and so many were started again."""
    return snapshot.workers == Workers(2, up, restarts)


async def test_all_serve() -> None:
    """All workers are started and asked; a look is of the moment."""
    async with crew_of(2, Manners("good"), Pace()) as crew:
        assert (await crew.look()).readiness.status == "not ready"
        await asyncio.wait_for(crew.all_serve(), 20)
        first = await crew.look()
        assert (first.workers, first.readiness.status) == (Workers(2, 2, 0), "ready")
        assert decisions(await crew.look()) >= decisions(first) + 2


async def test_reload_reaches_all() -> None:
    """Each worker is told to reload."""
    async with crew_of(3, Manners("good")) as crew:
        await asyncio.wait_for(crew.all_serve(), 20)
        crew.reload()
        await until(crew, lambda seen: seen.totals.counters["reloads"] == {("ok",): 3, ("unasked",): 0})


async def test_what_is_in_force_is_kept() -> None:
    """What a worker says to be in force is what those to come begin with; what is too large is not kept, and said."""
    async with crew_of(1, Manners("in force new"), policies=b"old") as crew:
        assert crew.policies == b"old"
        await eventually_async(lambda: crew.policies == b"new")
    with structlog.testing.capture_logs() as lines:
        async with crew_of(1, Manners("in force "), policies=b"old") as crew:
            await eventually_async(lambda: crew.policies is None)
    assert [line["log_level"] for line in lines if "too many to be kept" in line["event"]] == ["warning"]


async def test_they_tell_each_other() -> None:
    """When one has other policies the others look for them, once, if they would else look at times of their own."""
    manners = Manners("in force new", "in force new", "good")
    async with crew_of(3, manners, policies=b"old", tell_each_other=True) as crew:
        await asyncio.wait_for(crew.all_serve(), 20)
        await until(crew, lambda seen: seen.totals.counters["reloads"] == {("ok",): 0, ("unasked",): 2})
    async with crew_of(2, Manners("in force new", "good"), policies=b"old") as crew:
        await asyncio.wait_for(crew.all_serve(), 20)
        await eventually_async(lambda: crew.policies == b"new")
        assert (await crew.look()).totals.counters["reloads"] == {("ok",): 0, ("unasked",): 0}


async def test_what_is_in_force_already_is_told_to_nobody() -> None:
    """A worker that says what it was handed is not news."""
    async with crew_of(2, Manners("in force old"), policies=b"old", tell_each_other=True) as crew:
        await asyncio.wait_for(crew.all_serve(), 20)
        seen = await until(crew, lambda seen: decisions(seen) > 10)
        assert seen.totals.counters["reloads"] == {("ok",): 0, ("unasked",): 0}


async def test_one_that_is_killed_is_replaced() -> None:
    """A worker that is killed is replaced, and what it had counted still counts."""
    manners = Manners("good")
    async with crew_of(2, manners) as crew:
        await until(crew, partial(counts, 2, 0))
        before = await crew.look()
        os.kill(manners.pids[0], signal.SIGKILL)
        after = await until(crew, partial(counts, 2, 1))
        assert decisions(after) > decisions(before)


async def test_one_that_is_stuck_is_killed() -> None:
    """A worker that answers nothing any more is killed and replaced; meanwhile what it last said is shown."""
    async with crew_of(2, Manners("stuck", "good")) as crew:
        snapshot = await until(crew, partial(counts, 2, 1))
        assert snapshot.readiness.status == "ready"


def test_one_that_is_silent_is_given_half_a_minute() -> None:
    """As a service is started, a silent worker is killed after the half minute that the page promises."""
    pace = Pace()
    assert (pace.look_each + pace.answer_within) * pace.silent_looks == 30
    (row,) = [line for line in read("docs/operations.md").splitlines() if "| A worker hangs |" in line]
    assert "It is killed after half a minute, and replaced." in row


async def test_one_that_ends_at_once_is_tried_again() -> None:
    """A worker that cannot start is started again and again; the others serve."""
    async with crew_of(2, Manners("good", "ends", "cannot start", "ends", "good")) as crew:
        await until(crew, partial(counts, 2, 3))


async def test_one_that_cannot_start_says_why() -> None:
    """Each fault is a line of the parent's, once as long as they are the same, and is shown until one serves."""
    said = ("gives up 2 0", "gives up 2 1")
    with structlog.testing.capture_logs() as lines:
        async with crew_of(1, Manners("gives up 2", "gives up 2", "gives up 1", "good")) as crew:
            await until(crew, lambda seen: seen.readiness.reload_faults == said)
            await until(crew, lambda seen: seen.workers == Workers(1, 1, 3))
            assert (await crew.look()).readiness.reload_faults == ()
    told = [(line["worker"], line["fault"]) for line in lines if line["event"] == "a worker cannot start"]
    assert told == [(1, fault) for fault in (*said, "gives up 1 0")]


async def test_a_log_is_for_what_one_can_read() -> None:
    """Of very many faults the log has some, and how many more there are; all are shown."""
    with structlog.testing.capture_logs() as lines:
        async with crew_of(1, Manners(f"gives up {MAX_SAID + 50}")) as crew:
            await until(crew, lambda seen: len(seen.readiness.reload_faults) == MAX_SAID + 50)
    assert sum(line["event"] == "a worker cannot start" for line in lines) == MAX_SAID
    assert [line["more"] for line in lines if "more" in line] == [50]


async def test_one_that_does_not_answer_is_silent() -> None:
    """A worker that is stopped is silent from the next look on, with what it last said, and well when it goes on."""
    manners = Manners("good")
    async with crew_of(2, manners, msgspec.structs.replace(QUICK, silent_looks=10**6)) as crew:
        await asyncio.wait_for(crew.all_serve(), 20)
        os.kill(manners.pids[0], signal.SIGSTOP)
        seen = await until(crew, lambda seen: seen.readiness.status == "degraded")
        assert sorted(part.status for part in seen.readiness.workers) == ["ready", "silent"]
        assert {part.generation for part in seen.readiness.workers} == {"aa"}
        os.kill(manners.pids[0], signal.SIGCONT)
        await until(crew, lambda seen: seen.readiness.status == "ready")


@pytest.mark.parametrize(("quick_ends", "seconds"), [(0, 0.1), (1, 0.2), (5, 3.2), (7, 10.0), (10**9, 10.0)])
def test_pauses_grow(quick_ends: int, seconds: float) -> None:
    """The more often in a row, the longer the pause before the next start, up to ten seconds."""
    assert Pace().pause(quick_ends) == seconds


async def test_draining() -> None:
    """All are told to end and do; nobody is started any more, and what they had counted is shown."""
    manners = Manners("good")
    crew = Crew(2, manners.start, QUICK)
    crew.begin()
    await asyncio.wait_for(crew.all_serve(), 20)
    before = await crew.look()
    assert await crew.drain(20)
    after = await crew.look()
    assert decisions(after) > decisions(before)
    assert (after.readiness.draining, after.workers) == (True, Workers(2, 0, 0))
    assert len(manners.pids) == 2


async def test_draining_before_they_serve() -> None:
    """Who is told to end while it is being started ends when it has started."""
    crew = Crew(2, Manners("good").start, QUICK)
    crew.begin()
    assert await crew.drain(20)
    assert (await crew.look()).workers.up == 0


async def test_draining_while_one_cannot_start() -> None:
    """Nobody waits for a worker that is not there."""
    crew = Crew(1, Manners("ends").start, msgspec.structs.replace(QUICK, first_pause=60, longest_pause=60))
    crew.begin()
    await eventually_async(lambda: crew._workers[0]._process is not None)
    await asyncio.sleep(0.3)
    assert await crew.drain(20)


async def test_one_that_lingers_is_killed() -> None:
    """A worker that has said its last word and does not end is killed."""
    crew = Crew(1, Manners("lingers").start, msgspec.structs.replace(QUICK, end_within=0.1))
    crew.begin()
    await asyncio.wait_for(crew.all_serve(), 20)
    assert await crew.drain(20)


async def test_one_that_does_not_end_is_killed() -> None:
    """A worker that does not end in time is killed."""
    manners = Manners("stubborn")
    crew = Crew(1, manners.start, Pace())
    crew.begin()
    await asyncio.wait_for(crew.all_serve(), 20)
    assert not await crew.drain(0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(manners.pids[0], 0)
