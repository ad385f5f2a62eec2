"""P-17: other policies every tenth of a second for half a minute, under a thousand exchanges a second."""

import asyncio
import json
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from fakes.http import eventually
from fakes.issuer import FakeIssuer
from fakes.leaks import note_secret
from fakes.lean_tailscale import MARK, LeanTailscale
from fakes.policies import policy
from fakes.service import Service

SECONDS, RATE, CONNECTIONS, SWAP_EACH = 30, 1000, 20, 0.1
# Each generation allows one pair of these alone: an exchange that saw two would be refused, or be granted both.
PAIRS = (("dns", "dns:read"), ("users", "users:read"))


class Caller:
    """A connection that asks at a steady rate for scopes that each generation allows in part."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._token = token
        self.seen: list[tuple[int, str, str]] = []

    async def ask(self, count: int, each: float) -> None:
        """Ask `count` times, beginning one every `each` seconds."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        loop = asyncio.get_running_loop()
        started = loop.time()
        for number in range(count):
            await asyncio.sleep(max(0.0, started + number * each - loop.time()))
            scope = PAIRS[number % 2][number % 4 // 2]
            writer.write(self._request(scope))
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(head.partition("content-length: ")[2].split()[0])
            await reader.readexactly(length)
            decision = head.partition("x-decision-id: ")[2].split()[0]
            self.seen.append((int(head.split()[1]), scope, decision))
        writer.close()

    def _request(self, scope: str) -> bytes:
        body = json.dumps({"scopes": [scope]})
        head = (
            f"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self._token}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return (head + body).encode()


async def swapped(service: Service, folder: Path, versions: list[Path], stop: asyncio.Event) -> int:
    """Put one version after the other in the place of the folder, at once and whole, and say so; return how often."""
    count = 0
    while not stop.is_set():
        count += 1
        link = folder.with_name("next")
        link.symlink_to(versions[count % 2])
        link.rename(folder)
        service.process.send_signal(signal.SIGHUP)
        await asyncio.sleep(SWAP_EACH)
    return count


def versions_of(folder: Path, texts: list[str]) -> list[Path]:
    """Write each text as a folder of policies, in a file of some age."""
    versions = []
    for number, text in enumerate(texts):
        version = folder / f"version-{number}"
        version.mkdir(parents=True)
        (version / "infra.toml").write_text(text)
        os.utime(version / "infra.toml", (1, 1))
        versions.append(version)
    return versions


@pytest.mark.timeout(180)
async def test_p17_each_exchange_sees_one_generation(tmp_path: Path) -> None:
    """P-17: none of 30,000 exchanges fails, and each is decided by the one generation that its event names."""
    note_secret(MARK)
    with FakeIssuer() as issuer, LeanTailscale() as tailscale:
        texts = [policy(issuer.url, allowed_scopes=list(pair)) for pair in PAIRS]
        versions = versions_of(tmp_path / "versions", texts)
        folder = tmp_path / "current"
        folder.symlink_to(versions[0])
        options = ["--policies-dir", str(folder)]
        with Service(tmp_path, {}, tailscale, options, without=("--policies-dir",)) as service:
            service.wait_for_keys()
            callers = [Caller(service.port, issuer.token()) for _ in range(CONNECTIONS)]
            stop = asyncio.Event()
            swapping = asyncio.create_task(swapped(service, folder, versions, stop))
            count = SECONDS * RATE // CONNECTIONS
            await asyncio.gather(*(caller.ask(count, CONNECTIONS / RATE) for caller in callers))
            stop.set()
            swaps = await swapping
            seen = [each for caller in callers for each in caller.seen]
            eventually(lambda: service.audit_log.read_bytes().count(b"\n") >= len(seen))
            reloads = len(service.log_lines("policies reloaded"))
        events = {event["decision"]: event for event in service.events()}
    assert len(seen) == SECONDS * RATE
    assert Counter(status for status, _, _ in seen).keys() == {200, 403}
    # Which of the two a generation is, is told by what it granted; then it must have granted nothing else.
    granted: dict[str, set[int]] = {}
    refused: dict[str, set[int]] = {}
    for status, scope, decision in seen:
        pair = next(number for number, scopes in enumerate(PAIRS) if scope in scopes)
        (granted if status == 200 else refused).setdefault(events[decision]["generation"], set()).add(pair)
    assert {len(pairs) for pairs in granted.values()} == {1}
    assert all(refused[generation].isdisjoint(granted[generation]) for generation in granted)
    # Signals that come while a reload waits its turn may be one.
    assert swaps > SECONDS / SWAP_EACH * 0.8
    assert reloads > swaps * 0.8
