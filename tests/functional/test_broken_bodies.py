"""H-01: a body that is not there whole is no request, however well its first half reads."""

import json
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from fakes.deployment import Deployment, deployed
from fakes.http import eventually
from fakes.raw import RawConnection

# Whoever takes this for the whole body mints a token.
BODY = json.dumps({"scopes": ["dns:read"]}).encode()
LAST = b"0\r\n\r\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return the service with its neighbours; no test here changes it."""
    with deployed(tmp_path_factory.mktemp("broken-bodies")) as site:
        yield site


def chunk(data: bytes) -> bytes:
    """Return one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def head(site: Deployment) -> bytes:
    """Return the head of a request with a good token and a chunked body."""
    lines = ("POST / HTTP/1.1", "Host: sts", f"Authorization: Bearer {site.issuer.token()}")
    return "\r\n".join([*lines, "Transfer-Encoding: chunked", "", ""]).encode()


def fin(connection: RawConnection) -> None:
    """Hang up."""
    connection.close()


def half_fin(connection: RawConnection) -> None:
    """Say that nothing more comes, and listen on."""
    connection._socket.shutdown(socket.SHUT_WR)


def rst(connection: RawConnection) -> None:
    """Break the connection off."""
    # SO_LINGER with 0 seconds: closing sends RST.
    connection._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def listen_on(_connection: RawConnection) -> None:
    """Leave it to the server to end it."""


@contextmanager
def refused(site: Deployment, count: int = 1) -> Iterator[None]:
    """Expect so many exchanges that fail for their body, each with one event, and nothing asked of Tailscale."""
    before, asked = site.service.settled(), len(site.tailscale.requests)
    yield
    eventually(lambda: len(site.service.events()) >= before + count)
    # An event that came late or twice would stand between these and that of the next exchange.
    last = site.service.exchange("x").headers["X-Decision-Id"]
    eventually(lambda: site.service.events()[-1]["decision"] == last)
    events = site.service.events()[before:-1]
    assert [(event["outcome"], event["reason"]) for event in events] == [("malformed", "body_missing")] * count
    assert len(site.tailscale.requests) == asked


@pytest.mark.parametrize("end", [fin, half_fin, rst])
@pytest.mark.parametrize(
    "sent",
    [
        chunk(BODY),
        chunk(BODY[:10]) + chunk(BODY[10:]),
        chunk(BODY)[:-2],
        chunk(BODY) + b"0\r\n",
        chunk(BODY) + b"40\r\n" + b" " * 10,
        b"1000\r\n" + BODY,
        b"",
    ],
    ids=["no last chunk", "two chunks", "no line end", "half a last chunk", "half a second", "less than said", "none"],
)
def test_h01_half_a_chunked_body(site: Deployment, sent: bytes, end: Callable[[RawConnection], None]) -> None:
    """H-01: a chunked body that ends early mints nothing, though what came of it is good JSON, and is recorded once."""
    with refused(site), RawConnection(site.service.port) as connection:
        connection.send([head(site) + sent])
        end(connection)


@pytest.mark.parametrize(
    "garbage",
    [b"zz\r\n", b"-1\r\n", b"5 \x00\r\n", b"f" * 18 + b"\r\n", b"\r\n\r\n", BODY, b"0\r\nno trailer\r\n\r\n"],
    ids=["no number", "negative", "nul", "too large", "empty lines", "no framing", "no trailer"],
)
def test_h01_garbage_after_the_first_chunk(site: Deployment, garbage: bytes) -> None:
    """H-01: framing that turns into garbage after good JSON mints nothing, ends the connection, is recorded once."""
    with refused(site), RawConnection(site.service.port) as connection:
        connection.send([head(site) + chunk(BODY) + garbage])
        answer = connection.read()
        assert answer is None or answer.status in {400, 408}
        assert connection.read() is None


def test_h01_many_halves_at_once(site: Deployment) -> None:
    """H-01: also when the service is busy with many of them, no half of a body is taken for a whole one."""

    def attack(number: int) -> None:
        with RawConnection(site.service.port) as connection:
            connection.send([head(site) + chunk(BODY)])
            (fin, rst)[number % 2](connection)

    with refused(site, 200), ThreadPoolExecutor(16) as pool:
        list(pool.map(attack, range(200)))


def ask(site: Deployment, parts: Iterable[bytes]) -> tuple[int, str]:
    """Send a request in parts; return the status of the answer, and the reason in its event."""
    with RawConnection(site.service.port) as connection:
        connection.send([head(site), *parts])
        answer = connection.read()
    assert answer is not None
    return answer.status, site.service.event_of(answer)["reason"]


@pytest.mark.parametrize(
    "parts",
    [
        [chunk(BODY) + LAST],
        [chunk(BODY), LAST],
        [chunk(BODY[:1]), chunk(BODY[1:]), LAST],
        [b"%X;name=value\r\n" % len(BODY) + BODY + b"\r\n" + LAST],
        [bytes([byte]) for byte in chunk(BODY) + LAST],
    ],
    ids=["at once", "last chunk later", "two chunks", "extension", "byte by byte"],
)
def test_a_whole_chunked_body(site: Deployment, parts: list[bytes]) -> None:
    """A chunked body that is whole is as good as any other, in whatever pieces it travels."""
    assert ask(site, parts) == (200, "granted")


def test_h01_as_many_pieces_as_may_be(site: Deployment) -> None:
    """H-01: a hundred pieces are read."""
    spaces = [chunk(b" ")] * 99
    assert ask(site, [b"".join([*spaces, chunk(BODY), LAST])]) == (200, "granted")


@pytest.mark.parametrize("count", [101, 5000])
def test_h01_too_many_pieces(site: Deployment, count: int) -> None:
    """H-01: a body in more than a hundred pieces, however small, is too large: each costs us more than its sender."""
    assert ask(site, [b"".join([chunk(BODY), *[chunk(b" ")] * (count - 1), LAST])]) == (413, "body_too_large")
