"""Where an event goes: counted, written to the audit log, shown as the decision's line in the service's own log."""

import asyncio
from collections.abc import Callable, Sequence

from tailsts import audit
from tailsts.audit import Event
from tailsts.exchange import Auditor
from tailsts.outcome import (
    Ending,
    conclude,
)
from tailsts.server.journal import Journal
from tailsts.server.settings import LEVELS, Settings
from tailsts.server.shown.metrics import Metrics
from tailsts.server.webhook.webhook import Webhook

# How long an event may wait for others to be completed and rendered with it, which is cheaper than each alone; and,
# with the time of one write, what a killed process loses at most.
GATHER_SECONDS = 0.01


class Recorder:
    """Keeps the events of exchanges.

    Without an audit log of its own, the decision's line in the service's log is the audit event, and is written
    whatever the log level: auditing is not switched off. What a webhook gets is beside that, and holds up nothing.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        log: Journal,
        audit_log: Journal | None,
        webhook: Webhook | None = None,
    ) -> None:
        self._metrics = metrics
        self._log = log
        self._kept_in = audit_log or log
        self._required = settings.audit_required
        self._show = _shown(settings, log) if audit_log is not None else None
        self._line = audit.json_line if audit_log is not None or settings.json_logging else audit.console_line
        self._webhook = webhook
        self._gathered: list[tuple[Event, Ending]] = []

    def auditor(self) -> Auditor:
        """Return what an exchange needs of this."""
        if self._required:
            return Auditor(self._kept_in.require_writable, self.record, self.record_for_sure)
        return Auditor(_nothing, self.record, None)

    def record(self, event: Event, ending: Ending) -> None:
        """Keep the event, soon."""
        if not self._gathered:
            asyncio.get_running_loop().call_later(GATHER_SECONDS, self.flush)
        self._gathered.append((event, ending))

    async def record_for_sure(self, event: Event, ending: Ending) -> None:
        """Keep the event now.

        Raises:
            AuditUnavailableError: it could not be written.
        """
        line = self._rendered(event, ending)
        if self._webhook is not None:
            self._webhook.add(_json_of(line))
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            await self._kept_in.written(line)
        finally:
            self._metrics.count_record(loop.time() - started)

    def flush(self) -> None:
        """Hand what was gathered to the log."""
        gathered, self._gathered = self._gathered, []
        if not gathered:
            return
        lines = [self._rendered_somehow(event, ending) for event, ending in gathered]
        if self._webhook is not None:
            sent = _granted(gathered, lines) if self._webhook.is_crowded() else lines
            self._webhook.leave_out(len(lines) - len(sent))
            self._webhook.add(b"".join(map(_json_of, sent)), len(sent))
        if self._kept_in.is_crowded():
            granted = _granted(gathered, lines)
            self._kept_in.lost += len(lines) - len(granted)
            lines = granted
        self._kept_in.add(b"".join(lines), len(lines))

    def _rendered_somehow(self, event: Event, ending: Ending) -> bytes:
        """Return the event's line, or, if that fails, one that says so: a bug must not cost the events beside it."""
        spare = Event(event.time, event.decision, event.generation, event.peer, "", level="error", policy=event.policy)
        try:
            return self._rendered(event, ending)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other events are worth more
            spare.outcome, spare.reason = event.outcome or "fault", event.reason or "unrecorded"
            spare.detail = f"the event could not be written whole: {type(error).__name__}"
            return self._line(spare)

    def _rendered(self, event: Event, ending: Ending) -> bytes:
        conclude(event, ending)
        self._metrics.count(event)
        if self._show is not None:
            self._show(event)
        return self._line(event)


def _granted(gathered: Sequence[tuple[Event, Ending]], lines: Sequence[bytes]) -> list[bytes]:
    """Return the lines of what was granted: what strangers can cause at will must not push it out."""
    return [line for (event, _), line in zip(gathered, lines, strict=True) if event.outcome == "granted"]


def _json_of(line: bytes) -> bytes:
    """Return the event of a line, without the words for people before it: in these, a quote is escaped."""
    return line[line.index(b'{"event":') :]


def _shown(settings: Settings, log: Journal) -> Callable[[Event], None]:
    line = audit.json_line if settings.json_logging else audit.console_line
    levels = frozenset(LEVELS[LEVELS.index(settings.log_level) :])

    def show(event: Event) -> None:
        if event.level in levels:
            log.add(line(event))

    return show


def _nothing() -> None:
    """Auditing is not required: an exchange goes on whether its event can be kept or not."""
