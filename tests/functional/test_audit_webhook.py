"""The audit webhook of the whole service: what arrives, through outages, kills and restarts."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.collector import FakeCollector
from fakes.deployment import Deployment, deployed
from fakes.http import HANG, eventually, http
from fakes.leaks import note_secret
from fakes.service import run, unused_port

TOKEN = "webhook-token-functional-0123456789"
note_secret(TOKEN)


@pytest.fixture
def collector() -> Iterator[FakeCollector]:
    """Return a receiver that takes everything."""
    with FakeCollector() as running:
        yield running


def options(url: str, folder: Path) -> list[str]:
    """Return the options that send events there, with the spool in `folder`."""
    return ["--audit-webhook", url, "--audit-spool", str(folder / "spool")]


def stored(folder: Path) -> int:
    """Return how many events are in the spools."""
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("spool/*/*.jsonl"))


def exchanges(deployment: Deployment, count: int) -> list[str]:
    """Make exchanges, every other one refused; return their decisions."""
    token = deployment.issuer.token()
    answers = [
        deployment.service.exchange(token, ["devices:core:read"] if number % 2 else ["all"]) for number in range(count)
    ]
    assert {answer.status for answer in answers} <= {200, 403}
    return [answer.headers["X-Decision-Id"] for answer in answers]


def test_every_event_arrives_as_it_is_logged(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, collector: FakeCollector
) -> None:
    """What the audit log has, the receiver gets, with the token of the file, and the metrics count it."""
    collector.token = TOKEN
    # Elsewhere than what the service writes, which is searched for secrets.
    file = tmp_path_factory.mktemp("secret") / "token"
    file.write_text(TOKEN)
    told = [*options(collector.url, tmp_path), "--audit-webhook-token-file", str(file)]
    told += ["--audit-webhook-source", "https://sts.example.com"]
    with deployed(tmp_path, told) as deployment:
        decisions = exchanges(deployment, 20)
        eventually(lambda: len(collector.events) == 20)
        assert deployment.service.events() == [event["data"] for event in collector.events]
        assert decisions == collector.decisions()
        assert {event["source"] for event in collector.events} == {"https://sts.example.com"}
        eventually(lambda: deployment.service.metric("tailsts_audit_webhook_delivered_total") == 20)
        assert deployment.service.metric("tailsts_audit_webhook_pending") == 0
        assert deployment.service.metric("tailsts_audit_webhook_lost_total") == 0


def test_a_receiver_that_is_down_costs_no_exchange_and_no_event(tmp_path: Path) -> None:
    """Exchanges go on; the events arrive when the receiver is back, in order, and the log says both."""
    port = unused_port()
    with deployed(tmp_path, options(f"http://127.0.0.1:{port}/events", tmp_path)) as deployment:
        decisions = exchanges(deployment, 10)
        eventually(lambda: deployment.service.metric("tailsts_audit_webhook_failed_requests_total") > 0)
        decisions += exchanges(deployment, 10)
        eventually(lambda: deployment.service.metric("tailsts_audit_webhook_pending") == 20)
        with FakeCollector(port) as collector:
            eventually(lambda: len(collector.events) == 20, 30)
            assert decisions == collector.decisions()
        assert deployment.service.log_lines("the audit webhook takes events again")


def test_a_kill_loses_nothing_that_was_stored(tmp_path: Path, collector: FakeCollector) -> None:
    """After SIGKILL with a receiver that hangs, the next process sends what the last one had not."""
    collector.trouble = HANG
    with deployed(tmp_path, options(collector.url, tmp_path)) as deployment:
        decisions = exchanges(deployment, 30)
        eventually(lambda: stored(tmp_path) == 30)
        deployment.service.process.send_signal(signal.SIGKILL)
        deployment.service.process.wait()
    collector.trouble = None
    with deployed(tmp_path, options(collector.url, tmp_path)):
        eventually(lambda: len(collector.decisions()) == 30)
    assert decisions == collector.decisions()


def test_workers_have_a_spool_each(tmp_path: Path, collector: FakeCollector) -> None:
    """Two workers do not write into each other's spool; when one is killed, what it has left is sent all the same."""
    collector.trouble = http(503, b"")
    told = [*options(collector.url, tmp_path), "--workers", "2"]
    with deployed(tmp_path, told) as deployment:
        decisions = exchanges(deployment, 40)
        eventually(lambda: stored(tmp_path) == 40)
        assert {path.name for path in (tmp_path / "spool").iterdir()} == {"0", "1"}
        children = Path(f"/proc/{deployment.service.process.pid}/task/{deployment.service.process.pid}/children")
        os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
        collector.trouble = None
        eventually(lambda: len(collector.decisions()) == 40, 60)
        eventually(lambda: deployment.service.metric("tailsts_audit_webhook_pending") == 0)
    assert sorted(decisions) == sorted(collector.decisions())


def test_the_end_is_not_held_up(tmp_path: Path, collector: FakeCollector) -> None:
    """The service ends in time while its receiver hangs, and what is left waits for the next start."""
    collector.trouble = HANG
    with deployed(tmp_path, options(collector.url, tmp_path)) as deployment:
        decisions = exchanges(deployment, 5)
        eventually(lambda: len(collector.requests) == 1)
        assert deployment.service.stop() == 0
        assert deployment.service.log_lines("audit events for the webhook stay in the spool")
    collector.trouble = None
    with deployed(tmp_path, options(collector.url, tmp_path)) as deployment:
        eventually(lambda: collector.decisions() == decisions)


def test_with_required_auditing_the_webhook_is_not_what_is_required(tmp_path: Path, collector: FakeCollector) -> None:
    """--audit-required is about the log: tokens are handed out while the receiver refuses everything."""
    collector.trouble = http(500, b"")
    with deployed(tmp_path, [*options(collector.url, tmp_path), "--audit-required"]) as deployment:
        assert deployment.service.exchange(deployment.issuer.token()).status == 200


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        (["--audit-webhook", "http://example.com/e", "--audit-spool", "spool"], "it is plain http"),
        (
            ["--audit-webhook", "https://u:pw@example.com/e", "--audit-spool", "spool"],
            "--audit-webhook: it holds a user",
        ),
        (["--audit-webhook", "https://example.com/e"], "--audit-webhook needs --audit-spool"),
        (["--audit-spool", "spool"], "--audit-spool and --audit-webhook-token-file need"),
        (["--audit-webhook", "https://example.com/e", "--audit-spool", "file"], "--audit-spool file cannot be written"),
        (
            ["--audit-webhook", "https://example.com/e", "--audit-spool", "spool", "--audit-webhook-source", "a b"],
            "URI",
        ),
        (
            ["--audit-webhook", "https://example.com/e", "--audit-spool", "s", "--audit-webhook-token-file", "file"],
            "is empty",
        ),
    ],
)
def test_what_keeps_it_from_starting(tmp_path: Path, told: list[str], fault: str) -> None:
    """An address in the clear, a spool that cannot be, a token that is none: one line each, exit code 2."""
    (tmp_path / "file").write_text("")
    done = run("serve", *told, cwd=tmp_path)
    assert done.returncode == 2
    assert fault in done.stderr
    assert "pw@" not in done.stderr
