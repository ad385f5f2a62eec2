"""Real git repositories for tests, and git's own HTTP server for them on loopback, with faults on demand."""

import base64
import os
import ssl
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "author",
    "GIT_AUTHOR_EMAIL": "author@example.com",
    "GIT_COMMITTER_NAME": "author",
    "GIT_COMMITTER_EMAIL": "author@example.com",
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
    "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
    # Everything is served that is asked for, whoever owns it: the tests do.
    "GIT_HTTP_EXPORT_ALL": "1",
    "HOME": os.devnull,
}


@dataclass(frozen=True)
class GitFolder:
    """A repository with a working copy, made by git itself."""

    path: Path

    def __post_init__(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("config", "uploadpack.allowFilter", "true")

    def git(self, *arguments: str) -> str:
        """Run git, and return what it says."""
        command = ["git", "-c", "safe.directory=*", "-C", str(self.path), *arguments]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, check=True, timeout=30)
        return done.stdout.decode().strip()

    def commit(self, files: dict[str, bytes | None] | None = None) -> str:
        """Write these files, or delete where there is None, commit everything, and return the commit."""
        for name, content in (files or {}).items():
            path = self.path / name
            if content is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message=a change")
        return self.git("rev-parse", "HEAD")


@dataclass(frozen=True)
class Came:
    """A request that came in."""

    method: str
    path: str
    headers: dict[str, str]


# What git answered: status, header fields, body. A fault makes another answer of it, or None: hang up.
Answer = tuple[int, dict[str, str], bytes]
Fault = Callable[[Came, Answer], Answer | None]


@dataclass
class GitServer:
    """git http-backend, for all repositories below `root`. With `credential`, `user:token` is asked for."""

    root: Path
    credential: str | None = None
    tls: ssl.SSLContext | None = None
    fault: Fault | None = None
    # git of today speaks version 2, older servers do not.
    newest: bool = True
    requests: list[Came] = field(default_factory=list)

    def __enter__(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 20

            def do_GET(self) -> None:
                outer._respond(self)

            def do_POST(self) -> None:
                outer._respond(self)

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the protocol's name
                """Say nothing."""

        self._released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    def url(self, name: str) -> str:
        """Return the address of the repository in the folder of that name."""
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://localhost:{self._server.server_port}/{name}"

    def hang(self, came: Came, answer: Answer) -> None:
        """Answer nothing as long as the server runs. A fault."""
        self._released.wait(30)

    def _respond(self, handler: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        body = handler.rfile.read(int(headers.get("content-length", "0")))
        came = Came(handler.command, handler.path, headers)
        self.requests.append(came)
        answer: Answer | None = (401, {"WWW-Authenticate": "Basic"}, b"")
        if self.credential is None or headers.get("authorization") == self._expected():
            answer = self._backend(came, body)
        if self.fault is not None and answer is not None:
            answer = self.fault(came, answer)
        handler.close_connection = True
        if answer is None:
            return
        status, fields, content = answer
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **fields}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)

    def _expected(self) -> str:
        return f"Basic {base64.b64encode((self.credential or '').encode()).decode()}"

    def _backend(self, came: Came, body: bytes) -> Answer:
        path, _, query = came.path.partition("?")
        environment = {
            **ENVIRONMENT,
            "GIT_PROJECT_ROOT": str(self.root),
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": came.method,
            "CONTENT_TYPE": came.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
        }
        if self.newest:
            environment["GIT_PROTOCOL"] = came.headers.get("git-protocol", "")
        done = subprocess.run(
            ["git", "http-backend"],  # noqa: S607 - from the path
            env=environment,
            input=body,
            capture_output=True,
            check=False,
            timeout=30,
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        status = int(fields.pop("Status", "200 OK").split()[0])
        return status, fields, content
