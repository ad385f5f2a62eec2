"""Where metrics are put so that others find them: in a file, whole or not at all, and on a port."""

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Self

# Prometheus asks with one connection, and rarely.
MAX_CONNECTIONS = 8
SECONDS_TO_ASK = 5.0

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PATHS = {"/", "/metrics"}


def write_whole(path: Path, text: str) -> None:
    """Put the text into the file, so that whoever reads it sees the old one or the new one.

    Raises:
        OSError: it cannot be written; the old one is as it was.
    """
    # Not one that ends in .prom: the node exporter would read it as well.
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise


class MetricsPort:
    """Serves the last text that was `put`, while it is entered as a context manager. The port is taken when made.

    `seconds` is what a connection may take.

    Raises:
        OSError: it cannot be listened on.
    """

    def __init__(self, host: str, port: int, seconds: float = SECONDS_TO_ASK) -> None:
        self._text = b""
        self._server = _Bounded((host, port), _handler(lambda: self._text), seconds)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._server.server_address[1]
        return port

    def put(self, text: str) -> None:
        """Serve this from now on."""
        self._text = text.encode()

    def __enter__(self) -> Self:
        """Begin to serve."""
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


class _Bounded(ThreadingMixIn, TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], seconds: float) -> None:
        self._seconds = seconds
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's signature
        """Serve it in a thread of its own, unless there are as many as there may be."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the same
        """Serve it, within its time."""
        # Whoever sends its bytes one by one, or reads so, is cut off as well.
        end = threading.Timer(self._seconds, _cut_off, (request,))
        end.daemon = True
        end.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            end.cancel()
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of connections that broke."""


def _cut_off(connection: socket.socket) -> None:
    # It may be gone by now.
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _handler(text: Callable[[], bytes]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path.partition("?")[0] in _PATHS
            body = text() if found else b"not found\n"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", _CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Nobody wants to hear of scrapes."""

    return Handler
