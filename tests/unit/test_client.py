"""The client against a server that does what it is told: what is sent, what is believed, what is repeated."""

import socket
import time
import traceback
from contextlib import ExitStack
from pathlib import Path

import pytest

from fakes.http import HANG, RESET, Raw, Reply, Request, ScriptedServer, http
from fakes.issuer import in_turn
from fakes.leaks import note_text
from fakes.tls import Authority
from tailsts.client import Client, DeniedError, ServerUnavailableError
from tailsts.credentials import Secret
from tailsts.errors import TailstsError

OIDC_TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
GOOD = http(200, b"tskey-api-x")


def exchange(server: ScriptedServer | str, *scopes: str, timeout: float = 5.0, say: list[str] | None = None) -> str:
    """Exchange the usual token and return what came back; `say` collects what the client says meanwhile."""
    url = server if isinstance(server, str) else f"http://127.0.0.1:{server.port}"
    lines = [] if say is None else say
    token = Client(url, timeout=timeout, say=lines.append).exchange(Secret(OIDC_TOKEN), scopes or ["dns"])
    assert type(token) is Secret
    return token.reveal()


def test_what_is_sent() -> None:
    """The token goes into the one header field where it belongs, the scopes into the body, in their order."""
    with ScriptedServer(lambda _request: GOOD) as server:
        assert exchange(server, "dns:read", "devices:core", "dns:read") == "tskey-api-x"
        (request,) = server.requests
        assert (request.method, request.path) == ("POST", "/")
        assert request.body == b'{"scopes": ["dns:read", "devices:core", "dns:read"]}'
        assert request.headers == {
            "host": f"127.0.0.1:{server.port}",
            "user-agent": "tailsts",
            "accept": "*/*",
            "authorization": f"Bearer {OIDC_TOKEN}",
            "content-type": "application/json",
            "content-length": str(len(request.body)),
        }


@pytest.mark.parametrize(("path", "asked"), [("", "/"), ("/", "/"), ("/sts", "/sts/"), ("/sts/", "/sts/")])
def test_addresses(path: str, asked: str) -> None:
    """A server may be below a path, and a slash at its end makes no difference."""
    with ScriptedServer(lambda _request: GOOD) as server:
        exchange(f"http://127.0.0.1:{server.port}{path}")
        assert [request.path for request in server.requests] == [asked]


@pytest.mark.parametrize("status", [400, 401, 403, 405, 408, 413, 415, 431])
def test_denied(status: int) -> None:
    """A no is final: the status, the text and the id under which the audit log explains it."""
    reply = http(status, b"denied: scopes not allowed (decision d1)\n", X_Decision_Id="d1", Retry_After="1")
    with ScriptedServer(in_turn(reply, GOOD)) as server:
        with pytest.raises(DeniedError) as caught:
            exchange(server)
        error = caught.value
        assert (error.status, str(error)) == (status, "denied: scopes not allowed (decision d1)")
        assert error.decision == "d1"
        assert len(server.requests) == 1


def test_another_server() -> None:
    """Where nothing is found nobody said no: the address is wrong, or whatever answers is no TailSTS."""
    with ScriptedServer(in_turn(http(404, b"<html>"), GOOD)) as server:
        with pytest.raises(ServerUnavailableError) as caught:
            exchange(server)
        url = f"http://127.0.0.1:{server.port}/"
        assert str(caught.value) == f"{url} answered 404: is this the URL of a TailSTS server?"
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", ""),
        (b"  no \r\n", "no"),
        (b"a\nb", "'a\\nb'"),
        (b"\x1b[2J", "'\\x1b[2J'"),
        (b"\xff", "\ufffd"),
        (b"x" * 60_000, "x" * 500),
    ],
)
def test_texts_of_servers_are_bounded(body: bytes, message: str) -> None:
    """What a server says is one short line, whatever it is; without a decision there is no id."""
    with ScriptedServer(lambda _request: http(403, body)) as server:
        with pytest.raises(DeniedError) as caught:
            exchange(server)
        assert (str(caught.value), caught.value.decision) == (message, None)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_n07_redirects_are_not_followed(status: int) -> None:
    """N-07: a redirect is no yes, and the OIDC token does not go to where it leads."""
    with ScriptedServer(lambda _request: GOOD) as elsewhere:
        reply = http(status, b"", Location=f"http://127.0.0.1:{elsewhere.port}/")
        with ScriptedServer(lambda _request: reply) as server, pytest.raises(TailstsError):
            exchange(server)
        assert elsewhere.connections == 0


@pytest.mark.parametrize(
    "reply",
    [
        http(503, b"restarting"),
        http(503, b"no keys", X_Decision_Id="d1"),
        http(502, b"<html>"),
        http(504, b""),
        RESET,
        Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\ntskey", then="close"),
    ],
)
def test_what_is_worth_another_attempt(reply: Reply) -> None:
    """A server that is away or cannot do it now is asked again, and so is the one behind a proxy that says so."""
    said: list[str] = []
    with ScriptedServer(in_turn(reply, GOOD)) as server:
        assert exchange(server, say=said) == "tskey-api-x"
        first, second = server.requests
        assert first == second
    assert [line.rpartition("; ")[2] for line in said] == ["trying again in 0.5 s"]


@pytest.mark.parametrize(
    ("status", "headers"),
    [(500, {}), (501, {}), (500, {"X_Decision_Id": "d1"}), (502, {"X_Decision_Id": "d1"})],
)
def test_what_is_not(status: int, headers: dict[str, str]) -> None:
    """A fault of the server itself, which decided, would be the same the next time."""
    with ScriptedServer(in_turn(http(status, b"broken\n", **headers), GOOD)) as server:
        with pytest.raises(ServerUnavailableError) as caught:
            exchange(server)
        assert str(caught.value) == f"http://127.0.0.1:{server.port}/ answered {status}: broken"
        assert len(server.requests) == 1


def test_a_server_that_comes_later() -> None:
    """A server that does not run yet is waited for, and the waiting is said."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    said: list[str] = []
    with ExitStack() as stack:

        def say(line: str) -> None:
            said.append(line)
            stack.enter_context(ScriptedServer(lambda _request: GOOD, port=port))

        client = Client(f"http://127.0.0.1:{port}", timeout=5, say=say)
        assert client.exchange(Secret(OIDC_TOKEN), ["dns"]).reveal() == "tskey-api-x"
    assert said == [
        f"http://127.0.0.1:{port}/ cannot be reached: Connection refused (os error 111); trying again in 0.5 s"
    ]


def test_waits_grow() -> None:
    """A server that says nothing of when to come again is asked less and less often."""
    said: list[str] = []
    with ScriptedServer(in_turn(http(503, b"a"), http(503, b"b", Retry_After="soon"), GOOD)) as server:
        exchange(server, say=said)
        url = f"http://127.0.0.1:{server.port}/"
    assert said == [f"{url} answered 503: a; trying again in 0.5 s", f"{url} answered 503: b; trying again in 1 s"]


def test_retry_after() -> None:
    """The server says when to come again, and is not asked before that."""
    said: list[str] = []
    times: list[float] = []
    reply = in_turn(http(503, b"a", Retry_After="1"), GOOD)

    def respond(request: Request) -> Reply:
        times.append(time.monotonic())
        return reply(request)

    with ScriptedServer(respond) as server:
        exchange(server, say=said)
        assert said == [f"http://127.0.0.1:{server.port}/ answered 503: a; trying again in 1 s"]
    assert times[1] - times[0] >= 1


@pytest.mark.parametrize("headers", [{"X_Decision_Id": "d1"}, {}])
def test_where_the_reason_is(headers: dict[str, str]) -> None:
    """Who decided that it cannot be told now has logged why, and is said to; who turned it away unread is not."""
    expected = "503: later" + ("; the server's log has the reason" if headers else "")
    with ScriptedServer(lambda _request: http(503, b"later\n", **headers)) as server:
        with pytest.raises(ServerUnavailableError) as caught:
            exchange(server, timeout=0.1)
        assert str(caught.value) == f"http://127.0.0.1:{server.port}/ answered {expected}"


def test_retry_after_nothing() -> None:
    """A server that says "at once" is asked again soon, but not as fast as the machine can."""
    with ScriptedServer(lambda _request: http(503, b"", Retry_After="0")) as server:
        with pytest.raises(ServerUnavailableError):
            exchange(server, timeout=1)
        assert 2 <= len(server.requests) <= 5


@pytest.mark.parametrize(("field", "seconds"), [("60", "60"), ("999999999999999999", "999999999")])
def test_retry_after_the_time_out(field: str, seconds: str) -> None:
    """Who is told to come back when nobody waits any more gives up at once, with the reason, and says until when."""
    started = time.monotonic()
    with ScriptedServer(lambda _request: http(503, b"no keys\n", Retry_After=field)) as server:
        with pytest.raises(ServerUnavailableError) as caught:
            exchange(server, timeout=30)
        assert str(caught.value).endswith(f"/ answered 503: no keys; it asks to wait {seconds} s")
        assert len(server.requests) == 1
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("reply", [HANG, Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\ntskey", then="hold")])
def test_the_time_out_counts_for_all(reply: Reply) -> None:
    """A server that is silent is given up when the time is over, however many attempts that took."""
    started = time.monotonic()
    with ScriptedServer(in_turn(http(503, b""), reply)) as server:
        with pytest.raises(ServerUnavailableError) as caught:
            exchange(server, timeout=0.8)
        assert str(caught.value) == f"http://127.0.0.1:{server.port}/ cannot be reached: no answer in time"
        assert len(server.requests) == 2
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n",
        b'{"status":"ok"}',
        b"<html><body>Welcome</body></html>",
        b"two words",
        b"tskey-api-x\n",
        b"a\x00b",
        b"\xc3\xa9",
        b"\xff",
    ],
)
def test_answers_that_are_no_token(body: bytes) -> None:
    """What cannot be a token is not handed on as one, and the user is asked the right question."""
    with ScriptedServer(lambda _request: http(200, body)) as server:
        with pytest.raises(ServerUnavailableError) as caught:
            exchange(server)
        assert str(caught.value) == "the answer is not a token: is this a TailSTS server?"
        assert len(server.requests) == 1


def test_an_answer_that_is_too_large() -> None:
    """Of an endless answer no more is read than a token could have."""
    with ScriptedServer(lambda _request: http(200, b"x" * (64 * 1024 + 1))) as server:
        with pytest.raises(ServerUnavailableError) as caught:
            exchange(server, timeout=0.1)
        url = f"http://127.0.0.1:{server.port}/"
        assert str(caught.value) == f"{url} cannot be reached: the answer is larger than 65536 bytes"


def test_n13_certificates_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """N-13: a server whose authority is not trusted gets no token; SSL_CERT_FILE names one to trust."""
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    with ScriptedServer(lambda _request: GOOD, tls=authority.server_context(tmp_path)) as server:
        url = f"https://localhost:{server.port}"
        with pytest.raises(ServerUnavailableError, match="cannot be reached: invalid peer certificate"):
            exchange(url, timeout=0.4)
        assert server.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert exchange(url) == "tskey-api-x"


ECHO = f"cannot read Authorization: Bearer {OIDC_TOKEN}".encode()


@pytest.mark.parametrize(
    "reply", [http(400, ECHO), http(500, ECHO), http(503, ECHO), http(502, ECHO), http(200, ECHO), RESET, HANG]
)
def test_l01_faults_hold_no_token(reply: Reply) -> None:
    """L-01: whatever the server answers, neither the fault nor what is said meanwhile shows the OIDC token."""
    said: list[str] = []
    with ScriptedServer(lambda _request: reply) as server, pytest.raises(TailstsError) as caught:
        exchange(server, timeout=0.6, say=said)
    shown = "".join([*traceback.format_exception(caught.value), repr(caught.value), *said])
    note_text(shown)
    assert OIDC_TOKEN not in shown


@pytest.mark.parametrize("token", [f"{OIDC_TOKEN}\n", f"{OIDC_TOKEN}\r\nX-Other: y", f"{OIDC_TOKEN}\x00", "\u20ac", ""])
def test_l01_what_cannot_be_sent_is_refused_unseen(token: str) -> None:
    """L-01: a token with the line feed of its file, or another that is none, is refused in words without it."""
    with ScriptedServer(lambda _request: GOOD) as server:
        client = Client(f"http://127.0.0.1:{server.port}", timeout=1)
        with pytest.raises(ValueError, match="not a token") as caught:
            client.exchange(Secret(token), ["dns"])
        assert OIDC_TOKEN not in "".join(traceback.format_exception(caught.value))
        assert server.requests == []
