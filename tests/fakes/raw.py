"""HTTP/1.1 byte for byte: what a test sends goes out as it stands, where a proper client would tidy it up."""

import http.client
import socket
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from fakes.leaks import note_text
from fakes.service import Answer


class RawConnection:
    """A connection to the public port. `timeout`, in seconds, is for each thing that is waited for."""

    def __init__(self, port: int, timeout: float = 15.0) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._reader = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._reader.close()
        self._socket.close()

    def send(self, parts: Iterable[bytes]) -> bool:
        """Send the parts one after the other; return whether the other side took them all."""
        try:
            for part in parts:
                self._socket.sendall(part)
        except OSError:
            return False
        return True

    def read(self, *, without_body: bool = False) -> Answer | None:
        """Read one answer, or None if the connection was closed. The answer to HEAD comes without a body."""
        try:
            line = self._reader.readline()
            if not line:
                return None
            status = int(line.split()[1])
            headers = http.client.parse_headers(self._reader)
            length = 0 if without_body else int(headers.get("Content-Length", "0"))
            text = self._reader.read(length).decode()
        except ConnectionError:
            return None
        if status != http.HTTPStatus.OK:
            note_text(text)
        return Answer(status, headers, text)
