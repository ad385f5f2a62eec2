"""Where traces go, by the variables of OpenTelemetry."""

import pytest

from tailsts.server.traces.collector import Traces, read_traces

URL = "https://collector.example.com:4318"


def read(**environment: str) -> tuple[Traces | None, list[str]]:
    """Return what these variables say, and what is wrong with them."""
    lines: list[str] = []
    return read_traces(0.5, {f"OTEL_{name}": value for name, value in environment.items()}, lines), lines


def test_off() -> None:
    """Without a share, no variable turns traces on, and none is looked at."""
    lines: list[str] = []
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    assert read_traces(0, variables, lines) is None
    assert lines == []


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"EXPORTER_OTLP_ENDPOINT": URL}, f"{URL}/v1/traces"),
        ({"EXPORTER_OTLP_ENDPOINT": f"{URL}/"}, f"{URL}/v1/traces"),
        ({"EXPORTER_OTLP_ENDPOINT": f"{URL}/otlp"}, f"{URL}/otlp/v1/traces"),
        ({"EXPORTER_OTLP_TRACES_ENDPOINT": f"{URL}/x", "EXPORTER_OTLP_ENDPOINT": "https://other"}, f"{URL}/x"),
        ({"EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, "http://collector:4318/v1/traces"),
        ({"EXPORTER_OTLP_ENDPOINT": URL, "EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, f"{URL}/v1/traces"),
    ],
)
def test_endpoints(variables: dict[str, str], expected: str) -> None:
    """The endpoint of all signals gets the path of traces; that of traces is taken as it is, and goes first."""
    traces, lines = read(**variables)
    assert (lines, traces and traces.url, traces and traces.share) == ([], expected, 0.5)


def test_names_and_header_fields() -> None:
    """Attributes and header fields are read as OpenTelemetry writes them; a header field's value masks itself."""
    traces, lines = read(
        EXPORTER_OTLP_ENDPOINT=URL,
        EXPORTER_OTLP_HEADERS="Api-Key=a%20b%3D, x-team = infra,",
        RESOURCE_ATTRIBUTES="deployment.environment.name=prod,service.name=other",
        SERVICE_NAME="sts",
    )
    assert lines == []
    assert traces is not None
    assert [(name, value.reveal()) for name, value in traces.headers] == [("api-key", "a b="), ("x-team", "infra")]
    assert dict(traces.resource) == {"service.name": "sts", "deployment.environment.name": "prod"}
    assert "a b" not in repr(traces)


@pytest.mark.parametrize(
    ("variables", "fault"),
    [
        ({}, "--traces: where they go is missing: OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT: it is not a URL with a host"),
        ({"EXPORTER_OTLP_TRACES_ENDPOINT": "ftp://x/hunter2"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: its scheme"),
        ({"EXPORTER_OTLP_ENDPOINT": "https://u:hunter2@x"}, "OTEL_EXPORTER_OTLP_ENDPOINT: it holds a user name"),
        (
            {"EXPORTER_OTLP_ENDPOINT": "http://x:4318", "EXPORTER_OTLP_HEADERS": "api-key=hunter2"},
            "OTEL_EXPORTER_OTLP_ENDPOINT: it is plain http, and header fields",
        ),
        ({"EXPORTER_OTLP_ENDPOINT": URL, "EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL is not"),
        (
            {
                "EXPORTER_OTLP_ENDPOINT": URL,
                "EXPORTER_OTLP_TRACES_PROTOCOL": "http/json",
                "EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            },
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is not",
        ),
        ({"EXPORTER_OTLP_ENDPOINT": URL, "EXPORTER_OTLP_HEADERS": "hunter2"}, "OTEL_EXPORTER_OTLP_HEADERS is not"),
        ({"EXPORTER_OTLP_ENDPOINT": URL, "EXPORTER_OTLP_TRACES_HEADERS": "a:b=hunter2"}, "names a header field"),
        ({"EXPORTER_OTLP_ENDPOINT": URL, "EXPORTER_OTLP_HEADERS": "Content-Length=hunter2"}, "names a header field"),
        ({"EXPORTER_OTLP_ENDPOINT": URL, "EXPORTER_OTLP_HEADERS": "a=hunter2%0d%0aX:y"}, "has a value"),
        ({"EXPORTER_OTLP_ENDPOINT": URL, "RESOURCE_ATTRIBUTES": "=hunter2"}, "OTEL_RESOURCE_ATTRIBUTES is not like"),
        ({"EXPORTER_OTLP_ENDPOINT": URL, "RESOURCE_ATTRIBUTES": "a=hunter2," * 65}, "is too long"),
        ({"EXPORTER_OTLP_ENDPOINT": URL, "RESOURCE_ATTRIBUTES": "a=" + "hunter2" * 2000}, "is too long"),
    ],
)
def test_faults(variables: dict[str, str], fault: str) -> None:
    """What is wrong is named with its variable, and never quoted: it may hold a credential."""
    traces, lines = read(**variables)
    assert traces is None
    (line,) = lines
    assert fault in line
    assert "hunter2" not in line
