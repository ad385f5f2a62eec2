"""How often Tailscale is asked, and for how long: once more where the first attempt reached nobody, within 10 s."""

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from fakes.http import CLOSE, HANG, RESET, Drip, Raw, Reply, ScriptedServer, http
from fakes.issuer import in_turn
from fakes.tailscale import PATH, FakeTailscale
from tailsts.errors import TailscaleUnavailableError
from tailsts.tailscale.token_endpoint import LIMITS
from unit.minting import DNS, GOOD, endpoint_at, fault_of

OK = b"HTTP/1.1 200 OK\r\n"


class Between:
    """A clock whose second reading, between the two attempts, is preceded by something that happens."""

    def __init__(self, happens: Callable[[], object], seconds: float = 0.0) -> None:
        self._happens = happens
        self._readings = iter([0.0])
        self._seconds = seconds

    def __call__(self) -> float:
        """Return the time."""
        for first in self._readings:
            return first
        self._happens()
        return self._seconds


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_u06_one_more_attempt(tailscale: FakeTailscale, status: int) -> None:
    """U-06: what a proxy says when Tailscale did not get the request is tried once more, with the same form."""
    tailscale.trouble = in_turn(http(status, b""), GOOD)
    assert (await endpoint_at(tailscale.token_url).mint(DNS)).reveal() == "tskey-api-x"
    first, second = tailscale.requests
    assert first == second


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_u06_and_no_third(tailscale: FakeTailscale, status: int) -> None:
    """U-06: a second failure is the last word, and its Retry-After counts."""
    tailscale.trouble = in_turn(http(status, b"", Retry_After="99"), http(status, b"", Retry_After="7"), GOOD)
    fault = (TailscaleUnavailableError, f"Tailscale cannot serve now ({status}: no text)", 7)
    assert await fault_of(endpoint_at(tailscale.token_url)) == fault
    assert len(tailscale.requests) == 2


@pytest.mark.parametrize("status", [500, 501, 505, 599])
async def test_u06_other_failures_are_not_repeated(tailscale: FakeTailscale, status: int) -> None:
    """U-06: a failure of Tailscale itself, which got the request, is passed on at once."""
    tailscale.trouble = in_turn(http(status, b""), GOOD)
    fault = (TailscaleUnavailableError, f"Tailscale cannot serve now ({status}: no text)", 5)
    assert await fault_of(endpoint_at(tailscale.token_url)) == fault
    assert len(tailscale.requests) == 1


@pytest.mark.parametrize("trouble", [RESET, CLOSE])
async def test_u06_a_break_before_the_answer(tailscale: FakeTailscale, trouble: Reply) -> None:
    """U-06: a connection that breaks before there is an answer is mostly an old one: once more, and no third time."""
    tailscale.trouble = in_turn(trouble, GOOD)
    assert (await endpoint_at(tailscale.token_url).mint(DNS)).reveal() == "tskey-api-x"
    assert len(tailscale.requests) == 2
    tailscale.trouble = trouble
    kind, text, retry_after = await fault_of(endpoint_at(tailscale.token_url))
    assert (kind, retry_after) == (TailscaleUnavailableError, 5)
    assert text.startswith("Tailscale cannot be reached: ")
    assert len(tailscale.requests) == 4


@pytest.mark.parametrize(
    ("trouble", "text"),
    [
        (Raw(b"garbage\r\n\r\n", then="close"), "invalid HTTP version parsed"),
        (Raw(OK + b"Content-Length: 1000\r\n\r\nabc", then="reset"), "Connection reset by peer (os error 104)"),
        (Raw(OK + b"Content-Length: 1000\r\n\r\nabc", then="close"), "end of file before message length reached"),
    ],
)
async def test_u06_answers_that_break_off(tailscale: FakeTailscale, trouble: Reply, text: str) -> None:
    """U-06: half an answer is none, and is not asked for again: the token in it may be real."""
    tailscale.trouble = in_turn(trouble, GOOD)
    fault = (TailscaleUnavailableError, f"Tailscale cannot be reached: {text}", 5)
    assert await fault_of(endpoint_at(tailscale.token_url)) == fault
    assert len(tailscale.requests) == 1


async def test_u06_silence_ends_after_ten_seconds() -> None:
    """U-06: whoever hangs, or drips, is given up after ten seconds in all and is not asked again."""
    troubles: list[Reply] = [
        HANG,
        Raw(OK + b"Content-Length: 1000\r\n\r\nabc", then="hold"),
        Drip(OK + b"A: " + b"x" * 200, 0.1),
    ]
    with ExitStack() as stack:
        servers = [stack.enter_context(ScriptedServer(in_turn(trouble, GOOD))) for trouble in troubles]
        urls = [f"http://127.0.0.1:{server.port}/" for server in servers]
        started = time.monotonic()
        faults = await asyncio.gather(*(fault_of(endpoint_at(url)) for url in urls))
        assert LIMITS.total <= time.monotonic() - started < LIMITS.total + 3
        assert faults == [(TailscaleUnavailableError, "Tailscale cannot be reached: no answer in time", 5)] * 3
        assert [len(server.requests) for server in servers] == [1, 1, 1]


def free_port() -> int:
    """Return a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


async def test_a_refused_connection_is_tried_again() -> None:
    """Where nobody listened the request reached nobody: it is sent once more."""
    port = free_port()
    with ExitStack() as stack:
        clock = Between(lambda: stack.enter_context(FakeTailscale(port=port)))
        assert (await endpoint_at(f"http://127.0.0.1:{port}{PATH}", clock=clock).mint(DNS)).scopes == ("dns",)


async def test_nobody_there() -> None:
    """A connection refused twice is an outage, in words that name the cause."""
    text = "Tailscale cannot be reached: Connection refused (os error 111)"
    assert await fault_of(endpoint_at(f"http://127.0.0.1:{free_port()}/")) == (TailscaleUnavailableError, text, 5)


async def test_a_connection_that_is_not_taken_is_tried_again() -> None:
    """A host that does not answer the connection for three seconds reached nobody either: one more attempt."""
    with ExitStack() as stack:
        deaf = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = deaf.getsockname()[1]
        # With its queue full, a listener leaves all others without an answer.
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(deaf.getsockname())

        def recover() -> None:
            deaf.close()
            stack.enter_context(FakeTailscale(port=port))

        endpoint = endpoint_at(f"http://127.0.0.1:{port}{PATH}", clock=Between(recover, LIMITS.connect))
        assert (await endpoint.mint(DNS)).scopes == ("dns",)


@pytest.mark.parametrize("seconds", [LIMITS.total, LIMITS.total + 1, 3600.0])
async def test_no_attempt_after_the_deadline(tailscale: FakeTailscale, seconds: float) -> None:
    """When the ten seconds are over, nothing is sent any more, and what the first attempt brought is the fault."""
    tailscale.trouble = in_turn(http(503, b"", Retry_After="9"), GOOD)
    endpoint = endpoint_at(tailscale.token_url, clock=Between(lambda: None, seconds))
    kind, _, _ = await fault_of(endpoint)
    assert kind is TailscaleUnavailableError
    assert len(tailscale.requests) == 1


async def test_the_second_attempt_has_what_time_is_left(tailscale: FakeTailscale) -> None:
    """The second attempt ends at the deadline of the first."""
    tailscale.trouble = in_turn(http(503, b""), HANG)
    started = time.monotonic()
    fault = await fault_of(endpoint_at(tailscale.token_url, clock=Between(lambda: None, LIMITS.total - 0.3)))
    assert fault == (TailscaleUnavailableError, "Tailscale cannot be reached: no answer in time", 5)
    assert time.monotonic() - started < 5
