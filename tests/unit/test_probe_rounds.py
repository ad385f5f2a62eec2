"""Rounds of probes at servers that answer all kinds of things, and the metrics of them."""

import itertools
import json
from pathlib import Path

import pytest

from fakes.http import CLOSE, HANG, RESET, Drip, Raw, Reply, ScriptedServer, http
from fakes.issuer import in_turn
from tailsts.credentials import Secret
from tailsts.policy.decide import Wanted
from tailsts.probing.answers import Told
from tailsts.probing.asking import MAX_MESSAGE, Server
from tailsts.probing.exposition import exposition
from tailsts.probing.judge import Came, NoAnswer, NotAsked, Result, Round, Said
from tailsts.probing.plan import Probe, TokenSource
from tailsts.probing.rounds import Prober

DECISION = "0123456789abcdef0123"
TOKEN = "header.payload.signature"
WANTED = Wanted(("a", "b"), ("tag:ci",), "infra")


def came_of(reply: Reply, seconds: float = 5.0) -> Came:
    """Return what comes of an exchange at a server that answers so; it is asked once."""
    with ScriptedServer(lambda _request: reply) as server:
        came = Server(f"http://127.0.0.1:{server.port}", seconds).ask(Secret(TOKEN), WANTED)
        assert len(server.requests) == 1
    return came


def test_the_request() -> None:
    """It is the exchange as the page on HTTP has it, and what is not wanted is left out."""
    with ScriptedServer(lambda _request: http(200, b"tskey-api-x")) as server:
        asked = Server(f"http://127.0.0.1:{server.port}/sts/", 5.0)
        for wanted in (WANTED, Wanted(("a",), (), None)):
            asked.ask(Secret(TOKEN), wanted)
        first, second = server.requests
    assert (first.method, first.path, first.headers["authorization"]) == ("POST", "/sts/", f"Bearer {TOKEN}")
    assert json.loads(first.body) == {"scopes": ["a", "b"], "tags": ["tag:ci"], "policy": "infra"}
    assert json.loads(second.body) == {"scopes": ["a"]}


@pytest.mark.parametrize(
    ("reply", "came"),
    [
        (
            http(403, f"denied: no (decision {DECISION})\n".encode(), X_Decision_Id=DECISION),
            Said(403, "denied: no", DECISION),
        ),
        (http(403, b"denied: no (decision x)\n", X_Decision_Id="x"), Said(403, "denied: no (decision x)")),
        (http(401, f"no: Bearer {TOKEN}".encode()), Said(401, "no: Bearer ***")),
        (http(502, b"\x1b[2J\xff"), Said(502, "'\\x1b[2J\\ufffd'")),
        (http(503, b"x " * 10_000), Said(503, ("x " * MAX_MESSAGE)[:MAX_MESSAGE].strip())),
        (http(307, b"tskey-api-x", Location="/"), Said(307, "neither a token nor a denial: is this a TailSTS server?")),
        (http(201, b"tskey-api-x"), Said(201, "neither a token nor a denial: is this a TailSTS server?")),
        (http(200, b"<html>tskey-api-x</html>"), NoAnswer("what came with 200 is no token: is this a TailSTS server?")),
    ],
)
def test_answers(reply: Raw, came: Came) -> None:
    """An answer is its status, message and decision; the own token and whatever may be a minted one are not in it."""
    assert came_of(reply) == came


HEAD, CLAIMS, SIGNATURE = "eyJhbGciOiJSUzI1NiJ9", "eyJzdWIiOiJ4In0", "c2lnbmF0dXJlIG9mIDI1NiBiaXRzIG9yIG1vcmUuLi4uLi4"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (f"bad {HEAD}.{CLAIMS}.{SIGNATURE}!", "bad ***!"),
        (f"bad signature {SIGNATURE}", "bad signature ***"),
        (f"bad claims '{CLAIMS}'", "bad claims '***'"),
        (f"{HEAD}%2E{CLAIMS}%2E{SIGNATURE}", "***%2E***%2E***"),
        (f"cut: {SIGNATURE[:-3]}", "cut: ***"),
        (f"other: {'A-_9' * 10}", "other: ***"),
        (f"a name: {'x' * 39}", f"a name: {'x' * 39}"),
        ("denied: tags are not granted", "denied: tags are not granted"),
    ],
)
def test_a_token_that_is_quoted(said: str, shown: str) -> None:
    """A server that quotes our token, its signature alone, or most of one gets none of it into what is said."""
    with ScriptedServer(lambda _request: http(401, said.encode())) as server:
        asked = Server(f"http://127.0.0.1:{server.port}", 5.0)
        assert Said(401, shown) == asked.ask(Secret(f"{HEAD}.{CLAIMS}.{SIGNATURE}"), WANTED)


@pytest.mark.parametrize("token", ["..", "e.e.e", ".denied."])
def test_a_token_that_is_hardly_one(token: str) -> None:
    """Parts that are empty or words are not taken out of what a server says."""
    with ScriptedServer(lambda _request: http(401, b"denied: see there")) as server:
        came = Server(f"http://127.0.0.1:{server.port}", 5.0).ask(Secret(token), WANTED)
    assert came == Said(401, "denied: see there")


def test_a_token_is_not_kept() -> None:
    """Of a token that was handed out, nothing is left but that it was."""
    came = came_of(http(200, b"tskey-api-secret"))
    assert isinstance(came, Said)
    assert (came.status, came.message) == (200, "granted")
    assert "secret" not in repr(came)


@pytest.mark.parametrize(
    "reply", [HANG, RESET, CLOSE, Drip(b"HTTP/1.1 200 OK\r\n", 0.1), Raw(b"SSH-2.0-x\r\n", "close")]
)
def test_no_answer(reply: Reply) -> None:
    """Silence, a broken connection and what is no HTTP are no answer, after the time that there is at the latest."""
    assert isinstance(came_of(reply, 0.5), NoAnswer)


def probe(name: str, source: TokenSource, told: Told, *, tampered: bool = False) -> Probe:
    """Return a probe."""
    return Probe(name, source, WANTED, told, tampered)


def test_a_round(tmp_path: Path) -> None:
    """Probes are run in their order, a file is read once for all of them, and a missing token stops no other probe."""
    file = tmp_path / "t"
    file.write_text(TOKEN)
    source, missing = TokenSource(file), TokenSource(variable="NOT_SET")
    denied = http(401, f"invalid token (decision {DECISION})\n".encode(), X_Decision_Id=DECISION)
    probes = [
        probe("a", source, Told(200, "")),
        probe("b", missing, Told(403, "")),
        probe("c", source, Told(401, ""), tampered=True),
    ]
    ticks = itertools.count()
    with ScriptedServer(in_turn(http(200, b"tskey-api-x"), denied)) as server:
        url = f"http://127.0.0.1:{server.port}"
        prober = Prober(probes, lambda: Server(url, 5.0), {}, lambda: float(next(ticks)), lambda: 1_800_000_000.0)
        found = list(prober.results())
        sent = [request.headers["authorization"] for request in server.requests]
    assert [(result.probe.name, result.seconds, result.fault) for result in found] == [
        ("a", 1.0, ""),
        ("b", 0.0, "token_env NOT_SET is not set, or empty"),
        ("c", 1.0, ""),
    ]
    assert isinstance(found[1].came, NotAsked)
    assert sent == [f"Bearer {TOKEN}", "Bearer header.payload.Aignature"]


def test_metrics() -> None:
    """Each probe has its sample of each metric, its name escaped."""
    results = [
        Result(probe('a"\\\n', TokenSource(), Told(200, "")), Said(200, "granted"), 0.0123456789, ""),
        Result(probe("b", TokenSource(), Told(403, "")), NoAnswer("x"), 5.0, "no answer: x"),
    ]
    lines = exposition(Round(results, 1_800_000_000.25)).splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        'tailsts_probe_success{probe="a\\"\\\\\\n"} 1.0',
        'tailsts_probe_success{probe="b"} 0.0',
        'tailsts_probe_status{probe="a\\"\\\\\\n"} 200.0',
        'tailsts_probe_status{probe="b"} 0.0',
        'tailsts_probe_duration_seconds{probe="a\\"\\\\\\n"} 0.012346',
        'tailsts_probe_duration_seconds{probe="b"} 5.0',
        "tailsts_probe_last_run_timestamp_seconds 1800000000.25",
    ]
    assert sum(line.startswith("# TYPE ") and line.endswith(" gauge") for line in lines) == 4
