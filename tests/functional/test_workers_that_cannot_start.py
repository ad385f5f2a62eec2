"""Workers that cannot start, or do not answer: what an operator sees of them."""

import json
import os
import signal
from pathlib import Path

from fakes.deployment import deployed
from fakes.http import eventually
from fakes.policies import policy
from fakes.service import Service
from fakes.workers import give_back, lead_nowhere, processes, take_away

CANNOT = "a worker cannot start"


def kill_all(service: Service) -> None:
    """Kill every worker."""
    for pid in processes(service):
        os.kill(pid, signal.SIGKILL)


def test_no_worker_can_start(tmp_path: Path) -> None:
    """All are killed while the audit log cannot be opened: not ready; readiness, metrics and, once, the log say it."""
    with deployed(tmp_path, ["--workers", "2"]) as site:
        service = site.service
        taken_away = take_away(service.audit_log)
        kill_all(service)
        eventually(lambda: {line["worker"] for line in service.log_lines(CANNOT)} == {1, 2}, 30)
        readiness = service.readiness()
        assert readiness["status"] == "not ready"
        assert [part["status"] for part in readiness["workers"]] == ["gone", "gone"]
        assert readiness["reload_faults"] == [f"--audit-log {service.audit_log} cannot be opened: Is a directory"]
        assert service.metric("tailsts_policy_faults") == 1
        assert "tailsts_policies" not in service.metrics()
        ended = len(service.log_lines("a worker ended: another one is started"))
        eventually(lambda: len(service.log_lines("a worker ended: another one is started")) >= ended + 4, 30)
        for number in (1, 2):
            said = [line["fault"] for line in service.log_lines(CANNOT) if line["worker"] == number]
            assert said == readiness["reload_faults"]
        assert {line["how"] for line in service.log_lines("a worker ended: another one is started")} == {
            "signal 9",
            "exit code 2",
        }
        give_back(taken_away)
        eventually(lambda: service.readiness()["status"] == "ready", 30)
        assert service.readiness()["reload_faults"] == []
        assert (service.metric("tailsts_policies"), service.metric("tailsts_policy_faults")) == (1, 0)
    for line in service.log.read_text().splitlines():
        assert {"event", "level", "time"} <= json.loads(line).keys()


def test_another_fault_is_said(tmp_path: Path) -> None:
    """A fault that is another one is said anew; beside a worker that serves, it is shown as well."""
    with deployed(tmp_path, ["--workers", "2"]) as site:
        service = site.service
        taken_away = take_away(service.audit_log)
        os.kill(processes(service)[0], signal.SIGKILL)
        eventually(lambda: bool(service.log_lines(CANNOT)), 30)
        lead_nowhere(taken_away)
        eventually(lambda: any("No such file" in line["fault"] for line in service.log_lines(CANNOT)), 30)
        readiness = service.readiness()
        assert readiness["status"] == "degraded"
        assert readiness["reload_faults"] == [
            f"--audit-log {service.audit_log} cannot be opened: No such file or directory"
        ]
        assert service.metric("tailsts_policies") == 1


def test_what_it_is_told_has_changed(tmp_path: Path) -> None:
    """The policies in force do not go with what the configuration says now: a worker that comes reads those there."""
    config = tmp_path / "tailsts.toml"
    secret = tmp_path / "secret"
    secret.write_text("made-up")
    other = f'[tailnets.prod]\nclient_id = "other"\nclient_secret_file = "{secret}"\n'
    config.write_text(other)
    with deployed(tmp_path, ["--workers", "2", "--config", str(config)]) as site:
        service = site.service
        service.write_policy("infra", policy(site.issuer.url, tailnet="prod"))
        service.reload()
        eventually(lambda: service.readiness()["status"] == "ready")
        config.write_text(other.replace("prod", "staging"))
        os.kill(processes(service)[0], signal.SIGKILL)
        eventually(lambda: bool(service.log_lines(CANNOT)), 30)
        assert "unknown-tailnet" in service.log_lines(CANNOT)[0]["fault"]
        assert service.readiness()["status"] == "degraded"
        service.write_policy("infra", policy(site.issuer.url, tailnet="staging"))
        eventually(lambda: service.metric("tailsts_workers") == 2, 30)
        # The other one still has what it was told.
        assert len(service.readiness()["generation"].split()) == 2


def test_a_worker_that_is_stopped(tmp_path: Path) -> None:
    """A worker that does not answer is silent, and the service degraded, from the first question on."""
    with deployed(tmp_path, ["--workers", "2"]) as site:
        service = site.service
        stopped = processes(service)[0]

        def seen() -> tuple[str, list[str]]:
            readiness = service.readiness()
            return readiness["status"], sorted(part["status"] for part in readiness["workers"])

        os.kill(stopped, signal.SIGSTOP)
        try:
            eventually(lambda: seen() == ("degraded", ["ready", "silent"]))
        finally:
            os.kill(stopped, signal.SIGCONT)
        eventually(lambda: service.readiness()["status"] == "ready")
