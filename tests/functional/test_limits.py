"""Limits of the whole server: before anything is read, and after a token was verified."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from fakes.http import Later, eventually, http
from fakes.issuer import FakeIssuer
from fakes.policies import policy
from fakes.raw import RawConnection
from fakes.service import Answer, Service
from fakes.tailscale import FakeTailscale

SCOPES = ["dns:read"]


@pytest.fixture
def policies(issuer: FakeIssuer) -> dict[str, str]:
    """Return one policy."""
    return {"infra": policy(issuer.url)}


def test_in_flight(tmp_path: Path, policies: dict[str, str], issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """No more than so many exchanges are in hand: others are told to come again, unread; then it goes on."""
    with (
        Service(tmp_path, policies, tailscale, ["--max-in-flight", "3"]) as service,
        ThreadPoolExecutor(3) as callers,
    ):
        tailscale.trouble = Later(3.0, http(429, b""))
        held = [callers.submit(service.exchange, issuer.token(), SCOPES) for _ in range(3)]
        eventually(lambda: len(tailscale.requests) == 3)
        answer = service.exchange(issuer.token(), SCOPES)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert answer.headers["X-Decision-Id"] is None
        # A sign of life is no exchange.
        assert service.request("GET", "/healthz").status == 200
        assert {answer.result().status for answer in held} == {503}
        tailscale.trouble = None
        assert service.exchange(issuer.token(), SCOPES).status == 200
        assert service.metric("tailsts_turned_away_total", reason="in_flight") == 1


def test_in_flight_of_bodies_that_come_together(
    tmp_path: Path, policies: dict[str, str], issuer: FakeIssuer, tailscale: FakeTailscale
) -> None:
    """Who waits with half a body until there is room, and sends the rest when many do, gets past no bound."""
    body = json.dumps({"scopes": SCOPES}).encode()
    with Service(tmp_path, policies, tailscale, ["--max-in-flight", "3"]) as service, ExitStack() as stack:
        tailscale.trouble = Later(3.0, http(429, b""))
        callers = [stack.enter_context(RawConnection(service.port)) for _ in range(20)]
        for caller in callers:
            caller.send([head_of(issuer.token(), len(body), "Expect: 100-continue"), body[:5]])
            # Sent when the body is begun to be read: all have come in while there was room.
            told = caller.read()
            assert told is not None
            assert told.status == 100
        for caller in callers:
            caller.send([body[5:]])
        answers = [answer for caller in callers if (answer := caller.read()) is not None]
        assert [answer.status for answer in answers] == [503] * 20
        assert sum(answer.headers["X-Decision-Id"] is None for answer in answers) == 17
        assert len(tailscale.requests) == 3
        assert service.metric("tailsts_turned_away_total", reason="in_flight") == 17


def test_what_is_turned_away_is_not_looked_at(
    tmp_path: Path, policies: dict[str, str], issuer: FakeIssuer, tailscale: FakeTailscale
) -> None:
    """When all places are taken, what would be refused anyway is turned away as well: nothing of it is read."""
    with Service(tmp_path, policies, tailscale, ["--max-in-flight", "1"]) as service, ThreadPoolExecutor(1) as callers:
        tailscale.trouble = Later(3.0, http(429, b""))
        held = callers.submit(service.exchange, issuer.token(), SCOPES)
        eventually(lambda: len(tailscale.requests) == 1)
        fields = {"Authorization": f"Bearer {issuer.token()}"}
        answers = [
            service.exchange(None, SCOPES),
            service.request("GET", "/"),
            service.request("POST", "/", b" " * 20 * 1024, fields),
        ]
        with RawConnection(service.port) as silent:
            silent.send([head_of(issuer.token(), 20)])
            answers += [answer for answer in [silent.read()] if answer is not None]
        assert [answer.status for answer in answers] == [503] * 4
        assert not held.done()
        service.event_of(held.result())
        # And nobody fills the log so.
        assert len(service.events()) == 1


def head_of(token: str, length: int, *fields: str) -> bytes:
    """Return the head of an exchange whose body has so many bytes."""
    usual = ("POST / HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", f"Content-Length: {length}")
    return "\r\n".join([*usual, *fields, "", ""]).encode()


def test_a_body_that_does_not_come_takes_no_place(
    tmp_path: Path, policies: dict[str, str], issuer: FakeIssuer, tailscale: FakeTailscale
) -> None:
    """Who holds back a body is not in flight, and keeps nobody else out."""
    with Service(tmp_path, policies, tailscale, ["--max-in-flight", "1"]) as service:
        held = []
        for _ in range(20):
            connection = socket.create_connection(("127.0.0.1", service.port))
            connection.sendall(head_of(issuer.token(), 20))
            held.append(connection)
        assert service.exchange(issuer.token(), SCOPES).status == 200
        for connection in held:
            connection.close()


def test_the_rate_of_an_address(
    tmp_path: Path, policies: dict[str, str], issuer: FakeIssuer, tailscale: FakeTailscale
) -> None:
    """An address that asks too often is turned away before its body is read, whatever it holds; another one is not."""
    with Service(tmp_path, policies, tailscale, ["--peer-rate", "5/hour", "--trusted-proxies", "127.0.0.1"]) as service:

        def ask(client: str, body: bytes = b"") -> Answer:
            wanted = body or json.dumps({"scopes": SCOPES}).encode()
            fields = {"authorization": f"Bearer {issuer.token()}", "x-forwarded-for": client}
            return service.request("POST", "/", wanted, fields)

        assert [ask("203.0.113.7").status for _ in range(5)] == [200] * 5
        answer = ask("203.0.113.7", b"[" * 10_000)
        assert answer.status == 429
        assert int(answer.headers["Retry-After"]) > 600
        assert ask("198.51.100.1, 203.0.113.7").status == 429
        assert ask("203.0.113.8").status == 200
        assert ask("2001:db8::1").status == 200
        assert service.event_of(ask("2001:db8::2"))["peer"] == "2001:db8::2"
        assert service.metric("tailsts_turned_away_total", reason="peer_rate") == 2
        # Nobody fills the log by being turned away.
        eventually(lambda: len(service.events()) == 8)


def test_u01_used_once(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """U-01: of fifty presentations of a token at the same time exactly one gets an access token, and no later one."""
    policies = {"once": policy(issuer.url, single_use=True)}
    with Service(tmp_path, policies, tailscale) as service, ThreadPoolExecutor(50) as callers:
        token = issuer.token()
        answers = list(callers.map(lambda _: service.exchange(token, SCOPES), range(50)))
        assert sorted(answer.status for answer in answers) == [200] + [403] * 49
        assert len(tailscale.requests) == 1
        answer = service.exchange(token, SCOPES)
        assert answer.text.startswith("denied: the token was used already")
        event = service.event_of(answer)
        assert (event["outcome"], event["reason"], event["policy"]) == ("refused", "replayed", "once")


def test_the_rate_of_a_subject(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """A subject gets as many tokens as the policy allows in the time, and is told when it may ask again."""
    policies = {"few": policy(issuer.url, rate_limit="2/hour")}
    with Service(tmp_path, policies, tailscale) as service:
        answers = [service.exchange(issuer.token(), SCOPES) for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert int(answers[2].headers["Retry-After"]) >= 1
        assert service.event_of(answers[2])["reason"] == "rate_limited"


def test_single_use_of_all(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """`--single-use` lets every token be used once, and a file remembers it through a restart."""
    options = ["--single-use", "--state", f"sqlite:{tmp_path / 'state.db'}"]
    token = issuer.token()
    for expected in (200, 403):
        with Service(tmp_path, {"any": policy(issuer.url)}, tailscale, options) as service:
            assert service.exchange(token, SCOPES).status == expected
