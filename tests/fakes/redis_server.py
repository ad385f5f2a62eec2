"""A real Redis or Valkey on loopback, that is killed, brought back and made to hang."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from fakes.http import eventually
from fakes.service import unused_port

_NAMES = ("redis-server", "valkey-server")


def _program() -> str:
    """Return the program; Debian's package is installed where there is none."""
    if found := _found():
        return found
    assert os.geteuid() == 0, f"none of {_NAMES} is installed, and only root can install it"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update", "-q"], ["install", "-qy", "--no-install-recommends", "redis-server"]):
        command = ["apt-get", "-o", "DPkg::Lock::Timeout=300", *words]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    found = _found()
    assert found, f"none of {_NAMES} came with the package"
    return found


def _found() -> str | None:
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


class RedisServer:
    """A server that keeps nothing on disk, on a port that it has again after `kill()` and `start()`."""

    def __init__(self, *options: str) -> None:
        self.port = unused_port()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is, as a setting says it."""
        return f"redis://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        usual = ("--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no")
        self._process = subprocess.Popen([_program(), *usual, *self._options], stdout=subprocess.DEVNULL, cwd="/tmp")  # noqa: S108 - it writes nothing
        eventually(self._answers)

    def kill(self) -> None:
        """End it at once, if it runs."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def pause(self) -> None:
        """Let it hang: connections come about, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def say(self, *words: str) -> str:
        """Send it one command, and return the first line of the answer."""
        return self._talk(words).decode()

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "Redis did not start"
        try:
            # With a password: that one is asked for.
            return self._talk(("PING",)).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def _talk(self, words: Sequence[str]) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            sent = b"".join(b"$%d\r\n%b\r\n" % (len(word.encode()), word.encode()) for word in words)
            connection.sendall(b"*%d\r\n%b" % (len(words), sent))
            return connection.makefile("rb").readline().strip()
