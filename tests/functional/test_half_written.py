"""P-17: files that are being written while the service reads them: nobody gets in by the half of a policy."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from fakes.deployment import Deployment, deployed
from fakes.http import eventually
from fakes.issuer import FakeIssuer
from fakes.policies import policy
from fakes.service import Service, run
from fakes.tailscale import CLIENT_ID, CLIENT_SECRET, FakeTailscale

WATCHED = ("--no-watch",)
IS_OPEN = "is being written: a process has it open for writing [file]"
NOT_RELOADED = "policies not reloaded: the old ones stay in force"
# Longer than the service takes a pause for the end of a change, and than it waits before it says that there is none.
PAUSE_SECONDS = 2.0


@contextmanager
def half_written(site: Deployment) -> Iterator[tuple[Path, IO[str]]]:
    """Begin to write a policy that lets everybody in, and would not as a whole."""
    path = site.service.policies / "second.toml"
    whole = policy(site.issuer.url, subject=None, allowed_scopes=["webhooks"])
    with path.open("w") as growing:
        growing.write(whole)
        growing.flush()
        yield path, growing
        growing.write('[claims]\nteam = "nobody"\n')


def stranger(site: Deployment) -> int:
    """Return what somebody gets whom no policy means."""
    return site.service.exchange(site.issuer.token(sub="repo:evil/evil:ref:refs/heads/main"), ["webhooks"]).status


def seen_for(seconds: float, site: Deployment) -> set[int]:
    """Return what strangers get, asked again and again."""
    statuses, until = set(), time.monotonic() + seconds
    while time.monotonic() < until:
        statuses.add(stranger(site))
        time.sleep(0.02)
    return statuses


def test_p17_a_writer_that_pauses(tmp_path: Path) -> None:
    """P-17: while a file is open for writing, whatever the pauses, it is not in force; it is said once; then it counts.

    All is as before until it is closed: the old generation, degraded.
    """
    with deployed(tmp_path, without=WATCHED) as site:
        before = site.service.readiness()["generation"]
        with half_written(site) as (path, growing):
            assert seen_for(PAUSE_SECONDS, site) == {403}
            growing.write("# more to come\n")
            growing.flush()
            assert seen_for(PAUSE_SECONDS, site) == {403}
            found = site.service.readiness()
            assert (found["status"], found["generation"]) == ("degraded", before)
            assert found["reload_faults"] == [f"{path}: fault: {IS_OPEN}"]
            assert len(site.service.log_lines(NOT_RELOADED)) == 1
        eventually(lambda: site.service.readiness()["policies"] == 2)
        assert (stranger(site), site.service.readiness()["status"]) == (403, "ready")


def test_p17_a_writer_that_never_pauses(tmp_path: Path) -> None:
    """P-17: so it is with a file that grows all the time, and longer than a change may take to come into force."""
    with deployed(tmp_path, without=WATCHED) as site, half_written(site) as (_, growing):
        ended = threading.Event()

        def write() -> None:
            while not ended.wait(0.01):
                growing.write("# more to come\n")
                growing.flush()

        thread = threading.Thread(target=write)
        thread.start()
        try:
            assert seen_for(3.0, site) == {403}
        finally:
            ended.set()
            thread.join()
        assert site.service.readiness()["policies"] == 1


def test_p17_a_signal_while_a_file_is_written(tmp_path: Path) -> None:
    """P-17: SIGHUP puts no half of a file in force either; when it is whole it counts, without another signal."""
    with deployed(tmp_path) as site:
        with half_written(site) as (path, _):
            site.service.reload(NOT_RELOADED)
            assert site.service.readiness()["reload_faults"] == [f"{path}: fault: {IS_OPEN}"]
            assert stranger(site) == 403
        eventually(lambda: site.service.readiness()["policies"] == 2)
        assert (stranger(site), site.service.readiness()["reload_faults"]) == (403, [])


@pytest.mark.parametrize("workers", ["1", "2"])
def test_p17_a_start_while_a_file_is_written(tmp_path: Path, workers: str) -> None:
    """P-17: with a policy that is being written the service does not start: nothing else could be in force."""
    (tmp_path / "half.toml").write_text("")
    with (tmp_path / "half.toml").open("w") as growing:
        growing.write(policy("https://issuer.example.com", subject=None))
        growing.flush()
        options = ["--policies-dir", str(tmp_path), "--ts-client-id", CLIENT_ID, "--port", "0", "--workers", workers]
        done = run("serve", *options, TS_CLIENT_SECRET=CLIENT_SECRET)
    assert done.returncode != 0
    assert f"{tmp_path}/half.toml: fault: {IS_OPEN}" in done.stderr


def test_p17_a_start_just_after_a_file_was_written(
    tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale
) -> None:
    """P-17: what is whole before the service loses patience is waited for."""
    service = Service(tmp_path, {"infra": policy(issuer.url)}, tailscale)
    with (service.policies / "second.toml").open("w") as growing:
        growing.write(policy(issuer.url, subject=None))
        growing.flush()
        closing = threading.Timer(2.0, growing.close)
        closing.start()
        with service:
            assert service.readiness()["policies"] == 2
            assert growing.closed
        closing.join()
