"""The circuit to Tailscale: when it opens, whom it stops, who tries, and that one answer closes it."""

import asyncio

import pytest

from fakes.http import HANG, RESET, Later, Reply, eventually_async, http
from fakes.issuer import in_turn
from fakes.tailscale import FakeTailscale
from tailsts.errors import TailscaleAnswerError, TailscaleUnavailableError
from tailsts.policy.decide import Grant
from tailsts.tailscale.circuit import CLOSED, Circuit, Rules, failed, retry_after, stops, tried, wait
from tailsts.tailscale.token_endpoint import TokenEndpoint
from unit.minting import GOOD, endpoint_at

RULES = Rules()
DOWN = http(503, b"")
NOT_ASKED = "Tailscale failed 5 times in a row and was not asked"


def row(*failures: tuple[float, str]) -> Circuit:
    """Return the state after these failures, each a time and whose request it was."""
    state = CLOSED
    for now, policy in failures:
        state = failed(state, RULES, now, policy, now)
    return state


def test_it_opens_at_the_fifth_failure_in_a_row() -> None:
    """Five failures that span a second open it for everybody."""
    failures = [(0.0, "a"), (0.2, "b"), (0.4, "a"), (0.6, "b"), (1.0, "a")]
    assert [row(*failures[:count]).open for count in range(6)] == [False] * 5 + [True]
    assert [stops(row(*failures), policy) for policy in ("a", "b", "c")] == [True] * 3


def test_a_moment_opens_nothing() -> None:
    """A hundred requests that fail within a second were perhaps all in flight at the same bad moment."""
    assert not row(*[(number / 101, "a") for number in range(101)]).open


def test_silence_opens_it_at_the_fifth_failure() -> None:
    """Of requests that waited for ten seconds the fifth opens it, though all of them end together."""
    state = CLOSED
    for _ in range(5):
        assert not state.open
        state = failed(state, RULES, 10.0, "a", 0.0)
    assert state.open


def test_what_failed_long_ago_is_forgotten() -> None:
    """A failure every quarter of a minute is no row that says anything about now."""
    assert not row(*[(number * 15.1, "a") for number in range(20)]).open


def test_one_policys_failures_stop_that_policy_alone() -> None:
    """Who asks for what Tailscale fails at closes no door to others, until their requests fail as well."""
    state = row(*[(float(number), "a") for number in range(1, 9)])
    assert (stops(state, "a"), stops(state, "b")) == (True, False)
    state = failed(state, RULES, 9.0, "b", 9.0)
    assert [stops(state, policy) for policy in ("a", "b", "c")] == [True] * 3


def test_one_tries_each_three_seconds() -> None:
    """Who comes after the pause may try; the next three seconds belong to that one, whether it comes back or not."""
    state = row(*[(float(number), "a") for number in range(5)])
    assert [wait(state, "a", now) for now in (4.0, 6.5, 7.0, 99.0)] == [3.0, 0.5, 0.0, 0.0]
    state = tried(state, RULES, 8.0, "a")
    assert [wait(state, "a", now) for now in (8.0, 11.0)] == [3.0, 0.0]
    # What was asked before it opened and fails only now moves nothing.
    assert wait(failed(state, RULES, 10.0, "a", 10.0), "a", 10.0) == 1.0


def test_each_policy_has_its_own_turn() -> None:
    """Whoever asks for what always fails, as fast as can be, takes no other policy's turn to try."""
    state = row((0.0, "victim"), *[(float(number), "evil") for number in range(1, 6)])
    assert stops(state, "victim")
    for number in range(60, 400):
        now = number / 10
        if not wait(state, "evil", now):
            state = failed(tried(state, RULES, now, "evil"), RULES, now, "evil", now)
        assert wait(state, "victim", now) == 0.0
        assert wait(state, "another", now) == 0.0


def test_when_to_come_again() -> None:
    """Who is stopped is told the whole seconds until somebody may try, and at least one."""
    state = row(*[(float(number), "a") for number in range(5)])
    assert [retry_after(state, "a", now) for now in (4.0, 4.1, 6.5, 7.0)] == [3, 3, 1, 1]


class Clock:
    """A clock that is set by the test."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Caller:
    """Asks one endpoint, of which it is known when it was asked."""

    def __init__(self, url: str) -> None:
        self.clock = Clock()
        self.endpoint: TokenEndpoint = endpoint_at(url, clock=self.clock)

    async def ask(self, policy: str = "p") -> tuple[str, int | None]:
        """Return what came of a request of the policy: the token, or what the fault says and when to come again."""
        try:
            return (await self.endpoint.mint(Grant(policy, ("dns",)))).reveal(), None
        except TailscaleUnavailableError as error:
            return str(error), error.retry_after
        except TailscaleAnswerError:
            return "wrong", None

    async def fail(self, times: int = 5) -> None:
        """Ask so often, a second apart."""
        for _ in range(times):
            assert (await self.ask())[0].startswith("Tailscale cannot")
            self.clock.now += 1


@pytest.fixture
def caller(tailscale: FakeTailscale) -> Caller:
    """Return who asks a Tailscale that fails."""
    tailscale.trouble = DOWN
    return Caller(tailscale.token_url)


@pytest.mark.parametrize("trouble", [DOWN, http(500, b"{}"), http(599, b""), RESET])
async def test_failing_fast(tailscale: FakeTailscale, trouble: Reply) -> None:
    """After five failures Tailscale is left alone, then asked once, and after an answer asked by all again."""
    tailscale.trouble = trouble
    caller = Caller(tailscale.token_url)
    await caller.fail()
    assert caller.endpoint.failing_fast is True
    asked = len(tailscale.requests)
    # The fifth failed a second ago.
    assert [await caller.ask() for _ in range(3)] == [(NOT_ASKED, 2)] * 3
    assert len(tailscale.requests) == asked
    caller.clock.now += 2
    assert (await caller.ask())[0].startswith("Tailscale cannot")
    assert len(tailscale.requests) > asked
    assert await caller.ask() == (NOT_ASKED.replace("5", "6"), 3)
    caller.clock.now += 3
    tailscale.trouble = GOOD
    assert [await caller.ask() for _ in range(2)] == [("tskey-api-x", None)] * 2
    assert (caller.endpoint.failing_fast, endpoint_at(tailscale.token_url).failing_fast) == (False, False)


async def test_nobody_there() -> None:
    """No connection is a failure like any other."""
    with FakeTailscale() as gone:
        pass
    caller = Caller(gone.token_url)
    await caller.fail()
    assert (await caller.ask())[0] == NOT_ASKED


@pytest.mark.parametrize("status", [200, 307, 400, 401, 403, 404, 429])
async def test_every_other_answer_is_a_sign_of_life(tailscale: FakeTailscale, caller: Caller, status: int) -> None:
    """What Tailscale says about a grant, or about us, ends a row and closes the circuit; it never opens it."""
    said = http(status, b"", Retry_After="100")
    tailscale.trouble = in_turn(*[DOWN] * 8, said, *[DOWN] * 8, GOOD)
    await caller.fail(4)
    await caller.ask()
    await caller.fail(4)
    assert await caller.ask() == ("tskey-api-x", None)
    tailscale.trouble = DOWN
    await caller.fail()
    caller.clock.now += 3
    tailscale.trouble = said
    for _ in range(20):
        await caller.ask()
        caller.clock.now += 1
        assert not caller.endpoint.failing_fast


async def test_silence_counts_from_the_last_answer(tailscale: FakeTailscale, caller: Caller) -> None:
    """Five requests that wait in vain together are a row, unless another one was answered meanwhile."""
    for number in range(2):
        held = len(tailscale.requests) + 5
        tailscale.trouble = Later(0.3, http(500, b""))
        asking = [asyncio.create_task(caller.ask()) for _ in range(5)]
        await eventually_async(lambda count=held: len(tailscale.requests) == count)  # type: ignore[misc]
        if number == 0:
            tailscale.trouble = GOOD
            assert await caller.ask() == ("tskey-api-x", None)
        caller.clock.now += 10
        await asyncio.gather(*asking)
        assert caller.endpoint.failing_fast is (number == 1)


async def test_other_policies_go_on(tailscale: FakeTailscale, caller: Caller) -> None:
    """A policy whose requests alone fail is stopped alone, and an answer to another one lets it try again."""
    await caller.fail()
    tailscale.trouble = GOOD
    assert await caller.ask() == (NOT_ASKED, 2)
    assert await caller.ask("other") == ("tskey-api-x", None)
    assert await caller.ask() == ("tskey-api-x", None)


async def test_who_leaves_is_no_failure(tailscale: FakeTailscale, caller: Caller) -> None:
    """A request that is broken off from our side says nothing about Tailscale."""
    tailscale.trouble = HANG
    for number in range(8):
        asking = asyncio.create_task(caller.ask())
        await eventually_async(lambda count=number: len(tailscale.requests) > count)  # type: ignore[misc]
        asking.cancel()
        caller.clock.now += 1
    assert not caller.endpoint.failing_fast
