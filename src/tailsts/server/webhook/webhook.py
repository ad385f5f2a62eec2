"""Audit events on their way to a receiver (CloudEvents over HTTP), by way of a spool on disk.

A thread with an event loop of its own writes them into the spool and sends them, one batch at a time and in order.
Whoever adds events waits for nothing, and no exchange depends on what becomes of them. An event is removed from the
spool when the receiver has answered 2xx, so it arrives at least once; what cannot be kept is lost, and counted.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path

import structlog

from tailsts.server.webhook.backlog import Backlog
from tailsts.server.webhook.cloudevents import Receiver, Trouble
from tailsts.server.webhook.delivery import MAX_EVENTS, Delivery, Verdict
from tailsts.tailscale.secret_file import Kept, News, Renewed, SecretFile, follow

# How long an event may wait for others that go with it.
GATHER_SECONDS = 0.25
# How long the operating system may keep what was written to itself; how often a disk that failed is tried again.
SYNC_SECONDS = 1.0
# A process that ended may leave a spool to those that go on.
ADOPT_SECONDS = 60.0
SAY_AGAIN_SECONDS = 60.0


class Webhook:
    """Sends what is added to `receiver`. Made within the event loop of the service, and added to in it.

    Raises:
        OSError: the spool cannot be used.
        FileError: there are too many of them, or another user could have put something there.
    """

    def __init__(self, receiver: Receiver, folder: Path, limit: int, extra_roots: tuple[bytes, ...] = ()) -> None:
        self._receiver = receiver
        self._log = structlog.get_logger()
        self._main = asyncio.get_running_loop()
        self._said_lost = (0, 0.0)
        self._is_strange_said = False
        self._drain_seconds = 0.0
        self._added, self._stored, self._stopping = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._backlog = Backlog(folder, limit, self._say_disk)
        self._delivery = Delivery(receiver, extra_roots, self._say_receiver)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="webhook", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """How many events were not taken yet."""
        return self._backlog.pending

    @property
    def used(self) -> float:
        """How much of the spool is used, from 0 to 1."""
        return self._backlog.used

    @property
    def delivered(self) -> int:
        """How many events were taken."""
        return self._delivery.delivered

    @property
    def failed(self) -> int:
        """How many requests were not answered 2xx."""
        return self._delivery.failed

    @property
    def lost(self) -> Mapping[str, int]:
        """How many events are lost, by reason; each reason from the start."""
        return self._backlog.lost

    @property
    def fault(self) -> str | None:
        """What is wrong now with the receiver."""
        return self._delivery.fault

    def is_crowded(self) -> bool:
        """Return whether so much is waiting that what anybody can cause should stay out."""
        return self._backlog.is_crowded()

    def leave_out(self, count: int) -> None:
        """Count events that were not added because it is crowded."""
        self._backlog.lost["crowded"] += count

    def add(self, lines: bytes, count: int = 1) -> None:
        """Add `count` events, each a line of JSON that ends in a line feed."""
        if not count:
            return
        self._backlog.add(lines, count)
        # It has ended: what comes now is in the audit log alone.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._added.set)

    async def close(self, seconds: float) -> bool:
        """Send what is left, for at most `seconds`; return whether all was taken. The rest stays in the spool."""
        self._loop.call_soon_threadsafe(self._stop, seconds)
        # The disk may hang.
        await asyncio.to_thread(self._thread.join, seconds + 1.0)
        return not self._thread.is_alive() and self.pending == 0

    def _stop(self, seconds: float) -> None:
        self._drain_seconds = seconds
        self._stopping.set()
        self._backlog.store()
        self._stored.set()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._work())

    async def _work(self) -> None:
        delivering = asyncio.create_task(self._deliver())
        others = [asyncio.create_task(work) for work in self._chores()]
        await self._stopping.wait()
        await asyncio.wait({delivering}, timeout=self._drain_seconds)
        for task in (delivering, *others):
            task.cancel()
        await asyncio.gather(delivering, *others, return_exceptions=True)
        self._backlog.leave()
        self._say_lost()

    def _chores(self) -> list[Coroutine[None, None, None]]:
        chores = [self._keep(), self._sync(), self._adopt()]
        if self._receiver.token_file is not None and self._receiver.token is not None:
            file = SecretFile(self._receiver.token_file, self._receiver.token)
            chores.append(follow(file, self._delivery.adopt, self._say_token, doubted=self._delivery.doubted))
        return chores

    async def _keep(self) -> None:
        while True:
            await self._added.wait()
            self._added.clear()
            self._store()

    async def _sync(self) -> None:
        while True:
            await asyncio.sleep(SYNC_SECONDS)
            self._store()
            self._backlog.sync()
            self._say_lost()

    def _store(self) -> None:
        self._backlog.store()
        self._stored.set()

    async def _adopt(self) -> None:
        while True:
            try:
                self._say_strange()
                if count := self._backlog.adopt():
                    self._say("info", "audit events that another process left are sent", pending=count)
            except OSError as error:
                self._say("warning", f"the audit spool cannot be looked through: {error.strerror}")
            self._stored.set()
            await asyncio.sleep(ADOPT_SECONDS)

    async def _deliver(self) -> None:
        while True:
            try:
                verdict = await self._step()
            except Exception as error:  # noqa: BLE001 - whatever it is, the events are there to be tried again
                verdict = self._delivery.postpone(Trouble(f"cannot be served: {type(error).__name__}"))
            if self._stopping.is_set() and (verdict.seconds or not self.pending):
                return
            await self._pause(verdict.seconds)
            if self._stopping.is_set() and verdict.asked:
                return

    async def _step(self) -> Verdict:
        """Send one batch, or wait for one."""
        self._stored.clear()
        taken = self._backlog.peek(self._delivery.most)
        if taken is None:
            if self._stopping.is_set():
                return Verdict(done=False, seconds=GATHER_SECONDS)
            await self._stored.wait()
            await self._pause(GATHER_SECONDS)
            return Verdict(done=False)
        done = False
        try:
            verdict = await self._delivery.offer(taken.lines, self._witness)
            done = verdict.done
        finally:
            self._backlog.settle(taken, done=done)
        self._backlog.lost["torn"] += verdict.torn
        self._backlog.lost["refused"] += verdict.refused
        return verdict

    def _witness(self) -> bytes | None:
        return self._backlog.witness(MAX_EVENTS)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    # What is said of it in the log, which belongs to the other thread

    def _say_receiver(self, fault: str | None) -> None:
        if fault is None:
            self._say("info", "the audit webhook takes events again", pending=self.pending)
        else:
            self._say("error", f"the audit webhook {fault}", pending=self.pending)

    def _say_disk(self, fault: str | None) -> None:
        self._say("error" if fault else "info", f"the audit spool {fault or 'can be written again'}")

    def _say_token(self, news: News) -> None:
        match news:
            case Renewed():
                self._say("info", "the audit webhook's token was renewed")
            case Kept(reason=reason):
                self._say("error", f"the file of the audit webhook's token {reason}: the old one is kept")
            case _:
                self._say("info", "the file of the audit webhook's token can be read again")

    def _say_strange(self) -> None:
        """Say once that something is in the spool that is none of ours."""
        if not self._is_strange_said and (strange := self._backlog.strange()):
            self._is_strange_said = True
            # Whoever put it there has chosen its name.
            name = ascii(f"{strange.parent.name}/{strange.name}")
            self._say("warning", "the audit spool holds what is none of the service's: it is left alone", name=name)

    def _say_lost(self) -> None:
        """Say that events are lost, at once and then once a minute."""
        lost, now = sum(self.lost.values()), self._loop.time()
        before, at = self._said_lost
        if lost > before and (not before or now - at > SAY_AGAIN_SECONDS):
            self._said_lost = lost, now
            why = {reason: count for reason, count in self.lost.items() if count}
            self._say("error", "audit events do not reach the webhook: they are lost", lost=lost, why=why)

    def _say(self, level: str, text: str, **fields: object) -> None:
        say: Callable[..., object] = getattr(self._log, level)
        # Its loop may have ended.
        with contextlib.suppress(RuntimeError):
            self._main.call_soon_threadsafe(partial(say, text, **fields))
