#!/usr/bin/env python3
"""Show what ten thousand hostile connections cost: the service's memory over time, and how long others wait.

Usage: hostile.py [--count 10000] [--seconds 30] [FORM ...]     (forms: see tests/fakes/crowd.py; default: each)

Prints a line each two seconds: connections that are open, resident memory, and the slowest of ten honest exchanges.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fakes.crowd import FORMS, Crowd
from fakes.deployment import Deployment, deployed

EACH = 2.0
WIDTH = 60
MOST_MEGABYTES = 300


async def slowest(site: Deployment, count: int = 10) -> float:
    """Return how long the slowest of some exchanges took, in seconds."""
    found = 0.0
    for _ in range(count):
        started = time.monotonic()
        await asyncio.to_thread(site.service.exchange, site.issuer.token())
        found = max(found, time.monotonic() - started)
    return found


async def look(site: Deployment, title: str, crowd: Crowd | None = None) -> None:
    """Print a line."""
    wait = await slowest(site)
    megabytes = site.service.resident_kilobytes() / 1024
    bar = "#" * round(min(megabytes, MOST_MEGABYTES) / MOST_MEGABYTES * WIDTH)
    connected = crowd.connected if crowd else 0
    print(f"{title:16} {connected:6} open {megabytes:6.1f} MB {wait * 1000:8.1f} ms {bar}", flush=True)


async def attacked(site: Deployment, form: str, count: int, seconds: float) -> None:
    """Attack in one form, and print the curve."""
    await look(site, "before")
    until = time.monotonic() + seconds
    async with Crowd(site.service.port, count, [form]) as crowd:
        while time.monotonic() < until:
            await asyncio.sleep(EACH)
            await look(site, form, crowd)
    await asyncio.sleep(EACH)
    await look(site, "after")


def main() -> None:
    """Attack a service for each form."""
    parser = argparse.ArgumentParser(description="Show what hostile connections cost.")
    parser.add_argument("forms", nargs="*", default=[*FORMS], metavar="FORM")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    for form in options.forms:
        with tempfile.TemporaryDirectory(prefix="hostile-") as name, deployed(Path(name)) as site:
            asyncio.run(attacked(site, form, options.count, options.seconds))


if __name__ == "__main__":
    main()
