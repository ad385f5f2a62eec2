"""Workers that cannot start, or do not answer: what an operator sees of them."""

import json
import os
import signal
from pathlib import Path

from fakes.deployment import deployed
from fakes.http import eventually
from fakes.service import Service
from fakes.workers import processes

CANNOT = "a worker cannot start"


def kill_all(service: Service) -> None:
    """Kill every worker."""
    for pid in processes(service):
        os.kill(pid, signal.SIGKILL)


def test_no_worker_can_start(tmp_path: Path) -> None:
    """All are killed while a policy has a fault: not ready, and /readyz, the metrics and, once, the log say it."""
    with deployed(tmp_path, ["--workers", "2"]) as site:
        service = site.service
        service.write_policy("bad", "issuer = 1")
        kill_all(service)
        eventually(lambda: {line["worker"] for line in service.log_lines(CANNOT)} == {1, 2}, 30)
        readiness = service.readiness()
        assert readiness["status"] == "not ready"
        assert [part["status"] for part in readiness["workers"]] == ["gone", "gone"]
        assert any("bad.toml" in fault for fault in readiness["reload_faults"])
        assert service.metric("tailsts_policy_faults") == len(readiness["reload_faults"]) >= 1
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
        (service.policies / "bad.toml").unlink()
        eventually(lambda: service.readiness()["status"] == "ready", 30)
        assert service.readiness()["reload_faults"] == []
        assert (service.metric("tailsts_policies"), service.metric("tailsts_policy_faults")) == (1, 0)
    for line in service.log.read_text().splitlines():
        assert {"event", "level", "time"} <= json.loads(line).keys()


def test_another_fault_is_said(tmp_path: Path) -> None:
    """A fault that is another one is said anew; beside a worker that serves, it is shown as well."""
    with deployed(tmp_path, ["--workers", "2"]) as site:
        service = site.service
        service.write_policy("bad", "issuer = 1")
        os.kill(processes(service)[0], signal.SIGKILL)
        eventually(lambda: bool(service.log_lines(CANNOT)), 30)
        service.write_policy("bad", "subject = 1")
        eventually(lambda: any("subject is a number" in line["fault"] for line in service.log_lines(CANNOT)), 30)
        readiness = service.readiness()
        assert readiness["status"] == "degraded"
        assert any("subject is a number" in fault for fault in readiness["reload_faults"])
        assert service.metric("tailsts_policies") == 1


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
