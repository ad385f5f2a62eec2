"""Signals at a bad moment and policies that break their reader: the service lives on, under policies that are whole."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fakes.deployment import Deployment, deployed
from fakes.http import Raw, Reply, eventually, http
from fakes.issuer import FakeIssuer
from fakes.policies import policy
from fakes.service import Service
from fakes.tailscale import FakeTailscale
from tailsts.policy.store import Options, load

NOT_RELOADED = "policies not reloaded: the old ones stay in force"
# So much takes tens of milliseconds to judge: a folder of them, longer than an edit and a second signal.
SLOW_SCOPES = [f"devices:core:rea{number:03d}" for number in range(500)]
SLOW_FILES = 30


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Deployment]:
    """Return the service with its neighbours."""
    with deployed(tmp_path) as site:
        yield site


def ignores_hangups(process: "subprocess.Popen[bytes]") -> bool:
    """Return whether a SIGHUP would do nothing to the process now."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    ignored = int(status.partition("SigIgn:")[2].split()[0], 16)
    return bool(ignored & 1 << signal.SIGHUP - 1)


def test_signals_during_the_start(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """SIGHUP again and again while the service starts does not end it; once it is ready, it follows one."""
    service = Service(tmp_path, {"infra": policy(issuer.url)}, tailscale)

    def pester() -> int:
        eventually(lambda: hasattr(service, "process"))
        # Before its first line runs, the operating system decides what a signal does.
        eventually(lambda: ignores_hangups(service.process) or service.process.poll() is not None)
        count = 0
        while not service.ports and service.process.poll() is None:
            service.process.send_signal(signal.SIGHUP)
            count += 1
            time.sleep(0.001)
        return count

    with ThreadPoolExecutor(1) as pool:
        pestering = pool.submit(pester)
        with service:
            assert pestering.result() > 10
            service.wait_for_keys()
            service.write_policy("infra", policy(issuer.url, allowed_scopes=["webhooks"]))
            service.process.send_signal(signal.SIGHUP)
            eventually(lambda: service.exchange(issuer.token(), ["webhooks"]).status == 200)
            assert service.readiness()["reload_faults"] == []


def processor_ticks(process: "subprocess.Popen[bytes]") -> int:
    """Return how long the process has computed, in hundredths of a second."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_p17_an_edit_while_the_policies_are_read(site: Deployment) -> None:
    """P-17: of two reloads that overlap, the later one counts, though it has less to read and could be done earlier."""
    service, url = site.service, site.issuer.url
    quick = policy(url, subject="x", allowed_scopes=["users"])
    for number in range(SLOW_FILES):
        service.write_policy(f"slow{number:02d}", policy(url, subject="x", allowed_scopes=SLOW_SCOPES))
        (service.policies / f"slow{number:02d}.quick").write_text(quick)
    before = processor_ticks(service.process)
    service.process.send_signal(signal.SIGHUP)
    # Now it has read the old "infra" and is busy with the slow ones, which come after it.
    eventually(lambda: processor_ticks(service.process) > before + 15)
    service.write_policy("infra", policy(url, allowed_scopes=["webhooks"]))
    for number in range(SLOW_FILES):
        (service.policies / f"slow{number:02d}.quick").rename(service.policies / f"slow{number:02d}.toml")
    service.process.send_signal(signal.SIGHUP)
    eventually(lambda: len(service.log_lines("policies reloaded")) == 2, 30)
    first, second = (line["generation"] for line in service.log_lines("policies reloaded"))
    newest = load(service.policies, Options()).generation
    assert newest is not None
    assert first != second
    assert (second, service.readiness()["generation"]) == (newest.digest, newest.digest)
    statuses = [service.exchange(site.issuer.token(), [scope]).status for scope in ("dns:read", "webhooks")]
    assert statuses == [403, 200]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"max_lifetime = {'9' * 5000}\n", "not TOML: a number with too many digits"),
        (f"allowed_scopes = {'[' * 8000}\n", "not TOML: nested too deep"),
    ],
    ids=["5,000 digits", "8,000 levels"],
)
def test_p17_a_policy_that_breaks_its_reader(site: Deployment, text: str, said: str) -> None:
    """P-17: what Python itself cannot read is a fault as any other: the old policies stay, and it is said and counted.

    Mended, the policies are reloaded as if nothing had been.
    """
    service = site.service
    before = service.readiness()
    service.write_policy("bad", text)
    service.reload(NOT_RELOADED)
    expected = [f"{service.policies}/bad.toml: fault: {said} [syntax]"]
    after = service.readiness()
    assert (after["status"], after["generation"], after["reload_faults"]) == (
        "degraded",
        before["generation"],
        expected,
    )
    assert service.metric("tailsts_policy_reloads_total", result="failed") == 1
    assert service.exchange(site.issuer.token()).status == 200
    (service.policies / "bad.toml").unlink()
    service.reload()
    assert service.readiness()["status"] == "ready"


def later(value: bytes) -> Reply:
    """Return a 429 whose Retry-After holds these bytes."""
    body = json.dumps({"message": "slow down"}).encode()
    return Raw(b"HTTP/1.1 429 X\r\nContent-Length: %d\r\nRetry-After: %b\r\n\r\n%b" % (len(body), value, body))


@pytest.mark.parametrize("value", [b"\xe9", b"\xff\xfe", "٣".encode(), "7é".encode()])
def test_u06_a_retry_after_that_is_no_text(site: Deployment, value: bytes) -> None:
    """U-06: a Retry-After of Tailscale's that is not ASCII counts as none: 503, come again in five seconds."""
    site.tailscale.trouble = later(value)
    answer = site.service.exchange(site.issuer.token())
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    event = site.service.event_of(answer)
    assert (event["outcome"], event["detail"]) == ("unavailable", "Tailscale cannot serve now (429: slow down)")
    site.tailscale.trouble = http(429, b"", Retry_After="7")
    assert site.service.exchange(site.issuer.token()).headers["Retry-After"] == "7"
