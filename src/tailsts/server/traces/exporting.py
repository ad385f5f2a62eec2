"""Hands traces to a collector (OTLP over HTTP), from a thread of its own: no exchange waits for it.

What waits to be sent is bounded, each attempt has a deadline and is made once: a collector that is down, slow or wrong
costs traces, which are counted, and nothing else. As for all requests, redirects are not followed and proxies not used.
"""

import threading
from collections import deque
from collections.abc import Callable

import msgspec

from tailsts.errors import OutboundError
from tailsts.outbound import Limits, SyncOutbound
from tailsts.server.traces.collector import Traces
from tailsts.server.traces.span import Trace

# To write more at a time would keep exchanges waiting for Python; some megabytes wait at most.
MAX_BATCH = 100
MAX_WAITING = 2000
MAX_ANSWER = 64 * 1024
# In less, nothing is sent.
LEAST_SECONDS = 0.05
TAKEN = range(200, 300)
MISSING = "--traces needs more than is installed: pip install 'tailsts[otel]'"


class Pace(msgspec.Struct, frozen=True):
    """How long a trace waits for others to come along, and what one attempt may take; a stop waits for one attempt."""

    gather: float = 1.0
    attempt: float = 3.0


USUAL = Pace()


def missing() -> str | None:
    """Return what to install before traces can be handed over, None if it is there."""
    try:
        import tailsts.server.traces.otlp  # noqa: F401, PLC0415 - some megabytes, which most do without
    except ImportError:
        return MISSING
    return None


class Exporting:
    """Takes traces, and sends them in batches until `close`.

    `monotonic` gives seconds. `tell` is called in our thread with a fault when it begins, and with None when traces
    are taken again. `lost` is how many traces were not taken.
    """

    def __init__(
        self,
        traces: Traces,
        *,
        extra_roots: tuple[bytes, ...],
        monotonic: Callable[[], float],
        tell: Callable[[str | None], None],
        pace: Pace = USUAL,
    ) -> None:
        from tailsts.server.traces.otlp import encode  # noqa: PLC0415 - as above

        self._encode = encode
        self._traces = traces
        self._headers = {name: value.reveal() for name, value in traces.headers} | {
            "content-type": "application/x-protobuf"
        }
        self._pace = pace
        limits = Limits(connect=pace.attempt, total=pace.attempt, body=MAX_ANSWER)
        self._outbound = SyncOutbound(limits, extra_roots=extra_roots)
        self._monotonic = monotonic
        self._tell = tell
        self._fault: str | None = None
        self._waiting: deque[Trace] = deque()
        # Each is written by one thread only.
        self._refused = self._failed = 0
        self._awake = threading.Event()
        self._until: float | None = None
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """How many traces were not taken."""
        return self._refused + self._failed

    def add(self, trace: Trace) -> None:
        """Take a trace, to be sent soon; or lose it if too many wait. Never waits itself."""
        if len(self._waiting) >= MAX_WAITING or self._until is not None:
            self._refused += 1
            return
        self._waiting.append(trace)
        if len(self._waiting) == MAX_BATCH:
            self._awake.set()

    def close(self) -> bool:
        """Send what waits, in the time of one attempt; return whether nothing was lost by it.

        Waits: not for an event loop's thread.
        """
        lost = self.lost
        self._until = self._monotonic() + self._pace.attempt
        self._awake.set()
        # What is under way may take as long, and a moment to be settled.
        self._thread.join(self._pace.attempt + 1)
        return not self._thread.is_alive() and self.lost == lost

    def _run(self) -> None:
        while True:
            if len(self._waiting) < MAX_BATCH and self._until is None:
                self._awake.wait(self._pace.gather)
            self._awake.clear()
            batch = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
            if batch:
                self._settle(len(batch), self._sent(batch))
            elif self._until is not None:
                return

    def _sent(self, batch: list[Trace]) -> str | None:
        """Make the attempt; return why it came to nothing."""
        left = self._pace.attempt if self._until is None else self._until - self._monotonic()
        if left < LEAST_SECONDS:
            return "no time is left"
        try:
            body = self._encode(batch, self._traces.resource)
            response = self._outbound.post(self._traces.url, body, self._headers, left)
        except OutboundError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread must live on
            return f"unexpected {type(error).__name__}"
        return None if response.status in TAKEN else f"it answered {response.status}"

    def _settle(self, traces: int, fault: str | None) -> None:
        if fault is not None:
            self._failed += traces
        if (fault is None) != (self._fault is None):
            self._tell(fault)
        self._fault = fault
