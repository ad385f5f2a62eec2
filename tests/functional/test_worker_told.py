"""What a worker says to its parent of the policies that it began with: the test is the parent."""

import asyncio
import os
import socket
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fakes.policies import policy
from fakes.service import environment
from fakes.tailscale import CLIENT_ID, CLIENT_SECRET, FakeTailscale
from tailsts.policy.store import Options
from tailsts.server.sources import Folder
from tailsts.server.workers.control import REPORTS, Channel, InForce, Look, Reload, Report
from tailsts.server.workers.handover import Handed, in_memory
from tailsts.server.workers.keeping import pack
from tailsts.server.workers.turns import shared_file

OLD, NEW = policy("https://old.example"), policy("https://new.example")


def packed(folder: Path) -> bytes:
    """Return what is in the folder, packed for a worker."""
    found = pack(Folder(folder, Options(), time.time, time.monotonic).first().sheaf)
    assert found is not None
    return found


async def heard(parent: Channel) -> Report | None:
    """Return what the worker says next."""
    async with asyncio.timeout(20):
        return await parent.receive(REPORTS)


@asynccontextmanager
async def worker(folder: Path, policies: bytes | None, tailscale: FakeTailscale) -> AsyncIterator[Channel]:
    """Run a worker that is handed these policies, until its parent is gone."""
    options = ["--ts-client-id", CLIENT_ID, "--ts-token-url", tailscale.token_url, "--policies-dir", str(folder)]
    command = [sys.executable, "-m", "tailsts", "serve", *options, "--no-watch", "--port", "0", "--workers", "2"]
    ours, theirs = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as public, theirs, os.fdopen(shared_file()) as turns:
        file = None if policies is None else in_memory(policies)
        handed = Handed(1, public.fileno(), theirs.fileno(), turns.fileno(), file)
        process: Process = await asyncio.create_subprocess_exec(
            *command,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment(TS_CLIENT_SECRET=CLIENT_SECRET, **handed.as_variable()),
            pass_fds=handed.descriptors(),
        )
    if file is not None:
        os.close(file)
    parent = await Channel.over(ours)
    try:
        yield parent
    finally:
        await parent.close()
        assert await asyncio.wait_for(process.wait(), 30) == 0


async def test_what_it_was_handed_is_not_told(folder: Path) -> None:
    """The parent may know something newer by now than what it handed over: that is not replaced by what was older."""
    (folder / "a.toml").write_text(OLD)
    handed = packed(folder)
    (folder / "a.toml").write_text(NEW)
    with FakeTailscale() as tailscale:
        async with worker(folder, handed, tailscale) as parent:
            first = await heard(parent)
            parent.send(Look(1))
            said = [first, await heard(parent)]
            assert [type(report).__name__ for report in said] == ["Seen", "Seen"]
            parent.send(Reload())
            assert await heard(parent) == InForce(packed(folder))


async def test_what_it_read_itself_is_told(folder: Path) -> None:
    """A worker that was handed nothing says what it read: another one to come begins with that."""
    (folder / "a.toml").write_text(OLD)
    with FakeTailscale() as tailscale:
        async with worker(folder, None, tailscale) as parent:
            said = [await heard(parent), await heard(parent)]
            assert InForce(packed(folder)) in said
