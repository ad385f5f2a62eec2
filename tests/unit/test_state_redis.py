"""The state in a real Redis: several machines, and a server that is gone, hangs, is full, or wants to know more."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fakes.http import eventually_async
from fakes.redis_server import RedisServer
from fakes.service import unused_port
from fakes.tls import Authority
from tailsts.errors import StateUnavailableError
from tailsts.policy.rate import Rate
from tailsts.state.opening import open_state
from tailsts.state.redis import RedisState

NOW = 1_800_000_000.0
UNTIL = NOW + 665
PASSWORD = "hunter2hunter2"
CLUSTERED = ("--cluster-enabled", "yes")


def mark() -> str:
    """Return what no other has."""
    return secrets.token_hex(8)


@pytest.fixture(scope="module")
def running() -> Iterator[RedisServer]:
    """Return a server for all tests of this file that do not harm it."""
    with RedisServer() as found:
        yield found


@pytest.fixture
def redis(running: RedisServer) -> RedisServer:
    """Return it, empty."""
    running.say("FLUSHALL")
    return running


@pytest.fixture
def mortal() -> Iterator[RedisServer]:
    """Return a server of the test's own."""
    with RedisServer() as found:
        yield found


class Opened:
    """States at servers, that are closed at the end."""

    def __init__(self) -> None:
        self._states: list[RedisState] = []

    def at(self, url: str, extra_roots: tuple[bytes, ...] = ()) -> RedisState:
        """Open one."""
        state = RedisState(url, extra_roots=extra_roots)
        self._states.append(state)
        return state

    async def close(self) -> None:
        """Close all."""
        for state in self._states:
            await state.close()


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    """Return what opens states."""
    made = Opened()
    yield made
    await made.close()


async def test_machines_share_it(redis: RedisServer, opened: Opened) -> None:
    """Of 50 claims by two machines at once one is granted, and of 50 takes as many as the rate says."""
    machines = opened.at(redis.url), opened.at(redis.url)
    granted = await asyncio.gather(*(machines[number % 2].claim("one", UNTIL, NOW, mark()) for number in range(50)))
    assert granted.count(True) == 1
    waits = await asyncio.gather(*(machines[number % 2].take("one", Rate(10, 60), NOW, mark()) for number in range(50)))
    assert waits.count(0) == 10


async def test_nothing_stays_for_ever(redis: RedisServer, opened: Opened) -> None:
    """A claim is kept for an hour longer than its time, and a rate until it is forgotten."""
    state = opened.at(redis.url)
    await state.claim("one", UNTIL - 0.5, NOW, mark())
    await state.take("one", Rate(3, 60), NOW, mark())
    assert redis.say("TTL", "tailsts:claim:{one}") in {":4265", ":4264"}
    assert redis.say("TTL", "tailsts:rate:{one}") in {":21", ":20"}


async def test_a_server_that_dies_and_comes_back(mortal: RedisServer, opened: Opened) -> None:
    """While it is gone, everything but giving back is unavailable; when it is back, the next question is answered."""
    state = opened.at(mortal.url)
    await asyncio.gather(*(state.claim(f"{number}", UNTIL, NOW, mark()) for number in range(50)))
    mortal.kill()
    for _ in range(3):
        with pytest.raises(StateUnavailableError) as found:
            await state.claim("one", UNTIL, NOW, mark())
        assert found.value.retry_after == 1
    with pytest.raises(StateUnavailableError):
        await state.take("one", Rate(1, 1), NOW, mark())
    await state.give_back("one", mark())
    mortal.start()
    assert [await state.claim(f"{number}", UNTIL, NOW, mark()) for number in range(50)] == [True] * 50


async def test_a_server_that_restarts_unnoticed(mortal: RedisServer, opened: Opened) -> None:
    """Connections of before a restart do no harm: each question is answered."""
    state = opened.at(mortal.url)
    await asyncio.gather(*(state.claim(f"{number}", UNTIL, NOW, mark()) for number in range(50)))
    # While the loop goes on, as it does in a service.
    await asyncio.to_thread(mortal.kill)
    await asyncio.to_thread(mortal.start)
    granted = await asyncio.gather(*(state.claim(f"{number}", UNTIL, NOW, mark()) for number in range(50)))
    assert granted == [True] * 50


async def test_a_server_that_is_not_there_at_start(opened: Opened) -> None:
    """A state whose server is not there is opened nevertheless, and works once the server is there."""
    server = RedisServer()
    state = opened.at(server.url)
    with pytest.raises(StateUnavailableError):
        await state.claim("one", UNTIL, NOW, mark())
    with server:
        assert await state.claim("one", UNTIL, NOW, mark())


async def test_a_server_that_hangs(mortal: RedisServer, opened: Opened) -> None:
    """While it hangs, 200 at once, more than there are connections, are all told so within the deadline.

    When it goes on, nobody gets an answer that was meant for another.
    """
    state = opened.at(mortal.url)
    await state.claim("claimed", UNTIL, NOW, mark())
    mortal.pause()
    async with asyncio.timeout(10):
        asked = (state.claim(f"lost {number}", UNTIL, NOW, mark()) for number in range(200))
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(outcome, StateUnavailableError) for outcome in outcomes)
    mortal.resume()
    answers = await asyncio.gather(
        *(state.claim(key, UNTIL, NOW, mark()) for number in range(100) for key in ("claimed", f"free {number}"))
    )
    assert answers == [False, True] * 100


async def test_one_who_asks_is_cancelled(redis: RedisServer, opened: Opened) -> None:
    """When those who ask are cancelled at any moment, nobody gets an answer that was meant for another."""
    state = opened.at(redis.url)
    await state.claim("claimed", UNTIL, NOW, mark())
    for number in range(100):
        lost = asyncio.create_task(state.claim(f"lost {number}", UNTIL, NOW, mark()))
        for _ in range(number % 12):
            await asyncio.sleep(0)
        lost.cancel()
        assert not await state.claim("claimed", UNTIL, NOW, mark())
        assert await state.claim(f"free {number}", UNTIL, NOW, mark())


async def test_a_password_is_never_shown(opened: Opened) -> None:
    """With the password it works, also one with strange characters. Without, it is unavailable and not shown."""
    with RedisServer("--requirepass", f"{PASSWORD}/@%") as server:
        where = f"127.0.0.1:{server.port}"
        assert await opened.at(f"redis://:{PASSWORD}%2F%40%25@{where}/3").claim("one", UNTIL, NOW, mark())
        for user in ("", f":{PASSWORD}@", f"nobody:{PASSWORD}@"):
            state = opened.at(f"redis://{user}{where}")
            with pytest.raises(StateUnavailableError) as found:
                await state.claim("one", UNTIL, NOW, mark())
            assert PASSWORD not in f"{found.value!r} {found.value} {state!r}"


async def test_a_full_server_forgets_nothing(opened: Opened) -> None:
    """A server without room is unavailable, with Redis's own settings: it does not forget a claim instead."""
    with RedisServer() as server:
        state = opened.at(server.url)
        await state.claim("one", UNTIL, NOW, mark())
        server.say("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(StateUnavailableError, match="OutOfMemoryError"):
            await state.claim("two", UNTIL, NOW, mark())
        with pytest.raises(StateUnavailableError):
            await state.take("one", Rate(1, 1), NOW, mark())
        server.say("CONFIG", "SET", "maxmemory", "0")
        assert not await state.claim("one", UNTIL, NOW, mark())


async def test_cluster_mode(tmp_path: Path, opened: Opened) -> None:
    """A server in cluster mode that answers for all keys does all that others do; before it does, it is unavailable."""
    with RedisServer(*CLUSTERED, "--cluster-port", f"{unused_port()}", "--dir", str(tmp_path)) as server:
        state = opened.at(f"{server.url}/0")
        with pytest.raises(StateUnavailableError):
            await state.claim("one", UNTIL, NOW, "first")
        server.say("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        # Two seconds after its start it first says that all is there.
        await eventually_async(lambda: server.say("SET", "before", "1") == "+OK")
        keys = secrets.token_hex(32), secrets.token_hex(32)
        for key in keys:
            assert [await state.claim(key, UNTIL, NOW, name) for name in ("first", "second")] == [True, False]
            await state.give_back(key, "first")
            assert await state.claim(key, UNTIL, NOW, "third")
            assert await state.take(key, Rate(1, 60), NOW, "first") == 0
            assert await state.take(key, Rate(1, 60), NOW, "second") > 0
            await state.untake(key, Rate(1, 60), NOW, "first")
            assert await state.take(key, Rate(1, 60), NOW, "third") == 0


async def test_a_key_of_another_program(redis: RedisServer, opened: Opened) -> None:
    """What another program left under the same name is unavailable, not a number; other keys are not touched."""
    redis.say("SET", "tailsts:rate:{one}", "nonsense")
    redis.say("LPUSH", "tailsts:rate:{two}", "1")
    redis.say("SET", "one", "mine")
    state = opened.at(redis.url)
    for key in ("one", "two"):
        with pytest.raises(StateUnavailableError):
            await state.take(key, Rate(1, 1), NOW, mark())
    assert await state.claim("one", UNTIL, NOW, mark())
    assert redis.say("DBSIZE") == ":4"


async def test_tls(tmp_path: Path, opened: Opened) -> None:
    """Over TLS the server must show a certificate for its name, of an authority that was told."""
    authority = Authority()
    authority.server_context(tmp_path)
    certificate = str(tmp_path / "server-localhost-2.pem")
    other = Authority("another").pem
    tls = RedisServer()
    options = ("--tls-port", f"{tls.port}", "--tls-cert-file", certificate, "--tls-key-file", certificate)
    # Its own port is another one, on which the test waits for it.
    with RedisServer(*options, "--tls-auth-clients", "no"):
        url = f"rediss://localhost:{tls.port}"
        roots = (other, authority.pem)
        assert await opened.at(url, roots).claim("one", UNTIL, NOW, mark())
        assert not await opened.at(f"rediss://127.0.0.1:{tls.port}", roots).claim("one", UNTIL, NOW, mark())
        for untrusted in ((), (other,)):
            with pytest.raises(StateUnavailableError):
                await opened.at(url, untrusted).claim("two", UNTIL, NOW, mark())
    with pytest.raises(StateUnavailableError):
        await opened.at(url, roots).claim("two", UNTIL, NOW, mark())


async def test_tls_of_another_name(tmp_path: Path, opened: Opened) -> None:
    """A certificate for another name is refused, whoever vouches for it."""
    authority = Authority()
    authority.server_context(tmp_path, "elsewhere.example.com")
    certificate = str(tmp_path / "server-elsewhere.example.com-2.pem")
    tls = RedisServer()
    options = ("--tls-port", f"{tls.port}", "--tls-cert-file", certificate, "--tls-key-file", certificate)
    with RedisServer(*options, "--tls-auth-clients", "no"), pytest.raises(StateUnavailableError):
        await opened.at(f"rediss://localhost:{tls.port}", (authority.pem,)).claim("one", UNTIL, NOW, mark())


async def test_it_is_opened_by_its_address(redis: RedisServer) -> None:
    """What opens states opens this one."""
    state = open_state(redis.url, monotonic=time.monotonic)
    assert await state.claim("one", UNTIL, NOW, mark())
    await state.close()
    await state.close()
