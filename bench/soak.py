#!/usr/bin/env python3
"""Run the service for a while at half of what it can do, while all that it depends on fails in turn.

Usage: soak.py [SECONDS] [--workers 1] [--rate RATE] [--growth 5] [--csv FILE]     (600 s; RATE: exchanges a second)

In each minute Tailscale answers 503, resets connections, is slow, hangs; the issuer falls silent, then has a new key;
so does the receiver of audit events; the policies are read anew and the audit log is rotated every two seconds; with
several workers one is killed.

Exit 1 unless: a request that was good got its token, or, while Tailscale failed, a 502 or 503; one for a scope that is
not allowed got 403, a forged one 401, one with a token that was used up 403, one above its rate 429, whatever else
failed; no token has other scopes than asked; each answer has one line in the audit log, and no line is without; the
receiver got each event; memory grew by less than 5 % from the end of the first minute to that of the last. Linux.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import uvloop
from soak_checks import AuditCheck, Delivered, Memory, family, pin
from soak_load import BAD_GATEWAY, OK, UNAVAILABLE, Got, Judge, Kind, Load, Window, Wish, wishes

from fakes.chaotic_tailscale import MARK, ChaoticTailscale, Mood
from fakes.collector import FakeCollector
from fakes.http import HANG, http
from fakes.issuer import FakeIssuer, key_pair
from fakes.policies import policy
from fakes.service import Service, unused_port

SERVER_CORE, LOAD_CORE = 0, 1
# Fewer than the exchanges that may be in flight.
CONNECTIONS = 200
CAPACITY_SECONDS, ROTATE_EACH, SAMPLE_EACH = 3.0, 2.0, 0.5
# After a failure of Tailscale, until somebody has tried whether it is back; and what a busy machine adds.
RECOVERY, SLACK = 3.0, 1.0
# A worker that is killed may take so much of the audit log along (10 ms); the rest is for clocks of two processes.
LOST_WITH_A_WORKER = 0.1
TOKENS = 40
ALLOWED = ["dns:read", "auth_keys", "devices:core:read", "policy_file"]
BOUNDED: dict[Kind, dict[str, object]] = {"used": {"single_use": True}, "paced": {"rate_limit": "1/day"}}
# Parts of a cycle. In the last tenth nothing fails, and memory is looked at.
FAILURES: tuple[tuple[Mood, float, float], ...] = (
    ("unavailable", 0.10, 0.20),
    ("reset", 0.27, 0.33),
    ("slow", 0.40, 0.48),
    ("hang", 0.50, 0.64),
)
SILENT_FROM, SILENT_TO, NEW_KEY, KILL, QUIET = 0.72, 0.80, 0.81, 0.85, 0.90


class Options(NamedTuple):
    """The command line."""

    seconds: float
    workers: int
    rate: float | None
    csv: Path
    growth: float

    @property
    def cycle(self) -> float:
        """Seconds in which all that fails fails once. At least two of them fit in."""
        return min(60.0, self.seconds / 2)


class Soak:
    """A service, its neighbours that fail, and its callers. Made in an event loop, after all have started."""

    def __init__(
        self,
        options: Options,
        service: Service,
        issuer: FakeIssuer,
        tailscale: ChaoticTailscale,
        collector: FakeCollector,
    ) -> None:
        self._options = options
        self._service = service
        self._issuer = issuer
        self._tailscale = tailscale
        self._collector = collector
        self.delivered = Delivered(collector)
        self.judge = Judge(MARK)
        self.audit = AuditCheck(service.audit_log, self._hang_up)
        self.memory = Memory(service.process.pid)
        self.load = Load(service.port, CONNECTIONS, self._got)
        self.capacity = 0.0
        self.kills: list[float] = []
        self.reloads = 0

    async def run(self) -> None:
        """Measure what the service can do, then run it at half of that."""
        options = self._options
        self.load.wishes = await asyncio.to_thread(self._wishes)
        await self.load.begin()
        self.capacity = await self.load.burst(CAPACITY_SECONDS)
        rate = options.rate or self.capacity / 2
        began = time.monotonic()
        print(f"{self.capacity:.0f} exchanges a second at most; now {rate:.0f} for {options.seconds:.0f} s", flush=True)
        self.memory = Memory(self._service.process.pid)
        tasks = [
            asyncio.create_task(each)
            for each in (
                _every(SAMPLE_EACH, self.memory.sample),
                _every(ROTATE_EACH, self._reload),
                _every(ROTATE_EACH, self.delivered.look),
                self._cycles(began),
            )
        ]
        await self.load.steady(rate, began + options.seconds)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result
        await self.load.end()

    def _got(self, got: Got) -> None:
        self.judge.see(got)
        if got.status:
            self.audit.answered(got.decision, got.done)

    def _wishes(self) -> list[Wish]:
        expires = int(time.time()) + 3 * 3600
        bounded: dict[Kind, str] = {}
        for kind in BOUNDED:
            bounded[kind] = self._issuer.token(exp=expires, sub=f"{kind}:{self._issuer.keys.numbers[-1]}")
            # What it may have. Further ones are refused, with the same token or with another one.
            answer = self._service.exchange(bounded[kind], ["dns:read"])
            if answer.status != OK:
                raise ValueError(f"{kind}: {answer.status} {answer.text}")
            self.audit.answered(answer.headers["X-Decision-Id"], time.monotonic())
            self.load.asked += 1
        return wishes([self._issuer.token(exp=expires) for _ in range(TOKENS)], bounded)

    def _hang_up(self) -> None:
        self._service.process.send_signal(signal.SIGHUP)

    def _reload(self) -> None:
        # Another generation each time, of policies that say the same to those who ask.
        self.reloads += 1
        other = policy(self._issuer.url, algorithm="ES256", subject=f"nobody:{self.reloads}")
        self._service.write_policy("other", other)
        self.audit.rotate()

    async def _cycles(self, began: float) -> None:
        cycle = self._options.cycle
        for number in range(10**6):
            start = began + number * cycle
            for mood, begin, end in FAILURES:
                await _until(start + begin * cycle)
                self._fail(mood, start + end * cycle)
                await _until(start + end * cycle)
                self._tailscale.turn("well")
            await _until(start + SILENT_FROM * cycle)
            self._issuer.trouble = HANG
            self._collector.trouble = http(UNAVAILABLE, b"")
            await _until(start + SILENT_TO * cycle)
            self._issuer.trouble = self._collector.trouble = None
            await _until(start + NEW_KEY * cycle)
            self._issuer.keys.numbers[:] = [self._issuer.keys.numbers[-1], number + 1]
            self.load.wishes = await asyncio.to_thread(self._wishes)
            await _until(start + KILL * cycle)
            if self._options.workers > 1:
                self._kill_a_worker()
            await _until(start + cycle)

    def _fail(self, mood: Mood, end: float) -> None:
        statuses = frozenset() if mood == "slow" else frozenset({BAD_GATEWAY, UNAVAILABLE})
        self.judge.windows.append(Window(mood, time.monotonic(), end + RECOVERY + SLACK, statuses))
        del self.judge.windows[:-4]
        self._tailscale.turn(mood)

    def _kill_a_worker(self) -> None:
        now = time.monotonic()
        self.judge.windows.append(Window("kill", now, now + SLACK, may_break=True))
        os.kill(family(self._service.process.pid)[1], signal.SIGKILL)
        self.kills.append(now)


async def _until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))


async def _every(seconds: float, act: Callable[[], None]) -> None:
    while True:
        act()
        await asyncio.sleep(seconds)


def faults(soak: Soak, options: Options) -> list[str]:
    """Print what was seen; return what should not have been."""
    judge, audit = soak.judge, soak.audit
    for (kind, status, during), count in sorted(judge.counts.items()):
        print(f"{kind:7} {during:12} {status or 'broken':>6} {count:9}")
    cycle = options.cycle
    first = soak.memory.median(QUIET * cycle, cycle)
    last = soak.memory.median(options.seconds - (1 - QUIET) * cycle, options.seconds)
    growth = last / first - 1
    spared = {
        decision: done
        for decision, done in audit.answers.items()
        if any(abs(done - kill) < LOST_WITH_A_WORKER for kill in soak.kills)
    }
    print(
        f"{soak.load.asked} requests, {audit.lines} lines in the audit log, {len(spared)} lost with {len(soak.kills)} "
        f"killed workers; {soak.reloads} reloads; callers were all waiting {soak.load.held_up} times\n"
        f"memory {first / 1024:.1f} MB, then {last / 1024:.1f} MB: {growth:+.1%} (series: {options.csv})"
    )
    found = [f"not promised: {text}" for text in judge.unpromised[:10]]
    found += [f"other scopes: {text}" for text in judge.wrong_scopes[:10]]
    checks = {
        "answers that were not promised": len(judge.unpromised),
        "tokens of other scopes": len(judge.wrong_scopes),
        "answers without a line": len(audit.answers) - len(spared),
        # A request whose connection broke may have been decided.
        "lines without an answer": max(0, len(audit.events) - judge.broken),
        "lines that are torn": audit.torn,
        "events that did not reach the receiver": max(0, audit.lines - len(soak.delivered.decisions) - len(spared)),
        "per cent more memory": round(growth * 100) if growth * 100 > options.growth else 0,
    }
    return found + [f"{count} {what}" for what, count in checks.items() if count]


def run(options: Options) -> list[str]:
    """Start everything, soak, stop; return what should not have been."""
    for number in range(int(options.seconds / options.cycle) + 2):
        key_pair("RS256", number)
    public, admin = unused_port(), unused_port()
    told = ["--port", str(public), "--admin-port", str(admin), "--log-level", "error"]
    told += ["--workers", str(options.workers)] if options.workers > 1 else []
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as name,
        FakeIssuer() as issuer,
        ChaoticTailscale() as tailscale,
        FakeCollector() as collector,
    ):
        policies = {"infra": policy(issuer.url, allowed_scopes=ALLOWED)}
        for kind, bound in BOUNDED.items():
            policies[kind] = policy(issuer.url, subject=None, subject_pattern=f"{kind}:[0-9]+", **bound)
        told += ["--state", f"sqlite:{name}/state", "--audit-webhook", collector.url, "--audit-spool", f"{name}/spool"]
        service = Service(Path(name), policies, tailscale, told)
        with service:
            service.ports["admin"] = admin
            service.wait_for_keys()
            if options.workers == 1:
                pin(service.process.pid, SERVER_CORE)
            soak = uvloop.run(_soaked(options, Soak(options, service, issuer, tailscale, collector)))
        soak.audit.finish()
        soak.delivered.look()
        # At this level it says nothing but what should not be; and what we did ourselves.
        ours = ("a worker ended", "the audit webhook answers 503")
        said = [line for line in service.log.read_text().splitlines() if not any(each in line for each in ours)]
        return [*faults(soak, options), *said[:5]]


async def _soaked(options: Options, soak: Soak) -> Soak:
    try:
        await soak.run()
    finally:
        soak.memory.write(options.csv)
    return soak


def main() -> int:
    """Soak, print, and return the exit code."""
    parser = argparse.ArgumentParser(description="Run the service at half its capacity while its neighbours fail.")
    parser.add_argument("seconds", type=float, nargs="?", default=600.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rate", type=float, help="exchanges a second, instead of half of what was measured")
    parser.add_argument("--csv", type=Path, default=Path("soak-memory.csv"), help="where the memory's series goes")
    parser.add_argument("--growth", type=float, default=5.0, help="per cent that memory may grow by")
    options = Options(**vars(parser.parse_args()))
    found = run(options)
    print("\n".join(found) or "all as promised")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
