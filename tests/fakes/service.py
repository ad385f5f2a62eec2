"""The real server as a process, and what one needs to speak to it byte for byte."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fakes.http import eventually
from fakes.leaks import note_output
from fakes.tailscale import CLIENT_ID, CLIENT_SECRET, FakeTailscale


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    text: str


def environment(**changes: str) -> dict[str, str]:
    """Return an environment without any setting of ours, plus `changes`."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "SYSTEMROOT") if name in os.environ}
    return {**kept, "PYTHONWARNINGS": "error", "PYTHONUNBUFFERED": "1", **changes}


def run(*arguments: str, given: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run(
        [sys.executable, "-m", "tailsts", *arguments],
        input=given,
        capture_output=True,
        text=True,
        env=environment(**variables),
        timeout=60,
        check=False,
    )


class Service:
    """`tailsts serve` as a process, with an admin port and an audit log."""

    def __init__(
        self,
        folder: Path,
        policies: Mapping[str, str],
        tailscale: FakeTailscale,
        options: Sequence[str] = (),
        **variables: str,
    ) -> None:
        self.folder = folder
        self.policies = folder / "policies"
        self.policies.mkdir(parents=True, exist_ok=True)
        for name, text in policies.items():
            (self.policies / f"{name}.toml").write_text(text)
        self.audit_log = folder / "audit.jsonl"
        self.log = folder / "server.log"
        note_output(folder)
        self._arguments = [
            "--ts-client-id",
            CLIENT_ID,
            "--ts-token-url",
            tailscale.token_url,
            "--policies-dir",
            str(self.policies),
            "--port",
            "0",
            "--admin-port",
            "0",
            "--audit-log",
            str(self.audit_log),
            "--json-logging",
            *options,
        ]
        self._variables = {"TS_CLIENT_SECRET": CLIENT_SECRET, **variables}

    def __enter__(self) -> Self:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tailsts", "serve", *self._arguments],
                stdout=log,
                stderr=log,
                env=environment(**self._variables),
            )
        eventually(lambda: self._has_started() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()
        ports = {line["at"]: line["port"] for line in self.log_lines("listening")}
        self.port, self.admin_port = ports["public"], ports["admin"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            assert self.stop() == 0, self.log.read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Tell it to stop, wait, and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(40)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def log_lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return what it said, or only the lines about one event."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if event in (None, line["event"])]

    def events(self) -> list[dict[str, Any]]:
        """Return the audit events so far."""
        return [json.loads(line) for line in self.audit_log.read_text().splitlines()]

    def event_of(self, answer: Answer) -> dict[str, Any]:
        """Return the audit event of an answer, when it is there."""
        decision = answer.headers["X-Decision-Id"]
        found: list[dict[str, Any]] = []

        def look() -> bool:
            found[:] = [event for event in self.events() if event["decision"] == decision]
            return bool(found)

        eventually(look)
        return found[-1]

    def exchange(self, token: str | None, scopes: object = ("devices:core:read",), **headers: str) -> Answer:
        """Ask for an exchange as a good client does."""
        sent = {"Content-Type": "application/json", **headers}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        return self.request("POST", "/", json.dumps({"scopes": scopes}), sent)

    def request(
        self,
        method: str,
        path: str,
        body: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        admin: bool = False,
        timeout: float = 40,
    ) -> Answer:
        """Send a request and read the answer."""
        port = self.admin_port if admin else self.port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read().decode())
        finally:
            connection.close()

    def readiness(self) -> dict[str, Any]:
        """Return what the admin port says of readiness."""
        value: dict[str, Any] = json.loads(self.request("GET", "/readyz", admin=True).text)
        return value

    def wait_for_keys(self) -> None:
        """Wait until every issuer's keys are there."""
        eventually(lambda: self.readiness()["status"] == "ready")

    def metrics(self) -> str:
        """Return what the admin port shows to Prometheus."""
        return self.request("GET", "/metrics", admin=True).text

    def _has_started(self) -> bool:
        return self.log.exists() and bool(self.log_lines("ready"))


def in_background(work: Callable[[], object]) -> threading.Thread:
    """Run `work` in a thread."""
    thread = threading.Thread(target=work)
    thread.start()
    return thread
