"""What the service asks of the interpreter and the operating system, each in a process of its own."""

import subprocess
import sys

from fakes.service import environment
from tailsts.server import process

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
SPARE_THE_COLLECTOR = """
import gc
from tailsts.server import process
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


def test_the_collector_is_spared() -> None:
    """What was loaded is not looked at again, and the young objects seldom."""
    assert printed(SPARE_THE_COLLECTOR) == "True True 10000"
