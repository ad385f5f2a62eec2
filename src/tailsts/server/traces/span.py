"""One trace as it is written down: spans with their times, within one another. Times are arguments. Pure.

What is in a span: names and codes of ours, and ids. Never a token, a claim, a subject, or a text that a stranger chose.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum

import msgspec

from tailsts.errors import ExchangeFault
from tailsts.server.traces.traceparent import Parent, render


class Kind(Enum):
    """Whose work a span is: `SERVER` for a caller, `CLIENT` what somebody else is asked for, `INTERNAL` our own."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"


class Span(msgspec.Struct):
    """Some work, from `started` to `ended` (seconds since the epoch). `parent_id` is 0 if there is none."""

    id: int
    parent_id: int
    name: str
    kind: Kind
    started: float
    ended: float = 0.0
    failed: bool = False
    attributes: dict[str, str | int] = msgspec.field(default_factory=dict)


class Trace:
    """The spans of one exchange, in the trace of its caller if there is one.

    `new_id` gives a number of so many bits; `now` seconds since the epoch that only grow meanwhile.
    """

    def __init__(self, parent: Parent | None, *, new_id: Callable[[int], int], now: Callable[[], float]) -> None:
        # An id of 0 is none.
        self.id = parent.trace_id if parent is not None else new_id(128) or 1
        self.spans: list[Span] = []
        self._parent_id = parent.span_id if parent is not None else 0
        self._open: list[Span] = []
        self._new_id = new_id
        self._now = now

    @property
    def root(self) -> Span:
        """The span that all others are within, while it is open."""
        return self._open[0]

    def traceparent(self) -> str | None:
        """Return what goes with a request that is made now: None as soon as all spans have ended."""
        return render(self.id, self._open[-1].id) if self._open else None

    @contextmanager
    def span(self, name: str, kind: Kind) -> Iterator[Span]:
        """Write down what is done within, as a span within the one that is open."""
        parent_id = self._open[-1].id if self._open else self._parent_id
        span = Span(self._new_id(64) or 1, parent_id, name, kind, self._now())
        self._open.append(span)
        try:
            yield span
        except BaseException as error:
            span.failed = True
            span.attributes["error.type"] = error.reason if isinstance(error, ExchangeFault) else type(error).__name__
            raise
        finally:
            self._open.pop()
            span.ended = self._now()
            self.spans.append(span)
