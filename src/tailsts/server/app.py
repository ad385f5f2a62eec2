"""The composition root: builds everything once, owns start, reload and drain, and alone reads the clock."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import structlog

from tailsts import __version__
from tailsts.errors import ConfigurationError
from tailsts.exchange import Clock, Exchange, InForce
from tailsts.oidc.freshness import Rules
from tailsts.oidc.keyring import KeyRing
from tailsts.outbound import is_url
from tailsts.policy.finding import Finding, Severity
from tailsts.policy.model import Generation
from tailsts.policy.store import Options, load
from tailsts.server import logs, process, readiness
from tailsts.server.endpoints import AdminRoutes, PublicRoutes
from tailsts.server.exposition import Exposition
from tailsts.server.journal import Journal, appending_to
from tailsts.server.keylog import KeyLog
from tailsts.server.listener import Listener, bind
from tailsts.server.metrics import Metrics
from tailsts.server.recording import Recorder
from tailsts.server.rsgi import Application
from tailsts.server.settings import Settings, faults
from tailsts.tailscale.token_endpoint import Credential, TokenEndpoint

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


def prepare(settings: Settings, lines: Iterable[str] = ()) -> Prepared:
    """Check the settings, load the policies and take the ports. `lines` are faults that were found before.

    Raises:
        ConfigurationError: with every fault in any of these.
    """
    told = list(faults(settings))
    if not told and not is_url(settings.token_url):
        told.append(f"--ts-token-url {settings.token_url}: it is not a URL")
    lines = [*lines, *told]
    loaded = load(Path(settings.policies_dir), Options(settings.audiences, settings.strict))
    lines.extend(str(found) for found in loaded.findings if found.severity is Severity.FAULT)
    lines.extend(_audit_log_faults(settings))
    public, admin = _ports(settings, lines)
    if lines or loaded.generation is None or public is None:
        for taken in (public, admin):
            if taken is not None:
                taken.close()
        raise ConfigurationError(lines)
    return Prepared(settings, loaded.generation, tuple(loaded.findings), public, admin)


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
        self._reload_faults: tuple[str, ...] = ()
        self._stop = asyncio.Event()
        self._one_reload = asyncio.Lock()
        self._reloads: set[asyncio.Task[None]] = set()
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
        credential = Credential(settings.client_id, settings.client_secret, settings.token_url)
        self._exchange = Exchange(
            self._in_force(prepared.generation),
            TokenEndpoint(credential, extra_roots=settings.extra_roots, monotonic=CLOCK.monotonic),
            self._recorder.auditor(),
            CLOCK,
        )
        self._say_findings(prepared.warnings)
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
        process.spare_the_collector()
        generation = self._exchange.in_force.generation
        self._log.info("ready", version=__version__, policies=len(generation.policies), generation=generation.digest)
        await self._stop.wait()
        await self._drain()

    def _listen(self, prepared: Prepared) -> dict[str, Listener]:
        listeners = {"public": Listener(Application(PublicRoutes(self._exchange).respond), prepared.public)}
        if prepared.admin is not None:
            exposition = Exposition(
                self._metrics, self._keys, self._generation, self._audit_journal or self._log_journal
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

    def _in_force(self, generation: Generation) -> InForce:
        caches = self._keys.adopt(
            (trust.issuer, trust.source) for trusts in generation.trusts.values() for trust in trusts
        )
        return InForce(
            generation,
            {
                issuer: tuple((trust, caches[trust.issuer, trust.source]) for trust in trusts)
                for issuer, trusts in generation.trusts.items()
            },
        )

    def _generation(self) -> Generation:
        return self._exchange.in_force.generation

    def _readiness(self) -> readiness.Readiness:
        return readiness.assess(
            self._generation(), self._keys, reload_faults=self._reload_faults, draining=self._draining
        )

    def _begin_reload(self) -> None:
        if self._audit_journal is not None:
            self._audit_journal.reopen()
        task = asyncio.create_task(self._reload_in_turn())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _reload_in_turn(self) -> None:
        # Two that read at the same time could end in the other order, and leave the older policies in force.
        async with self._one_reload:
            await self._reload()

    async def _reload(self) -> None:
        """Read the policies anew. All valid: in force from the next request on. Any fault: nothing changes."""
        options = Options(self._settings.audiences, self._settings.strict)
        try:
            loaded = await asyncio.to_thread(load, Path(self._settings.policies_dir), options)
        except Exception:  # noqa: BLE001 - a bug of ours must not pass for a reload that went well
            self._log.exception("reading the policies failed unexpectedly")
            self._keep_policies(("reading the policies failed unexpectedly",))
            return
        self._say_findings(loaded.findings)
        if loaded.generation is None:
            self._keep_policies([str(found) for found in loaded.findings if found.severity is Severity.FAULT])
            return
        self._reload_faults = ()
        self._exchange.in_force = self._in_force(loaded.generation)
        self._metrics.reloads["ok"] += 1
        self._log.info(
            "policies reloaded",
            policies=len(loaded.generation.policies),
            generation=loaded.generation.digest,
        )

    def _keep_policies(self, faults: Sequence[str]) -> None:
        self._reload_faults = tuple(faults)
        self._metrics.reloads["failed"] += 1
        self._log.error("policies not reloaded: the old ones stay in force", faults=len(faults))

    async def _drain(self) -> None:
        self._draining = True
        self._log.info("stopping", seconds=DRAIN_SECONDS)
        finished = await asyncio.gather(*(listener.drain(DRAIN_SECONDS) for listener in self._listeners.values()))
        self._keys.stop()
        if not all(finished):
            self._log.warning("some exchanges were not finished in time")
            await _cancel_others()
        self._recorder.flush()
        if self._audit_journal is not None and not self._audit_journal.close(FLUSH_SECONDS):
            self._log.error("the end of the audit log could not be written")
        self._log.info("stopped")
        self._log_journal.close(FLUSH_SECONDS)

    def _say_findings(self, findings: Iterable[Finding]) -> None:
        for found in findings:
            say = self._log.error if found.severity is Severity.FAULT else self._log.warning
            if found.severity is not Severity.ADVICE:
                say("policy", finding=str(found))

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
