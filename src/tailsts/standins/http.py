"""A small HTTP server for stand-ins: loopback, a few routes, a thread. Never part of the service."""

import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import msgspec

MAX_BODY_BYTES = 64 * 1024


class Request(msgspec.Struct, frozen=True):
    """What a route gets to see."""

    headers: Mapping[str, str]
    body: bytes


class Reply(msgspec.Struct, frozen=True):
    """What a route answers: JSON."""

    status: int
    value: object


Route = Callable[[Request], Reply]


class StandInServer:
    """Serves `routes`, keyed by method and path ("GET /jwks"), while it is entered as a context manager.

    The port is taken when it is made, so that routes can be made that know it.
    """

    def __init__(self, host: str, port: int) -> None:
        self.routes: dict[str, Route] = {}
        self._server = ThreadingHTTPServer((host, port), _handler(self.routes))
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        """Begin to serve."""
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


def _handler(routes: Mapping[str, Route]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_GET(self) -> None:
            self._answer("GET")

        def do_POST(self) -> None:
            self._answer("POST")

        def _answer(self, method: str) -> None:
            length = min(int(self.headers.get("content-length") or 0), MAX_BODY_BYTES)
            body = self.rfile.read(length)
            route = routes.get(f"{method} {self.path.partition('?')[0]}")
            reply = route(Request(dict(self.headers), body)) if route else Reply(404, {"message": "not found"})
            text = msgspec.json.encode(reply.value)
            self.send_response(reply.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_arguments: object) -> None:
            """A stand-in says nothing."""

    return Handler
