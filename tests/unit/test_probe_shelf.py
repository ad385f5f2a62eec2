"""Metrics of probes in a file and on a port."""

import http.client
import socket
from pathlib import Path

import pytest

from fakes.http import eventually
from tailsts.probing.shelf import MAX_CONNECTIONS, MetricsPort, write_whole


def asked(port: int, path: str = "/metrics") -> tuple[int, str]:
    """Return status and text."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_the_port() -> None:
    """It serves the last text, on two paths; nothing else is there, and afterwards nobody listens."""
    with MetricsPort("127.0.0.1", 0) as port:
        assert asked(port.port) == (200, "")
        port.put("a 1\n")
        assert asked(port.port) == asked(port.port, "/?x=1") == (200, "a 1\n")
        assert asked(port.port, "/other") == (404, "not found\n")
        number = port.port
        with pytest.raises(OSError, match="in use"):
            MetricsPort("127.0.0.1", number)
    with pytest.raises(ConnectionRefusedError):
        asked(number)


def test_connections_are_bounded() -> None:
    """Whoever holds connections open gets no more than there may be, is cut off, and then others are served again."""
    with MetricsPort("127.0.0.1", 0, seconds=1.0) as port:
        port.put("a 1\n")
        held = [socket.create_connection(("127.0.0.1", port.port), 20) for _ in range(MAX_CONNECTIONS)]
        for connection in held:
            connection.sendall(b"GET /met")
        refused = socket.create_connection(("127.0.0.1", port.port), 20)
        assert refused.recv(1) == b""
        refused.close()
        for connection in held:
            assert connection.recv(1) == b""
            connection.close()
        eventually(lambda: asked(port.port) == (200, "a 1\n"))


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    """What cannot be written leaves the old file, and nothing beside it."""
    file = tmp_path / "x.prom"
    write_whole(file, "a 1\n")
    write_whole(file, "a 2\n")
    assert file.read_text() == "a 2\n"
    file.unlink()
    file.mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(file, "a 3\n")
    assert list(tmp_path.iterdir()) == [file]
