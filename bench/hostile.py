#!/usr/bin/env python3
"""Show what ten thousand hostile connections cost: the service's memory over time, and how long others wait.

Usage: hostile.py [--count 10000] [--seconds 30] [--connections N] [FORM ...]

Forms: see tests/fakes/crowd.py; default: each. --connections lets the service have so many open, as a small memory
would: 1638 stands for 512 MiB. Prints a line each two seconds: connections that are open, resident memory, and the
slowest of ten honest exchanges. Exits with 1 if one took longer than a probe waits, or if memory grew after the first
half.
"""

import argparse
import sys
import tempfile
import time
from http import HTTPStatus
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fakes.crowd import FORMS, OtherCrowd
from fakes.deployment import Deployment, deployed
from tailsts.server.listener import SPARE_FILES

EACH = 2.0
WIDTH = 60
MOST_MEGABYTES = 300
SLOW_SECONDS = 5.0
# What the allocator needs for the same differs from crowd to crowd.
GROWTH = 1.2


def slowest(site: Deployment, count: int = 10) -> float:
    """Return how long the slowest of some exchanges took, in seconds."""
    found = 0.0
    for _ in range(count):
        started = time.monotonic()
        answer = site.service.exchange(site.issuer.token())
        found = max(found, time.monotonic() - started)
        if answer.status != HTTPStatus.OK:
            sys.exit(f"an exchange was answered with {answer.status}: {answer.text}")
    return found


def look(site: Deployment, title: str, crowd: OtherCrowd | None = None) -> tuple[float, float]:
    """Print a line, and return it: megabytes and seconds."""
    wait = slowest(site)
    megabytes = site.service.resident_kilobytes() / 1024
    bar = "#" * round(min(megabytes, MOST_MEGABYTES) / MOST_MEGABYTES * WIDTH)
    connected = crowd.connected if crowd else 0
    print(f"{title:16} {connected:6} open {megabytes:6.1f} MB {wait * 1000:8.1f} ms {bar}", flush=True)
    return megabytes, wait


def attacked(site: Deployment, form: str, count: int, seconds: float) -> list[str]:
    """Attack in one form, and print the curve; return what is wrong with it."""
    look(site, "before")
    seen: list[tuple[float, float]] = []
    until = time.monotonic() + seconds
    with OtherCrowd(site.service.port, count, [form]) as crowd:
        while time.monotonic() < until:
            time.sleep(EACH)
            seen.append(look(site, form, crowd))
    time.sleep(EACH)
    look(site, "after")
    memory = [megabytes for megabytes, _ in seen]
    half = len(memory) // 2
    faults = []
    if half and max(memory[half:]) > max(memory[:half]) * GROWTH:
        faults.append(f"{form}: memory grew from {max(memory[:half]):.0f} to {max(memory[half:]):.0f} MB")
    if (wait := max((wait for _, wait in seen), default=0.0)) > SLOW_SECONDS:
        faults.append(f"{form}: an exchange took {wait:.1f} s")
    return faults


def bound_files(folder: Path, connections: int) -> None:
    """Have services started that may open files for so many connections only."""
    launcher = folder / "launcher"
    launcher.write_text(f'#!/bin/sh\nulimit -n {connections + SPARE_FILES} && exec {sys.executable} "$@"\n')
    launcher.chmod(0o755)
    sys.executable = str(launcher)


def main() -> None:
    """Attack a service for each form."""
    parser = argparse.ArgumentParser(description="Show what hostile connections cost.")
    parser.add_argument("forms", nargs="*", default=[*FORMS], metavar="FORM")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--connections", type=int)
    options = parser.parse_args()
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="hostile-") as around:
        if options.connections:
            bound_files(Path(around), options.connections)
        for form in options.forms:
            with tempfile.TemporaryDirectory(prefix="hostile-") as name, deployed(Path(name)) as site:
                faults += attacked(site, form, options.count, options.seconds)
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
