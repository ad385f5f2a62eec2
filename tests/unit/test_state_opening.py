"""What `--state` may say, and what is opened then."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tailsts.errors import ConfigurationError
from tailsts.state.memory import MemoryState
from tailsts.state.naming import refuse_state
from tailsts.state.opening import open_state
from tailsts.state.redis import RedisState
from tailsts.state.sqlite import SqliteState


@pytest.mark.parametrize(
    "text",
    [
        "memory",
        "sqlite:/var/lib/tailsts/state",
        "sqlite:state with space",
        "redis://localhost",
        "redis://10.0.0.7:6380/2",
        "redis://valkey.default.svc:6379/",
        "rediss://user:p%40ss%3F@[::1]:6379/0",
    ],
)
def test_states(text: str) -> None:
    """The three kinds are taken, with their parts."""
    assert refuse_state(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "none of"),
        ("Memory", "none of"),
        ("memory:", "none of"),
        ("postgres://localhost", "none of"),
        ("unix:///run/redis", "none of"),
        ("sqlite:", "path of a file"),
        ("sqlite::memory:", "path of a file"),
        ("sqlite:a\0b", "cannot be printed"),
        ("sqlite:a\nb", "cannot be printed"),
        ("redis://local host", "white space"),
        ("redis:localhost", "names no server"),
        ("redis:///0", "names no server"),
        ("redis://:password@", "names no server"),
        ("redis://localhost:0", "names no server"),
        ("redis://localhost:99999", "cannot be read"),
        ("redis://localhost:port", "cannot be read"),
        ("redis://[::1", "cannot be read"),
        ("redis://localhost/zero", "number of a database"),
        ("redis://localhost/0/1", "number of a database"),
        ("redis://localhost/²", "number of a database"),
        ("redis://localhost?socket_timeout=100", "has a ?"),
        ("rediss://localhost/0?ssl_cert_reqs=none", "has a ?"),
        ("redis://:pass#word@localhost", "cannot be read|names no server|has a"),
        ("redis://localhost#", "has a ?"),
    ],
)
def test_no_states(text: str, reason: str) -> None:
    """All else is refused with a reason that does not quote it, and is not opened either."""
    with pytest.raises(ConfigurationError, match=reason) as found:
        open_state(text, monotonic=time.monotonic)
    assert found.value.faults == (f"--state: {refuse_state(text)}",)
    assert "password" not in str(found.value).replace("in a password", "")


async def test_what_is_opened(tmp_path: Path) -> None:
    """Each kind opens its state, and none of them asks a server for it."""
    names = {"memory": MemoryState, f"sqlite:{tmp_path / 'state'}": SqliteState, "redis://127.0.0.1:1": RedisState}
    for name, kind in names.items():
        state = open_state(name, monotonic=time.monotonic)
        assert isinstance(state, kind)
        await state.close()


def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    """A file that cannot be used is a fault that names it."""
    with pytest.raises(ConfigurationError) as found:
        open_state(f"sqlite:{tmp_path}", monotonic=time.monotonic)
    assert found.value.faults == (f"--state: {tmp_path} cannot be used: Is a directory",)


def test_redis_is_an_extra() -> None:
    """Without the extra, the other states work, and what to install is said."""
    program = """
import sys, time
sys.modules["redis"] = None
from tailsts.state.opening import open_state
open_state("memory", monotonic=time.monotonic)
open_state("redis://localhost", monotonic=time.monotonic)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert "ConfigurationError: --state: Redis needs an extra; pip install 'tailsts[redis]'" in done.stderr
