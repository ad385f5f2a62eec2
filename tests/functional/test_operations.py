"""What an operator sees: the admin listener, the metrics, the log."""

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fakes.deployment import Deployment, deployed
from fakes.http import eventually
from fakes.issuer import FakeIssuer
from fakes.policies import policy
from fakes.redis_server import RedisServer
from fakes.service import Service, unused_port
from fakes.tailscale import FakeTailscale

TEXT = "text/plain; charset=utf-8"
OUTCOMES = {
    ("granted", "granted"): 3,
    ("refused", "scope_not_allowed"): 2,
    ("rejected", "malformed_token"): 4,
    ("malformed", "missing_scopes"): 1,
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return the service with its neighbours; no test here changes it."""
    with deployed(tmp_path_factory.mktemp("operations")) as site:
        yield site


@pytest.mark.parametrize("admin", [False, True])
def test_healthz(site: Deployment, admin: bool) -> None:
    """GET /healthz says "ok" and nothing else, on both ports; HEAD is as good, anything else is not allowed."""
    answer = site.service.request("GET", "/healthz", admin=admin)
    assert (answer.status, answer.text, answer.headers["Content-Type"]) == (200, "ok\n", TEXT)
    answer = site.service.request("HEAD", "/healthz", admin=admin)
    assert (answer.status, answer.text) == (200, "")
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        answer = site.service.request(method, "/healthz", admin=admin)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/Metrics", "//metrics", "/metrics/", "/healthz/../metrics"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_h07_nothing_for_operators_on_the_public_port(site: Deployment, path: str, method: str) -> None:
    """H-07: metrics and readiness are not to be found on the public port."""
    answer = site.service.request(method, path)
    assert (answer.status, answer.text) == (404, "not found\n")


def test_no_exchange_on_the_admin_port(site: Deployment) -> None:
    """The admin port mints nothing, and answers nothing but its three pages."""
    body = json.dumps({"scopes": ["dns:read"]})
    headers = {"Authorization": f"Bearer {site.issuer.token()}"}
    assert site.service.request("POST", "/", body, headers, admin=True).status == 404
    assert site.service.request("POST", "/metrics", body, headers, admin=True).status == 405
    assert site.service.request("POST", "/readyz", body, headers, admin=True).status == 405
    assert site.tailscale.requests == []


def test_no_admin_listener_unless_it_is_asked_for(tmp_path: Path) -> None:
    """Without --admin-port the service listens on one port alone."""
    with deployed(tmp_path, without=["--admin-port"]) as site:
        assert [line["at"] for line in site.service.log_lines("listening")] == ["public"]
        eventually(lambda: site.service.exchange(site.issuer.token()).status == 200)


def test_readyz(site: Deployment) -> None:
    """GET /readyz says as JSON what is loaded, and of which issuers there are keys."""
    answer = site.service.request("GET", "/readyz", admin=True)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    readiness = json.loads(answer.text)
    generation, age = readiness["generation"], readiness["trusts"][0]["age_seconds"]
    assert re.fullmatch("[0-9a-f]{16}", generation)
    assert 0 <= age < 120
    assert readiness == {
        "status": "ready",
        "draining": False,
        "policies": 1,
        "generation": generation,
        "reload_faults": [],
        "trusts": [
            {
                "issuer": site.issuer.url,
                "source": site.issuer.jwks_url,
                "state": "fresh",
                "keys": 1,
                "age_seconds": age,
                "fault": None,
            }
        ],
        "audit": None,
        "state": None,
    }


@pytest.mark.parametrize("options", [[], ["--audit-required"]], ids=["not required", "required"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_readyz_without_an_audit_log(
    tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale, options: list[str], workers: str
) -> None:
    """While the audit log cannot be written the service is degraded and says why; with room it is ready again."""
    service = Service(tmp_path, {"infra": policy(issuer.url)}, tailscale, ["--workers", workers, *options])
    service.audit_log.symlink_to("/dev/full")
    with service:
        service.wait_for_keys()
        service.exchange(issuer.token())
        eventually(lambda: service.readiness()["status"] == "degraded")
        assert service.readiness()["audit"] == "cannot be written: No space left on device"
        assert service.request("GET", "/readyz", admin=True).status == 200
        service.audit_log.unlink()
        service.process.send_signal(signal.SIGHUP)
        eventually(lambda: (service.readiness()["status"], service.readiness()["audit"]) == ("ready", None))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_readyz_without_a_state(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale, workers: str) -> None:
    """A Redis that is gone, at start and later, degrades the service; readiness, metrics and log say which one."""
    redis, policies = RedisServer(), {"once": policy(issuer.url, single_use=True)}
    reachable, away = "tailsts_state_reachable", "the state cannot be asked"
    options = ["--workers", workers]
    with redis, Service(tmp_path, policies, tailscale, options, TAILSTS_STATE=redis.url) as service:
        service.wait_for_keys()
        assert service.metric(reachable) == 1
        redis.kill()
        assert service.exchange(issuer.token()).status == 503
        readiness = service.readiness()
        assert readiness["status"] == "degraded"
        assert readiness["state"] == f"the state server 127.0.0.1:{redis.port} cannot be asked: ConnectionError"
        assert service.metric(reachable) == 0
        assert service.request("GET", "/readyz", admin=True).status == 200
    assert service.log_lines(away)[0]["fault"] == readiness["state"]
    with Service(tmp_path, policies, tailscale, options, TAILSTS_STATE=redis.url) as service:
        eventually(lambda: service.readiness()["state"] == readiness["state"])
        eventually(lambda: len(service.log_lines(away)) == int(workers))
        redis.start()
        # Nobody has to come for it.
        eventually(lambda: service.metric(reachable) == 1, 30)
        assert service.readiness()["state"] is None
    redis.kill()


def test_readyz_without_any_keys(tmp_path: Path, tailscale: FakeTailscale) -> None:
    """Without keys of any issuer the service is alive and not ready."""
    with Service(tmp_path, {"infra": policy(f"http://127.0.0.1:{unused_port()}")}, tailscale) as service:
        answer = service.request("GET", "/readyz", admin=True)
        assert (answer.status, json.loads(answer.text)["status"]) == (503, "not ready")
        assert service.request("GET", "/healthz").status == 200


def exchanges(site: Deployment) -> None:
    """Make the exchanges of OUTCOMES, and wait until they are counted."""
    for _ in range(2):
        site.service.exchange(site.issuer.token(), ["users"])
    for _ in range(4):
        site.service.exchange("x")
    site.service.exchange(site.issuer.token(), [])
    answers = [site.service.exchange(site.issuer.token()) for _ in range(3)]
    site.service.event_of(answers[-1])


def test_metrics(tmp_path: Path) -> None:
    """GET /metrics is what Prometheus reads: decisions by outcome and reason, times by stage, keys, results."""
    with deployed(tmp_path) as site:
        exchanges(site)
        answer = site.service.request("GET", "/metrics", admin=True)
        assert (answer.status, answer.headers["Content-Type"][:10]) == (200, "text/plain")
        families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    decisions = families["tailsts_decisions"].samples
    counted = {(sample.labels["outcome"], sample.labels["reason"]): sample.value for sample in decisions}
    assert counted == OUTCOMES
    stages = families["tailsts_stage_seconds"].samples
    counts = {sample.labels["stage"]: sample.value for sample in stages if sample.name.endswith("_count")}
    assert counts == {"keys": 0, "verify": 5, "decide": 5, "opa": 0, "claim": 0, "mint": 3, "record": 0}
    assert sorted(families) == [
        "tailsts_audit_lines_lost",
        "tailsts_audit_writable",
        "tailsts_connections",
        "tailsts_connections_limit",
        "tailsts_decisions",
        "tailsts_exchanges_in_flight",
        "tailsts_exchanges_in_flight_limit",
        "tailsts_info",
        "tailsts_key_age_seconds",
        "tailsts_key_family_issuers",
        "tailsts_key_family_stale_issuers",
        "tailsts_key_fetches",
        "tailsts_keys",
        "tailsts_policies",
        "tailsts_policy_faults",
        "tailsts_policy_reloads",
        "tailsts_stage_seconds",
        "tailsts_tailscale_failing_fast",
        "tailsts_tailscale_requests",
        "tailsts_turned_away",
        "tailsts_worker_restarts",
        "tailsts_workers",
        "tailsts_workers_wanted",
        "tailsts_would_refuse",
    ]


def test_l03_labels_are_bounded(tmp_path: Path) -> None:
    """L-03: whatever strangers make up, issuers, keys, scopes or subjects, adds no label to the metrics."""
    with deployed(tmp_path) as site:
        exchanges(site)

        def labels() -> set[tuple[str, frozenset[tuple[str, str]]]]:
            families = text_string_to_metric_families(site.service.metrics())
            return {(sample.name, frozenset(sample.labels.items())) for family in families for sample in family.samples}

        site.service.exchange(site.issuer.token(iss="https://0.example"))
        site.service.exchange(site.issuer.token(header={"kid": "0"}))
        site.service.event_of(site.service.exchange(site.issuer.token(sub="0")))
        before = labels()
        for number in range(1, 50):
            site.service.exchange(site.issuer.token(iss=f"https://{number}.example"))
            site.service.exchange(site.issuer.token(header={"kid": str(number)}))
            site.service.exchange(site.issuer.token(sub=str(number)), [f"scope{number}"])
        assert labels() == before


def test_the_log_is_one_line_for_each_thing(tmp_path: Path) -> None:
    """A whole life at level info: start, keys, a line for each decision, stop; nothing on standard output."""
    with deployed(tmp_path) as site:
        exchanges(site)
    lines = site.service.log_lines()
    assert [line["event"] for line in lines] == [
        "policy",
        "listening",
        "listening",
        "ready",
        "keys fetched",
        *["exchange"] * sum(OUTCOMES.values()),
        "stopping",
        "stopped",
    ]
    assert len(lines) == len(site.service.log.read_text().splitlines())
    assert [line for line in lines if line["event"] == "exchange"] == site.service.events()
    assert site.service.stdout.read_bytes() == b""


def test_the_log_for_people(tmp_path: Path) -> None:
    """Without --json-logging a decision is one line whose beginning a person can read."""
    with deployed(tmp_path, without=["--json-logging"]) as site:
        answer = site.service.exchange(site.issuer.token())
        site.service.event_of(answer)
        other = site.service.exchange(site.issuer.token(iss="https://evil.example", sub='a "b"'))
        site.service.event_of(other)
    text = site.service.log.read_text()
    decisions = [line.partition(" {")[0][25:] for line in text.splitlines() if '"event":"exchange"' in line]
    assert decisions == [
        "[info   ] granted reason=granted policy=infra subject=repo:acme/infra:ref:refs/heads/main",
        '[info   ] rejected reason=unknown_issuer unverified_subject="a \\"b\\""',
    ]
    assert "\x1b" not in text


def test_json_logging_from_the_environment(tmp_path: Path) -> None:
    """JSON_LOGGING=true is as good as the option."""
    with deployed(tmp_path, without=["--json-logging"], JSON_LOGGING="true") as site:
        pass
    assert all(line.startswith("{") for line in site.service.log.read_text().splitlines())


@pytest.mark.parametrize(("level", "seen"), [("warning", {"warning"}), ("error", set())])
def test_log_level(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale, level: str, seen: set[str]) -> None:
    """A higher level is silent about what is usual; the audit log has every event all the same."""
    options, policies = ["--port", str(unused_port())], {"infra": policy(issuer.url)}
    with Service(tmp_path, policies, tailscale, options, ["--admin-port"], TAILSTS_LOG_LEVEL=level) as service:
        eventually(lambda: service.exchange(issuer.token()).status == 200)
        answers = [service.exchange("x"), service.exchange(issuer.token(), [])]
        assert [service.event_of(answer)["reason"] for answer in answers] == ["malformed_token", "missing_scopes"]
    assert {line["level"] for line in service.log_lines()} == seen
