"""Whatever is added, taken and killed in whatever order: a spool hands out what it accepted, in order."""

import os
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tailsts.server.webhook.spool import Spool
from tailsts.server.webhook.spools import take

LIMIT = 4096

added = st.lists(st.integers(0, 600), min_size=1, max_size=4).map(lambda sizes: ("add", sizes))
taken = st.tuples(st.just("take"), st.integers(1, 5))
killed = st.just(("kill", None))
closed = st.just(("close", None))


def reopened(spool: Spool, folder: Path, how: str) -> Spool:
    """Return the spool that the next process finds."""
    if how == "kill":
        os.close(spool._descriptor)
        spool._end_segment()
    else:
        spool.close()
    return take(folder, LIMIT)


@given(st.lists(st.one_of(added, added, taken, taken, killed, closed), max_size=40))
def test_a_spool_is_a_queue_that_survives(steps: list[tuple[str, object]]) -> None:
    """Lines that were accepted are each handed out once, in order, and `used` and `pending` are true."""
    accepted: list[bytes] = []
    done: list[bytes] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spool = take(folder, LIMIT)
        for action, value in steps:
            if isinstance(value, list):
                lines = [b"%d %b\n" % (len(accepted) + place, b"x" * size) for place, size in enumerate(value)]
                accepted += lines if spool.append(b"".join(lines)) else []
            elif isinstance(value, int):
                if batch := spool.peek(value, 1500):
                    done += batch.lines
                    spool.acknowledge(batch)
            else:
                spool = reopened(spool, folder, action)
            assert len(accepted) - len(done) == spool.pending
            assert sum(path.stat().st_size for path in folder.glob("0/*.jsonl")) == spool.used <= LIMIT
        while batch := spool.peek(100, 1500):
            done += batch.lines
            spool.acknowledge(batch)
        assert accepted == done
        spool.close()
