"""The state that `--state` names."""

from collections.abc import Callable
from pathlib import Path

from tailsts.errors import ConfigurationError, FileError
from tailsts.state.memory import MemoryState
from tailsts.state.naming import refuse_state
from tailsts.state.state import State


def open_state(text: str, *, monotonic: Callable[[], float], extra_roots: tuple[bytes, ...] = ()) -> State:
    """Return the state that `text` names. A server is connected to when it is first asked.

    Raises:
        ConfigurationError: it names none, the file cannot be used, or the extra for Redis is not installed.
    """
    if reason := refuse_state(text):
        raise ConfigurationError([f"--state: {reason}"])
    if text == "memory":
        return MemoryState(monotonic=monotonic)
    if text.startswith("sqlite:"):
        return _opened_file(Path(text.removeprefix("sqlite:")), monotonic)
    return _opened_server(text, extra_roots)


def _opened_file(path: Path, monotonic: Callable[[], float]) -> State:
    # Its library takes a megabyte, which most do without.
    from tailsts.state.sqlite import SqliteState  # noqa: PLC0415 - as was just said

    try:
        return SqliteState(path, monotonic=monotonic)
    except FileError as error:
        raise ConfigurationError([f"--state: {path} {error}"]) from None


def _opened_server(url: str, extra_roots: tuple[bytes, ...]) -> State:
    try:
        from tailsts.state.redis import RedisState  # noqa: PLC0415 - an extra, which need not be installed
    except ImportError:
        raise ConfigurationError(["--state: Redis needs an extra; pip install 'tailsts[redis]'"]) from None
    return RedisState(url, extra_roots=extra_roots)
