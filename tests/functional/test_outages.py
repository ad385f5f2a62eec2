"""Outages that no other test of the whole service shows: rows of the table in docs/operations.md."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from fakes.deployment import deployed
from fakes.http import Later, Reply, eventually, http
from fakes.issuer import FakeIssuer
from fakes.leaks import note_text
from fakes.policies import policy
from fakes.redis_server import RedisServer
from fakes.service import Service, environment, is_served, unused_port
from fakes.tailscale import FakeTailscale
from fakes.workers import is_running, processes

SCOPES = ["dns:read"]
LATE = {"access_token": "tskey-api-late", "token_type": "Bearer", "expires_in": 3600, "scope": "dns:read"}
ONCE, PLAIN = "repo:acme/once", "repo:acme/plain"
# What a pipe holds, and far more lines than that.
PIPE = 64 * 1024
MANY = 500


@contextmanager
def unread(service: Service, *before: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the service, by the command `before`, with standard error as a pipe that nobody reads before the end."""
    command = [*before, sys.executable, "-m", "tailsts", "serve", *service._arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment(**service._variables)) as process:
        service.process = process
        try:
            eventually(lambda: is_served(service.port), 30)
            yield process
        finally:
            process.terminate()
            note_text(process.communicate()[1].decode())


def told(
    folder: Path, issuer: FakeIssuer, tailscale: FakeTailscale, *options: str, without: tuple[str, ...] = ()
) -> Service:
    """Return a service that knows its port before it runs."""
    port = unused_port()
    policies = {"infra": policy(issuer.url)}
    service = Service(folder, policies, tailscale, ["--port", str(port), *options], without)
    service.ports = {"public": port}
    return service


def test_standard_error_that_nobody_reads(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """Nothing waits for a reader of the log: each exchange is granted, and is in the audit log."""
    service = told(tmp_path, issuer, tailscale)
    token = issuer.token()
    with unread(service) as process:
        eventually(lambda: service.exchange(token).status == 200)
        before = len(service.events())
        assert {service.exchange(token).status for _ in range(MANY)} == {200}
        eventually(lambda: len(service.events()) >= before + MANY)
        # The pipe was full meanwhile.
        assert process.stderr is not None
        assert len(process.stderr.read(PIPE)) == PIPE


def test_a_required_log_that_nobody_reads(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """Where that log is the audit log, and required, nobody gets a token that it does not have, till it is read."""
    service = told(tmp_path, issuer, tailscale, "--audit-required", without=("--audit-log",))
    token = issuer.token()
    with unread(service) as process:
        eventually(lambda: service.exchange(token).status == 200)
        statuses = [200]
        while statuses[-1] == 200 and len(statuses) < MANY:
            statuses.append(service.exchange(token).status)
        assert statuses[-1] == 503
        assert process.stderr is not None
        process.stderr.read(32 * 1024)
        eventually(lambda: service.exchange(token).status == 200)


def test_connections_wait(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """When all the connections that may be open, here for want of files, wait for us, further callers wait as well."""
    service = told(tmp_path, issuer, tailscale)
    tokens = [issuer.token() for _ in range(80)]
    # A hundred of the files are for everything else, those for Tailscale among them.
    with unread(service, "sh", "-c", 'ulimit -n 160 && exec "$@"', "sh"), ThreadPoolExecutor(80) as callers:
        eventually(lambda: service.exchange(tokens[0]).status == 200)
        before = len(tailscale.requests)
        tailscale.trouble = Later(3, http(200, json.dumps(LATE).encode()))
        flying = []
        for token in tokens:
            flying.append(callers.submit(service.exchange, token, SCOPES))
            # One after the other: who connects, and then has no time to ask, is one of a crowd.
            time.sleep(0.01)
        eventually(lambda: len(tailscale.requests) >= before + 55)
        with pytest.raises(TimeoutError):
            service.request("GET", "/healthz", timeout=1)
        assert len(tailscale.requests) <= before + 61
        assert {future.result().status for future in flying} == {200}


def test_a_parent_that_is_killed_breaks_off_nothing(tmp_path: Path) -> None:
    """SIGKILL of the parent of workers: what they have in hand is answered, then they end."""
    with deployed(tmp_path, ["--workers", "2"]) as site, ThreadPoolExecutor(8) as callers:
        site.tailscale.trouble = Later(2, http(200, json.dumps(LATE).encode()))
        flying = [callers.submit(site.service.exchange, site.issuer.token(), SCOPES) for _ in range(8)]
        eventually(lambda: len(site.tailscale.requests) == 8)
        workers = processes(site.service)
        site.service.process.kill()
        site.service.process.wait()
        assert {future.result().status for future in flying} == {200}
        eventually(lambda: not any(map(is_running, workers)))


@contextmanager
def with_redis(folder: Path, issuer: FakeIssuer, tailscale: FakeTailscale, redis: RedisServer) -> Iterator[Service]:
    """Run the service with a policy that needs Redis, and one that does not."""
    policies = {
        "once": policy(issuer.url, subject=ONCE, single_use=True),
        "plain": policy(issuer.url, subject=PLAIN),
    }
    with redis, Service(folder / "service", policies, tailscale, TAILSTS_STATE=redis.url) as service:
        service.wait_for_keys()
        yield service


@pytest.mark.parametrize(
    ("harm", "mend"),
    [
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    ],
    ids=["full", "read-only"],
)
def test_redis_takes_nothing(
    tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale, harm: str, mend: str
) -> None:
    """While Redis is full or read-only, policies that need it answer 503, others go on; then all is well."""
    redis = RedisServer()
    with with_redis(tmp_path, issuer, tailscale, redis) as service:
        assert redis.say(*harm.split()).startswith("+OK")
        answer = service.exchange(issuer.token(sub=ONCE), SCOPES)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert service.event_of(answer)["reason"] == "state_unavailable"
        assert service.exchange(issuer.token(sub=PLAIN), SCOPES).status == 200
        assert redis.say(*mend.split()).startswith("+OK")
        assert service.exchange(issuer.token(sub=ONCE), SCOPES).status == 200


def test_redis_fails_when_a_token_should_be_given_back(
    tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale
) -> None:
    """A token that was claimed before Redis and Tailscale failed is given back when both are back: once."""
    redis = RedisServer("--appendonly", "yes", "--appendfsync", "always", "--dir", str(tmp_path))

    def both_fail(_request: object) -> Reply:
        redis.kill()
        return http(500, b"")

    with with_redis(tmp_path, issuer, tailscale, redis) as service:
        token = issuer.token(sub=ONCE)
        tailscale.trouble = both_fail
        assert service.exchange(token, SCOPES).status == 503
        tailscale.trouble = None
        redis.start()
        assert service.exchange(token, SCOPES).status == 200
        answer = service.exchange(token, SCOPES)
        assert (answer.status, service.event_of(answer)["reason"]) == (403, "replayed")
