"""Traces to a collector that takes them, and to ones that do not, on real sockets."""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fakes.http import CLOSE, HANG, RESET, Drip, Endless, Raw, Reply, ScriptedServer, eventually, http
from fakes.otlp import FakeCollector
from fakes.service import unused_port
from tailsts import __version__
from tailsts.credentials import Secret
from tailsts.server.traces import exporting
from tailsts.server.traces.collector import Traces
from tailsts.server.traces.exporting import MAX_BATCH, MAX_WAITING, Exporting, Pace
from tailsts.server.traces.span import Kind, Trace
from tailsts.server.traces.traceparent import Parent

PARENT = Parent(0xABC, 0xDEF, sampled=True)


# A tenth of the usual.
QUICK = Pace(gather=0.1, attempt=0.5)


class Told(list[str | None]):
    """What was said of the collector."""


@contextmanager
def exporting_to(url: str, *headers: tuple[str, str]) -> Iterator[tuple[Exporting, Told]]:
    """Run the thread that hands traces over."""
    told = Told()
    named = tuple((name, Secret(value)) for name, value in headers)
    traces = Traces(1.0, f"{url}/v1/traces", named, (("service.name", "sts"),))
    made = Exporting(traces, extra_roots=(), monotonic=time.monotonic, tell=told.append, pace=QUICK)
    yield made, told
    made.close()


def trace(parent: Parent | None = None) -> Trace:
    """Return a trace of an exchange with one stage, at times that are known."""
    times, ids = iter([1.0, 1.25, 1.5, 2.0]), itertools.count(0x1234)
    made = Trace(parent, new_id=lambda _bits: next(ids), now=times.__next__)
    with made.span("exchange", Kind.SERVER) as root, made.span("mint", Kind.CLIENT) as stage:
        root.attributes.update({"http.response.status_code": 200, "tailsts.outcome": "granted"})
        stage.failed = True
    return made


def test_what_arrives() -> None:
    """Spans arrive with ids, parents, times, kinds, attributes and failure, and with what this service is called."""
    with FakeCollector() as collector:
        with exporting_to(collector.url, ("api-key", "k1")) as (made, told):
            made.add(trace(PARENT))
            assert made.close()
        assert (made.lost, told) == (0, [])
        mint, exchange = collector.named("mint")[0], collector.named("exchange")[0]
        assert (exchange.trace, exchange.parent) == (f"{0xABC:032x}", f"{0xDEF:016x}")
        assert (mint.trace, mint.parent) == (exchange.trace, exchange.id)
        assert (exchange.kind, mint.kind, exchange.failed, mint.failed) == ("server", "client", False, True)
        assert (exchange.started, exchange.ended) == (1_000_000_000, 2_000_000_000)
        assert (mint.started, mint.ended) == (1_250_000_000, 1_500_000_000)
        assert exchange.attributes == {"http.response.status_code": 200, "tailsts.outcome": "granted"}
        assert collector.resources == [{"service.name": "sts", "service.version": __version__}]
        assert collector.requests[0].headers["api-key"] == "k1"


def test_no_parent() -> None:
    """A trace that begins here has an id, and its first span no parent."""
    with FakeCollector() as collector:
        with exporting_to(collector.url) as (made, _):
            made.add(trace())
            made.close()
        (exchange,) = collector.named("exchange")
        assert (int(exchange.trace, 16) > 0, exchange.parent) == (True, "")


def test_sent_without_being_told() -> None:
    """Traces are sent after a moment, and many of them in batches of a bounded size."""
    with FakeCollector() as collector, exporting_to(collector.url) as (made, _):
        made.add(trace())
        eventually(lambda: len(collector.named("exchange")) == 1)
        for _count in range(2 * MAX_BATCH + 1):
            made.add(trace())
        eventually(lambda: len(collector.named("exchange")) == 2 * MAX_BATCH + 2)
        assert made.lost == 0
        assert max(len(request.body) for request in collector.requests) < 100_000


@pytest.mark.parametrize(
    "trouble",
    [
        HANG,
        RESET,
        CLOSE,
        Raw(b"garbage\r\n\r\n", then="close"),
        Drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000, 0.1),
        Endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536),
        http(200, b"x" * 70_000),
        http(307, b"", Location="http://127.0.0.1:9/"),
        http(400, b"no"),
        http(503, b"", Retry_After="100000"),
    ],
    ids=["hangs", "resets", "closes", "garbage", "drips", "endless", "large", "redirects", "refuses", "asks to wait"],
)
def test_a_collector_that_fails(trouble: Reply) -> None:
    """Whatever a collector does, the traces are counted as lost, it is said once, and the next ones are tried again."""
    with FakeCollector() as collector, exporting_to(collector.url) as (made, told):
        collector.trouble = trouble
        made.add(trace())
        eventually(lambda: made.lost == 1)
        assert len(told) == 1
        assert told[0] is not None
        collector.trouble = None
        made.add(trace())
        eventually(lambda: told[1:] == [None])
        assert (len(collector.named("exchange")), made.lost) == (1, 1)


def test_nobody_there() -> None:
    """What waits for a collector that is down is bounded: further traces are counted and dropped at once."""
    with ScriptedServer(lambda _request: HANG) as silent, exporting_to(f"http://127.0.0.1:{silent.port}") as (made, _):
        made.add(trace())
        eventually(lambda: len(silent.requests) == 1)
        for _count in range(MAX_WAITING + 10):
            made.add(trace())
        assert made.lost == 10
    with exporting_to(f"http://127.0.0.1:{unused_port()}") as (made, told):
        made.add(trace())
        assert not made.close()
        assert made.lost == 1
        assert "refused" in str(told)


def test_a_stop_waits_for_no_more_than_one_attempt() -> None:
    """A collector that hangs does not keep the service from ending; what waited is counted as lost."""
    with ScriptedServer(lambda _request: HANG) as silent, exporting_to(f"http://127.0.0.1:{silent.port}") as (made, _):
        made.add(trace())
        eventually(lambda: len(silent.requests) == 1)
        for _count in range(3 * MAX_BATCH):
            made.add(trace())
        # The collector would hold it for an hour.
        assert not made.close()
        assert made.lost == 3 * MAX_BATCH + 1
        made.add(trace())
        assert made.lost == 3 * MAX_BATCH + 2


def test_a_bug_does_not_end_it() -> None:
    """A trace that cannot be written costs its batch, and no more."""
    with FakeCollector() as collector, exporting_to(collector.url) as (made, told):
        broken = trace()
        broken.spans[0].id = -1
        made.add(broken)
        eventually(lambda: made.lost == 1)
        assert told == ["unexpected OverflowError"]
        made.add(trace())
        eventually(lambda: len(collector.named("exchange")) == 1)


def test_proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """N-12: traces go to the collector that was named, not through a proxy of the environment."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with FakeCollector() as collector:
        with exporting_to(collector.url) as (made, _):
            made.add(trace())
            assert made.close()
        assert len(collector.spans) == 2


def test_nothing_is_missing_here() -> None:
    """With the extra installed, nothing is missing."""
    assert exporting.missing() is None
