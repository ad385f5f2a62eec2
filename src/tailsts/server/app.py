"""The composition root: builds everything once, owns start, reload and drain, and alone reads the clock."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from pathlib import Path

import structlog

from tailsts import __version__
from tailsts.errors import ConfigurationError
from tailsts.exchange import Clock, Exchange, Neighbours
from tailsts.in_force import put_together
from tailsts.oidc.freshness import Rules
from tailsts.oidc.keyring import KeyRing
from tailsts.opa import Opa
from tailsts.policy.model import Generation
from tailsts.server import logs, process
from tailsts.server.admission import Doorkeeper
from tailsts.server.endpoints import PublicRoutes
from tailsts.server.journal import Journal, appending_to
from tailsts.server.keylog import KeyLog
from tailsts.server.listener import DRAIN_SECONDS, FLUSH_SECONDS, Listener
from tailsts.server.preparing import Prepared, prepare
from tailsts.server.recording import Recorder
from tailsts.server.reloading import Reloading
from tailsts.server.rsgi import Application
from tailsts.server.settings import Settings
from tailsts.server.shown.admin import AdminRoutes
from tailsts.server.shown.looking import Sight, Standing
from tailsts.server.shown.metrics import Metrics
from tailsts.server.shown.snapshot import Load, Snapshot
from tailsts.server.tailnets import Tailnets
from tailsts.server.traces.tracer import Tracer
from tailsts.server.watched_state import watched
from tailsts.server.webhook.webhook import Webhook
from tailsts.server.workers import handover
from tailsts.server.workers.control import Channel, Seen, give_up, obey
from tailsts.server.workers.keeping import pack, tell
from tailsts.server.workers.parent import Parent
from tailsts.server.workers.turns import AUDIT, LOG, Turn
from tailsts.usage import Usage

if sys.platform != "win32":
    from uvloop import run as run_loop
else:
    from asyncio import run as run_loop

CLOCK = Clock(now=time.time, monotonic=time.monotonic)


def serve(settings: Settings, lines: Iterable[str] = ()) -> None:
    """Run the service until it is told to stop. `lines` are faults that were found before.

    Raises:
        ConfigurationError: it cannot start, and nothing is left running. With every fault; a worker's has none, since
            its parent says them.
    """
    handed = handover.receive(os.environ)
    try:
        prepared = prepare(settings, lines, handed, CLOCK)
    except ConfigurationError as error:
        if handed is None:
            raise
        give_up(handed.control_socket(), error.faults)
        raise ConfigurationError([]) from None
    if handed is None and settings.workers > 1:
        parent = partial(Parent, settings, prepared.public, prepared.admin, pack(prepared.sheaf))
        # Each worker has the policies; here, ten thousand of them would only take memory. Their texts are a part of it.
        del prepared
        run_loop(_look_after_workers(parent))
    else:
        process.let_threads_finish()
        run_loop(_serve(prepared))


async def _serve(prepared: Prepared) -> None:
    await Service(prepared).run()
    # All that counts is written. Policies that a thread is still reading would never be used.
    process.end(0)


async def _look_after_workers(parent: Callable[[], Parent]) -> None:
    await parent().run()


class Service:
    """The running service. Made within its event loop."""

    def __init__(self, prepared: Prepared) -> None:
        settings = prepared.settings
        self._settings = settings
        self._watched_state = watched(prepared.state, CLOCK.now)
        self._state = self._watched_state or prepared.state
        self._stop = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self._handed = prepared.handed
        self._channel: Channel | None = None
        self._told = prepared.told
        self._log_journal = self._own_log_journal()
        self._log = structlog.get_logger()
        self._audit_journal = self._own_audit_journal()
        self._metrics = Metrics()
        self._keys = KeyRing(
            extra_roots=settings.extra_roots,
            rules=Rules(),
            monotonic=CLOCK.monotonic,
            report=KeyLog(self._metrics).report,
        )
        self._webhook = self._own_webhook()
        self._recorder = Recorder(settings, self._metrics, self._log_journal, self._audit_journal, self._webhook)
        self._tailnets = Tailnets(settings, CLOCK.monotonic)
        self._doorkeeper = Doorkeeper(settings.admission, CLOCK.monotonic)
        self._tracer = None if settings.traces is None else Tracer(settings.traces, settings.extra_roots, CLOCK)
        self._exchange = self._own_exchange(prepared.generation)
        self._reloading = Reloading(prepared.source, self._generation, self._put_in_force, self._metrics)
        self._reloading.begin(prepared.warnings, prepared.sheaf)
        self._sight = Sight(
            self._metrics,
            self._keys,
            self._keys.families,
            self._audit_journal or self._log_journal,
            self._standing,
            self._webhook,
        )
        self._listeners = self._listen(prepared)

    async def run(self) -> None:
        """Serve until a signal says to stop; then finish what is in flight."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._begin_reload)
        for name, listener in self._listeners.items():
            listener.start()
            if self._handed is None:
                self._log.info("listening", at=name, host=listener.host, port=listener.port)
        for following in self._tailnets.follow():
            self._begin(following)
        if self._watched_state is not None:
            self._begin(self._watched_state.follow())
        if self._settings.watch:
            seconds = float(self._settings.git.interval) if self._settings.git is not None else 0.0
            self._begin(self._reloading.follow(self._stop, seconds=seconds))
            if self._handed is not None:
                # It began with what is in force, whatever is there by now.
                self._begin(self._reloading.reload(asked=False))
        process.spare_the_collector()
        await self._say_that_it_is_ready()
        await self._stop.wait()
        await self._drain()
        if self._channel is not None:
            self._channel.send(Seen(0, self._seen()))
            await self._channel.close()

    async def _say_that_it_is_ready(self) -> None:
        """Say so in the log. A worker says so to its parent, and obeys it from now on."""
        if self._handed is None:
            generation = self._generation()
            policies = len(generation.policies)
            self._log.info("ready", version=__version__, policies=policies, generation=generation.digest)
            return
        self._channel = await Channel.over(self._handed.control_socket())
        self._begin(obey(self._channel, self._seen, self._begin_reload, self._stop))
        # The parent may know something newer by now than what it handed over.
        if self._told is None or self._reloading.sheaf is not self._told:
            self._begin(tell(self._channel, lambda: self._reloading.sheaf))

    def _listen(self, prepared: Prepared) -> dict[str, Listener]:
        routes = PublicRoutes(self._exchange, self._doorkeeper, traced=self._tracer is not None)
        application, is_proxy = Application(routes.respond), self._doorkeeper.is_trusted
        listeners = {"public": Listener(application, prepared.public, self._settings.workers, is_proxy=is_proxy)}
        if prepared.admin is not None:
            listeners["admin"] = Listener(Application(AdminRoutes(self._look).respond), prepared.admin, public=False)
        return listeners

    def _own_log_journal(self) -> Journal:
        journal, settings = logs.stderr_journal(self._turn(LOG)), self._settings
        worker = None if self._handed is None else self._handed.worker
        logs.configure(json=settings.json_logging, level=settings.log_level, write=journal.add, worker=worker)
        return journal

    def _own_audit_journal(self) -> Journal | None:
        if self._settings.audit_log is None:
            return None
        loop = asyncio.get_running_loop()

        def tell(fault: str | None) -> None:
            # Told in the journal's thread; said in ours.
            loop.call_soon_threadsafe(self._say_audit_fault, fault)

        return Journal(appending_to(self._settings.audit_log), tell, self._turn(AUDIT))

    def _own_webhook(self) -> Webhook | None:
        told = self._settings.audit_webhook
        if told is None:
            return None
        return Webhook(told.receiver, Path(told.spool), told.spool_bytes, self._settings.extra_roots)

    def _own_exchange(self, generation: Generation) -> Exchange:
        opa = Opa(extra_roots=self._settings.extra_roots, monotonic=CLOCK.monotonic)
        return (Exchange if self._tracer is None else self._tracer.exchange)(
            put_together(generation, self._keys, self._settings.trusted_issuers),
            Neighbours(self._tailnets.endpoints, opa, Usage(self._state)),
            self._recorder.auditor(),
            CLOCK,
        )

    def _turn(self, stream: int) -> Turn | None:
        # One process that writes alone waits for nobody.
        return None if self._handed is None else Turn(self._handed.turns, stream)

    def _put_in_force(self, generation: Generation) -> None:
        self._exchange.in_force = put_together(generation, self._keys, self._settings.trusted_issuers)
        self._begin(tell(self._channel, lambda: self._reloading.sheaf))

    def _generation(self) -> Generation:
        return self._exchange.in_force.generation

    def _standing(self) -> Standing:
        failing_fast = {name: endpoint.failing_fast for name, endpoint in self._tailnets.endpoints.items()}
        public = self._listeners["public"]
        return Standing(
            self._generation(),
            self._reloading.faults,
            self._stop.is_set(),
            {**self._doorkeeper.turned_away, "connections": public.cut_off},
            failing_fast,
            {
                "exchanges": Load(self._doorkeeper.in_flight, self._settings.admission.max_in_flight),
                "connections": Load(public.connections, public.allowed),
            },
            state_is_watched=self._watched_state is not None,
            state_fault=None if self._watched_state is None else self._watched_state.fault,
        )

    def _seen(self) -> Snapshot:
        # With all exchanges that have ended, also those that are not written yet.
        self._recorder.flush()
        return self._sight.look()

    async def _look(self) -> Snapshot:
        return self._seen()

    def _begin_reload(self, asked: bool = True) -> None:  # noqa: FBT001, FBT002 - as a signal's handler, and as obeyed
        if asked and self._audit_journal is not None:
            self._audit_journal.reopen()
        self._begin(self._reloading.reload(asked=asked))

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _drain(self) -> None:
        self._log.info("stopping", seconds=DRAIN_SECONDS)
        finished = await asyncio.gather(*(listener.drain(DRAIN_SECONDS) for listener in self._listeners.values()))
        self._keys.stop()
        if not all(finished):
            self._log.warning("some exchanges were not finished in time")
            await _cancel_others()
        self._recorder.flush()
        for task in self._background:
            task.cancel()
        # Side by side: a stop has thirty seconds, not as many for each.
        await asyncio.gather(self._close_audit(), self._close_webhook(), self._close_tracer(), self._state.close())
        self._log.info("stopped")
        self._log_journal.close(FLUSH_SECONDS)

    async def _close_audit(self) -> None:
        journal = self._audit_journal
        if journal is not None and not await asyncio.to_thread(journal.close, FLUSH_SECONDS):
            self._log.error("the end of the audit log could not be written")

    async def _close_webhook(self) -> None:
        if self._webhook is not None and not await self._webhook.close(FLUSH_SECONDS):
            self._log.warning("audit events for the webhook stay in the spool", pending=self._webhook.pending)

    async def _close_tracer(self) -> None:
        if self._tracer is not None:
            await self._tracer.close()

    def _say_audit_fault(self, fault: str | None) -> None:
        if fault is None:
            lost = 0 if self._audit_journal is None else self._audit_journal.lost
            self._log.info("the audit log can be written again", lost=lost)
        else:
            self._log.error(f"the audit log {fault}")


async def _cancel_others() -> None:
    """Break off what did not end in time; each exchange still records that it was."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.wait(others, timeout=1.0)
