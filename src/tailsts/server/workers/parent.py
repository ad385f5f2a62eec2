"""The parent of several workers: it takes the ports, starts them, passes signals on, and shows them as one service.

A worker is the same program, started anew on the same command line, with the public port already open: the backlog is
everybody's, so a worker that ends takes no connection along that it had not accepted.
"""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process

import structlog

from tailsts import __version__
from tailsts.server import logs
from tailsts.server.listener import DRAIN_SECONDS, FLUSH_SECONDS, Listener
from tailsts.server.rsgi import Application
from tailsts.server.settings import Settings
from tailsts.server.shown.admin import AdminRoutes
from tailsts.server.workers.control import Channel
from tailsts.server.workers.crew import Crew, Pace
from tailsts.server.workers.handover import Handed, in_memory
from tailsts.server.workers.turns import LOG, Turn, shared_file

# A worker drains, writes its logs to their end, and ends.
WORKERS_DRAIN_SECONDS = DRAIN_SECONDS + FLUSH_SECONDS + 1.0


class Parent:
    """The parent process, with its ports, and the policies that workers begin with. Made within its event loop."""

    def __init__(
        self, settings: Settings, public: socket.socket, admin: socket.socket | None, policies: bytes | None
    ) -> None:
        self._public = public
        self._turns = shared_file()
        self._stop = asyncio.Event()
        self._log_journal = logs.stderr_journal(Turn(self._turns, LOG))
        logs.configure(json=settings.json_logging, level=settings.log_level, write=self._log_journal.add)
        self._log = structlog.get_logger()
        self._crew = Crew(
            settings.workers,
            self._start,
            Pace(),
            policies=policies,
            # A folder says by itself when it changes; a repository is asked, by each worker when its time has come.
            tell_each_other=settings.git is not None and settings.watch,
        )
        self._admin: Listener | None = None
        if admin is not None:
            self._admin = Listener(Application(AdminRoutes(self._crew.look).respond), admin, public=False)

    async def run(self) -> None:
        """Keep the workers going until a signal says to stop; then let them finish."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._crew.reload)
        self._crew.begin()
        host, port = self._public.getsockname()[:2]
        self._log.info("listening", at="public", host=host, port=port)
        if self._admin is not None:
            self._admin.start()
            self._log.info("listening", at="admin", host=self._admin.host, port=self._admin.port)
        readying = asyncio.create_task(self._say_when_ready())
        await self._stop.wait()
        readying.cancel()
        await self._drain()

    async def _say_when_ready(self) -> None:
        await self._crew.all_serve()
        readiness = (await self._crew.look()).readiness
        self._log.info(
            "ready",
            version=__version__,
            policies=readiness.policies,
            generation=readiness.generation,
            workers=len(readiness.workers),
        )

    async def _start(self, number: int) -> tuple[Process, Channel]:
        """Start a worker."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await self._spawn(number, theirs)
            except OSError:
                ours.close()
                raise
        return process, await Channel.over(ours)

    async def _spawn(self, number: int, control: socket.socket) -> Process:
        # Of its own, so that it is whole and stays as it is while the worker reads it.
        policies = None if self._crew.policies is None else in_memory(self._crew.policies)
        handed = Handed(number, self._public.fileno(), control.fileno(), self._turns, policies)
        try:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                # As this one was started, with all that Python itself was told.
                *sys.orig_argv[1:],
                stdin=DEVNULL,
                env={**os.environ, **handed.as_variable()},
                pass_fds=handed.descriptors(),
            )
        finally:
            if policies is not None:
                os.close(policies)

    async def _drain(self) -> None:
        self._log.info("stopping", seconds=DRAIN_SECONDS)
        # Nobody accepts any more when the workers have closed theirs, too.
        self._public.close()
        if not await self._crew.drain(WORKERS_DRAIN_SECONDS):
            self._log.error("some workers did not end in time: they were killed")
        if self._admin is not None:
            await self._admin.drain(FLUSH_SECONDS)
        self._log.info("stopped")
        self._log_journal.close(FLUSH_SECONDS)
