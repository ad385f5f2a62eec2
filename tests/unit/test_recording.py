"""Where events go: to real files, and to a disk that is full."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import pytest

from fakes.http import eventually, eventually_async
from fakes.judging import NOW, verified
from tailsts.audit import Event
from tailsts.credentials import AccessToken, Secret
from tailsts.errors import AuditUnavailableError, TailscaleAnswerError
from tailsts.oidc.rejected import Reason, Rejected
from tailsts.outcome import (
    Malformed,
    Minted,
    Outcome,
)
from tailsts.policy.condition import Check, Facts, ScopesAmong
from tailsts.policy.decide import Grant, Miss, Refusal
from tailsts.server.journal import Journal, Opener, appending_to
from tailsts.server.recording import Recorder
from tailsts.server.settings import Level, Settings, Tailnet
from tailsts.server.shown.metrics import Metrics

MINTED = Minted(AccessToken("tskey-api-x", ("dns",), 3600), Grant("infra", ("dns",)))
UNKNOWN = Rejected(Reason.UNKNOWN_ISSUER, "no policy names this issuer")
MISCONFIGURED = TailscaleAnswerError("Tailscale does not accept the OAuth client's id and secret")
MISS = Miss("infra", ScopesAmong(frozenset({"dns:read"})), Facts(verified(), ("dns",), (), NOW))
REFUSED = Refusal(Check.SCOPE, (MISS,))
# One of each level.
ENDINGS: tuple[Outcome | BaseException, ...] = (MINTED, asyncio.CancelledError(), MISCONFIGURED)


def full_disk() -> int:
    """Open a file on which nothing can ever be written."""
    return os.open("/dev/full", os.O_WRONLY)


class Desk:
    """A recorder with its files; `log` is the service's own log, `audit` the audit log, if it is to have one."""

    def __init__(
        self,
        folder: Path,
        *,
        own_audit_log: bool = True,
        required: bool = False,
        json_logging: bool = True,
        level: Level = "info",
        opener: Opener | None = None,
    ) -> None:
        self.log, self.audit = folder / "log", folder / "audit"
        self.metrics = Metrics()
        self.log_journal = Journal(appending_to(self.log), lambda _fault: None)
        self.audit_journal = None
        if own_audit_log:
            self.audit_journal = Journal(opener or appending_to(self.audit), lambda _fault: None)
        settings = Settings(
            tailnets={"default": Tailnet("k1", Secret("s"))},
            policies_dir=PurePath("policies"),
            audiences=(),
            strict=False,
            host="127.0.0.1",
            port=0,
            admin_host="127.0.0.1",
            admin_port=None,
            json_logging=json_logging,
            log_level=level,
            audit_log=PurePath("audit") if own_audit_log else None,
            audit_required=required,
            extra_roots=(),
        )
        self.recorder = Recorder(settings, self.metrics, self.log_journal, self.audit_journal)

    def close(self) -> None:
        """Write what is left and end the threads."""
        for journal in (self.log_journal, self.audit_journal):
            if journal is not None:
                journal.close(5)


class Desks:
    """Sets up recorders and clears them away."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.open: list[Desk] = []

    def desk(self, **options: Any) -> Desk:  # noqa: ANN401 - those of a Desk
        """Return a new one."""
        self.open.append(Desk(self._folder, **options))
        return self.open[-1]


@pytest.fixture
def desks(tmp_path: Path) -> Iterator[Desks]:
    """Return what sets up recorders."""
    desks = Desks(tmp_path)
    yield desks
    for desk in desks.open:
        desk.close()


def event(number: int = 0) -> Event:
    """Return an event as it is before it is concluded."""
    return Event("2026-01-02T03:04:05.678Z", f"{number:020x}", "0123456789abcdef", "10.1.2.3:4567", "curl/8")


def decisions(path: Path) -> list[str]:
    """Return the decision ids of the events in a file."""
    return [json.loads(line)["decision"] for line in path.read_text().splitlines()]


def outcomes(path: Path) -> list[str]:
    """Return the outcomes of the events in a file."""
    return [json.loads(line)["outcome"] for line in path.read_text().splitlines()]


async def kept(desk: Desk, count: int) -> None:
    """Wait until the audit log holds as many events."""
    await eventually_async(lambda: desk.audit.read_text().count("\n") == count)


async def test_an_event_is_kept_soon(desks: Desks) -> None:
    """A recorded event is in the audit log, whole, a moment later, without anybody asking for it."""
    desk = desks.desk()
    desk.recorder.auditor().record(event(), REFUSED)
    await kept(desk, 1)
    line = json.loads(desk.audit.read_text())
    assert {name: value for name, value in line.items() if not name.endswith("_ms")} == {
        "event": "exchange",
        "time": "2026-01-02T03:04:05.678Z",
        "decision": "00000000000000000000",
        "generation": "0123456789abcdef",
        "peer": "10.1.2.3:4567",
        "user_agent": "curl/8",
        "level": "info",
        "outcome": "refused",
        "reason": "scope_not_allowed",
        "policy": "infra",
        "misses": [
            {
                "policy": "infra",
                "check": "scope",
                "key": "allowed_scopes",
                "expected": "within dns:read",
                "actual": "dns",
                "detail": "not allowed: dns",
            }
        ],
    }


async def test_l04_an_event_that_cannot_be_written_costs_no_other(desks: Desks) -> None:
    """L-04: should one event not be writable, a bug, its line says so, and those beside it are whole."""
    desk = desks.desk()
    record = desk.recorder.auditor().record
    broken = event(1)
    # No token can hold it; it stands for whatever nobody thought of.
    broken.claims = {"iss": "https://i", "jti": 10**5000}
    broken.verified = True
    for each in (event(0), broken, event(2)):
        record(each, REFUSED)
    await kept(desk, 3)
    lines = [json.loads(line) for line in desk.audit.read_text().splitlines()]
    assert [line["decision"] for line in lines] == [f"{number:020x}" for number in range(3)]
    assert "could not be written whole" in lines[1]["detail"]
    assert {line["outcome"] for line in lines} == {"refused"}


async def test_events_are_kept_in_their_order(desks: Desks) -> None:
    """Events that are recorded in several goes are each kept once, in the order in which they came."""
    desk = desks.desk()
    record = desk.recorder.auditor().record
    for batch in range(3):
        for number in range(100):
            record(event(batch * 100 + number), UNKNOWN)
        await kept(desk, (batch + 1) * 100)
    assert decisions(desk.audit) == [f"{number:020x}" for number in range(300)]


async def test_flush_hands_over_at_once(desks: Desks) -> None:
    """What was gathered is handed over when the service stops, and handing over nothing writes nothing."""
    desk = desks.desk()
    desk.recorder.record(event(), UNKNOWN)
    desk.recorder.flush()
    desk.recorder.flush()
    desk.close()
    assert decisions(desk.audit) == ["00000000000000000000"]


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["granted", "aborted", "fault"]),
        ("info", ["granted", "aborted", "fault"]),
        ("warning", ["aborted", "fault"]),
        ("error", ["fault"]),
    ],
)
async def test_beside_an_audit_log_the_log_shows_what_its_level_asks_for(
    desks: Desks, level: Level, shown: list[str]
) -> None:
    """The audit log has every event; the decision's line in the service's log depends on the log level."""
    desk = desks.desk(level=level)
    for ending in ENDINGS:
        desk.recorder.record(event(), ending)
    desk.recorder.flush()
    desk.close()
    assert outcomes(desk.audit) == ["granted", "aborted", "fault"]
    assert outcomes(desk.log) == shown


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
async def test_l04_auditing_is_not_switched_off_with_the_log_level(desks: Desks, level: Level) -> None:
    """L-04: without an audit log of its own the event is the log's line, once, whatever the log level."""
    desk = desks.desk(own_audit_log=False, level=level)
    for ending in ENDINGS:
        desk.recorder.record(event(), ending)
    desk.recorder.flush()
    desk.close()
    assert outcomes(desk.log) == ["granted", "aborted", "fault"]
    assert not desk.audit.exists()


@pytest.mark.parametrize(
    ("own_audit_log", "json_logging", "log_is_json"),
    [(True, True, True), (True, False, False), (False, True, True), (False, False, False)],
)
async def test_lines_for_people_and_for_programs(
    desks: Desks, own_audit_log: bool, json_logging: bool, log_is_json: bool
) -> None:
    """The audit log is JSON in any case; the service's log is what it was told to be."""
    desk = desks.desk(own_audit_log=own_audit_log, json_logging=json_logging)
    desk.recorder.record(event(), Malformed(400, "missing_scopes", "missing scopes"))
    desk.recorder.flush()
    desk.close()
    start = (
        '{"event":"exchange",'
        if log_is_json
        else "2026-01-02T03:04:05.678Z [info   ] malformed reason=missing_scopes {"
    )
    assert desk.log.read_text().startswith(start)
    if own_audit_log:
        assert outcomes(desk.audit) == ["malformed"]


async def test_every_event_is_counted_once(desks: Desks) -> None:
    """An event that is written to two logs is still one exchange in the metrics."""
    desk = desks.desk()
    for ending in (MINTED, MINTED, UNKNOWN):
        desk.recorder.record(event(), ending)
    desk.recorder.flush()
    assert desk.metrics.decisions == {("granted", "granted"): 2, ("rejected", "unknown_issuer"): 1}
    # Nobody waited for it.
    assert sum(desk.metrics.stages["record"].counts) == 0


async def test_l04_recorded_for_sure(desks: Desks) -> None:
    """L-04: where auditing is required the event of a minting is in the file before anybody gets the token."""
    desk = desks.desk(required=True)
    auditor = desk.recorder.auditor()
    auditor.admit()
    assert auditor.record_for_sure is not None
    await auditor.record_for_sure(event(), MINTED)
    assert outcomes(desk.audit) == ["granted"]
    assert desk.metrics.decisions == {("granted", "granted"): 1}
    assert sum(desk.metrics.stages["record"].counts) == 1


async def test_l04_recorded_for_sure_in_the_log(desks: Desks) -> None:
    """L-04: auditing can be required without an audit log of its own: then the service's log is what must work."""
    desk = desks.desk(required=True, own_audit_log=False)
    auditor = desk.recorder.auditor()
    assert auditor.record_for_sure is not None
    await auditor.record_for_sure(event(), MINTED)
    assert outcomes(desk.log) == ["granted"]


async def test_l04_a_full_disk_where_auditing_is_required(desks: Desks) -> None:
    """L-04: on a full disk the first minting is held back, and the next ones are not even begun."""
    desk = desks.desk(required=True, opener=full_disk)
    auditor = desk.recorder.auditor()
    auditor.admit()
    assert auditor.record_for_sure is not None
    with pytest.raises(AuditUnavailableError, match=r"^cannot be written: No space left on device$"):
        await auditor.record_for_sure(event(), MINTED)
    assert sum(desk.metrics.stages["record"].counts) == 1
    with pytest.raises(AuditUnavailableError, match=r"^cannot be written: No space left on device$") as caught:
        auditor.admit()
    assert caught.value.retry_after == 1


async def test_a_full_disk_where_auditing_is_not_required(desks: Desks) -> None:
    """Where auditing is not required, a full disk holds up nobody, and the service's log still shows each decision."""
    desk = desks.desk(opener=full_disk)
    auditor = desk.recorder.auditor()
    assert auditor.record_for_sure is None
    auditor.record(event(), MINTED)
    assert desk.audit_journal is not None
    await eventually_async(lambda: desk.audit_journal is not None and desk.audit_journal.fault is not None)
    auditor.admit()
    eventually(lambda: outcomes(desk.log) == ["granted"])
