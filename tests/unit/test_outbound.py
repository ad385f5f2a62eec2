"""Outgoing requests against neighbours that misbehave, on real sockets."""

import asyncio
import gzip
import time

import pytest

from fakes.http import CLOSE, HANG, RESET, Drip, Endless, Raw, Reply, ScriptedServer, http
from tailsts.errors import OutboundError
from tailsts.outbound import Limits, Outbound, SyncOutbound, certificates

LIMITS = Limits(connect=0.5, total=1.0, body=10_000)
OK = b"HTTP/1.1 200 OK\r\n"


async def get(reply: Reply, *, compressed: bool = False) -> tuple[int, bytes]:
    """Ask a server that answers so."""
    with ScriptedServer(lambda _request: reply) as server:
        response = await Outbound(LIMITS, compressed=compressed).get(f"http://127.0.0.1:{server.port}/x")
        return response.status, response.body


async def test_reads_an_answer() -> None:
    """An answer within its limits is read whole."""
    assert await get(http(200, b"x" * 10_000)) == (200, b"x" * 10_000)
    assert await get(http(404, b"")) == (404, b"")
    assert await get(Raw(OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")) == (200, b"abcde")


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (HANG, "timeout"),
        (RESET, "connect"),
        (CLOSE, "connect"),
        (Raw(b"garbage\r\n\r\n", then="close"), "protocol"),
        (Raw(OK + b"Content-Length: 1000\r\n\r\nabc", then="close"), "protocol"),
        (Raw(OK + b"Content-Length: 1000\r\n\r\nabc", then="reset"), "protocol"),
        (Raw(OK + b"Content-Length: 99999999999\r\n\r\nabc", then="hold"), "timeout"),
        (Drip(OK + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000, 0.1), "timeout"),
        (http(200, b"x" * 10_001), "too_large"),
        (Endless(OK + b"\r\n", b"x" * 65536), "too_large"),
        (Endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n"), "too_large"),
        (Endless(OK, b"A: " + b"x" * 65536 + b"\r\n"), "protocol"),
    ],
)
async def test_misbehaviour(reply: Reply, kind: str) -> None:
    """N-03, N-11: silence, lies, floods and breaks each end in time, with one kind of error."""
    started = time.monotonic()
    with pytest.raises(OutboundError) as caught:
        await get(reply)
    assert caught.value.kind == kind
    assert time.monotonic() - started < LIMITS.total + 1


async def test_decompression_bombs_are_cut_off() -> None:
    """CVE-2024-34079: the cap counts what comes out of the decompression, and nothing more is read."""
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < 60_000
    with pytest.raises(OutboundError) as caught:
        await get(http(200, bomb, Content_Encoding="gzip"), compressed=True)
    assert caught.value.kind == "too_large"


async def test_compression_only_where_it_is_allowed() -> None:
    """A compressed answer is read where that is allowed, and elsewhere passed on as it came."""
    small = gzip.compress(b"hello")
    assert await get(http(200, small, Content_Encoding="gzip"), compressed=True) == (200, b"hello")
    assert await get(http(200, small, Content_Encoding="gzip")) == (200, small)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_n07_redirects_are_not_followed(status: int) -> None:
    """N-07: a redirect is an answer, and nothing is asked of where it leads."""
    with ScriptedServer(lambda _request: http(200, b"{}")) as other:
        reply = http(status, b"", Location=f"http://127.0.0.1:{other.port}/")
        assert await get(reply) == (status, b"")
        assert other.requests == []


async def test_n12_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """N-12: proxies of the environment are not used."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert await get(http(200, b"direct")) == (200, b"direct")


async def test_nobody_there() -> None:
    """A refused connection and an unknown name are connection errors, and say what happened."""
    with ScriptedServer(lambda _request: CLOSE) as server:
        port = server.port
    with pytest.raises(OutboundError, match="refused") as caught:
        await Outbound(LIMITS).get(f"http://127.0.0.1:{port}/")
    assert caught.value.kind == "connect"
    with pytest.raises(OutboundError) as caught:
        await Outbound(LIMITS).get("http://nowhere.invalid/")
    assert caught.value.kind == "connect"


async def test_header_fields() -> None:
    """Header fields that were asked for are kept when the answer is not 200."""
    with ScriptedServer(lambda _request: http(429, b"", Retry_After="7", Other="x")) as server:
        outbound = Outbound(LIMITS, headers={"authorization": "Basic x"}, read_headers=("retry-after", "missing"))
        response = await outbound.get(f"http://127.0.0.1:{server.port}/")
        assert response.headers == {"retry-after": "7"}
        sent = server.requests[0].headers
        assert sent["authorization"] == "Basic x"
        assert sent["user-agent"] == "tailsts"
        assert not {"cookie", "referer", "accept-encoding"} & sent.keys()


async def test_connections_are_used_again() -> None:
    """Requests one after the other share a connection."""
    with ScriptedServer(lambda _request: http(200, b"{}")) as server:
        outbound = Outbound(LIMITS)
        for _ in range(5):
            await outbound.get(f"http://127.0.0.1:{server.port}/")
        assert server.connections == 1
        assert len(server.requests) == 5


async def test_a_caller_that_leaves() -> None:
    """A cancelled request is broken off."""
    with ScriptedServer(lambda _request: HANG) as server:
        task = asyncio.create_task(asyncio.wait_for(Outbound(LIMITS).get(f"http://127.0.0.1:{server.port}/"), 0.1))
        with pytest.raises(TimeoutError):
            await task


def test_synchronous() -> None:
    """The same rules for programs without an event loop."""
    outbound = SyncOutbound(LIMITS, read_headers=("x-decision-id",))
    with ScriptedServer(lambda request: http(403, request.body, X_Decision_Id="abc")) as server:
        response = outbound.post(f"http://127.0.0.1:{server.port}/", b"hi", {"a": "b"}, 5)
        assert (response.status, response.body, response.headers) == (403, b"hi", {"x-decision-id": "abc"})
        assert server.requests[0].headers["a"] == "b"
    with pytest.raises(OutboundError) as caught:
        outbound.post(f"http://127.0.0.1:{server.port}/", b"hi", {}, 5)
    assert caught.value.kind == "connect"
    with ScriptedServer(lambda _request: HANG) as server, pytest.raises(OutboundError) as caught:
        outbound.post(f"http://127.0.0.1:{server.port}/", b"hi", {}, 0.2)
    assert caught.value.kind == "timeout"


@pytest.mark.parametrize("pem", [b"", b"no pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_certificates_that_are_none(pem: bytes) -> None:
    """A text without a certificate, or with a broken one, is said to be so."""
    with pytest.raises(ValueError, match="no certificate"):
        certificates(pem)
