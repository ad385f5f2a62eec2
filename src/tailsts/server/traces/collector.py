"""Where traces go: read from the variables that OpenTelemetry names (OTLP exporter, resource), and nothing else. Pure.

Which of them are read is in `READ`. All others have no effect, but for a protocol that is not ours: that is a fault.
"""

import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

import msgspec

from tailsts.credentials import Secret
from tailsts.oidc.source import is_loopback, refuse_url

ENDPOINT, TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
HEADERS, TRACES_HEADERS = "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"
PROTOCOL, TRACES_PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
SERVICE_NAME, RESOURCE = "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"
READ = (
    *(ENDPOINT, TRACES_ENDPOINT, HEADERS, TRACES_HEADERS, PROTOCOL, TRACES_PROTOCOL),
    *(SERVICE_NAME, RESOURCE),
)
OURS = "http/protobuf"
MAX_PAIRS = 64
MAX_LENGTH = 8 * 1024

# RFC 9110, 5.6.2; those that frame the message are not for anybody to set.
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_TO_BE_SET = frozenset(
    {"connection", "content-encoding", "content-length", "content-type", "host", "te", "transfer-encoding", "upgrade"}
)
_VISIBLE = re.compile(r"[\t -~]*")


class Traces(msgspec.Struct, frozen=True):
    """The share of exchanges to trace (0 to 1), the collector, and what this service is called there.

    `headers` go with every request to the collector. They mostly hold a credential.
    """

    share: float
    url: str
    headers: tuple[tuple[str, Secret], ...]
    resource: tuple[tuple[str, str], ...]


def read_traces(share: float, environment: Mapping[str, str], lines: list[str]) -> Traces | None:
    """Return what the variables say; None if traces are not wanted, or with what is wrong added to `lines`."""
    if share <= 0:
        return None
    before = len(lines)
    name, url = _endpoint(environment)
    headers = _headers(environment, lines)
    if not url:
        lines.append(f"--traces: where they go is missing: {ENDPOINT}, like https://collector.example.com:4318")
    elif reason := _refuse(url, with_credential=bool(headers)):
        # Not quoted: there may be a password in it.
        lines.append(f"{name}: {reason}")
    for variable in (TRACES_PROTOCOL, PROTOCOL):
        if (protocol := environment.get(variable, "").strip()) and (protocol != OURS):
            lines.append(f"{variable} is not {OURS}, and nothing else is spoken here")
        if protocol:
            break
    resource = _resource(environment, lines)
    return Traces(share, url, headers, resource) if len(lines) == before else None


def _endpoint(environment: Mapping[str, str]) -> tuple[str, str]:
    """Return the variable and the URL; that for all signals gets the path of traces, that for traces is as it is."""
    if url := environment.get(TRACES_ENDPOINT, "").strip():
        return TRACES_ENDPOINT, url
    url = environment.get(ENDPOINT, "").strip()
    return ENDPOINT, f"{url.removesuffix('/')}/v1/traces" if url else ""


def _refuse(url: str, *, with_credential: bool) -> str | None:
    if reason := refuse_url(url, allow_http=True):
        return reason
    parts = urlsplit(url)
    if with_credential and parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        return "it is plain http, and header fields go there that may hold a credential"
    return None


def _headers(environment: Mapping[str, str], lines: list[str]) -> tuple[tuple[str, Secret], ...]:
    variable = TRACES_HEADERS if environment.get(TRACES_HEADERS, "").strip() else HEADERS
    found = _pairs(environment, variable, lines)
    for name in found:
        if not _FIELD_NAME.fullmatch(name) or name.lower() in _NOT_TO_BE_SET:
            lines.append(f"{variable} names a header field that cannot be set")
        elif not _VISIBLE.fullmatch(found[name]):
            lines.append(f"{variable} has a value that a header field cannot have")
    return tuple((name.lower(), Secret(value)) for name, value in found.items())


def _resource(environment: Mapping[str, str], lines: list[str]) -> tuple[tuple[str, str], ...]:
    found = {"service.name": "tailsts", **_pairs(environment, RESOURCE, lines)}
    if service := environment.get(SERVICE_NAME, "").strip():
        found["service.name"] = service
    return tuple(found.items())


def _pairs(environment: Mapping[str, str], variable: str, lines: list[str]) -> dict[str, str]:
    """Return `key=value,key=value`, values percent-encoded: both kinds of variables are written so."""
    text = environment.get(variable, "").strip()
    parts = [part for part in text.split(",") if part.strip()] if len(text) <= MAX_LENGTH else []
    pairs = [part.partition("=") for part in parts]
    well = all(equals and name.strip() for name, equals, _ in pairs)
    if len(text) > MAX_LENGTH or len(pairs) > MAX_PAIRS or not well:
        # Not quoted: there may be a credential in it.
        lines.append(f"{variable} is not like key=value,key=value, or is too long")
        return {}
    return {name.strip(): unquote(value.strip()) for name, _, value in pairs}
