"""A reload that is asked for while there is no worker to obey: the next one makes it good."""

import asyncio
import socket
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fakes.http import eventually_async
from tailsts.server.shown.readiness import Readiness
from tailsts.server.shown.snapshot import Snapshot, Totals
from tailsts.server.workers.control import COMMANDS, Channel, Command, Reload, Seen
from tailsts.server.workers.crew import Pace, Worker

QUICK = Pace(first_pause=0.01, longest_pause=0.01)


class Place:
    """A place in a crew: its processes only wait, each is started when the test lets it, and the test speaks for it."""

    def __init__(self) -> None:
        self.worker = Worker(1, self._start, QUICK, lambda _number, _packed: None)
        self.begun = 0
        self._let = asyncio.Event()
        self._process: Process | None = None
        self._channel: Channel | None = None

    async def _start(self, _number: int) -> tuple[Process, Channel]:
        self.begun += 1
        await self._let.wait()
        self._let.clear()
        self._process = await asyncio.create_subprocess_exec("sleep", "60")
        ours, theirs = socket.socketpair()
        self._channel = await Channel.over(theirs)
        return self._process, await Channel.over(ours)

    async def is_being_started(self, number: int) -> None:
        """Wait until the process of that number is being started."""
        await eventually_async(lambda: self.begun == number)

    async def is_up(self) -> None:
        """Let the process be started, and wait until it is."""
        self._let.set()
        await eventually_async(lambda: self._channel is not None and self.worker._channel is not None)

    async def hears(self) -> Command | None:
        """Return what the process is told next."""
        assert self._channel is not None
        async with asyncio.timeout(10):
            return await self._channel.receive(COMMANDS)

    async def serves(self) -> None:
        """Let the process say that it serves."""
        assert self._channel is not None
        self._channel.send(Seen(0, Snapshot(Totals(), Readiness("ready", False, 1, "aa", (), ()), {}, True)))
        await eventually_async(lambda: self.worker.snapshot is not None)

    async def says_its_last_word(self) -> None:
        """Let the process hang up, though it runs still."""
        assert self._channel is not None
        await self._channel.close()
        self._channel = None
        await eventually_async(lambda: self.worker._channel is None)

    def ends(self) -> None:
        """End the process."""
        assert self._process is not None
        self._process.kill()


@asynccontextmanager
async def place() -> AsyncIterator[Place]:
    """Keep a worker going; end it in the end, when it is up."""
    made = Place()
    keeping = asyncio.create_task(made.worker.keep())
    await made.is_being_started(1)
    yield made
    made.worker.drain()
    await made.says_its_last_word()
    made.ends()
    await asyncio.wait_for(keeping, 10)


async def test_while_it_is_being_started() -> None:
    """It is told when it is up, once: as the operator's wish, if one of them was. The next one is not told again."""
    async with place() as found:
        for asked in (False, True, False):
            found.worker.reload(asked=asked)
        await found.is_up()
        found.worker.reload(asked=False)
        assert [await found.hears(), await found.hears()] == [Reload(asked=True), Reload(asked=False)]
        await found.serves()
        await found.says_its_last_word()
        found.ends()
        await found.is_being_started(2)
        await found.is_up()
        found.worker.reload()
        assert await found.hears() == Reload(asked=True)


async def test_one_that_never_serves() -> None:
    """A process that ends before it serves has made nothing good: the one in its place is told, too."""
    async with place() as found:
        found.worker.reload()
        await found.is_up()
        found.worker.reload(asked=False)
        assert [await found.hears(), await found.hears()] == [Reload(asked=True), Reload(asked=False)]
        await found.says_its_last_word()
        found.ends()
        await found.is_being_started(2)
        await found.is_up()
        assert await found.hears() == Reload(asked=True)


async def test_while_it_ends() -> None:
    """A process that has said its last word and has not ended yet hears nothing: the one in its place is told."""
    async with place() as found:
        await found.is_up()
        await found.serves()
        await found.says_its_last_word()
        found.worker.reload(asked=False)
        found.ends()
        await found.is_being_started(2)
        await found.is_up()
        assert await found.hears() == Reload(asked=False)
