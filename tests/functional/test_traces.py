"""Traces of the whole service, with a collector on a socket."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.deployment import Deployment, deployed
from fakes.http import HANG, eventually
from fakes.otlp import FakeCollector
from fakes.service import run, unused_port
from fakes.tls import Authority
from tailsts import __version__

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, NOT_SAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"
ALL = ("--traces", "1")


@pytest.fixture
def collector() -> Iterator[FakeCollector]:
    """Return a collector."""
    with FakeCollector() as running:
        yield running


def sent(site: Deployment) -> str | None:
    """Return the traceparent of the last request to Tailscale."""
    return site.tailscale.requests[-1].headers.get("traceparent")


def test_an_exchange_in_its_callers_trace(tmp_path: Path, collector: FakeCollector) -> None:
    """The spans of an exchange arrive in its caller's trace; Tailscale gets traceparent, and nothing else of it."""
    with deployed(
        tmp_path,
        ALL,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_EXPORTER_OTLP_HEADERS="api-key=k1",
        OTEL_SERVICE_NAME="sts",
    ) as site:
        others = {"tracestate": "vendor=x", "baggage": "user=y", "traceparent": SAMPLED}
        answer = site.service.exchange(site.issuer.token(), **others)
        assert answer.status == 200
        eventually(lambda: bool(collector.named("exchange")))
    spans = collector.trace(TRACE)
    assert set(spans) == {"exchange", "verify", "decide", "mint"}
    assert (spans["exchange"].parent, spans["exchange"].kind) == (SPAN, "server")
    assert spans["exchange"].attributes["tailsts.decision"] == answer.headers["X-Decision-Id"]
    assert spans["exchange"].attributes["http.response.status_code"] == 200
    assert spans["exchange"].started <= spans["mint"].started <= spans["mint"].ended <= spans["exchange"].ended
    assert collector.resources[0] == {"service.name": "sts", "service.version": __version__}
    assert collector.requests[0].headers["api-key"] == "k1"
    assert sent(site) == f"00-{TRACE}-{spans['mint'].id}-01"
    assert not {"tracestate", "baggage"} & site.tailscale.requests[-1].headers.keys()


def test_which_are_traced(tmp_path: Path, collector: FakeCollector) -> None:
    """With a share of almost nothing, only an exchange whose caller wants it is traced."""
    with deployed(tmp_path, ("--traces", "1e-12"), OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as site:
        for headers in ({}, {"traceparent": NOT_SAMPLED}, {"traceparent": "garbage"}, {"traceparent": SAMPLED}):
            assert site.service.exchange(site.issuer.token(), **headers).status == 200
            assert (sent(site) is not None) == (headers == {"traceparent": SAMPLED})
    assert [span.trace for span in collector.named("exchange")] == [TRACE]


def test_off(tmp_path: Path, collector: FakeCollector) -> None:
    """Without --traces, variables of OpenTelemetry turn nothing on, and nothing is passed on."""
    with deployed(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as site:
        assert site.service.exchange(site.issuer.token(), traceparent=SAMPLED).status == 200
        assert sent(site) is None
    assert collector.connections == 0


def test_a_stop_hands_over_what_is_left(tmp_path: Path, collector: FakeCollector) -> None:
    """Traces of the last moment, and of a request that is none, are there after a stop."""
    with deployed(tmp_path, ALL, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as site:
        for token in (site.issuer.token(), "garbage", None):
            site.service.exchange(token)
    statuses = [span.attributes["http.response.status_code"] for span in collector.named("exchange")]
    assert statuses == [200, 401, 401]


def test_a_collector_that_hangs(tmp_path: Path, collector: FakeCollector) -> None:
    """Exchanges and the stop go on without a collector; the log says so."""
    collector.trouble = HANG
    with deployed(tmp_path, ALL, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as site:
        for _ in range(20):
            assert site.service.exchange(site.issuer.token()).status == 200
        eventually(lambda: bool(collector.requests))
        assert site.service.exchange(site.issuer.token()).status == 200
        assert site.service.stop() == 0
        (said,) = site.service.log_lines("the last traces could not be handed over")
        assert said["lost"] == 21


def test_a_collector_that_comes_back(tmp_path: Path) -> None:
    """That a collector is down is said once, and once that it is back; there is nothing but that in the log."""
    port = unused_port()
    with deployed(tmp_path, ALL, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://localhost:{port}") as site:
        site.service.exchange(site.issuer.token())
        eventually(lambda: bool(site.service.log_lines("traces cannot be handed over")))
        with FakeCollector(port=port) as collector:
            site.service.exchange(site.issuer.token())
            eventually(lambda: bool(site.service.log_lines("traces can be handed over again")))
            assert len(collector.named("exchange")) == 1
        lines = site.service.log.read_text().splitlines()
        assert [line for line in lines if not line.startswith("{")] == []


def test_a_certificate_of_ones_own(tmp_path: Path) -> None:
    """A collector's certificate is checked, against the private ones as well."""
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    with FakeCollector(tls=authority.server_context(tmp_path)) as collector:
        with deployed(
            tmp_path / "known", (*ALL, "--ca-file", f"{tmp_path / 'ca.pem'}"), OTEL_EXPORTER_OTLP_ENDPOINT=collector.url
        ) as site:
            site.service.exchange(site.issuer.token())
        assert len(collector.named("exchange")) == 1
        with deployed(tmp_path / "unknown", ALL, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as site:
            site.service.exchange(site.issuer.token())
        assert len(collector.named("exchange")) == 1


def test_workers(tmp_path: Path, collector: FakeCollector) -> None:
    """Each worker hands over its own."""
    with deployed(tmp_path, (*ALL, "--workers", "2"), OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as site:
        for _ in range(20):
            assert site.service.exchange(site.issuer.token()).status == 200
    assert len(collector.named("exchange")) == 20


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "--traces: where they go is missing: OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector"}, "OTEL_EXPORTER_OTLP_ENDPOINT: it is not a URL with a host"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "PROTOCOL is not http"),
    ],
)
def test_faults_at_start(tmp_path: Path, variables: dict[str, str], said: str) -> None:
    """What is wrong with where traces go is said at start."""
    done = run("serve", *ALL, "--policies-dir", str(tmp_path), cwd=tmp_path, **variables)
    assert done.returncode == 2
    assert said in done.stderr


def test_without_the_extra(tmp_path: Path, collector: FakeCollector) -> None:
    """Without what traces need, the service says what to install if they are wanted, and does without if not."""
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").write_text("raise ImportError\n")
    variables = {"PYTHONPATH": str(tmp_path), "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    done = run("serve", *ALL, "--policies-dir", str(tmp_path), cwd=tmp_path, **variables)
    assert done.returncode == 2
    assert "pip install 'tailsts[otel]'" in done.stderr
    with deployed(tmp_path / "off", **variables) as site:
        assert site.service.exchange(site.issuer.token()).status == 200
