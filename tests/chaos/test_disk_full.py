"""A file of the audit log that takes half a line and no more, as on a disk that fills up, and then has room again.

The limit on a file's size stands in for the disk: the kernel writes what still fits, then refuses, and room can be made
without being root. The error's text is another than that of a full disk, which /dev/full gives in tests/functional.
"""

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fakes.deployment import Deployment, deployed
from fakes.http import eventually
from fakes.service import Answer, unused_port

# Of events with some 700 bytes each, and no multiple of them.
ROOM = 5001
AVAILABLE = "the audit log can be written again"


def set_room(site: Deployment, size: int) -> None:
    """Let files of the service grow to this size."""
    hard = resource.prlimit(site.service.process.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(site.service.process.pid, resource.RLIMIT_FSIZE, (size, hard))


@contextmanager
def full_disk(folder: Path, *options: str) -> Iterator[Deployment]:
    """Run the service with room for some events; its log is silent, for that is a file as well."""
    public, admin = unused_port(), unused_port()
    ports = ["--port", str(public), "--admin-port", str(admin)]
    with deployed(folder, ["--log-level", "error", *ports, *options]) as site:
        site.service.ports["admin"] = admin
        site.service.wait_for_keys()
        set_room(site, ROOM)
        yield site


def exchanges(site: Deployment, count: int) -> list[Answer]:
    """Make so many exchanges."""
    token = site.issuer.token()
    return [site.service.exchange(token) for _ in range(count)]


def decisions(answers: list[Answer]) -> list[str]:
    """Return their ids."""
    return [answer.headers["X-Decision-Id"] for answer in answers]


def recorded(site: Deployment) -> list[str]:
    """Return the ids in the audit log, each line of which must be whole."""
    return [json.loads(line)["decision"] for line in site.service.audit_log.read_text().splitlines()]


def fill(site: Deployment) -> list[Answer]:
    """Make exchanges until not even the rest of a line has room."""
    answers = exchanges(site, 20)
    eventually(lambda: site.service.metric("tailsts_audit_writable") == 0)
    assert site.service.audit_log.stat().st_size == ROOM
    assert not site.service.audit_log.read_text().endswith("\n")
    return answers


def test_l04_exchanges_go_on_and_no_line_is_torn(tmp_path: Path) -> None:
    """L-04: while nothing more fits, exchanges are granted; with room again all lines are there, once and whole."""
    with full_disk(tmp_path) as site:
        answers = fill(site)
        answers += exchanges(site, 200)
        assert {answer.status for answer in answers} == {200}
        set_room(site, resource.RLIM_INFINITY)
        eventually(lambda: site.service.metric("tailsts_audit_writable") == 1)
        answers += exchanges(site, 20)
        eventually(lambda: len(site.service.events()) >= len(answers))
        assert recorded(site) == decisions(answers)
        assert site.service.metric("tailsts_audit_lines_lost_total") == 0


def test_l04_no_token_without_its_event(tmp_path: Path) -> None:
    """L-04: where the log is required, nobody has a token that is not in it, half a line's neither; then it goes on."""
    with full_disk(tmp_path, "--audit-required") as site:
        answers = exchanges(site, 20)
        granted = [answer for answer in answers if answer.status == 200]
        refused = [answer for answer in answers if answer.status == 503]
        assert (len(granted) + len(refused), bool(granted), bool(refused)) == (20, True, True)
        whole = site.service.audit_log.read_text().rpartition("\n")[0].splitlines()
        assert [json.loads(line)["decision"] for line in whole] == decisions(granted)
        set_room(site, resource.RLIM_INFINITY)
        eventually(lambda: site.service.exchange(site.issuer.token()).status == 200)
        assert set(decisions(answers)) <= set(recorded(site))


@pytest.mark.parametrize("options", [[], ["--audit-required"]])
def test_a_kill_while_the_disk_is_full(tmp_path: Path, options: list[str]) -> None:
    """A service that is killed then leaves half a line at the end; what the next one writes is not joined to it."""
    with full_disk(tmp_path, *options) as site:
        exchanges(site, 20)
        site.service.process.kill()
        site.service.process.wait()
        half = site.service.audit_log.read_bytes().rpartition(b"\n")[2]
        assert half
    with deployed(tmp_path, options) as site:
        answers = exchanges(site, 3)
        # Its own half line stays as it is, on a line of its own.
        eventually(lambda: site.service.audit_log.read_bytes().count(b"\n") >= 3)
    after = site.service.audit_log.read_bytes().partition(half + b"\n")[2]
    assert [json.loads(line)["decision"] for line in after.splitlines()] == decisions(answers)
