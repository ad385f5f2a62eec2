"""A state that hangs again and again, for about as long as it is waited for: no token is lost, none is used twice."""

import contextlib
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fakes.issuer import FakeIssuer
from fakes.policies import policy
from fakes.redis_server import RedisServer
from fakes.service import Service
from fakes.tailscale import FakeTailscale

SCOPES = ["dns:read"]
SECONDS = 6.0
CALLERS = 16


def test_redis(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """Redis stops for a second, give or take, and runs for a moment in between."""
    with RedisServer() as redis:

        def hang() -> None:
            redis.pause()
            time.sleep(random.uniform(0.97, 1.15))  # noqa: S311 - nothing to guess
            redis.resume()
            time.sleep(0.15)

        check(tmp_path, issuer, tailscale, redis.url, hang)


def test_a_file(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """Another process holds the file for longer than is waited for it, give or take."""

    def hang() -> None:
        with contextlib.closing(sqlite3.connect(tmp_path / "state", timeout=5, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            time.sleep(random.uniform(1.2, 1.8))  # noqa: S311 - the same
            holder.execute("ROLLBACK")
        time.sleep(0.15)

    check(tmp_path, issuer, tailscale, f"sqlite:{tmp_path / 'state'}", hang)


def check(folder: Path, issuer: FakeIssuer, tailscale: FakeTailscale, state: str, hang: Callable[[], None]) -> None:
    """Present tokens while the state hangs, each until it is settled: each buys one access token, and no second."""
    policies = {"once": policy(issuer.url, single_use=True)}
    with Service(folder, policies, tailscale, TAILSTS_STATE=state) as service:
        service.wait_for_keys()
        statuses: dict[str, list[int]] = {}
        end = time.monotonic() + SECONDS

        def trade(_: int) -> None:
            while time.monotonic() < end:
                token = issuer.token()
                said = statuses[token] = []
                while not said or said[-1] == 503:
                    said.append(service.exchange(token, SCOPES).status)
                said.append(service.exchange(token, SCOPES).status)

        with hanging(hang), ThreadPoolExecutor(CALLERS) as callers:
            list(callers.map(trade, range(CALLERS)))
    # The last of each is the second try: refused, or not answered in time.
    assert {tuple(set(said[:-1]) - {503}) for said in statuses.values()} == {(200,)}
    assert {said[-1] for said in statuses.values()} <= {403, 503}
    assert len(tailscale.requests) == len(statuses)
    assert any(503 in said[:-1] for said in statuses.values()), "it never hung for long enough to show anything"


@contextlib.contextmanager
def hanging(hang: Callable[[], None]) -> Iterator[None]:
    """Hang again and again, meanwhile."""
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            hang()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
