"""What the service says of itself: structlog, for people or as JSON, to standard error, one line for each thing."""

import logging
import os
from collections.abc import Callable

import structlog
from structlog.typing import EventDict

from tailsts.server.journal import Journal
from tailsts.server.settings import Level
from tailsts.server.workers.turns import Turn

_NUMBERS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class _LineLogger:
    """What structlog writes to: hands each rendered line on."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write

    def _msg(self, line: str) -> None:
        self._write(line.encode("utf-8", "backslashreplace") + b"\n")

    debug = info = warning = error = exception = critical = _msg


def configure(*, json: bool, level: Level, write: Callable[[bytes], object], worker: int | None = None) -> None:
    """Let every `structlog.get_logger()` write lines of at least `level` with `write`, all with the `worker`."""

    def named(_logger: object, _method: str, entry: EventDict) -> EventDict:
        return entry if worker is None else {**entry, "worker": worker}

    renderer = (
        structlog.processors.JSONRenderer(sort_keys=False)
        if json
        # The plain formatter by name: the richer ones print local variables, which may hold secrets.
        else structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    )
    structlog.configure(
        processors=[
            named,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time" if json else "timestamp"),
            structlog.processors.format_exc_info if json else _escaped,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_NUMBERS[level]),
        logger_factory=lambda *_names: _LineLogger(write),
        cache_logger_on_first_use=False,
    )


def _escaped(_logger: object, _method: str, entry: EventDict) -> EventDict:
    """Escape what a stranger could have chosen, so that an entry is one line and a terminal does nothing else."""
    return {
        name: ascii(value) if isinstance(value, str) and not value.isprintable() else value
        for name, value in entry.items()
    }


def stderr_journal(turn: Turn | None = None) -> Journal:
    """Return a journal that writes to standard error. Its own faults have nowhere to be said."""
    return Journal(_stderr, lambda _fault: None, turn)


def _stderr() -> int:
    try:
        return os.dup(2)
    except OSError:
        # Started without one (2>&-): then nobody wants to hear it.
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
