"""Limits that each worker counts alone: what they come to where there are several."""

import json
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from fakes.deployment import deployed
from fakes.http import Later, eventually, http
from fakes.raw import RawConnection
from fakes.service import Answer, Service
from fakes.workers import descriptors_of, processes

BODY = json.dumps({"scopes": ["dns:read"]})


def test_in_flight(tmp_path: Path) -> None:
    """Each worker has as many exchanges in hand as it may, and all together no more; each one beyond is counted."""
    with deployed(tmp_path, ["--workers", "2", "--max-in-flight", "3"]) as site, ThreadPoolExecutor(40) as callers:
        # Asking to wait: an answer that stops nobody else.
        site.tailscale.trouble = Later(8.0, http(429, b""))
        token = site.issuer.token()
        calls: list[Future[Answer]] = []

        def are_full() -> bool:
            # Which worker takes a connection is a matter of who is quicker.
            calls.append(callers.submit(site.service.exchange, token))
            return len(site.tailscale.requests) == 6

        eventually(are_full)
        calls += [callers.submit(site.service.exchange, token) for _ in range(20)]
        answers = [call.result() for call in calls]
        turned_away = [answer for answer in answers if answer.headers["X-Decision-Id"] is None]
        assert len(site.tailscale.requests) == len(answers) - len(turned_away) == 6
        assert {(answer.status, answer.headers["Retry-After"]) for answer in turned_away} == {(503, "1")}
        assert site.service.metric("tailsts_turned_away_total", reason="in_flight") == len(turned_away)
        site.tailscale.trouble = None
        assert {site.service.exchange(token).status for _ in range(20)} == {200}


def held_by_each(service: Service, count: int) -> tuple[list[RawConnection], list[int]]:
    """Return so many open connections, and how many of them each worker has accepted."""
    before = [descriptors_of(pid) for pid in processes(service)]
    held = [RawConnection(service.port) for _ in range(count)]

    def accepted() -> list[int]:
        return [descriptors_of(pid) - then for pid, then in zip(processes(service), before, strict=True)]

    eventually(lambda: sum(accepted()) >= count)
    return held, accepted()


def test_the_rate_of_an_address(tmp_path: Path) -> None:
    """An address may send so many to each worker, and to all together as many times that; each beyond is counted."""
    with deployed(tmp_path, ["--workers", "2", "--peer-rate", "5/hour"]) as site:
        fields = ("Host: x", f"Authorization: Bearer {site.issuer.token()}", f"Content-Length: {len(BODY)}")
        request = "\r\n".join(["POST / HTTP/1.1", *fields, "", BODY]).encode()
        held, shares = held_by_each(site.service, 64)
        for connection in held:
            assert connection.send([request])
        answers = [answer for connection in held if (answer := connection.read()) is not None]
        for connection in held:
            connection.close()
        assert sum(shares) == 64
        granted = sum(min(share, 5) for share in shares)
        assert Counter(answer.status for answer in answers) == {200: granted, 429: 64 - granted}
        assert site.service.metric("tailsts_turned_away_total", reason="peer_rate") == 64 - granted
