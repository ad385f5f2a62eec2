"""A collector of traces on a socket (OTLP over HTTP, protobuf): reads what comes with OpenTelemetry's own messages."""

from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1 import trace_pb2

from fakes.http import Reply, Request, ScriptedServer, http
from fakes.leaks import note_text

PATH = "/v1/traces"


@dataclass(frozen=True)
class SeenSpan:
    """A span as it came. Ids are in hexadecimal digits, `parent` is '' if there is none; times in nanoseconds."""

    trace: str
    id: str
    parent: str
    name: str
    kind: str
    failed: bool
    attributes: dict[str, object]
    started: int
    ended: int


class FakeCollector(ScriptedServer):
    """Takes all spans, unless `trouble` is set, which then answers instead."""

    def __init__(self, **arguments: object) -> None:
        super().__init__(self._respond, **arguments)  # type: ignore[arg-type]  # port and tls
        self.trouble: Reply | None = None
        self.spans: list[SeenSpan] = []
        self.resources: list[dict[str, object]] = []

    @property
    def url(self) -> str:
        """Where it is, for all signals."""
        return f"{'https' if self.tls else 'http'}://localhost:{self.port}"

    def named(self, name: str) -> list[SeenSpan]:
        """Return the spans of this name."""
        return [span for span in tuple(self.spans) if span.name == name]

    def trace(self, trace: str) -> dict[str, SeenSpan]:
        """Return the spans of one trace by their names, each of which is there once."""
        found = [span for span in tuple(self.spans) if span.trace == trace]
        by_name = {span.name: span for span in found}
        assert len(by_name) == len(found), found
        return by_name

    def _respond(self, request: Request) -> Reply:
        assert (request.method, request.path) == ("POST", PATH)
        assert request.headers["content-type"] == "application/x-protobuf"
        # What is in a trace may be no secret, as in a log.
        note_text(request.body.decode("latin-1"))
        if self.trouble is not None:
            return self.trouble
        for about in ExportTraceServiceRequest.FromString(request.body).resource_spans:
            self.resources.append(_attributes(about.resource.attributes))
            self.spans += [_seen(span) for scoped in about.scope_spans for span in scoped.spans]
        return http(200, ExportTraceServiceResponse().SerializeToString(), Content_Type="application/x-protobuf")


def _seen(span: trace_pb2.Span) -> SeenSpan:
    return SeenSpan(
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        attributes=_attributes(span.attributes),
        started=span.start_time_unix_nano,
        ended=span.end_time_unix_nano,
    )


def _attributes(pairs: Any) -> dict[str, object]:  # noqa: ANN401 - a repeated field of a message
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
