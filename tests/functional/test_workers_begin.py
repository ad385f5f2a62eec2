"""What a worker begins with that takes another one's place: the policies in force, whatever became of their files."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from fakes.deployment import Deployment, deployed
from fakes.git_http import Answer, Came, GitFolder, GitServer
from fakes.http import eventually
from fakes.issuer import FakeIssuer
from fakes.policies import policy
from fakes.service import Service
from fakes.tailscale import FakeTailscale
from fakes.workers import processes

WATCHED = ["--workers", "2", "--watch"]
# Of a policy's scopes.
KEPT, TAKEN = "devices:core:read", "policy_file"


def replace_all(service: Service) -> None:
    """Kill every worker, and wait until others serve in their places."""
    before = processes(service)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: service.metric("tailsts_worker_restarts_total") >= len(before), 30)
    eventually(lambda: service.metric("tailsts_workers") == len(before), 30)
    assert set(processes(service)).isdisjoint(before)


def statuses(site: Deployment, scopes: Sequence[str] = (KEPT,), count: int = 20) -> set[int]:
    """Return how so many exchanges are answered, which both workers share."""
    return {site.service.exchange(site.issuer.token(), scopes).status for _ in range(count)}


def test_a_fault_is_no_outage(tmp_path: Path) -> None:
    """All workers die while the folder holds a fault: the old policies serve, degraded, until it is mended."""
    with deployed(tmp_path, WATCHED, without=["--no-watch"]) as site:
        service = site.service
        before = service.readiness()["generation"]
        service.write_policy("bad", "issuer = 1")
        eventually(lambda: bool(service.readiness()["reload_faults"]))
        said = service.readiness()["reload_faults"]
        replace_all(service)
        assert statuses(site) == {200}
        eventually(lambda: service.readiness()["reload_faults"] == said)
        readiness = service.readiness()
        assert (readiness["status"], readiness["generation"]) == ("degraded", before)
        assert service.log_lines("a worker cannot start") == []
        service.write_policy("bad", policy("https://other.example", jwks_url="http://127.0.0.1:1/"))
        eventually(lambda: service.readiness()["policies"] == 2)
        assert before not in service.readiness()["generation"]


def test_what_was_taken_stays_taken(tmp_path: Path) -> None:
    """A worker begins with the policies that are in force, not with some that were before: no scope comes back."""
    with deployed(tmp_path, WATCHED, without=["--no-watch"]) as site:
        service = site.service
        assert statuses(site, [TAKEN]) == {200}
        service.write_policy("infra", policy(site.issuer.url, allowed_scopes=[KEPT]))
        eventually(lambda: statuses(site, [TAKEN]) == {403})
        service.write_policy("bad", "issuer = 1")
        eventually(lambda: bool(service.readiness()["reload_faults"]))
        for _ in range(2):
            replace_all(service)
            assert (statuses(site, [TAKEN]), statuses(site)) == ({403}, {200})


def test_nobody_stays_trusted(tmp_path: Path) -> None:
    """P-18: the folder is gone, and so nobody is trusted: nor is anybody by the workers that come then."""
    with deployed(tmp_path, WATCHED, without=["--no-watch"]) as site:
        service = site.service
        service.policies.rename(tmp_path / "away")
        eventually(lambda: statuses(site, count=4) == {401}, 30)
        replace_all(service)
        assert statuses(site) == {401}
        (tmp_path / "away").rename(service.policies)
        eventually(lambda: statuses(site, count=4) == {200}, 30)


def test_who_is_told_when_to_read(tmp_path: Path) -> None:
    """With --no-watch a worker that comes reads nothing by itself: all have the same policies until SIGHUP."""
    with deployed(tmp_path, ["--workers", "2"]) as site:
        service = site.service
        before = service.readiness()["generation"]
        service.write_policy("infra", policy(site.issuer.url, allowed_scopes=[KEPT]))
        os.kill(processes(service)[0], signal.SIGKILL)
        eventually(lambda: service.metric("tailsts_worker_restarts_total") == 1)
        eventually(lambda: service.readiness()["status"] == "ready")
        assert service.readiness()["generation"] == before
        service.process.send_signal(signal.SIGHUP)
        eventually(lambda: before not in service.readiness()["generation"])
        assert statuses(site, [TAKEN]) == {403}


def test_two_generations_are_not_ready(tmp_path: Path) -> None:
    """As long as workers decide by different policies the service is degraded, and both generations are shown."""
    with deployed(tmp_path, ["--workers", "2"]) as site:
        service = site.service
        before = service.readiness()["generation"]
        service.write_policy("infra", policy(site.issuer.url, allowed_scopes=[KEPT]))
        os.kill(processes(service)[0], signal.SIGHUP)
        eventually(lambda: len(service.readiness()["generation"].split()) == 2)
        readiness = service.readiness()
        assert readiness["status"] == "degraded"
        assert [part["status"] for part in readiness["workers"]] == ["ready", "ready"]
        assert before in readiness["generation"].split()
        service.process.send_signal(signal.SIGHUP)
        eventually(lambda: service.readiness()["status"] == "ready")
        assert before not in service.readiness()["generation"]


def hang_up(_came: Came, _answer: Answer) -> None:
    """Hang up. A fault of the remote."""


@pytest.mark.parametrize("interval", ["1s", "1h"])
def test_a_remote_that_is_away(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale, interval: str) -> None:
    """Without --cache-dir too, workers that come while the remote is away begin with the commit that is in force."""
    git = GitFolder(tmp_path / "served" / "git")
    commit = git.commit({"p/infra.toml": policy(issuer.url).encode()})
    with GitServer(git.path.parent) as remote:
        told = ["--workers", "2", "--policies-git", remote.url("git"), "--policies-path", "p", "--watch"]
        told += ["--policies-interval", interval]
        with Service(tmp_path, {}, tailscale, told, without=["--policies-dir", "--no-watch"]) as service:
            service.wait_for_keys()
            remote.fault = hang_up
            replace_all(service)
            site = Deployment(service, issuer, tailscale)
            assert statuses(site) == {200}
            eventually(lambda: service.readiness()["status"] == "degraded")
            assert service.readiness()["generation"] == commit
            remote.fault = None
            service.process.send_signal(signal.SIGHUP)
            eventually(lambda: service.readiness()["status"] == "ready")


def test_a_commit_that_one_has_found(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """As soon as one worker has a new commit in force, the others look for it, however long their interval is."""
    git = GitFolder(tmp_path / "served" / "git")
    git.commit({"p/infra.toml": policy(issuer.url).encode()})
    with GitServer(git.path.parent) as remote:
        told = ["--workers", "3", "--policies-git", remote.url("git"), "--policies-path", "p", "--watch"]
        told += ["--policies-interval", "1h"]
        with Service(tmp_path, {}, tailscale, told, without=["--policies-dir", "--no-watch"]) as service:
            service.wait_for_keys()
            commit = git.commit({"p/infra.toml": policy(issuer.url, allowed_scopes=[KEPT]).encode()})
            os.kill(processes(service)[1], signal.SIGHUP)
            eventually(lambda: service.readiness()["generation"] == commit)
            assert service.readiness()["status"] == "ready"
            assert len(service.log_lines("policies reloaded")) == 3
            # One of them was asked to; if its own look at the start had found the commit already, that counts as well.
            assert service.metric("tailsts_policy_reloads_total", result="ok") in {3, 4}
