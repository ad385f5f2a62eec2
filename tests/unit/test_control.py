"""What the parent and a worker say to each other, over real sockets."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import msgspec
import pytest

from fakes.http import eventually_async
from tailsts.server.shown.readiness import Readiness
from tailsts.server.shown.snapshot import Snapshot, Totals
from tailsts.server.workers import handover
from tailsts.server.workers.control import (
    COMMANDS,
    REPORTS,
    CannotStart,
    Channel,
    Drain,
    Look,
    Reload,
    Seen,
    give_up,
    obey,
)
from tailsts.server.workers.handover import Handed

SNAPSHOT = Snapshot(Totals(), Readiness("ready", False, 2, "aa", (), ()), {}, audit_writable=True)


class Ends:
    """The parent's end of a channel, and what is at the worker's."""

    def __init__(self, parent: Channel, raw: socket.socket, worker: Channel) -> None:
        self.parent = parent
        self.raw = raw
        self.worker = worker
        self.stop = asyncio.Event()
        self.reloads: list[bool] = []
        self.obeying = asyncio.create_task(obey(worker, lambda: SNAPSHOT, self._reload, self.stop))

    def _reload(self, asked: bool) -> None:
        self.reloads.append(asked)


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    """Return a worker that obeys, and its parent."""
    ours, theirs = socket.socketpair()
    made = Ends(await Channel.over(ours), theirs, await Channel.over(theirs))
    yield made
    made.obeying.cancel()
    await made.parent.close()
    await made.worker.close()


async def test_a_worker_says_when_it_serves(ends: Ends) -> None:
    """A worker shows itself without being asked, once, when it serves."""
    assert await ends.parent.receive(REPORTS) == Seen(0, SNAPSHOT)
    ends.parent.send(Look(7))
    assert await ends.parent.receive(REPORTS) == Seen(7, SNAPSHOT)


async def test_a_worker_obeys(ends: Ends) -> None:
    """It reloads, and drains, when it is told to."""
    ends.parent.send(Reload())
    ends.parent.send(Reload(asked=False))
    await eventually_async(lambda: ends.reloads == [True, False])
    assert not ends.stop.is_set()
    ends.parent.send(Drain())
    await asyncio.wait_for(ends.stop.wait(), 10)
    # While it drains, it still answers.
    assert await ends.parent.receive(REPORTS) == Seen(0, SNAPSHOT)
    ends.parent.send(Look(1))
    assert await ends.parent.receive(REPORTS) == Seen(1, SNAPSHOT)


async def test_a_worker_without_a_parent_stops(ends: Ends) -> None:
    """When the parent is gone, the worker stops: nobody would tell it to."""
    await ends.parent.close()
    await asyncio.wait_for(ends.stop.wait(), 10)
    await asyncio.wait_for(ends.obeying, 10)


@pytest.mark.parametrize(
    "nonsense",
    [b"\x00\x00\x00\x02xx", b"\xff\xff\xff\xff", b"\x00\x00", b"\x00\x00\x00\x08half"],
    ids=["no message", "too long", "half a length", "half a message"],
)
async def test_nonsense_is_the_end(nonsense: bytes) -> None:
    """What is no message ends the channel, and so does half of one."""
    ours, theirs = socket.socketpair()
    channel = await Channel.over(ours)
    theirs.sendall(nonsense)
    theirs.close()
    async with asyncio.timeout(10):
        assert await channel.receive(COMMANDS) is None
    await channel.close()


async def test_the_last_message_arrives() -> None:
    """Closing waits until everything is on its way, however much it is."""
    ours, theirs = socket.socketpair()
    parent, worker = await Channel.over(ours), await Channel.over(theirs)
    large = msgspec.structs.replace(SNAPSHOT, failing_fast={f"tailnet {number}": True for number in range(100_000)})
    worker.send(Seen(0, large))
    closing = asyncio.create_task(worker.close())
    assert await parent.receive(REPORTS) == Seen(0, large)
    assert await parent.receive(REPORTS) is None
    await closing
    await parent.close()


async def test_a_worker_that_cannot_start_says_why() -> None:
    """Its only message are its faults, before it has a loop; then its end is closed."""
    ours, theirs = socket.socketpair()
    parent = await Channel.over(ours)
    await asyncio.to_thread(give_up, theirs, ["a.toml:1: a fault", "another"])
    assert await parent.receive(REPORTS) == CannotStart(("a.toml:1: a fault", "another"))
    assert await parent.receive(REPORTS) is None
    await parent.close()


def test_a_worker_that_cannot_start_without_a_parent() -> None:
    """Nobody is there to be told: it just ends."""
    ours, theirs = socket.socketpair()
    ours.close()
    give_up(theirs, ["a fault"])


def test_handing_over() -> None:
    """A worker finds what was handed to it once; its own children inherit nothing, and find nothing."""
    ours, theirs = socket.socketpair()
    listening = socket.create_server(("127.0.0.1", 0))
    turns = os.memfd_create("turns")
    policies = handover.in_memory(b"policies")
    handed = Handed(2, os.dup(listening.fileno()), os.dup(theirs.fileno()), turns, policies)
    for descriptor in handed.descriptors():
        os.set_inheritable(descriptor, True)
    environment = {"PATH": "/bin", **handed.as_variable()}
    assert handover.receive(environment) == handed
    assert environment == {"PATH": "/bin"}
    assert handover.receive(environment) is None
    assert not any(map(os.get_inheritable, handed.descriptors()))
    assert handed.packed_policies() == b"policies"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(policies)
    with handed.public_socket() as public, handed.control_socket() as control:
        assert public.getsockname() == listening.getsockname()
        control.sendall(b"x")
        assert ours.recv(1) == b"x"
    for opened in (ours, theirs, listening):
        opened.close()
    os.close(turns)
