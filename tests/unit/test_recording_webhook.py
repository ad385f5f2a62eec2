"""What the recorder hands to the audit webhook: every event, as JSON, whatever the logs are told to be."""

import json
from collections.abc import Iterator
from pathlib import Path, PurePath

import pytest

from fakes.collector import FakeCollector
from fakes.http import eventually_async
from fakes.service import unused_port
from tailsts.credentials import Secret
from tailsts.errors import AuditUnavailableError
from tailsts.exchange import Auditor
from tailsts.outcome import Ending
from tailsts.server.journal import Journal, Opener, appending_to
from tailsts.server.recording import Recorder
from tailsts.server.settings import Settings, Tailnet
from tailsts.server.shown.metrics import Metrics
from tailsts.server.webhook.cloudevents import Receiver
from tailsts.server.webhook.webhook import Webhook
from unit.test_recording import MINTED, REFUSED, UNKNOWN, event, full_disk


@pytest.fixture
def collector() -> Iterator[FakeCollector]:
    """Return a receiver that takes everything."""
    with FakeCollector() as running:
        yield running


class Office:
    """A recorder with a webhook and the service's own log, which is the audit log."""

    def __init__(
        self, folder: Path, url: str, *, json_logging: bool, required: bool = False, opener: Opener | None = None
    ) -> None:
        self.log = folder / "log"
        self.journal = Journal(opener or appending_to(self.log), lambda _fault: None)
        self.webhook = Webhook(Receiver(url), folder / "spool", 64 * 1024)
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
            log_level="info",
            audit_log=None,
            audit_required=required,
            extra_roots=(),
        )
        self.recorder = Recorder(settings, Metrics(), self.journal, None, self.webhook)

    def auditor(self) -> Auditor:
        """Return what an exchange needs."""
        return self.recorder.auditor()

    async def close(self) -> None:
        """End all threads."""
        self.recorder.flush()
        await self.webhook.close(5)
        self.journal.close(5)


@pytest.mark.parametrize("json_logging", [True, False])
async def test_the_webhook_gets_what_the_log_gets(collector: FakeCollector, tmp_path: Path, json_logging: bool) -> None:
    """Each event's data is the JSON of its line, whether the log is for programs or for people."""
    office = Office(tmp_path, collector.url, json_logging=json_logging)
    tricky = event(1)
    tricky.claims, tricky.verified = {"iss": "https://i", "sub": ' {"event":"exchange"} '}, True
    for each, ending in ((event(0), MINTED), (tricky, REFUSED), (event(2), UNKNOWN)):
        office.auditor().record(each, ending)
    await office.close()
    logged = [json.loads(line[line.index('{"event":') :]) for line in office.log.read_text().splitlines()]
    assert logged == [event["data"] for event in collector.events]
    assert [event["outcome"] for event in logged] == ["granted", "refused", "rejected"]


async def test_with_auditing_required(collector: FakeCollector, tmp_path: Path) -> None:
    """Where auditing is required, the webhook gets the minting as well, and nobody waits for it."""
    office = Office(tmp_path, collector.url, json_logging=False, required=True)
    for_sure = office.auditor().record_for_sure
    assert for_sure is not None
    await for_sure(event(0), MINTED)
    await office.close()
    assert [event["data"]["outcome"] for event in collector.events] == ["granted"]


async def test_a_log_that_cannot_be_written(collector: FakeCollector, tmp_path: Path) -> None:
    """What is required is the log: the webhook does not stand in for it, but it gets the event that the log missed."""
    office = Office(tmp_path, collector.url, json_logging=True, required=True, opener=full_disk)
    for_sure = office.auditor().record_for_sure
    assert for_sure is not None
    with pytest.raises(AuditUnavailableError):
        await for_sure(event(0), MINTED)
    await eventually_async(lambda: len(collector.events) == 1)
    await office.close()


async def record(office: Office, ending: Ending, count: int) -> None:
    """Record so many events, and hand them on."""
    for number in range(count):
        office.recorder.record(event(number), ending)
    office.recorder.flush()


async def test_strangers_do_not_push_out_what_was_granted(tmp_path: Path) -> None:
    """When half the spool is full, only what was granted gets in; the rest is counted, and the log has it all."""
    office = Office(tmp_path, f"http://127.0.0.1:{unused_port()}/", json_logging=True)
    while not office.webhook.is_crowded():
        await record(office, UNKNOWN, 100)
        await eventually_async(lambda: office.webhook.used > 0)
    before = office.webhook.pending
    await record(office, UNKNOWN, 5)
    await record(office, MINTED, 1)
    await eventually_async(lambda: office.webhook.pending == before + 1)
    assert office.webhook.lost["crowded"] == 5
    assert office.webhook.lost["spool"] == 0
    await office.close()
    assert len(office.log.read_text().splitlines()) == before + 6
