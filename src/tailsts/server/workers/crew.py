"""The workers of a parent process: started, asked, told, and started again when they end."""

import asyncio
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from tailsts.server.shown.snapshot import Snapshot, Totals, add_up, merge
from tailsts.server.workers.control import REPORTS, CannotStart, Channel, Drain, InForce, Look, Reload, Seen

# A log is for what one can read; the admin port shows all.
MAX_SAID = 100


class Pace(msgspec.Struct, frozen=True):
    """How a crew is looked after. Seconds, or numbers of looks."""

    # What a worker had counted since the last look is lost if it is killed.
    look_each: float = 1.0
    answer_within: float = 1.0
    # One that answers nothing so many times in a row is stuck, and callers wait for it: half a minute.
    silent_looks: int = 15
    # One that has said its last word has nothing left to do.
    end_within: float = 10.0
    # One that ends soon after its start would end again at once.
    steady_after: float = 30.0
    first_pause: float = 0.1
    longest_pause: float = 10.0

    def pause(self, quick_ends: int) -> float:
        """Return how long to wait before a worker is started that ended soon after its start so often in a row."""
        return float(min(self.first_pause * 2 ** min(quick_ends, 30), self.longest_pause))


Starting = Callable[[int], Awaitable[tuple[Process, Channel]]]
Keeping = Callable[[int, bytes | None], None]


class Worker:
    """One place in the crew: a process, and another one when it has ended. `start` starts it, told its number.

    `keep` is told the number, and what policies are in force in the process.

    `snapshot` is what was last seen of the process, None while it does not serve; `gone` are the totals of those before
    it. `faults` are why the last one could not start, until one serves; `is_silent` says that it did not answer when it
    was last asked.
    """

    def __init__(self, number: int, start: Starting, pace: Pace, keep: Keeping) -> None:
        self.number = number
        self.snapshot: Snapshot | None = None
        self.gone = Totals()
        self.faults: tuple[str, ...] = ()
        self.is_silent = False
        self.restarts = 0
        self.serves = asyncio.Event()
        self._start = start
        self._keep = keep
        self._pace = pace
        self._log = structlog.get_logger().bind(worker=number)
        self._process: Process | None = None
        self._channel: Channel | None = None
        self._looks = 0
        self._asked: dict[int, asyncio.Future[bool]] = {}
        self._stop = asyncio.Event()
        # Whether a reload was asked for, and by the operator, that the next process which serves has to make good.
        self._owed: bool | None = None

    async def keep(self) -> None:
        """Keep a process going until it is told to end."""
        quick_ends, loop = 0, asyncio.get_running_loop()
        while not self._stop.is_set():
            began = loop.time()
            ended = await self._live()
            if self._stop.is_set():
                return
            quick_ends = quick_ends + 1 if loop.time() - began < self._pace.steady_after else 0
            pause = self._pace.pause(quick_ends)
            self._log.error("a worker ended: another one is started", how=ended, seconds=pause)
            if not await _is_set_within(self._stop, pause):
                self.restarts += 1

    async def look(self) -> bool:
        """Ask the process what is to be seen, and wait for it; return whether it answered."""
        if self.snapshot is None or self._channel is None:
            return False
        self._looks += 1
        number = self._looks
        answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._asked[number] = answered
        self._channel.send(Look(number))
        try:
            async with asyncio.timeout(self._pace.answer_within):
                return await answered
        except TimeoutError:
            self.is_silent = True
            return False
        finally:
            self._asked.pop(number, None)

    def reload(self, *, asked: bool = True) -> None:
        """Tell the process to read the policies anew, and whether the operator asked for it."""
        if self.snapshot is None or self._channel is None:
            # It may have been handed what was in force before, or end before it serves.
            self._owed = asked or bool(self._owed)
        if self._channel is not None:
            self._channel.send(Reload(asked))

    def drain(self) -> None:
        """Tell the process to finish what is in flight, and to end."""
        self._stop.set()
        if self._channel is not None:
            self._channel.send(Drain())

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _live(self) -> str:
        """Start a process, and follow it to its end; return how it ended."""
        try:
            self._process, self._channel = await self._start(self.number)
        except OSError as error:
            return f"cannot be started: {error.strerror}"
        if self._owed is not None:
            self.reload(asked=self._owed)
        if self._stop.is_set():
            # Told while it was being started.
            self.drain()
        watching = asyncio.create_task(self._watch())
        channel = self._channel
        await self._hear(channel)
        # A reload that is asked for from now on is for the next one.
        self._channel = None
        watching.cancel()
        code = await self._end_of(self._process)
        await channel.close()
        self._bury()
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    async def _end_of(self, process: Process) -> int:
        try:
            async with asyncio.timeout(self._pace.end_within):
                return await process.wait()
        except TimeoutError:
            self.kill()
            return await process.wait()

    async def _hear(self, channel: Channel) -> None:
        while (report := await channel.receive(REPORTS)) is not None:
            match report:
                case Seen():
                    self._see(report)
                case InForce(packed=packed):
                    self._keep(self.number, packed)
                case CannotStart(faults=faults):
                    self._say(faults)

    def _see(self, seen: Seen) -> None:
        if self.snapshot is None:
            self._log.info("a worker serves", pid=self._process.pid if self._process else None)
            self._owed = None
        self.snapshot, self.faults, self.is_silent = seen.snapshot, (), False
        self.serves.set()
        if (answered := self._asked.get(seen.number)) is not None and not answered.done():
            answered.set_result(True)

    def _say(self, faults: tuple[str, ...]) -> None:
        """Say why a worker cannot start: once, as long as it is the same."""
        if faults == self.faults:
            return
        self.faults = faults
        for fault in faults[:MAX_SAID]:
            self._log.error("a worker cannot start", fault=fault)
        if len(faults) > MAX_SAID:
            self._log.error("more keeps a worker from starting: /readyz shows all of it", more=len(faults) - MAX_SAID)

    def _bury(self) -> None:
        if self.snapshot is not None:
            self.gone = add_up([self.gone, self.snapshot.totals])
        self.snapshot, self._channel, self.is_silent = None, None, False
        for answered in self._asked.values():
            if not answered.done():
                answered.set_result(False)

    async def _watch(self) -> None:
        """Ask the process again and again, and kill it when it is stuck. Looks are counted: a clock may jump."""
        silent = 0
        while silent < self._pace.silent_looks:
            await asyncio.sleep(self._pace.look_each)
            if self.snapshot is not None:
                silent = 0 if await self.look() else silent + 1
        self._log.error("a worker does not answer: it is killed")
        self.kill()


class Crew:
    """All workers. `policies` are those that are in force, packed; each worker that is started begins with them.

    Workers that look for other policies at times of their own are told when one of them has found some:
    `tell_each_other`.
    """

    def __init__(
        self, count: int, start: Starting, pace: Pace, *, policies: bytes | None = None, tell_each_other: bool = False
    ) -> None:
        self.policies = policies
        self._tell_each_other = tell_each_other
        self._workers = [Worker(number, start, pace, self._keep) for number in range(1, count + 1)]
        self._keeping: list[asyncio.Task[None]] = []
        self._draining = False

    def begin(self) -> None:
        """Start them all."""
        self._keeping = [asyncio.create_task(worker.keep()) for worker in self._workers]

    async def all_serve(self) -> None:
        """Wait until each has served."""
        for worker in self._workers:
            await worker.serves.wait()

    async def look(self) -> Snapshot:
        """Return what is to be seen of all of them. Of one that does not answer now, that is what it last said."""
        await asyncio.gather(*(worker.look() for worker in self._workers))
        return merge(
            [worker.snapshot for worker in self._workers],
            gone=[worker.gone for worker in self._workers],
            restarts=sum(worker.restarts for worker in self._workers),
            draining=self._draining,
            silent={worker.number for worker in self._workers if worker.is_silent},
            start_faults=[fault for worker in self._workers for fault in worker.faults],
        )

    def reload(self) -> None:
        """Tell each to read the policies anew."""
        for worker in self._workers:
            worker.reload()

    def _keep(self, number: int, policies: bytes | None) -> None:
        """Keep for workers to come what came into force in this one, and let the others look for it."""
        if policies == self.policies:
            return
        self.policies = policies
        if policies is None:
            structlog.get_logger().warning("the policies are too many to be kept: a worker to come reads its own")
        for worker in self._workers:
            if self._tell_each_other and worker.number != number:
                worker.reload(asked=False)

    async def drain(self, seconds: float) -> bool:
        """Let them finish what is in flight, for at most `seconds`; return whether all ended by themselves."""
        self._draining = True
        for worker in self._workers:
            worker.drain()
        _, late = await asyncio.wait(self._keeping, timeout=seconds)
        for worker in self._workers:
            worker.kill()
        await asyncio.wait(self._keeping)
        return not late


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
