"""Spans in the words of OpenTelemetry: OTLP, as protobuf. Pure. Needs the extra `otel`."""

from collections.abc import Iterable, Mapping, Sequence

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Status
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message

from tailsts import __version__
from tailsts.server.traces.span import Kind, Span, Trace

_KINDS = {
    Kind.INTERNAL: Message.SPAN_KIND_INTERNAL,
    Kind.SERVER: Message.SPAN_KIND_SERVER,
    Kind.CLIENT: Message.SPAN_KIND_CLIENT,
}
_FAILED = Status(code=Status.STATUS_CODE_ERROR)
_UNSET = Status()
_SCOPE = InstrumentationScope(name="tailsts", version=__version__)
# The sampled flag, and that the parent's being remote or not is known.
_SAMPLED, _KNOWN_HAS_REMOTE, _HAS_REMOTE = 0x1, 0x100, 0x200


def encode(traces: Iterable[Trace], resource: Sequence[tuple[str, str]]) -> bytes:
    """Return the request to a collector that hands these traces over."""
    spans = [_message(trace, span) for trace in traces for span in trace.spans]
    about = Resource(attributes=_attributes({**dict(resource), "service.version": __version__}))
    scoped = ScopeSpans(scope=_SCOPE, spans=spans)
    request = ExportTraceServiceRequest(resource_spans=[ResourceSpans(resource=about, scope_spans=[scoped])])
    encoded: bytes = request.SerializeToString()
    return encoded


def _message(trace: Trace, span: Span) -> Message:
    return Message(
        trace_id=trace.id.to_bytes(16, "big"),
        span_id=span.id.to_bytes(8, "big"),
        parent_span_id=span.parent_id.to_bytes(8, "big") if span.parent_id else b"",
        name=span.name,
        kind=_KINDS[span.kind],
        start_time_unix_nano=int(span.started * 1e9),
        end_time_unix_nano=int(span.ended * 1e9),
        attributes=_attributes(span.attributes),
        status=_FAILED if span.failed else _UNSET,
        flags=_SAMPLED | _KNOWN_HAS_REMOTE | (_HAS_REMOTE if span.kind is Kind.SERVER and span.parent_id else 0),
    )


def _attributes(values: Mapping[str, str | int]) -> list[KeyValue]:
    return [
        KeyValue(key=name, value=AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value))
        for name, value in values.items()
    ]
