"""H-01: clients that send too much, too slowly or nonsense are cut off, at no cost to the others."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import pytest

from fakes.deployment import Deployment, deployed
from fakes.http import eventually
from fakes.raw import RawConnection

MEBIBYTE = 1024 * 1024
# What the process may grow by under an attack that hands it hundreds of mebibytes.
GROWTH = 24 * 1024
# Header and body have ten seconds each at most; the rest is for a busy machine.
PATIENCE = 14.0
BLOCK = b" " * 65536
CHUNK = b"10000\r\n" + BLOCK + b"\r\n"
# The beginning of a chunk of 4096 bytes.
CHUNK_HEAD = b"1000\r\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return the service with its neighbours; no test here changes it."""
    with deployed(tmp_path_factory.mktemp("hostile")) as site:
        yield site


def head(token: str, *fields: bytes) -> bytes:
    """Return the head of a request with a good token."""
    first = (b"POST / HTTP/1.1", b"Host: sts", b"Authorization: Bearer " + token.encode())
    return b"\r\n".join([*first, *fields, b"", b""])


def endless(site: Deployment, name: str) -> Iterator[bytes]:
    """Yield the parts of a request that has no end, or a very late one."""
    token = site.issuer.token()
    match name:
        case "10 MiB":
            yield head(token, b"Content-Length: %d" % (10 * MEBIBYTE))
            yield from repeat(BLOCK, 160)
        case "chunked":
            yield head(token, b"Transfer-Encoding: chunked")
            yield from repeat(CHUNK, 16 * 64)
        case "length that lies, then chunked":
            yield head(token, b"Content-Length: 24", b"Transfer-Encoding: chunked")
            yield from repeat(CHUNK, 16 * 64)
        case "chunked, then a length that lies":
            yield head(token, b"Transfer-Encoding: chunked", b"Content-Length: 24")
            yield from repeat(CHUNK, 16 * 64)
        case "trailers":
            yield head(token, b"Transfer-Encoding: chunked") + b"0\r\n"
            yield from repeat(b"X-Trailer: " + b"a" * 8000 + b"\r\n", 8000)
        case "chunk extensions":
            yield head(token, b"Transfer-Encoding: chunked") + b"1;"
            yield from repeat(BLOCK.replace(b" ", b"a"), 16 * 64)
        case "10,000 header fields":
            yield head(token, *(b"X-%d: y" % number for number in range(10_000)), b"Content-Length: 0")
        case "header without end":
            yield b"POST / HTTP/1.1\r\nHost: sts\r\nX-Long: "
            yield from repeat(BLOCK.replace(b" ", b"a"), 16 * 64)
        case _:
            assert name == "64 KiB path"
            yield b"POST /" + b"a" * 65536 + b" HTTP/1.1\r\nHost: sts\r\nContent-Length: 0\r\n\r\n"


ENDLESS = {
    "10 MiB": 413,
    "chunked": 413,
    "length that lies, then chunked": 413,
    "chunked, then a length that lies": 413,
    "trailers": 408,
    "chunk extensions": 408,
    "10,000 header fields": 431,
    "header without end": 431,
    "64 KiB path": 414,
}


@pytest.mark.parametrize("name", ENDLESS)
def test_h01_too_much(site: Deployment, name: str) -> None:
    """H-01: sixteen clients that send without end get a 4xx and are cut off; memory stays flat."""
    before = site.service.resident_kilobytes()

    def attack(_number: int) -> tuple[int | None, bool]:
        with RawConnection(site.service.port) as connection:
            connection.send(endless(site, name))
            answer = connection.read()
            return (answer.status if answer else None), connection.read() is None

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(attack, range(16))) == {(ENDLESS[name], True)}
    assert site.service.resident_kilobytes() - before < GROWTH
    assert site.service.exchange(site.issuer.token()).status == 200


def drip(start: bytes, byte: bytes) -> Callable[[], Iterator[bytes]]:
    """Return what sends `start` at once, and then `byte` once a second."""

    def parts() -> Iterator[bytes]:
        yield start
        while True:
            time.sleep(1)
            yield byte

    return parts


def test_h01_too_slow(site: Deployment) -> None:
    """H-01: headers and bodies of one byte a second, or none at all, are given up within seconds; others are served."""
    token = site.issuer.token()
    length, chunked = head(token, b"Content-Length: 1000"), head(token, b"Transfer-Encoding: chunked")
    slow: dict[str, tuple[Callable[[], Iterator[bytes]], set[int | None]]] = {
        "nothing": (lambda: iter([b""]), {None, 408}),
        "half a header": (lambda: iter([length[:-5]]), {None, 408}),
        "slow header": (drip(length[:-2], b"X"), {None, 408}),
        "no body": (lambda: iter([length]), {408}),
        "slow body": (drip(length, b" "), {408}),
        "slow chunked body": (drip(chunked + CHUNK_HEAD, b" "), {408}),
        "no chunk": (lambda: iter([chunked]), {408}),
    }

    def missing() -> int:
        return [event["reason"] for event in site.service.events()].count("body_missing")

    before = missing()

    def suffer(name: str) -> tuple[int | None, float]:
        started = time.monotonic()
        with RawConnection(site.service.port, PATIENCE) as connection, ThreadPoolExecutor(1) as sending:
            parts, _ = slow[name]
            sending.submit(connection.send, parts())
            answer = connection.read()
            assert connection.read() is None
            return (answer.status if answer else None), time.monotonic() - started

    with ThreadPoolExecutor(len(slow)) as pool:
        suffering = {name: pool.submit(suffer, name) for name in slow}
        assert [site.service.exchange(token).status for _ in range(20)] == [200] * 20
        outcomes = {name: future.result() for name, future in suffering.items()}
    for name, (status, seconds) in outcomes.items():
        assert (name, status in slow[name][1], seconds < PATIENCE) == (name, True, True)
    # Each of the four that got as far as the body is recorded.
    eventually(lambda: missing() - before == 4)


@pytest.mark.parametrize(
    "message",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost : sts\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: sts\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nHost: sts\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: sts\r\nContent-Length: +2\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nHost: sts\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: sts\r\nAuthorization: Bearer\r\n a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: sts\r\nX-Nul: \0\r\n\r\n",
    ],
)
def test_no_http(site: Deployment, message: bytes) -> None:
    """What is not HTTP, or could be read in two ways, ends the connection, at most after a 400."""
    with RawConnection(site.service.port) as connection:
        connection.send([message])
        answer = connection.read()
        assert answer is None or (answer.status, answer.headers["Connection"]) == (400, "close")
        assert connection.read() is None


def test_many_idle_connections(site: Deployment) -> None:
    """Five hundred connections that say nothing keep nobody from being served."""
    idle = [RawConnection(site.service.port) for _ in range(500)]
    try:
        assert site.service.exchange(site.issuer.token()).status == 200
    finally:
        for connection in idle:
            connection.close()
