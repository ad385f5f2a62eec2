"""The composition root: builds everything once, owns start, reload and drain, and alone reads the clock."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Coroutine, Iterable, Iterator
from pathlib import Path

import msgspec
import structlog

from tailsts import __version__
from tailsts.errors import ConfigurationError
from tailsts.exchange import Clock, Exchange, Neighbours
from tailsts.in_force import put_together
from tailsts.oidc.freshness import Rules
from tailsts.oidc.keyring import KeyRing
from tailsts.opa import Opa
from tailsts.outbound import last_words
from tailsts.policy.finding import Finding, Severity
from tailsts.policy.model import Generation
from tailsts.policy.store import Loaded, Options
from tailsts.server import logs, process, readiness
from tailsts.server.endpoints import AdminRoutes, PublicRoutes
from tailsts.server.exposition import Exposition
from tailsts.server.journal import Journal, appending_to
from tailsts.server.keylog import KeyLog
from tailsts.server.listener import Listener, bind
from tailsts.server.metrics import Metrics
from tailsts.server.recording import Recorder
from tailsts.server.reloading import Reloading
from tailsts.server.rsgi import Application
from tailsts.server.settings import Settings, faults
from tailsts.server.sources import Commits, Folder, Source
from tailsts.server.tailnets import Tailnets

if sys.platform != "win32":
    from uvloop import run as run_loop
else:
    from asyncio import run as run_loop

# How long what is in flight may take after SIGTERM: within the 30 s that Kubernetes waits.
DRAIN_SECONDS = 25.0
FLUSH_SECONDS = 3.0

CLOCK = Clock(now=time.time, monotonic=time.monotonic)


class Prepared(msgspec.Struct, frozen=True):
    """What must be there before anything is started: policies, ports, the audit log."""

    settings: Settings
    source: Source
    generation: Generation
    warnings: tuple[Finding, ...]
    public: socket.socket
    admin: socket.socket | None


def serve(settings: Settings, lines: Iterable[str] = ()) -> None:
    """Run the service until it is told to stop. `lines` are faults that were found before.

    Raises:
        ConfigurationError: it cannot start; with every fault, and nothing is left running.
    """
    prepared = prepare(settings, lines)
    process.let_threads_finish()
    run_loop(_serve(prepared))


async def _serve(prepared: Prepared) -> None:
    await Service(prepared).run()
    await last_words()


def prepare(settings: Settings, lines: Iterable[str] = ()) -> Prepared:
    """Check the settings, load the policies and take the ports. `lines` are faults that were found before.

    Raises:
        ConfigurationError: with every fault in any of these.
    """
    told = list(faults(settings))
    lines = [*lines, *told]
    source = _source(settings)
    # A repository is not asked before it is known to be one that may be.
    loaded = source.first() if settings.git is None or not told else Loaded(None, ())
    lines.extend(str(found) for found in loaded.findings if found.severity is Severity.FAULT)
    lines.extend(_audit_log_faults(settings))
    public, admin = _ports(settings, lines)
    if lines or loaded.generation is None or public is None:
        for taken in (public, admin):
            if taken is not None:
                taken.close()
        raise ConfigurationError(lines)
    return Prepared(settings, source, loaded.generation, tuple(loaded.findings), public, admin)


def _source(settings: Settings) -> Source:
    options = Options(
        settings.audiences, settings.strict, frozenset(settings.tailnets) or None, settings.trusted_issuers
    )
    git = settings.git
    if git is None:
        return Folder(Path(settings.policies_dir), options, CLOCK.now)
    # Its libraries take several megabytes, which most do without.
    from tailsts.policy.places.repository import Remote, Repository  # noqa: PLC0415 - as was just said

    remote = Remote(git.url, git.ref, git.path, git.token_file, git.cache_dir, settings.extra_roots)
    return Commits(Repository(remote, report=_say_cache_trouble), f"{git.url} {git.ref} {git.path}".rstrip(), options)


def _say_cache_trouble(trouble: str) -> None:
    structlog.get_logger().warning("the last good policies cannot be kept", trouble=trouble)


def _ports(settings: Settings, lines: list[str]) -> tuple[socket.socket | None, socket.socket | None]:
    taken: list[socket.socket | None] = []
    for host, port in ((settings.host, settings.port), (settings.admin_host, settings.admin_port)):
        try:
            taken.append(None if port is None else bind(host, port))
        except ConfigurationError as error:
            lines.extend(error.faults)
            taken.append(None)
    return taken[0], taken[1]


def _audit_log_faults(settings: Settings) -> Iterator[str]:
    if settings.audit_log is not None:
        try:
            os.close(appending_to(settings.audit_log)())
        except OSError as error:
            yield f"--audit-log {settings.audit_log} cannot be opened: {error.strerror}"


class Service:
    """The running service. Made within its event loop."""

    def __init__(self, prepared: Prepared) -> None:
        settings = prepared.settings
        self._settings = settings
        self._draining = False
        self._stop = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self._log_journal = logs.stderr_journal()
        logs.configure(json=settings.json_logging, level=settings.log_level, write=self._log_journal.add)
        self._log = structlog.get_logger()
        self._audit_journal = self._own_audit_journal()
        self._metrics = Metrics()
        self._keys = KeyRing(
            extra_roots=settings.extra_roots,
            rules=Rules(),
            monotonic=CLOCK.monotonic,
            report=KeyLog(self._metrics).report,
        )
        self._recorder = Recorder(settings, self._metrics, self._log_journal, self._audit_journal)
        self._tailnets = Tailnets(settings, CLOCK.monotonic)
        self._exchange = Exchange(
            put_together(prepared.generation, self._keys, settings.trusted_issuers),
            Neighbours(self._tailnets.endpoints, Opa(extra_roots=settings.extra_roots, monotonic=CLOCK.monotonic)),
            self._recorder.auditor(),
            CLOCK,
        )
        self._reloading = Reloading(prepared.source, self._generation, self._put_in_force, self._metrics)
        self._reloading.begin(prepared.warnings)
        self._listeners = self._listen(prepared)

    async def run(self) -> None:
        """Serve until a signal says to stop; then finish what is in flight."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._begin_reload)
        for name, listener in self._listeners.items():
            listener.start()
            self._log.info("listening", at=name, host=listener.host, port=listener.port)
        for following in self._tailnets.follow():
            self._begin(following)
        if self._settings.watch or self._settings.git is not None:
            seconds = float(self._settings.git.interval) if self._settings.git is not None else 0.0
            self._begin(self._reloading.follow(self._stop, seconds=seconds))
        process.spare_the_collector()
        generation = self._generation()
        self._log.info("ready", version=__version__, policies=len(generation.policies), generation=generation.digest)
        await self._stop.wait()
        await self._drain()

    def _listen(self, prepared: Prepared) -> dict[str, Listener]:
        listeners = {"public": Listener(Application(PublicRoutes(self._exchange).respond), prepared.public)}
        if prepared.admin is not None:
            exposition = Exposition(
                self._metrics,
                self._keys,
                self._generation,
                self._audit_journal or self._log_journal,
                self._keys.families,
            )
            routes = AdminRoutes(self._readiness, exposition)
            listeners["admin"] = Listener(Application(routes.respond), prepared.admin)
        return listeners

    def _own_audit_journal(self) -> Journal | None:
        if self._settings.audit_log is None:
            return None
        loop = asyncio.get_running_loop()

        def tell(fault: str | None) -> None:
            # Told in the journal's thread; said in ours.
            loop.call_soon_threadsafe(self._say_audit_fault, fault)

        return Journal(appending_to(self._settings.audit_log), tell)

    def _put_in_force(self, generation: Generation) -> None:
        self._exchange.in_force = put_together(generation, self._keys, self._settings.trusted_issuers)

    def _generation(self) -> Generation:
        return self._exchange.in_force.generation

    def _readiness(self) -> readiness.Readiness:
        return readiness.assess(
            self._generation(), self._keys, reload_faults=self._reloading.faults, draining=self._draining
        )

    def _begin_reload(self) -> None:
        if self._audit_journal is not None:
            self._audit_journal.reopen()
        self._begin(self._reloading.reload())

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _drain(self) -> None:
        self._draining = True
        self._log.info("stopping", seconds=DRAIN_SECONDS)
        finished = await asyncio.gather(*(listener.drain(DRAIN_SECONDS) for listener in self._listeners.values()))
        self._keys.stop()
        if not all(finished):
            self._log.warning("some exchanges were not finished in time")
            await _cancel_others()
        self._recorder.flush()
        for task in self._background:
            task.cancel()
        if self._audit_journal is not None and not self._audit_journal.close(FLUSH_SECONDS):
            self._log.error("the end of the audit log could not be written")
        self._log.info("stopped")
        self._log_journal.close(FLUSH_SECONDS)

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
