#!/usr/bin/env python3
"""Measure what does not depend on load: the start of the service, and how it bears 10,000 policies.

Usage: scale.py [--rounds 5]

Prints medians: seconds from the start of the process until it serves, with 1 and with 10,000 policies over 100
issuers; seconds that loading a folder takes; microseconds of one decision.
"""

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tailsts.oidc.verify import VerifiedToken
from tailsts.policy.decide import Grant, Wanted, decide
from tailsts.policy.model import Generation
from tailsts.policy.store import Options, load

SIZES = ((1, 1), (10_000, 100))
DECISIONS = 20_000
NOW = 1_800_000_000


def write_policies(folder: Path, policies: int, issuers: int) -> None:
    """Write that many policies, spread over that many issuers."""
    folder.mkdir()
    for number in range(policies):
        issuer = f"http://127.0.0.1:1/{number % issuers}"
        (folder / f"policy-{number}.toml").write_text(
            f'issuer = "{issuer}"\njwks_url = "{issuer}/jwks"\nsubject = "workload-{number}"\n'
            'audience = "https://sts.example.com"\nallowed_scopes = ["devices:core:read", "dns:read"]\n'
        )


def median(measure: Callable[[], float], rounds: int) -> float:
    """Return the median of several measurements."""
    return statistics.median(measure() for _ in range(rounds))


def seconds_to_load(folder: Path) -> float:
    """Return how long the folder takes to load."""
    started = time.perf_counter()
    assert load(folder, Options()).generation is not None  # noqa: S101 - or there is nothing to measure
    return time.perf_counter() - started


def microseconds_to_decide(generation: Generation, policies: int) -> float:
    """Return how long one decision takes, for the last policy written."""
    policy = next(policy for policy in generation.policies if policy.name == f"policy-{policies - 1}")
    subject = f"workload-{policies - 1}"
    token = VerifiedToken(
        issuer=policy.issuer.name,
        subject=subject,
        audiences=("https://sts.example.com",),
        algorithm="RS256",
        expires_at=NOW + 300,
        issued_at=NOW,
        claims={"iss": policy.issuer.name, "sub": subject},
    )
    wanted = Wanted(("devices:core:read",))
    verdict = None
    started = time.perf_counter()
    for _ in range(DECISIONS):
        verdict = decide(generation.trusts_of(token.issuer), token, wanted, NOW)
    elapsed = time.perf_counter() - started
    assert verdict == Grant(policy.name, wanted.scopes)  # noqa: S101 - or something else was measured
    return elapsed / DECISIONS * 1e6


def seconds_to_serve(folder: Path) -> float:
    """Return how long a new process takes until it answers."""
    port = free_port()
    arguments = ["serve", "--policies-dir", str(folder), "--port", str(port), "--ts-client-id", "id"]
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "tailsts", *arguments],
        env={**os.environ, "TS_CLIENT_SECRET": "none"},
        stderr=subprocess.DEVNULL,
    )
    try:
        while not answers(port):
            if process.poll() is not None:
                sys.exit("the server did not start")
            time.sleep(0.005)
        return time.perf_counter() - started
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def answers(port: int) -> bool:
    """Return whether the service answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def free_port() -> int:
    """Return a port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def row(folder: Path, policies: int, issuers: int, rounds: int) -> str:
    """Return the line of one folder."""
    generation = load(folder, Options()).generation
    assert generation is not None  # noqa: S101 - as above
    loading = median(lambda: seconds_to_load(folder), rounds)
    decision = median(lambda: microseconds_to_decide(generation, policies), rounds)
    serving = median(lambda: seconds_to_serve(folder), rounds)
    return (
        f"{policies:6d} policies, {issuers:3d} issuers: load {loading:6.3f} s, decision {decision:5.2f} us, "
        f"start to serving {serving:6.3f} s"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the start of the service, and 10,000 policies.")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        for policies, issuers in SIZES:
            folder = Path(name) / str(policies)
            write_policies(folder, policies, issuers)
            print(row(folder, policies, issuers, rounds), flush=True)


if __name__ == "__main__":
    main()
