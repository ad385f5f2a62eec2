"""The circuit to Tailscale in the whole service: nobody waits for what is known to fail, and it recovers by itself."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from fakes.deployment import Deployment, deployed
from fakes.http import HANG, RESET, Reply, eventually, http
from fakes.issuer import FakeIssuer
from fakes.policies import policy
from fakes.service import Answer, Service
from fakes.tailscale import FakeTailscale

NOT_ASKED = "times in a row and was not asked"
# Seconds: that between two which try, and what a busy machine adds.
RECOVERY = 3.0 + 5.0


def is_stopped(service: Service, answer: Answer) -> bool:
    """Return whether the answer was given without asking Tailscale."""
    return answer.status == 503 and NOT_ASKED in service.event_of(answer)["detail"]


def until_it_opens(site: Deployment) -> None:
    """Ask until Tailscale is not asked any more."""
    eventually(lambda: is_stopped(site.service, site.service.exchange(site.issuer.token())), 20)


@contextmanager
def asking(count: int, ask: Callable[[], Answer]) -> Iterator[list[Answer]]:
    """Have so many callers ask without end; yield what they get."""
    stop, got = threading.Event(), list[Answer]()

    def caller(_number: int) -> None:
        while not stop.is_set():
            got.append(ask())

    with ThreadPoolExecutor(count) as pool:
        done = pool.map(caller, range(count))
        try:
            yield got
        finally:
            stop.set()
    list(done)


@pytest.mark.parametrize("trouble", [http(503, b""), RESET], ids=["503", "reset"])
def test_u06_it_fails_fast_and_recovers(tmp_path: Path, trouble: Reply) -> None:
    """U-06: in an outage Tailscale is asked by one in three seconds; others get 503 at once; then all go on."""
    with deployed(tmp_path) as site:
        site.tailscale.trouble = trouble
        until_it_opens(site)
        asked, started = len(site.tailscale.requests), time.monotonic()
        answers = [site.service.exchange(site.issuer.token()) for _ in range(100)]
        seconds = time.monotonic() - started
        assert Counter(answer.status for answer in answers) == {503: 100}
        assert {int(answer.headers["Retry-After"]) for answer in answers} <= {1, 2, 3, 5}
        # Each that tries asks twice at most.
        assert len(site.tailscale.requests) - asked <= 2 * (1 + seconds / 3)
        site.tailscale.trouble = None
        eventually(lambda: site.service.exchange(site.issuer.token()).status == 200, RECOVERY)
        assert {site.service.exchange(site.issuer.token()).status for _ in range(20)} == {200}


def test_u06_429_stops_nobody(tmp_path: Path) -> None:
    """U-06: an answer about a request, also "too many", is for its caller alone, however often it comes."""
    with deployed(tmp_path) as site:
        for said, status in ((http(429, b"", Retry_After="100"), 503), (http(403, b"{}"), 502)):
            site.tailscale.trouble = said
            deadline, answers = time.monotonic() + 1.2, list[Answer]()
            while time.monotonic() < deadline:
                answers.append(site.service.exchange(site.issuer.token()))
            assert {answer.status for answer in answers} == {status}
            assert not is_stopped(site.service, answers[-1])
            site.tailscale.trouble = None
            assert site.service.exchange(site.issuer.token()).status == 200


def test_one_policy_cannot_close_tailscale_to_others(tmp_path: Path, issuer: FakeIssuer) -> None:
    """Whoever finds a request that Tailscale fails at is stopped, and nobody else is."""
    with FakeTailscale() as tailscale:
        tailscale.trouble = lambda request: (
            http(500, b"") if b"dns" in request.body else tailscale_grants(tailscale, request)
        )
        policies = {"bad": policy(issuer.url, subject="bad"), "good": policy(issuer.url, subject="good")}
        with Service(tmp_path, policies, tailscale) as service:
            service.wait_for_keys()
            with asking(2, lambda: service.exchange(issuer.token(sub="bad"), ["dns:read"])) as got:
                eventually(lambda: bool(got) and is_stopped(service, got[-1]), 20)
                answers = [service.exchange(issuer.token(sub="good"), ["policy_file"]) for _ in range(20)]
    assert {answer.status for answer in answers} == {200}
    assert {answer.status for answer in got} == {503}


def tailscale_grants(tailscale: FakeTailscale, request: object) -> Reply:
    """Return what Tailscale says when it is in good health."""
    trouble, tailscale.trouble = tailscale.trouble, None
    try:
        return tailscale.respond(request)  # type: ignore[arg-type]  # as it came
    finally:
        tailscale.trouble = trouble


def test_u06_nobody_waits_for_a_tailscale_that_hangs(
    tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale
) -> None:
    """U-06: after ten seconds of silence callers are told at once; another tailnet's do not notice; both recover."""
    policies = {name: policy(issuer.url, subject=name, tailnet=name) for name in ("default", "there")}
    with FakeTailscale() as hanging:
        hanging.accept("k", "tskey-client-there")
        hanging.trouble = HANG
        configuration = tmp_path / "tailsts.toml"
        configuration.write_text(
            f'[tailnets.there]\nclient_id = "k"\nclient_secret = "${{THERE}}"\ntoken_url = "{hanging.token_url}"\n'
        )
        options = ["--config", str(configuration)]
        with Service(tmp_path, policies, tailscale, options, THERE="tskey-client-there") as service:
            service.wait_for_keys()
            with (
                asking(8, lambda: service.exchange(issuer.token(sub="there"))) as lost,
                asking(2, lambda: service.exchange(issuer.token(sub="default"))) as others,
            ):
                eventually(lambda: any(is_stopped(service, answer) for answer in lost[-20:]), 30)
                before = len(lost)
                # Far more than eight callers get by waiting for ten seconds each.
                eventually(lambda: len(lost) > before + 200)
                hanging.trouble = None
                eventually(lambda: lost[-1].status == 200, RECOVERY)
    assert {answer.status for answer in others} == {200}
    assert len(others) > 100
    assert {answer.status for answer in lost} == {200, 503}
