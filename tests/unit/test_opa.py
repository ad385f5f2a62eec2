"""Asking an Open Policy Agent, on a socket: `true` is yes, all else is no, and no answer is neither."""

import json
import time
from collections.abc import Callable

import pytest

from fakes.http import CLOSE, HANG, RESET, Drip, Endless, Reply, ScriptedServer, http
from fakes.judging import NOW, verified
from fakes.tls import Authority
from tailsts.errors import OpaUnavailableError
from tailsts.opa import TOGETHER, Opa
from tailsts.policy.condition import Facts, OpaAllows
from tailsts.policy.decide import Consult

FACTS = Facts(verified("s", {"ref": "main", "kubernetes.io": {"namespace": "ci"}}), ("x", "y"), ("tag:a",), NOW)
PATH = "/v1/data/tailsts/allow"


def result(body: str) -> Reply:
    """Return an answer with this body."""
    return http(200, body.encode(), Content_Type="application/json")


async def asked(
    reply: Reply, seconds: float = 5.0, monotonic: Callable[[], float] = time.monotonic
) -> tuple[bool, ScriptedServer]:
    """Ask an agent that answers thus, with so many seconds left."""
    with ScriptedServer(lambda _request: reply) as server:
        opa = Opa(extra_roots=(), monotonic=monotonic)
        question = Consult("infra", OpaAllows(f"http://127.0.0.1:{server.port}{PATH}"), FACTS)
        return await opa.agrees(question, monotonic() + seconds), server


async def test_yes() -> None:
    """The value `true` is a yes; the agent is told claims, scopes, tags and the policy, and nothing of the token."""
    agrees, server = await asked(result('{"result": true, "decision_id": "x"}'))
    assert agrees
    (request,) = server.requests
    assert (request.method, request.path, request.headers["content-type"]) == ("POST", PATH, "application/json")
    assert json.loads(request.body) == {
        "input": {
            "claims": {"iss": "https://i", "sub": "s", "ref": "main", "kubernetes.io": {"namespace": "ci"}},
            "scopes": ["x", "y"],
            "tags": ["tag:a"],
            "policy": "infra",
        }
    }


@pytest.mark.parametrize(
    "body",
    [
        '{"result": false}',
        "{}",
        '{"result": "true"}',
        '{"result": 1}',
        '{"result": null}',
        '{"result": [true]}',
        '{"result": {"allow": true}}',
        '{"Result": true}',
        "true",
        "[true]",
        "",
        "<html>",
        '{"result": true, "result": false}',
        '{"result": true}{}',
        '{"result": tru',
    ],
)
async def test_no(body: str) -> None:
    """An undefined rule, another type, an object, two answers in one, and what is no JSON are a no."""
    agrees, _ = await asked(result(body))
    assert not agrees


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (http(500, b'{"result": true}'), "it answered 500"),
        (http(404, b"{}"), "it answered 404"),
        (http(204, b""), "it answered 204"),
        (http(302, b"", Location="http://127.0.0.1:1/"), "it answered 302"),
        (RESET, ""),
        (CLOSE, ""),
        (Endless(b"HTTP/1.1 200 X\r\nContent-Length: 10000000\r\n\r\n", b" " * 4096), "the answer is larger than"),
    ],
)
async def test_neither(reply: Reply, why: str) -> None:
    """A failure, a redirect, a broken connection and an endless answer are neither yes nor no: try again later."""
    with pytest.raises(OpaUnavailableError) as caught:
        await asked(reply)
    assert str(caught.value).startswith("the Open Policy Agent of policy infra (http://127.0.0.1:")
    assert why in str(caught.value)
    assert caught.value.retry_after == 5


async def test_a_redirect_is_not_followed() -> None:
    """Claims are for the agent that the policy names, and go nowhere else."""
    with ScriptedServer(lambda _request: result('{"result": true}')) as elsewhere:
        with pytest.raises(OpaUnavailableError):
            await asked(http(307, b"", Location=f"http://127.0.0.1:{elsewhere.port}{PATH}"))
        assert elsewhere.connections == 0


@pytest.mark.parametrize("reply", [HANG, Drip(b"HTTP/1.1 200 X\r\nContent-Length: 16\r\n\r\n" + b" " * 16, 0.05)])
async def test_no_answer_in_time(reply: Reply) -> None:
    """An agent that does not come to an end is waited for until the deadline, and no longer."""
    with pytest.raises(OpaUnavailableError, match="no answer in time"):
        await asked(reply, seconds=0.2)


async def test_the_deadline_is_that_of_all_questions() -> None:
    """When the time of an exchange is used up, no further agent is asked at all."""
    with ScriptedServer(lambda _request: result('{"result": true}')) as server:
        opa = Opa(extra_roots=(), monotonic=lambda: 100.0)
        assert opa.deadline() == 100.0 + TOGETHER
        question = Consult("infra", OpaAllows(f"http://127.0.0.1:{server.port}{PATH}"), FACTS)
        with pytest.raises(OpaUnavailableError, match="no time is left to ask it"):
            await opa.agrees(question, 100.0)
        assert server.connections == 0


async def test_nobody_there() -> None:
    """An agent that is not running is neither yes nor no."""
    with ScriptedServer(lambda _request: CLOSE) as gone:
        port = gone.port
    opa = Opa(extra_roots=(), monotonic=time.monotonic)
    with pytest.raises(OpaUnavailableError):
        await opa.agrees(Consult("infra", OpaAllows(f"http://127.0.0.1:{port}{PATH}"), FACTS), opa.deadline())


async def test_over_tls(tmp_path_factory: pytest.TempPathFactory) -> None:
    """An agent elsewhere is asked over https; its certificate is verified, also against the private authorities."""
    authority = Authority()
    context = authority.server_context(tmp_path_factory.mktemp("tls"))
    with ScriptedServer(lambda _request: result('{"result": true}'), tls=context) as server:
        question = Consult("infra", OpaAllows(f"https://localhost:{server.port}{PATH}"), FACTS)
        trusting = Opa(extra_roots=(authority.pem,), monotonic=time.monotonic)
        assert await trusting.agrees(question, trusting.deadline())
        other = Opa(extra_roots=(), monotonic=time.monotonic)
        with pytest.raises(OpaUnavailableError, match="certificate"):
            await other.agrees(question, other.deadline())
        assert len(server.requests) == 1
