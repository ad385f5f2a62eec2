"""What is seen of trouble that is a part of the whole: one tailnet, one issuer of a pattern, one slow stage."""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from fakes.deployment import deployed
from fakes.http import HANG, Later, Reply, Request, ScriptedServer, eventually, http
from fakes.issuer import FakeIssuer, Issuer
from fakes.policies import policy
from fakes.raw import RawConnection
from fakes.redis_server import RedisServer
from fakes.service import Service
from fakes.tailscale import FakeTailscale
from fakes.tls import Authority

REQUESTS, FAILING_FAST = "tailsts_tailscale_requests_total", "tailsts_tailscale_failing_fast"
STAGE = "tailsts_stage_seconds"


@contextmanager
def two_tailnets(folder: Path, issuer: FakeIssuer, *options: str) -> Iterator[tuple[Service, FakeTailscale]]:
    """Run a service for the tailnets `default` and `b`; yield it with the Tailscale of `b`."""
    policies = {name: policy(issuer.url, subject=name, tailnet=name) for name in ("default", "b")}
    with FakeTailscale() as tailscale, FakeTailscale() as other:
        other.accept("k", "tskey-client-b")
        configuration = folder / "tailsts.toml"
        configuration.write_text(
            f'[tailnets.b]\nclient_id = "k"\nclient_secret = "${{B}}"\ntoken_url = "{other.token_url}"\n'
        )
        told = ["--config", str(configuration), *options]
        with Service(folder, policies, tailscale, told, B="tskey-client-b") as service:
            service.wait_for_keys()
            yield service, other


@pytest.mark.parametrize("workers", ["1", "2"])
def test_one_tailnet_that_is_down(tmp_path: Path, issuer: FakeIssuer, workers: str) -> None:
    """Each of its failures counts for it, also where Tailscale was not asked; readiness and a gauge say which it is."""
    with two_tailnets(tmp_path, issuer, "--workers", workers) as (service, other):
        assert service.exchange(issuer.token(sub="b")).status == 200
        assert "failing_fast" not in service.readiness()
        other.trouble = http(503, b"")

        def not_asked() -> bool:
            assert service.exchange(issuer.token(sub="b")).status == 503
            return service.metric(REQUESTS, tailnet="b", result="not_asked") > 0

        eventually(not_asked, 20)
        assert {service.exchange(issuer.token(sub="default")).status for _ in range(20)} == {200}
        assert service.metric(REQUESTS, tailnet="default") == service.metric(REQUESTS, tailnet="default", result="ok")
        assert service.metric(REQUESTS, tailnet="b") == service.metric("tailsts_decisions_total") - 20
        assert (service.metric(FAILING_FAST, tailnet="b"), service.metric(FAILING_FAST, tailnet="default")) == (1, 0)
        readiness = service.readiness()
        assert (readiness["status"], readiness["failing_fast"]) == ("degraded", ["b"])
        # The others are served: nobody is to take this one out of service.
        assert service.request("GET", "/readyz", admin=True).status == 200
        other.trouble = None

        def recovered() -> bool:
            service.exchange(issuer.token(sub="b"))
            return service.metric(FAILING_FAST, tailnet="b") == 0

        eventually(recovered, 20)
        assert service.readiness()["status"] == "ready"


def test_a_state_that_hangs_is_a_slow_stage(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """How long the state was waited for stands in the event, and is a stage of its own in the metrics."""
    redis, policies = RedisServer(), {"once": policy(issuer.url, single_use=True)}
    with redis, Service(tmp_path, policies, tailscale, TAILSTS_STATE=redis.url) as service:
        service.wait_for_keys()
        assert service.event_of(service.exchange(issuer.token()))["claim_ms"] > 0
        assert service.metric(f"{STAGE}_count", stage="claim") == 1
        redis.pause()
        try:
            answer = service.exchange(issuer.token())
        finally:
            redis.resume()
        event = service.event_of(answer)
        assert (answer.status, event["reason"]) == (503, "state_unavailable")
        # It is waited for a second.
        assert event["claim_ms"] > 500
        assert service.metric(f"{STAGE}_sum", stage="claim") > 0.5


def test_what_is_written_before_the_answer_is_a_stage(tmp_path: Path) -> None:
    """With --audit-required the time until an event was written is a stage; without, nobody waits for it."""
    with deployed(tmp_path / "required", ["--audit-required"]) as site:
        assert {site.service.exchange(site.issuer.token()).status for _ in range(3)} == {200}
        assert site.service.metric(f"{STAGE}_count", stage="record") == 3
    with deployed(tmp_path / "not") as site:
        assert site.service.exchange(site.issuer.token()).status == 200
        assert site.service.metric(f"{STAGE}_count", stage="mint") == 1
        assert site.service.metric(f"{STAGE}_count", stage="record") == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_exchanges_in_hand(tmp_path: Path, workers: int) -> None:
    """What is in hand is shown with how much may be, of all workers together."""
    in_flight = "tailsts_exchanges_in_flight"
    with deployed(tmp_path, ["--workers", str(workers), "--max-in-flight", "7"]) as site, ThreadPoolExecutor(3) as pool:
        assert (site.service.metric(in_flight), site.service.metric(f"{in_flight}_limit")) == (0, 7 * workers)
        site.tailscale.trouble = Later(3.0, http(429, b""))
        held = [pool.submit(site.service.exchange, site.issuer.token()) for _ in range(3)]
        eventually(lambda: site.service.metric(in_flight) == 3)
        assert {answer.result().status for answer in held} == {503}
        eventually(lambda: site.service.metric(in_flight) == 0)


@pytest.mark.skipif(sys.platform != "linux", reason="connections can be counted on Linux alone")
def test_connections(tmp_path: Path) -> None:
    """How many connections are open is shown with how many may be, and how many were closed to make room."""
    with deployed(tmp_path) as site, ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(RawConnection(site.service.port)).send([b"POST / HTTP/1.1\r\n"])
        eventually(lambda: site.service.metric("tailsts_connections") >= 5)
        assert site.service.metric("tailsts_connections_limit") > 5
        assert 'tailsts_turned_away_total{reason="connections"} 0.0' in site.service.metrics()


class Tenant:
    """One issuer that a pattern matches, over TLS; `down`: it hangs up on everybody."""

    def __init__(self, folder: Path) -> None:
        self.down = False
        self._authority = Authority()
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(self._authority.pem)
        self.server = ScriptedServer(self._respond, tls=self._authority.server_context(folder))

    @property
    def issuer(self) -> Issuer:
        """Return the issuer."""
        return Issuer(f"https://localhost:{self.server.port}/tenants/blue")

    @property
    def pattern(self) -> str:
        """Return the pattern that matches it."""
        return f"https://localhost:{self.server.port}/tenants/[a-z]+"

    def _respond(self, request: Request) -> Reply:
        if self.down:
            return HANG
        if request.path.endswith("/jwks"):
            return http(200, json.dumps(self.issuer.jwks()).encode())
        return http(200, json.dumps({"issuer": self.issuer.url, "jwks_uri": f"{self.issuer.url}/jwks"}).encode())


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_issuer_of_a_pattern_that_is_down(tmp_path: Path, tailscale: FakeTailscale, workers: str) -> None:
    """Its pattern has an age as issuers have, and says how many could not be fetched; its own name is nowhere."""
    tenant = Tenant(tmp_path)
    with tenant.server:
        policies = {"tenants": policy("", jwks_url=None).replace('issuer = ""', f'issuer_pattern = "{tenant.pattern}"')}
        options = ["--ca-file", str(tenant.ca_file), "--workers", workers]
        with Service(tmp_path, policies, tailscale, options) as service:
            assert service.metric("tailsts_key_age_seconds") == 0
            assert service.exchange(tenant.issuer.token()).status == 200
            labels = {"issuer": tenant.pattern, "source": "discovery"}
            eventually(lambda: service.metric("tailsts_key_age_seconds", **labels) > 0)
            tenant.down = True

            def stale() -> int:
                # A key id that is not known has the keys fetched, every ten seconds at most.
                service.exchange(tenant.issuer.token(header={"kid": "other"}))
                (pattern,) = service.readiness()["patterns"]
                return int(pattern["stale"])

            eventually(lambda: stale() == 1, 40)
            (pattern,) = service.readiness()["patterns"]
            assert (pattern["pattern"], pattern["source"], pattern["issuers"]) == (tenant.pattern, "discovery", 1)
            assert pattern["age_seconds"] > 5
            assert service.metric("tailsts_key_age_seconds", **labels) > 5
            assert service.metric("tailsts_key_family_stale_issuers", pattern=tenant.pattern) == 1
            assert "blue" not in service.metrics() + service.request("GET", "/readyz", admin=True).text
            # As for issuers that are named: the last good keys serve.
            assert service.readiness()["status"] == "ready"
