"""The traces of this process, from the choice of exchanges to the collector."""

import asyncio

import structlog

from tailsts.exchange import Auditor, Clock, Exchange, Neighbours
from tailsts.in_force import InForce
from tailsts.server.traces.collector import Traces
from tailsts.server.traces.exporting import Exporting
from tailsts.server.traces.tracing import Sampling, TracedExchange, Tracing


class Tracer:
    """Takes the traces of exchanges, and hands them over until `close`. Made within the event loop."""

    def __init__(self, traces: Traces, extra_roots: tuple[bytes, ...], clock: Clock) -> None:
        self._log = structlog.get_logger()
        loop = asyncio.get_running_loop()

        def tell(fault: str | None) -> None:
            # Told in the thread of the traces; said in ours.
            loop.call_soon_threadsafe(self._say, fault)

        self._exporting = Exporting(traces, extra_roots=extra_roots, monotonic=clock.monotonic, tell=tell)
        self._tracing = Tracing(Sampling(traces.share, clock.monotonic), self._exporting.add)

    def exchange(self, in_force: InForce, neighbours: Neighbours, auditor: Auditor, clock: Clock) -> Exchange:
        """Return an exchange that is traced."""
        return TracedExchange(in_force, neighbours, auditor, clock, self._tracing)

    async def close(self) -> None:
        """Hand over what is left, in some seconds at most."""
        if not await asyncio.to_thread(self._exporting.close):
            self._log.warning("the last traces could not be handed over", lost=self._exporting.lost)

    def _say(self, fault: str | None) -> None:
        if fault is None:
            self._log.info("traces can be handed over again", lost=self._exporting.lost)
        else:
            self._log.warning("traces cannot be handed over", fault=fault)
