"""What is left to be undone when a state is closed."""

import contextlib

import pytest

from tailsts.errors import StateUnavailableError
from tailsts.state.undoing import InDoubtError, Undo, Undoing


def add(undoing: Undoing, undo: Undo) -> None:
    """Let it be undone."""
    with contextlib.suppress(InDoubtError), undoing.if_in_doubt("key", undo):
        raise InDoubtError("lost", retry_after=1)


# The first is also what a state says of a key that another program has spoilt, and of no other.
@pytest.mark.parametrize("fault", [StateUnavailableError("spoilt", retry_after=1), TimeoutError(), KeyError("a bug")])
async def test_one_that_fails_keeps_no_other(fault: Exception) -> None:
    """Whatever one of them fails with: the others are undone, and the state is closed."""
    undoing, done = Undoing(), []

    async def fail() -> None:
        raise fault

    async def undo_first() -> None:
        done.append("first")

    async def undo_last() -> None:
        done.append("last")

    for each in (undo_first, fail, undo_last):
        add(undoing, each)
    await undoing.close()
    assert done == ["first", "last"]
    assert len(undoing) == 1
