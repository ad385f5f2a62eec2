"""What the service asks of the interpreter and of the operating system, once, because of what it is."""

import contextlib
import gc
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

if sys.platform != "win32":
    import resource

# Objects that were made and are still there, before the garbage collector looks at the young ones.
COLLECT_AFTER = 10_000


def spare_the_collector() -> None:
    """Let the garbage collector look at what exchanges leave, not at all that was loaded, and less often.

    An exchange makes no reference cycles; what it makes lives for milliseconds. Each full collection would stop the
    service for tens of milliseconds to find nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


@contextmanager
def many_objects() -> Iterator[None]:
    """Keep exchanges going while another thread makes many objects that will stay.

    The garbage collector rests, and does not look at them afterwards: each time that it did, every exchange would wait
    for tens of milliseconds. And an exchange that wants to go on waits for the other thread a tenth as long as usual.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(interval / 10)
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        sys.setswitchinterval(interval)


def files_allowed() -> int:
    """Return how many files and connections the process may have open."""
    if sys.platform == "win32":
        return sys.maxsize
    # The HTTP server raises the soft limit to the hard one.
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


def survive_early_signals() -> None:
    """Let a SIGHUP that comes before the service can follow it do nothing; by default it would end the process."""
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def let_threads_finish() -> None:
    """Ask Linux not to interrupt one of our threads for another one that has just become ready.

    An exchange goes to and fro between the event loop and the threads of the HTTP libraries. By default each is put
    in front of the one that woke it, which costs a switch or two for every step: with this, half as many, and a third
    more exchanges on one core. For threads made from now on. Where it is not allowed, nothing changes.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
