"""The audit webhook when a stranger, a firewall or what lies in the spool's folder is hostile."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.collector import FakeCollector
from fakes.deployment import deployed
from fakes.http import Reply, Request, eventually, http
from fakes.service import run

HOSTILE = "<script>alert(1)</script>"


class Firewalled(FakeCollector):
    """A receiver behind a firewall that answers 403 to whatever has a script in it."""

    def _respond(self, request: Request) -> Reply:
        return http(403, b"blocked") if b"<script>" in request.body else super()._respond(request)


@pytest.mark.parametrize("exchanges_before", [0, 1])
def test_a_stranger_behind_whom_a_firewall_closes(tmp_path: Path, exchanges_before: int) -> None:
    """One request of a stranger that a firewall refuses costs its own event and no other, before or after others."""
    with Firewalled() as collector:
        told = ["--audit-webhook", collector.url, "--audit-spool", str(tmp_path / "spool")]
        with deployed(tmp_path, told) as deployment:
            service, token = deployment.service, deployment.issuer.token()
            for _ in range(exchanges_before):
                service.exchange(token)
            eventually(lambda: len(collector.decisions()) == exchanges_before)
            hostile = service.exchange("a.b.c", **{"User-Agent": HOSTILE}).headers["X-Decision-Id"]
            after = [service.exchange(token).headers["X-Decision-Id"] for _ in range(20)]
            # The one that shows that it is not about us comes before its turn.
            eventually(lambda: sorted(collector.decisions()[exchanges_before:]) == sorted(after), 40)
            assert hostile not in collector.decisions()
            eventually(lambda: service.metric("tailsts_audit_webhook_lost_total", reason="refused") == 1)
            eventually(lambda: service.metric("tailsts_audit_webhook_pending") == 0)


def world_writable(spool: Path) -> None:
    """Let everybody put events there."""
    (spool / "0").mkdir()
    (spool / "0").chmod(0o777)


def pipe(spool: Path) -> None:
    """Put a pipe where the position is."""
    (spool / "0").mkdir()
    os.mkfifo(spool / "0" / "position")


def link(spool: Path) -> None:
    """Let a spool be elsewhere."""
    (spool / "0").symlink_to("/tmp")  # noqa: S108 - nothing is written there


@pytest.mark.parametrize("plant", [world_writable, pipe, link])
def test_what_is_planted_in_the_spool_keeps_it_from_starting(tmp_path: Path, plant: Callable[[Path], None]) -> None:
    """What others could have put there is one line at the start and exit code 2, and nothing hangs."""
    spool = tmp_path / "spool"
    spool.mkdir()
    plant(spool)
    done = run("serve", "--audit-webhook", "https://example.com/e", "--audit-spool", "spool", cwd=tmp_path)
    assert done.returncode == 2
    assert "--audit-spool spool holds 0, which " in done.stderr
    assert "Traceback" not in done.stderr
