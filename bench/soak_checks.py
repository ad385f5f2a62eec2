"""What is looked at during a soak: that each answer has its line in the audit log and each line its answer; memory."""

import csv
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from fakes.collector import FakeCollector


class _Line(msgspec.Struct):
    """All that is needed of an event."""

    decision: str


_LINE = msgspec.json.Decoder(_Line)
# A file that was moved away is read after so many further ones: every worker writes to the new one by then.
SETTLED_AFTER = 2


class AuditCheck:
    """Matches answers with lines. The log is rotated as logs are, so that a soak of hours does not fill the disk."""

    def __init__(self, log: Path, reopen: Callable[[], None]) -> None:
        self.lines = 0
        self.torn = 0
        self._log = log
        self._reopen = reopen
        self._moved: list[Path] = []
        self._count = 0
        # Those that have not met yet, by decision; answers with their time.
        self.answers: dict[str, float] = {}
        self.events: set[str] = set()

    def answered(self, decision: str, done: float) -> None:
        """Note an answer."""
        if decision in self.events:
            self.events.remove(decision)
        else:
            self.answers[decision] = done

    def rotate(self) -> None:
        """Move the log away, have it opened anew, and read those that nobody writes to any more."""
        if self._log.exists():
            self._count += 1
            moved = self._log.with_name(f"{self._log.name}.{self._count}")
            self._log.rename(moved)
            self._moved.append(moved)
        self._reopen()
        while len(self._moved) > SETTLED_AFTER:
            self._read(self._moved.pop(0))

    def finish(self) -> None:
        """Read what is left, when the service has stopped."""
        for path in [*self._moved, self._log]:
            if path.exists():
                self._read(path)

    def _read(self, path: Path) -> None:
        for line in path.read_bytes().splitlines():
            self.lines += 1
            try:
                decision = _LINE.decode(line).decision
            except msgspec.DecodeError:
                self.torn += 1
                continue
            # A line that is there twice stays here, or takes the place of no answer.
            if self.answers.pop(decision, None) is None:
                self.events.add(decision)
        path.unlink()


class Delivered:
    """Which decisions the receiver of audit events was told; some twice. Kept as their ids alone."""

    def __init__(self, collector: FakeCollector) -> None:
        self.decisions: set[str] = set()
        self._collector = collector

    def look(self) -> None:
        """Take over what has come."""
        come = self._collector.events[:]
        del self._collector.events[: len(come)]
        self.decisions.update(event["data"]["decision"] for event in come)


class Sample(NamedTuple):
    """The memory of all processes of the service, at a time since the start of the soak."""

    seconds: float
    kilobytes: int


class Memory:
    """The service's memory over time."""

    def __init__(self, pid: int) -> None:
        self.samples: list[Sample] = []
        self._pid = pid
        self._began = time.monotonic()

    def sample(self) -> None:
        """Look once."""
        kilobytes = sum(resident_kilobytes(pid) for pid in family(self._pid))
        self.samples.append(Sample(time.monotonic() - self._began, kilobytes))

    def median(self, begin: float, end: float) -> float:
        """Return the median between two times."""
        return statistics.median(each.kilobytes for each in self.samples if begin <= each.seconds <= end)

    def write(self, path: Path) -> None:
        """Write the series as CSV."""
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(Sample._fields)
            writer.writerows((f"{each.seconds:.1f}", each.kilobytes) for each in self.samples)


def family(pid: int) -> list[int]:
    """Return the process and all its descendants."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            parents.setdefault(_parent(int(entry.name)), []).append(int(entry.name))
    found = [pid]
    for each in found:
        found.extend(parents.get(each, []))
    return found


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def resident_kilobytes(pid: int) -> int:
    """Return how much memory a process holds; 0 of one that is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return int(status.partition("VmRSS:")[2].split()[0]) if "VmRSS:" in status else 0


def pin(pid: int, core: int) -> None:
    """Let all threads of a process run on one core only."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})
