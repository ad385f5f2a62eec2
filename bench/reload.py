#!/usr/bin/env python3
"""Measure what a reload of 10,000 policies costs: how long it takes, and how long exchanges in flight wait for it.

Usage: reload.py [--policies 10000] [--rounds 3]

The server has core 0 to itself. Four clients ask without end, one exchange after the other, while one policy is
changed, and then all of them. Prints for each: seconds from the change until it counts, and the longest that any
exchange took; beside it the longest in as much time without a reload. Linux and Go, as run.py.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from run import (
    ISSUER,
    ISSUER_PORT,
    JWKS_URL,
    LOAD_CORE,
    PORT,
    SERVER_CORE,
    SUBJECT,
    build,
    running,
    upstream,
    wait_for_http,
)

CLIENTS, QUIET_SECONDS = 4, 3.0
OLD, NEW = "dns:read", "users:read"


class Row(NamedTuple):
    """One reload: until it counted, in seconds; the longest exchange meanwhile, and without one, in milliseconds."""

    seconds: float
    longest_ms: float
    longest_without_ms: float


class Clients:
    """Asks for an access token without end, and remembers the longest that one took."""

    def __init__(self, token: str) -> None:
        self._token = token
        self.longest = 0.0
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(CLIENTS)]

    async def _ask(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        while True:
            started = time.perf_counter()
            await ask(reader, writer, self._token, OLD)
            self.longest = max(self.longest, time.perf_counter() - started)
            await asyncio.sleep(0.001)

    def stop(self) -> None:
        """Ask no more."""
        for task in self._tasks:
            task.cancel()


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str, scope: str) -> int:
    """Make one exchange and return its status."""
    body = json.dumps({"scopes": [scope]})
    head = f"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write((head + body).encode())
    answer = (await reader.readuntil(b"\r\n\r\n")).decode()
    await reader.readexactly(int(answer.partition("content-length: ")[2].split()[0]))
    return int(answer.split()[1])


def write(folder: Path, name: str, text: str) -> None:
    """Put a policy in place, at once and whole."""
    (folder / "new").write_text(text)
    (folder / "new").rename(folder / f"{name}.toml")


def own(*scopes: str) -> str:
    """Return the policy of the clients."""
    return (
        f'issuer = "{ISSUER}"\nsubject = "{SUBJECT}"\njwks_url = "{JWKS_URL}"\nallowed_scopes = {json.dumps(scopes)}\n'
    )


def other(number: int, audience: str) -> str:
    """Return one of the many others: as `tailsts new` writes them, with ids and a pattern."""
    issuer = f"http://127.0.0.1:1/{number % 100}"
    return (
        f'issuer = "{issuer}"\njwks_url = "{issuer}/jwks"\naudience = "{audience}"\n'
        f'allowed_scopes = ["devices:core:read", "dns:read"]\n[claims]\nrepository_id = "{number}"\n'
        'repository_owner_id = "1"\n[claim_patterns]\nref = "refs/heads/(main|release-[0-9]+)"\n'
    )


async def until_it_counts(token: str) -> float:
    """Return how many seconds it takes until the new policy allows what the old one did not."""
    started = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    while await ask(reader, writer, token, NEW) != 200:  # noqa: ASYNC110, PLR2004 - until it is granted
        await asyncio.sleep(0.005)
    writer.close()
    return time.perf_counter() - started


async def measured(folder: Path, token: str, change: Callable[[], Awaitable[None]]) -> Row:
    """Make a change under load, and measure."""
    write(folder, "own", own(OLD))
    await asyncio.sleep(QUIET_SECONDS)
    clients = Clients(token)
    await asyncio.sleep(0.5)
    clients.longest = 0.0
    await asyncio.sleep(QUIET_SECONDS)
    without, clients.longest = clients.longest, 0.0
    await change()
    write(folder, "own", own(OLD, NEW))
    seconds = await until_it_counts(token)
    await asyncio.sleep(0.5)
    clients.stop()
    return Row(seconds, clients.longest * 1000, without * 1000)


async def rows(folder: Path, token: str, policies: int, rounds: int) -> None:
    """Measure both changes and print them."""

    async def nothing_else() -> None:
        """Leave all others as they are."""

    async def all_others() -> None:
        audience = f"https://sts.example.com/{time.monotonic_ns()}"
        await asyncio.to_thread(write_others, folder, policies, audience)

    for title, change in (("one of them changed", nothing_else), ("all of them changed", all_others)):
        found = [await measured(folder, token, change) for _ in range(rounds)]
        seconds, longest, without = (statistics.median(column) for column in zip(*found, strict=True))
        print(
            f"{policies} policies, {title}: counts after {seconds:.2f} s; longest exchange {longest:.1f} ms "
            f"(worst {max(row.longest_ms for row in found):.1f}), without a reload {without:.1f} ms",
            flush=True,
        )


def write_others(folder: Path, policies: int, audience: str) -> None:
    """Write all the policies that nobody asks for."""
    for number in range(policies):
        write(folder, f"policy-{number}", other(number, audience))


def main() -> None:
    """Start everything, measure, print."""
    parser = argparse.ArgumentParser(description="Measure what a reload of many policies costs.")
    parser.add_argument("--policies", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        out = Path(name)
        build(out)
        neighbour = upstream(out, tls=False)
        folder, tokens = out / "policies", out / "tokens"
        folder.mkdir()
        write_others(folder, options.policies, "https://sts.example.com")
        write(folder, "own", own(OLD))
        issuer = [str(out / "issuer"), "-port", str(ISSUER_PORT), "-keys", "2", "-mint", "10", "-out", str(tokens)]
        stack.enter_context(running(issuer, LOAD_CORE))
        wait_for_http(JWKS_URL, 120)
        stack.enter_context(running(neighbour.arguments, LOAD_CORE, {"GOMAXPROCS": "1"}))
        server = ["tailsts", "serve", "--ts-client-id", "id", "--ts-token-url", neighbour.token_url]
        server += ["--policies-dir", str(folder), "--port", str(PORT)]
        variables = {"TS_CLIENT_SECRET": "secret"}
        stack.enter_context(running(server, SERVER_CORE, variables, out / "log"))
        wait_for_http(f"http://127.0.0.1:{PORT}/")
        asyncio.run(rows(folder, tokens.read_text().split()[0], options.policies, options.rounds))


if __name__ == "__main__":
    main()
