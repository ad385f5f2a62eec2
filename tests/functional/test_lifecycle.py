"""Stopping: what is in flight is finished, what is new is refused, and whoever hangs up is recorded."""

import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fakes.deployment import deployed
from fakes.http import Later, Reply, eventually, http
from fakes.raw import RawConnection
from fakes.service import is_served


def grant_late(seconds: float) -> Reply:
    """Return Tailscale's answer to a request for dns:read, after some seconds."""
    answer = {"access_token": "tskey-api-late", "token_type": "Bearer", "expires_in": 3600, "scope": "dns:read"}
    return Later(seconds, http(200, json.dumps(answer).encode()))


def request(token: str, scope: str = "dns:read") -> bytes:
    """Return a request as bytes."""
    body = json.dumps({"scopes": [scope]}).encode()
    head = f"POST / HTTP/1.1\r\nHost: sts\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_in_flight_is_finished(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM and SIGINT: no new connections, exchanges in flight get their tokens, the audit is whole, exit 0."""
    with deployed(tmp_path) as site, ThreadPoolExecutor(8) as pool:
        service, tailscale = site.service, site.tailscale
        earlier = service.exchange(site.issuer.token())
        tailscale.trouble = grant_late(2)
        token = site.issuer.token()
        flying = [pool.submit(service.exchange, token, ["dns:read"]) for _ in range(8)]
        eventually(lambda: len(tailscale.requests) == 9)
        service.process.send_signal(number)
        eventually(lambda: not is_served(service.port))
        # Not because it is gone already.
        assert service.process.poll() is None
        assert not any(future.done() for future in flying)
        answers = [future.result() for future in flying]
        assert service.process.wait(10) == 0
    assert [(answer.status, answer.text) for answer in answers] == [(200, "tskey-api-late")] * 8
    recorded = [(event["decision"], event["outcome"]) for event in service.events()]
    expected = [(answer.headers["X-Decision-Id"], "granted") for answer in (earlier, *answers)]
    assert sorted(recorded) == sorted(expected)
    assert [line["event"] for line in service.log_lines()][-1] == "stopped"
    assert service.stdout.read_text() == ""


def test_idle_connections_do_not_hold_it_up(tmp_path: Path) -> None:
    """Connections that are merely open, before or after a request, do not keep the service from stopping at once."""
    with deployed(tmp_path) as site:
        idle = [RawConnection(site.service.port) for _ in range(5)]
        used = [RawConnection(site.service.port) for _ in range(5)]
        for connection in used:
            connection.send([request(site.issuer.token())])
            answer = connection.read()
            assert answer is not None
            assert answer.status == 200
        started = time.monotonic()
        assert site.service.stop() == 0
        assert time.monotonic() - started < 10
        for connection in (*idle, *used):
            assert connection.read() is None
            connection.close()


def test_a_second_signal(tmp_path: Path) -> None:
    """Further signals while it drains change nothing: the exchange is finished all the same."""
    with deployed(tmp_path) as site, ThreadPoolExecutor(1) as pool:
        site.tailscale.trouble = grant_late(1.5)
        flying = pool.submit(site.service.exchange, site.issuer.token(), ["dns:read"])
        eventually(lambda: len(site.tailscale.requests) == 1)
        site.service.process.send_signal(signal.SIGTERM)
        eventually(lambda: not is_served(site.service.port))
        site.service.process.send_signal(signal.SIGTERM)
        site.service.process.send_signal(signal.SIGINT)
        assert flying.result().status == 200
        assert site.service.process.wait(10) == 0


def test_u08_a_caller_that_leaves_while_it_waits(tmp_path: Path) -> None:
    """U-08: who hangs up while Tailscale is asked is recorded, as granted and not delivered; the token is not."""
    with deployed(tmp_path) as site:
        site.tailscale.trouble = grant_late(1)
        connection = RawConnection(site.service.port)
        connection.send([request(site.issuer.token())])
        eventually(lambda: len(site.tailscale.requests) == 1)
        connection.close()
        eventually(lambda: len(site.service.events()) == 1)
        event = site.service.events()[0]
        assert (event["outcome"], event["undelivered"], event["granted_scopes"]) == ("granted", True, ["dns:read"])
        site.tailscale.trouble = None
        assert site.service.exchange(site.issuer.token()).status == 200
        assert "undelivered" not in site.service.event_of(site.service.exchange(site.issuer.token()))


def test_a_caller_that_leaves_before_its_body(tmp_path: Path) -> None:
    """Who hangs up with half a body sent is recorded once, and nothing is asked of Tailscale."""
    with deployed(tmp_path) as site:
        lengths = (1, 10, len(b'{"scopes": ["dns:read"]}'))
        for length in lengths:
            connection = RawConnection(site.service.port)
            connection.send([request(site.issuer.token())[:-length]])
            connection.close()
        eventually(lambda: len(site.service.events()) == len(lengths))
        assert {event["reason"] for event in site.service.events()} == {"body_missing"}
        assert site.tailscale.requests == []
