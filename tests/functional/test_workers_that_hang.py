"""A worker that hangs, at its real pace; and workers that are all told to end at once, as systemd does."""

import json
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fakes.deployment import Deployment, deployed
from fakes.http import Later, eventually, http
from fakes.pages import ROOT
from fakes.workers import is_running, processes

IN_FLIGHT = 8
LATE = {"access_token": "tskey-api-late", "token_type": "Bearer", "expires_in": 3600, "scope": "dns:read"}


def test_it_is_killed_and_replaced(tmp_path: Path) -> None:
    """A worker that hangs is silent; the other one answers everybody; in the end it is killed, and another serves."""
    with deployed(tmp_path, ["--workers", "2"]) as site:
        service = site.service
        hanging, well = processes(service)
        os.kill(hanging, signal.SIGSTOP)
        eventually(lambda: "silent" in {part["status"] for part in service.readiness()["workers"]})
        assert service.readiness()["status"] == "degraded"
        answered = [service.exchange(site.issuer.token()).status for _ in range(50)]
        eventually(lambda: not is_running(hanging), 60)
        eventually(lambda: service.readiness()["status"] == "ready", 30)
        answered += [service.exchange(site.issuer.token()).status for _ in range(50)]
        assert set(answered) == {200}
        assert well in processes(service)
        assert len(service.log_lines("a worker does not answer: it is killed")) == 1
        (ended,) = service.log_lines("a worker ended: another one is started")
        assert ended["how"] == "signal 9"
        assert service.metric("tailsts_worker_restarts_total") == 1


def everybody(site: Deployment) -> list[int]:
    """Return all processes of the service, as they are in its control group."""
    return [site.service.process.pid, *processes(site.service)]


def after_its_parent(site: Deployment) -> list[int]:
    """Kill the parent; return those that are left in its control group, to be told to end."""
    left = processes(site.service)
    site.service.process.kill()
    site.service.process.wait()
    return left


def test_how_systemd_ends_it() -> None:
    """The unit ends all processes in the same way: workers whose parent has died are not killed while they finish."""
    unit = (ROOT / "deploy/tailsts.service").read_text().splitlines()
    assert "KillMode=control-group" in unit
    assert not [line for line in unit if line.startswith(("KillSignal=", "FinalKillSignal=", "SendSIGKILL="))]


@pytest.mark.parametrize("told", [everybody, after_its_parent])
def test_all_are_told_at_once(tmp_path: Path, told: Callable[[Deployment], Sequence[int]]) -> None:
    """SIGTERM to every process that there is, with or without a parent: what is in flight is finished, none is new."""
    with deployed(tmp_path, ["--workers", "2"]) as site, ThreadPoolExecutor(IN_FLIGHT) as callers:
        service = site.service
        site.tailscale.trouble = Later(2, http(200, json.dumps(LATE).encode()))
        token = site.issuer.token()
        flying = [callers.submit(service.exchange, token, ["dns:read"]) for _ in range(IN_FLIGHT)]
        eventually(lambda: len(site.tailscale.requests) == IN_FLIGHT)
        workers = processes(service)
        for pid in told(site):
            os.kill(pid, signal.SIGTERM)
        assert {future.result().status for future in flying} == {200}
        eventually(lambda: not any(map(is_running, workers)))
        service.process.wait(10)
    assert len(service.events()) == IN_FLIGHT
    assert service.log_lines("a worker ended: another one is started") == []
