"""Two whole servers that share nothing but a real Redis: one-use tokens, rates, and what happens when one is killed."""

import itertools
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPException
from pathlib import Path

import pytest

from fakes.http import eventually, http
from fakes.issuer import FakeIssuer
from fakes.policies import policy
from fakes.redis_server import RedisServer
from fakes.service import Answer, Service
from fakes.tailscale import FakeTailscale

SCOPES = ["dns:read"]
ONCE, OFTEN, PLAIN = "repo:acme/once", "repo:acme/often", "repo:acme/plain"


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """Return a server that may be killed."""
    with RedisServer() as running:
        yield running


@pytest.fixture
def servers(
    tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale, redis: RedisServer
) -> Iterator[tuple[Service, Service]]:
    """Return two servers with the same policies: of one use, of a rate, and of neither."""
    policies = {
        "once": policy(issuer.url, subject=ONCE, single_use=True),
        "often": policy(issuer.url, subject=OFTEN, rate_limit="10/hour"),
        "plain": policy(issuer.url, subject=PLAIN),
    }
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(Service(tmp_path / name, policies, tailscale, TAILSTS_STATE=redis.url))
            for name in ("first", "second")
        )
        for server in (first, second):
            server.wait_for_keys()
        yield first, second


def present(servers: tuple[Service, ...], tokens: list[str]) -> list[Answer]:
    """Present all tokens at once, spread over the servers."""
    with ThreadPoolExecutor(len(tokens)) as callers:
        turns = zip(itertools.cycle(servers), tokens, strict=False)
        return list(callers.map(lambda turn: turn[0].exchange(turn[1], SCOPES), turns))


def test_one_use_across_servers(servers: tuple[Service, Service], issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """Of 50 presentations of a token at once, spread over both, one gets an access token; 49 are `replayed`."""
    answers = present(servers, [issuer.token(sub=ONCE)] * 50)
    assert Counter(answer.status for answer in answers) == {200: 1, 403: 49}
    assert len(tailscale.requests) == 1
    assert all("the token was used already" in answer.text for answer in answers if answer.status == 403)
    eventually(lambda: sum(len(server.events()) for server in servers) == 50)
    reasons = Counter(event.get("reason") for server in servers for event in server.events())
    assert reasons["replayed"] == 49
    # Other tokens of the same subject are not touched.
    assert servers[1].exchange(issuer.token(sub=ONCE), SCOPES).status == 200


def test_a_token_for_nothing_can_be_presented_again(
    servers: tuple[Service, Service], issuer: FakeIssuer, tailscale: FakeTailscale
) -> None:
    """When Tailscale fails at one server, the other takes the same token: once."""
    token = issuer.token(sub=ONCE)
    tailscale.trouble = http(500, b"")
    assert servers[0].exchange(token, SCOPES).status == 503
    tailscale.trouble = None
    assert [servers[1].exchange(token, SCOPES).status for _ in range(2)] == [200, 403]


def test_a_rate_across_servers(servers: tuple[Service, Service], issuer: FakeIssuer) -> None:
    """Of 50 exchanges of one subject at once, spread over both, as many pass as the rate says; the others wait."""
    answers = present(servers, [issuer.token(sub=OFTEN) for _ in range(50)])
    assert Counter(answer.status for answer in answers) == {200: 10, 429: 40}
    waits = [int(answer.headers["Retry-After"]) for answer in answers if answer.status == 429]
    assert all(1 <= wait <= 360 for wait in waits)
    assert servers[0].exchange(issuer.token(sub=PLAIN), SCOPES).status == 200


def test_redis_is_killed_and_comes_back(
    servers: tuple[Service, Service], issuer: FakeIssuer, redis: RedisServer
) -> None:
    """While Redis is gone, policies that need it answer 503 at both servers, and others go on; then all is well."""
    redis.kill()
    for server in servers:
        for subject in (ONCE, OFTEN):
            answer = server.exchange(issuer.token(sub=subject), SCOPES)
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
            assert server.event_of(answer)["reason"] == "state_unavailable"
        assert server.exchange(issuer.token(sub=PLAIN), SCOPES).status == 200
    redis.start()
    token = issuer.token(sub=ONCE)
    assert [server.exchange(token, SCOPES).status for server in servers] == [200, 403]
    assert servers[0].exchange(issuer.token(sub=OFTEN), SCOPES).status == 200


def test_redis_hangs(servers: tuple[Service, Service], issuer: FakeIssuer, redis: RedisServer) -> None:
    """While Redis hangs, 20 at once that need it are all answered with 503, and others go on meanwhile."""
    redis.pause()
    with ThreadPoolExecutor(1) as one:
        waiting = one.submit(present, servers, [issuer.token(sub=ONCE) for _ in range(20)])
        assert servers[0].exchange(issuer.token(sub=PLAIN), SCOPES).status == 200
        assert {answer.status for answer in waiting.result()} == {503}
    redis.resume()
    assert servers[0].exchange(issuer.token(sub=ONCE), SCOPES).status == 200


def test_the_same_token_after_a_hang(
    servers: tuple[Service, Service], issuer: FakeIssuer, redis: RedisServer, tailscale: FakeTailscale
) -> None:
    """Who got 503 since Redis hung comes again with the same token, to either server, and gets one; and no second."""
    tokens = [issuer.token(sub=ONCE) for _ in range(8)]
    for server in servers:
        # With a connection, over which Redis has the claim when it goes on.
        server.exchange(issuer.token(sub=ONCE), SCOPES)
    before = len(tailscale.requests)
    redis.pause()
    answers = present(servers, tokens)
    assert {(answer.status, answer.headers["Retry-After"]) for answer in answers} == {(503, "1")}
    redis.resume()
    eventually(lambda: redis.say("KEYS", "tailsts:claim:*") == f"*{before}")
    assert Counter(answer.status for answer in present(servers[::-1], tokens)) == {200: 8}
    assert Counter(answer.status for answer in present(servers, tokens)) == {403: 8}
    assert len(tailscale.requests) - before == 8


def test_no_use_of_a_rate_for_nothing(
    servers: tuple[Service, Service], issuer: FakeIssuer, redis: RedisServer, tailscale: FakeTailscale
) -> None:
    """Neither a Redis that hangs nor a Tailscale that fails uses up a rate: afterwards all of it is left."""
    tailscale.trouble = http(500, b"")
    assert {answer.status for answer in present(servers, [issuer.token(sub=OFTEN)] * 8)} == {503}
    tailscale.trouble = None
    redis.pause()
    assert {answer.status for answer in present(servers, [issuer.token(sub=OFTEN)] * 8)} == {503}
    redis.resume()
    # What hung is undone within moments, and Tailscale is asked again after some seconds.
    eventually(lambda: servers[0].exchange(issuer.token(sub=PLAIN), SCOPES).status == 200, 15)
    eventually(lambda: servers[1].exchange(issuer.token(sub=PLAIN), SCOPES).status == 200, 15)
    answers = [servers[number % 2].exchange(issuer.token(sub=OFTEN), SCOPES) for number in range(11)]
    assert Counter(answer.status for answer in answers) == {200: 10, 429: 1}


def test_a_server_is_killed_in_full_flight(
    servers: tuple[Service, Service], issuer: FakeIssuer, tailscale: FakeTailscale
) -> None:
    """Each token is presented to both servers, one is killed meanwhile: no token buys two, and the other goes on."""
    tokens = [issuer.token(sub=ONCE) for _ in range(400)]
    statuses: dict[str, list[int]] = {token: [] for token in tokens}
    begun = threading.Semaphore(0)

    def trade(token: str) -> None:
        for server in servers:
            begun.release()
            try:
                statuses[token].append(server.exchange(token, SCOPES).status)
            except (OSError, HTTPException):
                # It was killed: whether it did anything, its caller cannot know.
                statuses[token].append(0)

    with ThreadPoolExecutor(8) as callers:
        done = [callers.submit(trade, token) for token in tokens]
        for _ in range(200):
            begun.acquire()
        servers[0].process.send_signal(signal.SIGKILL)
        for future in done:
            future.result()
    servers[0].process.wait()
    assert {tuple(found) for found in statuses.values()} <= {(200, 403), (0, 200), (0, 403)}
    # What was in flight in the killed one: tokens that it had claimed, one for each caller at most.
    assert sum(found == [0, 200] for found in statuses.values()) > 0
    assert sum(found == [0, 403] for found in statuses.values()) <= 8
    assert len(tailscale.requests) <= len(tokens)
    assert servers[1].exchange(issuer.token(sub=ONCE), SCOPES).status == 200
