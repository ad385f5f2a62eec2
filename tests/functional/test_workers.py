"""Several workers behind one port: seen from outside they are one service."""

import json
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fakes.deployment import Deployment, deployed
from fakes.http import Later, eventually, http
from fakes.issuer import FakeIssuer
from fakes.policies import policy
from fakes.raw import RawConnection
from fakes.service import Answer, Service, is_served, run, unused_port
from fakes.tailscale import FakeTailscale
from fakes.workers import descriptors_of, processes

CLIENTS = 16


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return the service with two workers; no test that uses it stops it."""
    with deployed(tmp_path_factory.mktemp("workers"), ["--workers", "2"]) as site:
        yield site


def many(site: Deployment, count: int, scope: str = "devices:core:read") -> list[Answer]:
    """Make so many exchanges, some at a time."""
    token = site.issuer.token()
    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(lambda _: site.service.exchange(token, [scope]), range(count)))


def share_of_each(site: Deployment) -> list[int]:
    """Return how many connections each worker accepts of those that are held open at the same time."""
    before = [descriptors_of(pid) for pid in processes(site.service)]
    held = [RawConnection(site.service.port) for _ in range(64)]
    eventually(lambda: sum(map(descriptors_of, processes(site.service))) - sum(before) >= len(held))
    after = [descriptors_of(pid) for pid in processes(site.service)]
    for connection in held:
        connection.close()
    return [now - then for now, then in zip(after, before, strict=True)]


def connections_to_both(service: Service, count: int) -> list[RawConnection]:
    """Return so many open connections, of which each worker has accepted one at least."""
    before = [descriptors_of(pid) for pid in processes(service)]
    held = [RawConnection(service.port) for _ in range(count)]

    def accepted() -> list[int]:
        return [descriptors_of(pid) - then for pid, then in zip(processes(service), before, strict=True)]

    eventually(lambda: sum(accepted()) >= count)
    assert min(accepted()) >= 1
    return held


def test_every_exchange_is_counted_once(site: Deployment) -> None:
    """2,000 exchanges: as many audit lines, each whole, and /metrics shows the sum over both workers."""
    before = site.service.metric("tailsts_decisions_total")
    decided = Counter(answer.status for answer in (*many(site, 1800), *many(site, 200, "users")))
    assert decided == {200: 1800, 403: 200}
    assert site.service.metric("tailsts_decisions_total") - before == 2000
    assert site.service.metric("tailsts_decisions_total", outcome="refused") == 200
    assert site.service.metric("tailsts_stage_seconds_count", stage="mint") >= 1800
    eventually(lambda: len(site.service.events()) == before + 2000)
    lines = site.service.audit_log.read_text().splitlines()
    assert len({json.loads(line)["decision"] for line in lines}) == before + 2000


def test_both_workers_work(site: Deployment) -> None:
    """Of 64 connections, each worker has some: how many is a matter of who is quicker at the moment."""
    assert min(share_of_each(site)) >= 1


def test_readiness(site: Deployment) -> None:
    """/readyz shows both, and each trust once."""
    readiness = site.service.readiness()
    assert (readiness["status"], readiness["policies"], len(readiness["trusts"])) == ("ready", 1, 1)
    generation = readiness["generation"]
    assert readiness["workers"] == [
        {"worker": number, "status": "ready", "generation": generation} for number in (1, 2)
    ]
    assert site.service.metric("tailsts_workers") == site.service.metric("tailsts_workers_wanted") == 2


def test_each_line_names_its_worker(site: Deployment) -> None:
    """What a worker says in the log has its number; what the parent says of all has none."""
    assert sorted(line["worker"] for line in site.service.log_lines("a worker serves")) == [1, 2]
    assert sorted(line["worker"] for line in site.service.log_lines("keys fetched")) == [1, 2]
    (ready,) = site.service.log_lines("ready")
    assert (ready["workers"], "worker" in ready) == (2, False)
    assert len(site.service.log_lines("listening")) == 2


def test_no_secret_is_handed_over(site: Deployment) -> None:
    """A worker has the parent's command line, and of its own only the numbers of open files."""
    command = Path(f"/proc/{site.service.process.pid}/cmdline").read_bytes()
    for pid in processes(site.service):
        assert Path(f"/proc/{pid}/cmdline").read_bytes() == command
        variables = Path(f"/proc/{pid}/environ").read_text().split("\0")
        (handed,) = [text for text in variables if text.startswith("TAILSTS_INTERNAL_WORKER=")]
        assert set(json.loads(handed.partition("=")[2])) == {"worker", "public", "control", "turns", "policies"}


def test_reload_reaches_both(tmp_path: Path) -> None:
    """A changed file, and SIGHUP, put the new policies in force in both workers; the audit log is opened anew."""
    with deployed(tmp_path, ["--workers", "2", "--watch"], without=["--no-watch"]) as site:
        service = site.service
        before = service.readiness()["generation"]
        service.write_policy("infra", policy(site.issuer.url, allowed_scopes=["users"]))
        eventually(lambda: {part["generation"] for part in service.readiness()["workers"]}.isdisjoint({before, ""}))
        assert {answer.status for answer in many(site, 40, "users")} == {200}
        eventually(lambda: len(service.events()) == 40)
        moved = tmp_path / "audit.moved"
        service.audit_log.rename(moved)
        reloaded = len(service.log_lines("policies reloaded"))
        service.process.send_signal(signal.SIGHUP)
        eventually(lambda: len(service.log_lines("policies reloaded")) == reloaded + 2)
        eventually(service.audit_log.exists)
        many(site, 40, "users")
        eventually(lambda: len(service.events()) == 40)
        assert len(moved.read_text().splitlines()) == 40


def test_faulty_policies_reach_nobody(tmp_path: Path) -> None:
    """Policies with a fault stay out of both workers; /readyz says why, once, and the service is degraded."""
    with deployed(tmp_path, ["--workers", "2"]) as site:
        site.service.write_policy("bad", "issuer = 1")
        site.service.process.send_signal(signal.SIGHUP)
        eventually(lambda: site.service.readiness()["status"] == "degraded")
        readiness = site.service.readiness()
        assert len(readiness["reload_faults"]) == len(set(readiness["reload_faults"])) >= 1
        assert {answer.status for answer in many(site, 20)} == {200}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_in_flight_is_finished(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM and SIGINT to the parent: both workers finish what they have, nothing fails, the audit is whole."""
    answer = {"access_token": "tskey-api-late", "token_type": "Bearer", "expires_in": 3600, "scope": "dns:read"}
    with deployed(tmp_path, ["--workers", "2"]) as site, ThreadPoolExecutor(CLIENTS) as pool:
        service = site.service
        site.tailscale.trouble = Later(2, http(200, json.dumps(answer).encode()))
        token = site.issuer.token()
        flying = [pool.submit(service.exchange, token, ["dns:read"]) for _ in range(CLIENTS)]
        eventually(lambda: len(site.tailscale.requests) == CLIENTS)
        service.process.send_signal(number)
        eventually(lambda: not is_served(service.port))
        assert service.readiness()["status"] == "not ready"
        assert {future.result().status for future in flying} == {200}
        assert service.process.wait(10) == 0
    assert len(service.events()) == CLIENTS
    assert service.log_lines()[-1]["event"] == "stopped"


def test_tokens_are_handed_out_after_their_events(tmp_path: Path) -> None:
    """With --audit-required each answer's event is in the file when the answer comes, whichever worker gave it."""
    with deployed(tmp_path, ["--workers", "2", "--audit-required"]) as site:
        token = site.issuer.token()

        def recorded(_number: int) -> bool:
            decision = site.service.exchange(token).headers["X-Decision-Id"]
            return decision in site.service.audit_log.read_text()

        with ThreadPoolExecutor(CLIENTS) as pool:
            assert all(pool.map(recorded, range(200)))
        assert len({event["decision"] for event in site.service.events()}) == 200


def test_one_use_across_workers(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """Of 50 presentations of a token at once, to both workers, one gets an access token: they share a file."""
    options = ["--workers", "2", "--state", f"sqlite:{tmp_path / 'state.db'}"]
    with Service(tmp_path, {"once": policy(issuer.url, single_use=True)}, tailscale, options) as service:
        service.wait_for_keys()
        callers = connections_to_both(service, 50)
        body = json.dumps({"scopes": ["dns:read"]})
        fields = ("Host: x", f"Authorization: Bearer {issuer.token()}", f"Content-Length: {len(body)}")
        for caller in callers:
            assert caller.send(["\r\n".join(["POST / HTTP/1.1", *fields, "", body]).encode()])
        answers = [answer for caller in callers if (answer := caller.read()) is not None]
        for caller in callers:
            caller.close()
        assert Counter(answer.status for answer in answers) == {200: 1, 403: 49}
        assert len(tailscale.requests) == 1
        assert all("the token was used already" in answer.text for answer in answers if answer.status == 403)


@pytest.mark.parametrize("bound", [{"single_use": True}, {"rate_limit": "5/hour"}], ids=["single_use", "rate_limit"])
def test_what_workers_would_count_alone(tmp_path: Path, bound: dict[str, object]) -> None:
    """What must be counted together is refused at start where each worker would count alone; one worker may."""
    text = policy("https://issuer.example", jwks_url="https://issuer.example/jwks", **bound)
    (tmp_path / "bound.toml").write_text(text)
    options = ("--policies-dir", str(tmp_path), "--ts-client-id", "x", "--ts-client-secret", "x")
    done = run("serve", *options, "--port", str(unused_port()), "--workers", "2")
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "is counted by each of the workers alone" in line]
    assert "bound.toml" in line
    assert next(iter(bound)) in line


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """The parent refuses to start where one process would: nothing is left running."""
    (tmp_path / "a.toml").write_text(policy("https://issuer.example", jwks_url="https://issuer.example/jwks"))
    with deployed(tmp_path / "other", ["--workers", "2"]) as site:
        options = ("--policies-dir", str(tmp_path), "--ts-client-id", "x", "--ts-client-secret", "x")
        done = run("serve", *options, "--port", str(site.service.port), "--workers", "2")
        assert done.returncode == 2
        assert f"cannot listen on 127.0.0.1, port {site.service.port}: Address already in use" in done.stderr


def test_all_faults_at_once(tmp_path: Path) -> None:
    """The parent says every fault once, and starts nobody."""
    done = run("serve", "--policies-dir", str(tmp_path), "--port", str(unused_port()), "--workers", "3")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == len(set(lines)) == 3
