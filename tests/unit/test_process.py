"""What the service asks of the interpreter and the operating system, each in a process of its own."""

import subprocess
import sys

from fakes.service import environment
from tailsts.server import process
from tailsts.server.listener import CONNECTION_BYTES, MAX_CONNECTIONS, PART_OF_MEMORY, connections_allowed

LET_THREADS_FINISH = """
import os, threading
from tailsts.server import process
from tailsts.server.listener import CONNECTION_BYTES, MAX_CONNECTIONS, PART_OF_MEMORY, connections_allowed
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
from tailsts.server.listener import CONNECTION_BYTES, MAX_CONNECTIONS, PART_OF_MEMORY, connections_allowed
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
from tailsts.server.listener import CONNECTION_BYTES, MAX_CONNECTIONS, PART_OF_MEMORY, connections_allowed
before = len(gc.get_objects())
process.spare_the_collector()
print(gc.get_freeze_count() > before / 2, len(gc.get_objects()) < before / 2, gc.get_threshold()[0])
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
