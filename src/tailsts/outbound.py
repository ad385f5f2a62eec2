"""Every request that leaves this service goes through here, and each has a size, a deadline and a redirect rule.

Never followed: redirects (a key set or a secret must not wander to another host). Never read: proxy settings and
credentials of the environment. Never sent: anything of an inbound request, but for the id of its trace where traces are
on. Certificates are always verified, against the system's roots (or those in SSL_CERT_FILE) and the private ones that
were configured.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from datetime import timedelta
from typing import TypeVar

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificates
from pyreqwest.client import BaseClientBuilder, ClientBuilder, SyncClientBuilder
from pyreqwest.exceptions import ConnectError, PyreqwestError, RequestTimeoutError
from pyreqwest.http import Url
from pyreqwest.request import RequestBuilder
from pyreqwest.response import BaseResponse

from tailsts.errors import OutboundError

USER_AGENT = "tailsts"
# Shorter than the idle time-outs of the usual load balancers (60 s and more), so that theirs do not meet ours.
IDLE_CONNECTION_SECONDS = 50

HTTP_OK = 200
MAX_ERROR_TEXT = 300

# Gives the `traceparent` (W3C Trace Context) of what is being done at the moment, if that is traced. A variable of the
# context, so that none of those between the exchange and here has to know of traces.
TRACEPARENT: ContextVar[Callable[[], str | None] | None] = ContextVar("traceparent", default=None)


class Limits(msgspec.Struct, frozen=True):
    """What one request may take: `connect` and `total` in seconds, `body` in bytes after decompression."""

    connect: float
    total: float
    body: int


class Response(msgspec.Struct, frozen=True, gc=False):
    """An answer whose body was read whole, with those header fields that were asked for and are there."""

    status: int
    body: bytes
    headers: Mapping[str, str]


def is_url(text: str) -> bool:
    """Return whether `text` is an address that a request can be sent to, whoever may be there."""
    try:
        Url(text)
    except ValueError:
        return False
    return True


def certificates(pem: bytes) -> list[bytes]:
    """Return the certificates in a PEM text, each as DER.

    Raises:
        ValueError: there is none in it, or one that cannot be read.
    """
    try:
        found = load_pem_x509_certificates(pem)
    except ValueError:
        raise ValueError("holds no certificate (PEM), or one that cannot be read") from None
    return [certificate.public_bytes(Encoding.DER) for certificate in found]


_Builder = TypeVar("_Builder", bound=BaseClientBuilder)


def _configured(builder: _Builder, limits: Limits, extra_roots: tuple[bytes, ...]) -> _Builder:
    builder = (
        builder.user_agent(USER_AGENT)
        .no_proxy()
        .follow_redirects(enable=False)
        .referer(enable=False)
        .gzip(enable=False)
        .deflate(enable=False)
        .brotli(enable=False)
        .zstd(enable=False)
        .connect_timeout(timedelta(seconds=limits.connect))
        .timeout(timedelta(seconds=limits.total))
        .pool_idle_timeout(timedelta(seconds=IDLE_CONNECTION_SECONDS))
    )
    for pem in extra_roots:
        for certificate in certificates(pem):
            builder = builder.add_root_certificate_der(certificate)
    return builder


class Outbound:
    """A pool of connections with one set of limits.

    `extra_roots` are PEM texts trusted in addition; `headers` go with every request; `compressed` allows gzip;
    `read_headers` are the names of the header fields that a `Response` holds, unless its status is 200.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        extra_roots: tuple[bytes, ...] = (),
        compressed: bool = False,
        headers: Mapping[str, str] | None = None,
        read_headers: tuple[str, ...] = (),
    ) -> None:
        builder = _configured(ClientBuilder(), limits, extra_roots)
        self._client = builder.gzip(compressed).default_headers(dict(headers or {})).build()
        self._limits = limits
        self._read_headers = read_headers

    def get(self, url: str) -> Awaitable[Response]:
        """Send a GET and read the answer.

        Raises:
            OutboundError: no connection, no answer in time, an answer that is too large or no HTTP.
        """
        return self._send(self._client.get(url))

    def post(
        self, url: Url | str, body: bytes, seconds: float | None = None, authorization: str | None = None
    ) -> Awaitable[Response]:
        """Send a POST and read the answer, in at most `seconds` if they are fewer than the limit.

        Raises:
            OutboundError: as for `get`.
        """
        builder = self._client.post(url).body_bytes(body)
        if authorization is not None:
            builder = builder.header("authorization", authorization)
        return self._send(builder if seconds is None else builder.timeout(timedelta(seconds=seconds)))

    async def _send(self, builder: RequestBuilder) -> Response:
        traced = TRACEPARENT.get()
        if traced is not None and (traceparent := traced()) is not None:
            builder = builder.header("traceparent", traceparent)
        try:
            async with builder.build_streamed() as response:
                # One byte more than allowed tells a body that is too large, and nothing more is read of it.
                body = await response.body_reader.read(self._limits.body + 1)
                names = () if response.status == HTTP_OK else self._read_headers
                return _response(response, bytes(body or b""), self._limits, names)
        except PyreqwestError as error:
            raise _translated(error) from None


class SyncOutbound:
    """The same for programs without an event loop; its header fields are read whatever the status."""

    def __init__(
        self, limits: Limits, *, extra_roots: tuple[bytes, ...] = (), read_headers: tuple[str, ...] = ()
    ) -> None:
        self._client = _configured(SyncClientBuilder(), limits, extra_roots).build()
        self._limits = limits
        self._read_headers = read_headers

    def post(self, url: str, body: bytes, headers: Mapping[str, str], seconds: float) -> Response:
        """Send a POST and read the answer, in at most `seconds`.

        Raises:
            OutboundError: as for `Outbound.get`.
        """
        builder = self._client.post(url).headers(dict(headers)).body_bytes(body)
        builder = builder.timeout(timedelta(seconds=min(seconds, self._limits.total)))
        try:
            with builder.build_streamed() as response:
                read = response.body_reader.read(self._limits.body + 1)
                return _response(response, bytes(read or b""), self._limits, self._read_headers)
        except PyreqwestError as error:
            raise _translated(error) from None


def _response(response: BaseResponse, body: bytes, limits: Limits, names: tuple[str, ...]) -> Response:
    if len(body) > limits.body:
        raise OutboundError("too_large", f"the answer is larger than {limits.body} bytes")
    if not names:
        return Response(response.status, body, {})
    found = {name: value for name in names if (value := _header(response, name)) is not None}
    return Response(response.status, body, found)


def _header(response: BaseResponse, name: str) -> str | None:
    try:
        return response.get_header(name)
    except ValueError:
        # Not ASCII: as good as none.
        return None


def _translated(error: PyreqwestError) -> OutboundError:
    details = error.args[1] if len(error.args) > 1 else None
    causes = details.get("causes") if isinstance(details, dict) else None
    # The first cause repeats the URL, the last says what happened.
    text = causes[-1]["message"] if causes else error.message
    if isinstance(error, RequestTimeoutError):
        # Its subclasses do not tell whether there was a connection already.
        if any(cause["message"] == "client error (Connect)" for cause in causes or ()):
            return OutboundError("connect", "no connection in time")
        return OutboundError("timeout", "no answer in time")
    # A certificate's names are in it, and a server may choose as many as it likes.
    return OutboundError("connect" if isinstance(error, ConnectError) else "protocol", text[:MAX_ERROR_TEXT])
