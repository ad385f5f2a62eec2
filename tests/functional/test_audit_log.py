"""The audit log: one line of JSON for each exchange, and what happens when it cannot be written."""

import hashlib
import json
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fakes.deployment import deployed
from fakes.http import eventually, http
from fakes.issuer import FakeIssuer
from fakes.policies import policy
from fakes.raw import RawConnection
from fakes.service import Service, unused_port
from fakes.tailscale import FakeTailscale

TIME = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
FULL = "the audit log cannot be written: No space left on device"
WRITABLE_AGAIN = "the audit log can be written again"


def test_what_an_event_says(tmp_path: Path) -> None:
    """An event has all that an operator needs: who, what, when, from where, under which policy, how long."""
    with deployed(tmp_path) as site:
        token = site.issuer.token(repository="acme/infra", run_id="42", secret_claim="x")
        answer = site.service.exchange(token, ["dns:read", "policy_file"], **{"User-Agent": "curl/8"})
        event = site.service.event_of(answer)
        generation = site.service.readiness()["generation"]
    # Nobody had to wait for keys, which were there.
    assert event.pop("keys_ms", 0) == 0
    times = [event.pop(name) for name in ("verify_ms", "decide_ms", "mint_ms")]
    assert all(0 < milliseconds < 10_000 for milliseconds in times)
    assert TIME.fullmatch(event.pop("time"))
    assert re.fullmatch(r"127\.0\.0\.1:[0-9]+", event.pop("peer"))
    assert re.fullmatch("[0-9a-f]{64}", event.pop("token_sha256"))
    claims = event.pop("claims")
    assert event == {
        "event": "exchange",
        "decision": answer.headers["X-Decision-Id"],
        "generation": generation,
        "user_agent": "curl/8",
        "level": "info",
        "outcome": "granted",
        "reason": "granted",
        "verified": True,
        "issuer": site.issuer.url,
        "subject": "repo:acme/infra:ref:refs/heads/main",
        "policy": "infra",
        "tailnet": "default",
        "requested_scopes": ["dns:read", "policy_file"],
        "granted_scopes": ["dns:read", "policy_file"],
    }
    assert claims.keys() == {"aud", "exp", "iat", "jti", "repository", "run_id"}
    assert stat.S_IMODE(site.service.audit_log.stat().st_mode) == 0o600


def test_the_wait_for_keys_is_measured(tmp_path: Path) -> None:
    """An exchange that had to wait for keys says for how long."""
    with deployed(tmp_path) as site:
        site.issuer.rotate()
        answer = site.service.exchange(site.issuer.token())
        assert answer.status == 200
        assert site.service.event_of(answer)["keys_ms"] > 0


def test_without_an_audit_log(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """Without --audit-log the decision's line in the log is the event, also where the log is silent otherwise."""
    options, policies = ["--log-level", "error", "--port", str(unused_port())], {"infra": policy(issuer.url)}
    with Service(tmp_path, policies, tailscale, options, ["--audit-log"]) as service:
        eventually(lambda: service.exchange(issuer.token()).status == 200)
        answers = [service.exchange(token) for token in (issuer.token(), "x")]
    assert not service.audit_log.exists()
    events = service.log_lines()[-2:]
    assert [event["event"] for event in events] == ["exchange", "exchange"]
    assert [event["decision"] for event in events] == [answer.headers["X-Decision-Id"] for answer in answers]
    assert [event["reason"] for event in events] == ["granted", "malformed_token"]
    assert events[0]["token_sha256"] == hashlib.sha256(answers[0].text.encode()).hexdigest()


def test_rotation_under_load(tmp_path: Path) -> None:
    """SIGHUP opens the file anew: whoever moves it away gets every event in one file or the next."""
    with deployed(tmp_path) as site:
        service, done = site.service, False

        def load(_number: int) -> list[str]:
            decisions = []
            while not done:
                decisions.append(service.exchange("x").headers["X-Decision-Id"])
            return decisions

        with ThreadPoolExecutor(2) as pool:
            loads = pool.map(load, range(2))
            try:
                for number in range(5):
                    eventually(lambda: service.audit_log.exists() and service.audit_log.stat().st_size > 0)
                    service.audit_log.rename(tmp_path / f"audit.jsonl.{number}")
                    service.reload()
            finally:
                done = True
        expected = sorted(decision for decisions in loads for decision in decisions)
    files = sorted(tmp_path.glob("audit.jsonl*"))
    lines = [line for path in files for line in path.read_text().splitlines()]
    assert len(files) == 6
    assert sorted(json.loads(line)["decision"] for line in lines) == expected
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_required_and_written_before_the_answer(tmp_path: Path) -> None:
    """With --audit-required the event of a token is in the file before the token is in the caller's hands."""
    with deployed(tmp_path, ["--audit-required"]) as site:
        for _ in range(50):
            answer = site.service.exchange(site.issuer.token())
            assert answer.status == 200
            assert site.service.events()[-1]["decision"] == answer.headers["X-Decision-Id"]


class FullDisk:
    """A service whose audit log cannot be written until the disk has room."""

    def __init__(self, folder: Path, issuer: FakeIssuer, tailscale: FakeTailscale, *options: str) -> None:
        self.service = Service(folder, {"infra": policy(issuer.url)}, tailscale, options)
        self._log = self.service.audit_log
        self._log.symlink_to("/dev/full")

    def make_room(self) -> None:
        """Let the log be written from now on."""
        self._log.unlink()
        self.service.reload()
        eventually(lambda: bool(self.service.log_lines(WRITABLE_AGAIN)))


def test_l04_required_and_not_writable(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """L-04: with --audit-required and a full disk nobody gets a token; it is said once; with room it works again."""
    disk = FullDisk(tmp_path, issuer, tailscale, "--audit-required")
    with disk.service as service:
        service.wait_for_keys()
        answers = [service.exchange(issuer.token()) for _ in range(5)]
        for answer in answers:
            decision = answer.headers["X-Decision-Id"]
            assert answer.text == f"temporarily unavailable, try again later (decision {decision})\n"
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        # Only the first one could not know before it asked.
        assert len(tailscale.requests) == 1
        assert len(service.log_lines(FULL)) == 1
        assert service.metric("tailsts_audit_writable") == 0
        disk.make_room()
        assert service.metric("tailsts_audit_writable") == 1
        assert service.exchange(issuer.token()).status == 200
        reasons = {event["decision"]: event["reason"] for event in service.events()}
        assert [reasons[answer.headers["X-Decision-Id"]] for answer in answers] == ["audit_unavailable"] * 5


def test_l04_not_required_and_not_writable(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """L-04: otherwise exchanges go on, it is said once, and with room again no event is missing."""
    disk = FullDisk(tmp_path, issuer, tailscale)
    with disk.service as service:
        service.wait_for_keys()
        answers = [service.exchange(issuer.token()) for _ in range(5)]
        assert {answer.status for answer in answers} == {200}
        eventually(lambda: len(service.log_lines(FULL)) == 1)
        assert service.metric("tailsts_audit_writable") == 0
        disk.make_room()
        expected = [answer.headers["X-Decision-Id"] for answer in answers]
        assert [event["decision"] for event in service.events()] == expected
        assert service.log_lines(WRITABLE_AGAIN)[-1]["lost"] == 0


def test_what_is_lost_is_counted(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """When the disk stays full longer than the buffer lasts, every event is either kept or counted as lost."""
    disk = FullDisk(tmp_path, issuer, tailscale)
    names = (
        "sub",
        "ref",
        "actor",
        "environment",
        "event_name",
        "repository",
        "run_id",
        "email",
        "job_id",
        "project_id",
    )
    bulky = issuer.token(**dict.fromkeys(names, "x" * 1000), header={"kid": None})
    request = f"POST / HTTP/1.1\r\nHost: sts\r\nAuthorization: Bearer {bulky}\r\nContent-Length: 20\r\n\r\n"
    count = 4000
    with disk.service as service:
        service.wait_for_keys()
        with RawConnection(service.port) as connection:
            for _ in range(count):
                connection.send([request.encode() + b'{"scopes": ["a"]}   '])
                answer = connection.read()
                assert answer is not None
                assert answer.status == 403
        eventually(lambda: service.metric("tailsts_audit_lines_lost_total") > 0)
        disk.make_room()
        lost = service.metric("tailsts_audit_lines_lost_total")
        eventually(lambda: len(service.events()) + lost == count)


def test_a_stop_with_a_full_disk(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """A service that cannot write the end of its audit log says so when it stops."""
    disk = FullDisk(tmp_path, issuer, tailscale)
    with disk.service as service:
        service.wait_for_keys()
        assert service.exchange(issuer.token()).status == 200
        assert service.stop() == 0
    assert [line["event"] for line in service.log_lines()][-2:] == [
        "the end of the audit log could not be written",
        "stopped",
    ]


def test_every_outcome_leaves_an_event(tmp_path: Path) -> None:
    """Granted, refused, rejected, malformed, unavailable, fault: each is an outcome of its own."""
    with deployed(tmp_path) as site:
        good = site.issuer.token()
        answers = [site.service.exchange(good), site.service.exchange(good, ["all"]), site.service.exchange("x")]
        answers.append(site.service.exchange(good, []))
        for status in (500, 401):
            site.tailscale.trouble = http(status, b"")
            answers.append(site.service.exchange(good))
        outcomes = [site.service.event_of(answer)["outcome"] for answer in answers]
    assert outcomes == ["granted", "refused", "rejected", "malformed", "unavailable", "fault"]
