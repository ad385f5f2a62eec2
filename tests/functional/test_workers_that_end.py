"""A worker that ends: the others go on, another takes its place, and what was counted stays counted."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from fakes.deployment import Deployment, deployed
from fakes.http import eventually
from fakes.leaks import note_text
from fakes.service import Service, environment, is_served
from fakes.workers import give_back, is_running, processes, take_away

CALLERS, KILLS = 8, 3
# What so many callers can have answered within the 10 ms for which events are gathered, and a write.
LOST_AT_MOST = 40


class Callers:
    """Threads that make one exchange after the other until they are told to stop."""

    def __init__(self, site: Deployment, count: int = CALLERS) -> None:
        self.statuses: list[int] = []
        self.broken = 0
        self._service = site.service
        self._token = site.issuer.token()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def answered(self, more: int) -> None:
        """Wait until so many more were answered."""
        before = len(self.statuses)
        eventually(lambda: len(self.statuses) >= before + more, 30)

    def _call(self) -> None:
        while not self._stop.is_set():
            try:
                self.statuses.append(self._service.exchange(self._token).status)
            except OSError:
                self.broken += 1


def decisions(service: Service) -> float:
    """Return how many exchanges were counted."""
    return service.metric("tailsts_decisions_total")


def whole_and_torn(path: Path) -> tuple[int, int]:
    """Return how many lines are JSON, and how many are not."""
    torn = 0
    lines = path.read_text().splitlines()
    for line in lines:
        try:
            json.loads(line)
        except ValueError:
            torn += 1
    return len(lines) - torn, torn


def test_a_worker_that_is_killed_under_load(tmp_path: Path) -> None:
    """SIGKILL of a worker: the other answers on, it is replaced, no counter goes back, no audit line is torn."""
    with deployed(tmp_path, ["--workers", "2"]) as site:
        service = site.service
        counted = [0.0]
        with Callers(site) as callers:
            for restarts in range(1, KILLS + 1):
                callers.answered(200)
                counted.append(decisions(service))
                victim = processes(service)[restarts % 2]
                os.kill(victim, signal.SIGKILL)
                callers.answered(100)
                counted.append(decisions(service))
                eventually(lambda count=restarts: service.metric("tailsts_worker_restarts_total") == count)  # type: ignore[misc]  # its default is its argument
                eventually(lambda: service.metric("tailsts_workers") == 2)
                assert victim not in processes(service)
            callers.answered(200)
        counted.append(decisions(service))
        assert counted == sorted(counted)
        assert set(callers.statuses) == {200}
        # At most those connections that the worker had accepted.
        assert callers.broken <= KILLS * CALLERS
        # Each exchange that was answered, but for what a killed worker had gathered for the next write.
        expected = len(callers.statuses) - KILLS * LOST_AT_MOST
        eventually(lambda: whole_and_torn(service.audit_log)[0] >= expected)
        # The line in whose middle a worker was killed stands alone, if there is one.
        assert whole_and_torn(service.audit_log)[1] <= KILLS
        lines = service.log_lines("a worker ended: another one is started")
        assert [line["how"] for line in lines] == ["signal 9"] * KILLS
        assert service.readiness()["status"] == "ready"


def test_while_a_worker_is_gone_the_service_is_degraded(tmp_path: Path) -> None:
    """A worker that cannot start again leaves the service degraded, with the others at work, until it can."""
    with deployed(tmp_path, ["--workers", "2"]) as site:
        service = site.service
        taken_away = take_away(service.audit_log)
        os.kill(processes(service)[0], signal.SIGKILL)
        eventually(lambda: len(service.log_lines("a worker ended: another one is started")) >= 2)
        readiness = service.readiness()
        assert readiness["status"] == "degraded"
        assert sorted(part["status"] for part in readiness["workers"]) == ["gone", "ready"]
        assert (service.metric("tailsts_workers"), service.metric("tailsts_workers_wanted")) == (1, 2)
        assert {service.exchange(site.issuer.token()).status for _ in range(20)} == {200}
        give_back(taken_away)
        eventually(lambda: service.readiness()["status"] == "ready", 30)


def test_no_worker_at_all(tmp_path: Path) -> None:
    """Without any worker it is not ready; who connects meanwhile waits, and is answered by the next one."""
    with deployed(tmp_path, ["--workers", "2"]) as site:
        service = site.service
        for pid in processes(service):
            os.kill(pid, signal.SIGKILL)
        assert service.exchange(site.issuer.token()).status in {200, 503}
        eventually(lambda: service.readiness()["status"] == "ready")


def test_a_worker_that_is_told_to_end(tmp_path: Path) -> None:
    """SIGTERM to one worker lets it finish and be replaced: the service itself goes on."""
    with deployed(tmp_path, ["--workers", "2"]) as site, Callers(site, 4) as callers:
        service = site.service
        callers.answered(50)
        os.kill(processes(service)[0], signal.SIGTERM)
        eventually(lambda: service.metric("tailsts_worker_restarts_total") == 1)
        eventually(lambda: service.metric("tailsts_workers") == 2)
        callers.answered(50)
    assert set(callers.statuses) == {200}


def test_a_parent_that_is_killed(tmp_path: Path) -> None:
    """SIGKILL of the parent: the workers finish what they have and end; the port is free again."""
    with deployed(tmp_path, ["--workers", "2"]) as site:
        workers = processes(site.service)
        site.service.process.kill()
        site.service.process.wait()
        eventually(lambda: not any(map(is_running, workers)))
        assert not is_served(site.service.port)


@contextmanager
def piped(site: Deployment, folder: Path) -> Iterator[tuple[Service, bytearray]]:
    """Run another service with two workers, whose log is a pipe; yield it with what came through."""
    service = Service(folder, {}, site.tailscale, ["--workers", "2"], without=["--audit-log"])
    for path in site.service.policies.iterdir():
        service.write_policy(path.stem, path.read_text())
    command = [sys.executable, "-m", "tailsts", "serve", *service._arguments]
    variables = environment(**service._variables)
    seen = bytearray()
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=variables) as process:
        assert process.stderr is not None
        pipe = process.stderr

        def read() -> None:
            while part := os.read(pipe.fileno(), 65536):
                seen.extend(part)

        reading = threading.Thread(target=read)
        reading.start()
        service.process = process
        eventually(lambda: b'"event": "ready"' in seen, 30)
        listening = [json.loads(line) for line in seen.splitlines() if b'"listening"' in line]
        service.ports = {line["at"]: line["port"] for line in listening}
        yield service, seen
        assert service.stop() == 0
        reading.join()
        note_text(seen.decode())


def test_lines_through_a_pipe(tmp_path: Path) -> None:
    """Both workers' lines come whole through one pipe, one for each exchange."""
    with deployed(tmp_path / "one") as site:
        with (
            piped(site, tmp_path / "two") as (service, seen),
            Callers(Deployment(service, site.issuer, site.tailscale)) as callers,
        ):
            callers.answered(2000)
        events = [json.loads(line) for line in seen.splitlines()]
        exchanges = [event for event in events if event["event"] == "exchange"]
        assert len(exchanges) == len(callers.statuses) + callers.broken
        assert callers.broken == 0
