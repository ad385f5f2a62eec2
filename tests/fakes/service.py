"""The real command line and the real server as processes."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from prometheus_client.parser import text_string_to_metric_families

from fakes.http import eventually
from fakes.leaks import note_output, note_text
from fakes.tailscale import CLIENT_ID, CLIENT_SECRET

# In the log for people and in that as JSON.
_LISTENING = re.compile(r'at(?:=|": ")(public|admin)\b.*\bport(?:=|": )([0-9]+)')


class Upstream(Protocol):
    """Whatever stands in for Tailscale."""

    @property
    def token_url(self) -> str:
        """Where tokens are asked for."""


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


def run(
    *arguments: str, given: str | None = None, cwd: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end. What it prints for people may hold no secret."""
    done = subprocess.run(
        [sys.executable, "-m", "tailsts", *arguments],
        input=given,
        capture_output=True,
        text=True,
        env=environment(**variables),
        cwd=cwd,
        timeout=60,
        check=False,
    )
    note_text(done.stderr)
    return done


def unused_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def is_served(port: int) -> bool:
    """Return whether somebody accepts connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class Service:
    """`tailsts serve` as a process, with an admin port and an audit log unless they are among `without`."""

    def __init__(
        self,
        folder: Path,
        policies: Mapping[str, str],
        tailscale: Upstream,
        options: Sequence[str] = (),
        without: Sequence[str] = (),
        **variables: str,
    ) -> None:
        self.policies = folder / "policies"
        self.policies.mkdir(parents=True, exist_ok=True)
        for name, text in policies.items():
            self.write_policy(name, text)
        self.audit_log = folder / "audit.jsonl"
        self.log = folder / "server.log"
        self.stdout = folder / "stdout"
        self.ports: dict[str, int] = {}
        note_output(folder)
        usual = {
            "--ts-client-id": [CLIENT_ID],
            "--ts-token-url": [tailscale.token_url],
            "--policies-dir": [str(self.policies)],
            "--port": ["0"],
            "--admin-port": ["0"],
            "--audit-log": [str(self.audit_log)],
            "--json-logging": [],
            # Most tests say themselves when policies are to be read anew.
            "--no-watch": [],
        }
        kept = [(name, *values) for name, values in usual.items() if name not in without]
        self._arguments = [word for option in kept for word in option] + list(options)
        # What is told its port may be told to be silent, too.
        self._told_port = int(options[options.index("--port") + 1]) if "--port" in options else None
        self._variables = {"TS_CLIENT_SECRET": CLIENT_SECRET, **variables}

    def __enter__(self) -> Self:
        with self.log.open("wb") as log, self.stdout.open("wb") as stdout:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tailsts", "serve", *self._arguments],
                stdout=stdout,
                stderr=log,
                env=environment(**self._variables),
            )
        try:
            eventually(lambda: self._has_started() or self.process.poll() is not None, 30)
        except AssertionError:
            self.process.kill()
            self.process.wait()
        assert self.process.poll() is None, self.log.read_text()
        self.ports = {name: int(port) for name, port in _LISTENING.findall(self.log.read_text())}
        if self._told_port is not None:
            self.ports["public"] = self._told_port
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            code = self.stop()
            # A test that failed already has said what matters.
            assert code == 0 or error is not None, self.log.read_text()

    def write_policy(self, name: str, text: str) -> None:
        """Put a policy into the folder, at once and whole."""
        new = self.policies / f"{name}.new"
        new.write_text(text)
        new.rename(self.policies / f"{name}.toml")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Tell it to stop, wait, and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(40)

    def reload(self, result: str = "policies reloaded") -> None:
        """Send SIGHUP, and wait until the log says that the policies are reloaded, or that they are not."""
        before = len(self.log_lines(result))
        self.process.send_signal(signal.SIGHUP)
        eventually(lambda: len(self.log_lines(result)) > before)

    @property
    def port(self) -> int:
        """The public port."""
        return self.ports["public"]

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def resident_kilobytes(self) -> int:
        """Return how much memory it holds."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def log_lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return what it said, or only the lines about one event."""
        return [line for line in _json_lines(self.log) if event in (None, line["event"])]

    def events(self) -> list[dict[str, Any]]:
        """Return the audit events so far."""
        return _json_lines(self.audit_log)

    def settled(self) -> int:
        """Wait until the events of all exchanges so far are written; return how many there are.

        They are, when that of a further one is, which ends for its token.
        """
        self.event_of(self.exchange("x"))
        return len(self.events())

    def event_of(self, answer: Answer) -> dict[str, Any]:
        """Return the audit event of an answer, when it is there; there must be one and no more."""
        decision = answer.headers["X-Decision-Id"]
        found: list[dict[str, Any]] = []

        def look() -> bool:
            found[:] = [event for event in self.events() if event["decision"] == decision]
            return bool(found)

        eventually(look)
        assert len(found) == 1
        return found[0]

    def exchange(
        self,
        token: str | None,
        scopes: object = ("devices:core:read",),
        also: Mapping[str, object] | None = None,
        /,
        **headers: str,
    ) -> Answer:
        """Ask for an exchange as a good client does; `also` are further members of the body."""
        sent = {"Content-Type": "application/json", **headers}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        return self.request("POST", "/", json.dumps({"scopes": scopes, **(also or {})}), sent)

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
        port = self.ports["admin"] if admin else self.port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read().decode())
        finally:
            connection.close()
        if answer.status != http.HTTPStatus.OK or admin:
            note_text(answer.text)
        return answer

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

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of that name that have these labels."""
        samples = (sample for family in text_string_to_metric_families(self.metrics()) for sample in family.samples)
        return sum(
            sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    def _has_started(self) -> bool:
        if self._told_port is not None:
            return is_served(self._told_port)
        return re.search(r"\bready\b", self.log.read_text()) is not None


def _json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines that are written whole and are JSON."""
    whole, _, _ = path.read_text().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
