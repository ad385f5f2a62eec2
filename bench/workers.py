#!/usr/bin/env python3
"""Measure what a second worker brings.

Usage: workers.py [--rounds 3] [--seconds 5] [--concurrency 64] [--share 35] [--bar 1.7]

On a machine of two cores, two workers share them with the load generator and the stand-in for Tailscale, so that plain
throughput says nothing about the server. Two measurements do:

  limited   Each worker may use `--share` per cent of one core (a cpu cgroup: root, and a kernel with CFS bandwidth), so
            that the load generator always has more than it needs, and the server is what limits. Throughput of two
            workers divided by that of one.
  free      No limit, everything on both cores. CPU time of all the server's processes for each exchange, with one
            worker and with two: what working together costs.

One worker, two workers, one, two... so that drift of the machine hits both alike. Also prints how the connections were
spread over the workers. Exit 1 if the limited ratio of medians is below the bar, or a request failed. Needs
Linux and Go.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import run

CORES = "0-1"
CPU_GROUPS = Path("/sys/fs/cgroup/cpu")
PERIOD_US = 20_000


class Row(NamedTuple):
    """One measurement. `spread` is each worker's share of the server's CPU time."""

    workers: int
    limited: bool
    rps: float
    cpu_us: float
    spread: tuple[float, ...]
    failed: int

    def __str__(self) -> str:
        """Return a line of the table."""
        shares = " ".join(f"{share:.0%}" for share in self.spread)
        kind = "limited" if self.limited else "free"
        return (
            f"{kind:8s} workers={self.workers} rps={self.rps:7.0f} cpu={self.cpu_us:6.1f}us spread={shares} "
            f"failed={self.failed}"
        )


@contextmanager
def running(argv: Sequence[str], environment: dict[str, str], log: Path) -> Iterator[int]:
    """Run a program on both cores, and end it afterwards; yield its process id."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            ["taskset", "-c", CORES, *argv], env={**os.environ, **environment}, stdout=output, stderr=output
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def limited(pids: Sequence[int], share: int) -> Iterator[None]:
    """Let each of these processes have so many per cent of one core."""
    groups = [CPU_GROUPS / f"tailsts-bench-{pid}" for pid in pids]
    try:
        for group, pid in zip(groups, pids, strict=True):
            group.mkdir()
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(PERIOD_US * share // 100))
            (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        for group in filter(Path.exists, groups):
            for member in (group / "cgroup.procs").read_text().split():
                (CPU_GROUPS / "cgroup.procs").write_text(member)
            group.rmdir()


def serving(pid: int, workers: int) -> list[int]:
    """Return the processes that serve, when all of them do."""
    if workers == 1:
        return [pid]
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found = run.family(pid)[1:]
        log = subprocess.run(["ss", "-Hltnp", f"sport = :{run.PORT}"], capture_output=True, text=True, check=False)
        if len(found) == workers and all(f"pid={member}," in log.stdout for member in found):
            return found
        time.sleep(0.1)
    raise SystemExit(f"{workers} workers do not serve")


def load(clients: int, seconds: int, folder: Path, pids: Sequence[int]) -> dict[str, Any]:
    """Run the load generator on both cores; return what it reports."""
    argv = ["taskset", "-c", CORES, str(folder / "load"), "-url", f"http://127.0.0.1:{run.PORT}/"]
    argv += ["-tokens", str(folder / "tokens"), "-scopes", run.SCOPES, "-scopes2", run.OTHER_SCOPES]
    argv += ["-c", str(clients), "-d", f"{seconds}s", "-warm", "1s"]
    argv += ["-pids", ",".join(f"{pid}={pid}" for pid in pids)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, check=True)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def measure(workers: int, options: argparse.Namespace, folder: Path, argv: Sequence[str], *, limit: bool) -> Row:
    """Start the server and its neighbour anew, and measure once."""
    neighbour = [str(folder / "upstream"), "-port", str(run.UPSTREAM_PORT)]
    with (
        running(neighbour, {}, folder / "upstream.log"),
        running([*argv, "--workers", str(workers)], {}, folder / "server.log") as pid,
        ExitStack() as stack,
    ):
        run.wait_for_http(f"http://127.0.0.1:{run.PORT}/")
        pids = serving(pid, workers)
        time.sleep(1)
        if limit:
            stack.enter_context(limited(pids, options.share))
        result = load(options.concurrency, options.seconds, folder, run.family(pid))
    spent = {int(process["name"]): process["cpu_us_per_req"] for process in result["procs"]}
    by_worker = [spent[worker] for worker in pids]
    failed = sum((result["net_errors"] or {}).values()) + sum(result["status"].values()) - result["status"]["200"]
    return Row(
        workers,
        limit,
        result["rps"],
        sum(spent.values()),
        tuple(cost / sum(by_worker) for cost in by_worker),
        failed + result["scope_wrong"],
    )


def median(rows: Sequence[Row], workers: int, column: str, *, limit: bool) -> float:
    """Return the median of a column."""
    return float(
        statistics.median(getattr(row, column) for row in rows if row.workers == workers and row.limited is limit)
    )


def arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description="Measure what a second worker brings.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--share", type=int, default=35, help="per cent of a core for each worker")
    parser.add_argument("--bar", type=float, default=1.7)
    parser.add_argument("--tokens", type=int, default=20_000)
    return parser.parse_args()


def prepare(folder: Path, options: argparse.Namespace, stack: ExitStack) -> list[str]:
    """Start the issuer, and make tokens; return the server's command line."""
    run.build(folder)
    tokens = folder / "tokens"
    issuer = [str(folder / "issuer"), "-port", str(run.ISSUER_PORT), "-keys", "2"]
    stack.enter_context(
        running([*issuer, "-mint", str(options.tokens), "-out", str(tokens)], {}, folder / "issuer.log")
    )
    run.wait_for_http(run.JWKS_URL, 120)
    while not tokens.exists():
        time.sleep(0.1)
    token_url = f"http://127.0.0.1:{run.UPSTREAM_PORT}/api/v2/oauth/token"
    argv = ["tailsts", "serve", "--ts-client-id", "id", "--ts-client-secret", "secret", "--ts-token-url", token_url]
    return [*argv, "--policies-dir", str(run.write_policy(folder)), "--port", str(run.PORT)]


def main() -> int:
    """Measure, print, and return the exit code."""
    options = arguments()
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    can_limit = (CPU_GROUPS / "cpu.cfs_quota_us").exists() and os.access(CPU_GROUPS, os.W_OK)
    rows: list[Row] = []
    with ExitStack() as stack:
        argv = prepare(folder, options, stack)
        for limit in [True, False] if can_limit else [False]:
            for _ in range(options.rounds):
                for workers in (1, 2):
                    rows.append(measure(workers, options, folder, argv, limit=limit))
                    print(rows[-1], flush=True)
    cost = median(rows, 2, "cpu_us", limit=False) / median(rows, 1, "cpu_us", limit=False)
    report = {"cpu_for_each_exchange_two_to_one": round(cost, 3), "failed": sum(row.failed for row in rows)}
    if can_limit:
        report["throughput_two_to_one"] = round(
            median(rows, 2, "rps", limit=True) / median(rows, 1, "rps", limit=True), 3
        )
    else:
        print("no cpu cgroup to write to: the limited measurement was left out")
    print(json.dumps(report))
    shutil.rmtree(folder)
    return 1 if report["failed"] or report.get("throughput_two_to_one", 0) < options.bar else 0


if __name__ == "__main__":
    raise SystemExit(main())
