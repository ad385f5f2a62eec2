"""What the service asks of the interpreter and the operating system, each in a process of its own."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fakes.service import environment
from tailsts.server import process
from tailsts.server.listener import CONNECTION_BYTES, MAX_CONNECTIONS, PART_OF_MEMORY, connections_allowed

LET_THREADS_FINISH = """
import os, threading
from tailsts.server import process
process.let_threads_finish()
found = []
thread = threading.Thread(target=lambda: found.append(os.sched_getscheduler(0) == os.SCHED_BATCH))
thread.start()
thread.join()
print(found)
"""
BEHIND_EXCHANGES = """
import os, sys, threading
from tailsts.server import process
process.let_threads_finish()
go, done, seen = threading.Event(), threading.Event(), []
class Exchange(threading.Thread):
    def run(self):
        go.wait()
        seen.append(os.sched_getscheduler(0))
        done.set()
def load():
    interval = sys.getswitchinterval()
    with process.behind_exchanges():
        seen.append(os.sched_getscheduler(0))
        go.set()
        done.wait()
        seen.append(sys.getswitchinterval() < interval)
    seen.append(sys.getswitchinterval() == interval)
Exchange().start()
loading = threading.Thread(target=load)
loading.start()
loading.join()
print(seen == [os.SCHED_BATCH, os.SCHED_OTHER, True, True], os.sched_getscheduler(os.getpid()) == os.SCHED_BATCH)
"""
SPARE_THE_COLLECTOR = """
import gc
from tailsts.server import process
before = len(gc.get_objects())
process.spare_the_collector()
print(gc.get_freeze_count() > before / 2, len(gc.get_objects()) < before / 2, gc.get_threshold()[0])
"""
MEMORY_ALLOWED = """
from tailsts.server import process
print(process.memory_allowed())
"""


def printed(program: str) -> str:
    """Return what a program prints."""
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_threads_finish_first() -> None:
    """On Linux, threads that are made afterwards do not interrupt each other; elsewhere nothing happens."""
    if sys.platform == "linux":
        assert printed(LET_THREADS_FINISH) == "[True]"
    else:
        process.let_threads_finish()


def test_exchanges_go_first() -> None:
    """While a thread works for long, those of exchanges may interrupt it, and only it does not interrupt others."""
    if sys.platform == "linux":
        assert printed(BEHIND_EXCHANGES) == "True True"
    else:
        with process.behind_exchanges():
            pass


def test_the_collector_is_spared() -> None:
    """What was loaded is not looked at again, and the young objects seldom."""
    assert printed(SPARE_THE_COLLECTOR) == "True True 10000"


def test_connections_are_as_many_as_memory_allows() -> None:
    """All connections together may come to hold half of the memory, however many processes share it."""
    memory = process.memory_allowed()
    assert 0 < memory <= sys.maxsize
    most = memory // PART_OF_MEMORY // CONNECTION_BYTES
    assert connections_allowed(1) <= min(MAX_CONNECTIONS, most)
    assert connections_allowed(64) <= most // 64
    assert connections_allowed(2**40) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
def test_memory_is_that_of_the_own_control_group() -> None:
    """A limit counts that is set for the process's own group, as systemd's MemoryMax is, and not only a container's."""
    most = 512 * 1024 * 1024
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    (own,) = [path for _, controllers, path in lines if controllers == "memory"] or pytest.skip(
        "no groups of version 1"
    )
    group = Path(f"/sys/fs/cgroup/memory{own}") / f"tailsts-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        pytest.skip("groups belong to root")
    try:
        (group / "memory.limit_in_bytes").write_text(str(most))
        program = f"open('{group}/cgroup.procs', 'w').write('0')\n{MEMORY_ALLOWED}"
        assert printed(program) == str(most)
    finally:
        group.rmdir()


@pytest.mark.skipif(sys.platform != "linux", reason="counted on Linux alone")
def test_open_files_are_counted() -> None:
    """Each file or connection that is opened counts as one."""
    before = process.files_open()
    opened = [socket.socket() for _ in range(10)]
    assert process.files_open() == before + 10
    for each in opened:
        each.close()
    assert process.files_open() == before
