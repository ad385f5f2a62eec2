#!/usr/bin/env python3
"""Measure the server side by side with the Go yardstick, in one run.

Usage: run.py [--ours "CMD"] [--rounds 3] [--seconds 5] [--concurrency 16,64] [--tls] [--json]

CMD starts the project's server; the flags of its command line are added to it:
  --ts-client-id id --ts-client-secret secret --ts-token-url URL --policies-dir DIR --port PORT
Default: "tailsts serve", from the environment that runs this.

Everything runs on loopback. Server on core 0; load generator, issuer and fake upstream on core 1. A, B, A, B... so
that drift of the machine hits both alike. Each request of a measurement carries its own RS256 token, as long as there
are enough (--tokens), and alternates between two scope sets; an answer with other scopes than asked counts as wrong.

Needs Linux, Go (any version from 1.24), and openssl for --tls. Prints one line for each measurement, then the ratios
ours/yardstick of the medians of throughput, CPU per exchange and p99. Exit 1 if any request of ours failed or any
answer carried wrong scopes.
"""

import argparse
import json
import os
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
SCOPES, OTHER_SCOPES = "devices:core:read,auth_keys", "devices:core:read"
SUBJECT = "repo:acme/infra:ref:refs/heads/main"
SERVER_CORE, LOAD_CORE = 0, 1
PORT = int(os.environ.get("BENCH_PORT", "18080"))
ISSUER_PORT, UPSTREAM_PORT = PORT + 808, PORT + 920
ISSUER = f"http://127.0.0.1:{ISSUER_PORT}"
JWKS_URL = f"{ISSUER}/jwks"


class Server(NamedTuple):
    """A server to measure: how it is started."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]


class Row(NamedTuple):
    """One measurement."""

    server: str
    clients: int
    rps: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    rss_mb: float
    status: Mapping[str, int]
    wrong: int
    errors: Mapping[str, int]

    def __str__(self) -> str:
        """Return a line of the table."""
        return (
            f"{self.server:10s} c={self.clients:<3d} rps={self.rps:8.0f} p50={self.p50_ms:7.3f} p99={self.p99_ms:7.3f} "
            f"cpu={self.cpu_us:6.1f}us rss={self.rss_mb:5.0f}MB status={dict(self.status)} wrong={self.wrong} "
            f"errors={dict(self.errors)}"
        )


class Upstream(NamedTuple):
    """How the stand-in for Tailscale is reached, over TLS or not."""

    token_url: str
    arguments: Sequence[str]
    server_environment: Mapping[str, str]


def build(out: Path) -> None:
    """Compile the Go programs."""
    source = out / "src"
    shutil.copytree(HERE, source, ignore=shutil.ignore_patterns("*.py", "*.md"))
    for name in ("load", "upstream", "issuer", "baseline"):
        subprocess.run(["go", "build", "-o", str(out / name), f"./{name}"], cwd=source, check=True)


def wait_for_http(url: str, seconds: float = 30) -> None:
    """Wait until something answers at `url`, whatever it says."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=1).read()  # noqa: S310 - our own, on loopback
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    sys.exit(f"no answer at {url}")


@contextmanager
def running(
    argv: Sequence[str], core: int, environment: Mapping[str, str] | None = None, log: Path | None = None
) -> Iterator[int]:
    """Run a program on one core, and end it afterwards; yield its process id."""
    with (log or Path(os.devnull)).open("ab") as output:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *argv],
            env={**os.environ, **(environment or {})},
            stdout=subprocess.DEVNULL,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process.pid
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def family(pid: int) -> list[int]:
    """Return the process and all its descendants."""
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [pid] + [member for child in found.stdout.split() for member in family(int(child))]


def certificates(folder: Path) -> None:
    """Make an authority (ca.pem) and a server's certificate for localhost (server.pem, server.key)."""
    (folder / "ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    commands = (
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=bench",
        "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile ext",
    )
    for command in commands:
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)


def upstream(folder: Path, *, tls: bool) -> Upstream:
    """Return how the stand-in for Tailscale is started and reached."""
    path = "api/v2/oauth/token"
    arguments = [str(folder / "upstream"), "-port", str(UPSTREAM_PORT)]
    if not tls:
        return Upstream(f"http://127.0.0.1:{UPSTREAM_PORT}/{path}", arguments, {})
    certificates(folder)
    arguments += ["-tls-cert", str(folder / "server.pem"), "-tls-key", str(folder / "server.key")]
    return Upstream(f"https://localhost:{UPSTREAM_PORT}/{path}", arguments, {"SSL_CERT_FILE": str(folder / "ca.pem")})


def write_policy(folder: Path) -> Path:
    """Write the one policy; return its folder."""
    policies = folder / "policies"
    policies.mkdir()
    (policies / "bench.toml").write_text(
        f'issuer = "{ISSUER}"\nalgorithm = "RS256"\nsubject = "{SUBJECT}"\njwks_url = "{JWKS_URL}"\n'
        'allowed_scopes = ["devices:core:read", "auth_keys", "dns:read", "policy_file:read"]\n'
    )
    return policies


def servers(options: argparse.Namespace, folder: Path, token_url: str) -> list[Server]:
    """Return the yardstick and ours."""
    flags = ["--ts-client-id", "id", "--ts-client-secret", "secret", "--ts-token-url", token_url]
    flags += ["--policies-dir", str(write_policy(folder)), "--port", str(PORT)]
    go = [str(folder / "baseline"), "-port", str(PORT), "-issuer", ISSUER, "-jwks-url", JWKS_URL]
    go += ["-ts-token-url", token_url]
    yardstick = [*shlex.split(options.yardstick), *flags] if options.yardstick else go
    return [
        Server("yardstick", yardstick, {"GOMAXPROCS": "1"}),
        Server("ours", [*shlex.split(options.ours), *flags], {}),
    ]


def measure(server: Server, clients: int, seconds: int, folder: Path, neighbour: Upstream) -> Row:
    """Start the server and its neighbour anew, and measure once."""
    with (
        running(neighbour.arguments, LOAD_CORE, {"GOMAXPROCS": "1"}),
        running(
            server.argv,
            SERVER_CORE,
            {**neighbour.server_environment, **server.environment},
            folder / f"{server.name}.log",
        ) as pid,
    ):
        wait_for_http(f"http://127.0.0.1:{PORT}/")
        time.sleep(0.5)
        result = load(clients, seconds, folder, family(pid))
    return Row(
        server=server.name,
        clients=clients,
        rps=result["rps"],
        p50_ms=result["p50_ms"],
        p99_ms=result["p99_ms"],
        cpu_us=sum(process["cpu_us_per_req"] for process in result["procs"]),
        rss_mb=sum(process["rss_kb"] for process in result["procs"]) / 1024,
        status=result["status"],
        wrong=result["scope_wrong"],
        errors=result["net_errors"] or {},
    )


def load(clients: int, seconds: int, folder: Path, pids: Sequence[int]) -> dict[str, Any]:
    """Run the load generator; return what it reports."""
    argv = ["taskset", "-c", str(LOAD_CORE), str(folder / "load"), "-url", f"http://127.0.0.1:{PORT}/"]
    argv += ["-tokens", str(folder / "tokens"), "-scopes", SCOPES, "-scopes2", OTHER_SCOPES]
    argv += ["-c", str(clients), "-d", f"{seconds}s", "-warm", "1s"]
    argv += ["-pids", ",".join(f"server={pid}" for pid in pids)]
    done = subprocess.run(argv, env={**os.environ, "GOMAXPROCS": "1"}, stdout=subprocess.PIPE, check=True)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def median(rows: Sequence[Row], server: str, clients: int, column: str) -> float:
    """Return the median of a column over the rounds of one server at one number of clients."""
    values = [getattr(row, column) for row in rows if row.server == server and row.clients == clients]
    return float(statistics.median(values))


def summary(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Return the ratios ours/yardstick by the number of clients, and the memory of ours in MB."""
    ratios: dict[str, dict[str, float]] = {}
    for clients in sorted({row.clients for row in rows}):
        ratios[str(clients)] = {
            column: round(median(rows, "ours", clients, column) / median(rows, "yardstick", clients, column), 3)
            for column in ("rps", "cpu_us", "p99_ms")
        }
        ratios[str(clients)]["ours_rss_mb"] = round(median(rows, "ours", clients, "rss_mb"))
    return ratios


def arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description="Measure the server side by side with the Go yardstick.")
    parser.add_argument("--ours", default="tailsts serve", help="the command that starts our server")
    parser.add_argument("--yardstick", default="", help="another server instead of the yardstick, started like --ours")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--concurrency", default="16,64", help="numbers of clients, separated by commas")
    parser.add_argument("--tokens", type=int, default=50_000, help="how many distinct tokens are made")
    parser.add_argument("--tls", action="store_true", help="upstream over HTTPS, private CA in SSL_CERT_FILE")
    parser.add_argument("--json", action="store_true", help="print nothing but the summary")
    return parser.parse_args()


def main() -> int:
    """Measure, print, and return the exit code."""
    options = arguments()
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    build(folder)
    neighbour = upstream(folder, tls=options.tls)
    contenders = servers(options, folder, neighbour.token_url)
    tokens = folder / "tokens"
    issuer = [str(folder / "issuer"), "-port", str(ISSUER_PORT), "-keys", "2"]
    issuer += ["-mint", str(options.tokens), "-out", str(tokens)]
    rows: list[Row] = []
    with ExitStack() as stack:
        stack.enter_context(running(issuer, LOAD_CORE))
        wait_for_http(JWKS_URL, 120)
        while not tokens.exists():
            time.sleep(0.1)
        for clients in [int(number) for number in options.concurrency.split(",")]:
            for _ in range(options.rounds):
                for server in contenders:
                    rows.append(measure(server, clients, options.seconds, folder, neighbour))
                    if not options.json:
                        print(rows[-1], flush=True)
    ours = [row for row in rows if row.server == "ours"]
    wrong = sum(row.wrong for row in ours)
    failed = sum(sum(row.errors.values()) + sum(row.status.values()) - row.status.get("200", 0) for row in ours)
    report = {"ratio_ours_to_yardstick": summary(rows), "wrong_scopes": wrong, "failed": failed, "tls": options.tls}
    print(json.dumps(report))
    if not wrong and not failed:
        shutil.rmtree(folder)
    return 1 if wrong or failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
