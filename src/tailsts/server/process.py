"""What the service asks of the interpreter and of the operating system, once, because of what it is."""

import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

if sys.platform != "win32":
    import resource

# Objects that were made and are still there, before the garbage collector looks at the young ones.
COLLECT_AFTER = 10_000
# The exit status that Python has for output that could not be written.
UNWRITTEN = 120


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
    for tens of milliseconds. What is garbage before goes first: what is not looked at afterwards would stay for ever.
    """
    gc.collect(1)
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def behind_exchanges() -> Iterator[None]:
    """Let exchanges go first while this thread works for long.

    An exchange waits for Python a tenth as long as usual, and its threads interrupt this one: with
    `let_threads_finish` alone, each of its steps would wait until this thread's slice of time is over.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(interval / 10)
    _let_others_interrupt(allowed=True)
    try:
        yield
    finally:
        _let_others_interrupt(allowed=False)
        sys.setswitchinterval(interval)


def _let_others_interrupt(*, allowed: bool) -> None:
    # Where threads were not asked to finish, or may not be, they interrupt each other anyway.
    if sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_BATCH:
        policy = os.SCHED_OTHER if allowed else os.SCHED_BATCH
        for thread in {int(task.name) for task in Path("/proc/self/task").iterdir()} - {threading.get_native_id()}:
            # One that has ended meanwhile needs nothing.
            with contextlib.suppress(OSError):
                os.sched_setscheduler(thread, policy, os.sched_param(0))


def files_allowed() -> int:
    """Return how many files and connections the process may have open."""
    if sys.platform == "win32":
        return sys.maxsize
    # The HTTP server raises the soft limit to the hard one.
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


def files_open() -> int:
    """Return how many files and connections the process has open. On Linux alone."""
    # The folder has a size since Linux 6.2; before, all of it is read.
    return Path("/proc/self/fd").stat().st_size or len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - asked often


def memory_allowed() -> int:
    """Return how many bytes of memory there are for the process: the machine's, or those of its control groups."""
    if sys.platform != "linux":
        return sys.maxsize
    allowed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for group in _control_groups():
        # Of version 2, and of 1.
        for name in ("memory.max", "memory.limit_in_bytes"):
            with contextlib.suppress(OSError, ValueError):
                allowed = min(allowed, int((group / name).read_text()))
    return allowed


def _control_groups() -> Iterator[Path]:
    """Yield those that may bound our memory: a container's at the root, a systemd unit's further down."""
    text = ""
    with contextlib.suppress(OSError):
        text = Path("/proc/self/cgroup").read_text()
    root = Path("/sys/fs/cgroup")
    yield from (root, root / "memory")
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or "memory" in controllers.split(","):
            own = root / ("memory" if controllers else "") / path.lstrip("/")
            yield from (own, *own.parents[: -len(root.parts)])


def take_small_pages() -> None:
    """Let the HTTP library's allocator (mimalloc) take memory in small pages, unless whoever starts us wants otherwise.

    It asks Linux for pages of 2 MiB, and touches a little of each: 10 MB of a service of 70. It reads this when it is
    loaded, so it has to be said before.
    """
    os.environ.setdefault("MIMALLOC_ALLOW_THP", "0")


def survive_early_signals() -> None:
    """Let a SIGHUP that comes before the service can follow it do nothing; by default it would end the process."""
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def end(status: int) -> NoReturn:
    """End the process with this status once all that was printed is written, whatever its threads are about.

    Python would wait for its own threads, a slow remote's as well. Those of the HTTP library hand answers over from
    outside of Python: one that does so while Python takes itself apart would abort the process.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            # None if it was closed before we came.
            if stream is not None:
                stream.flush()
        except OSError:
            # The reader has gone, or the disk is full.
            status = status or UNWRITTEN
    os._exit(status)


def let_threads_finish() -> None:
    """Ask Linux not to interrupt one of our threads for another one that has just become ready.

    An exchange goes to and fro between the event loop and the threads of the HTTP libraries. By default each is put
    in front of the one that woke it, which costs a switch or two for every step: with this, half as many, and a third
    more exchanges on one core. For threads made from now on. Where it is not allowed, nothing changes.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
