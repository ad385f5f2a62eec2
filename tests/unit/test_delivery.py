"""What a receiver is offered, and what becomes of it: against a receiver on a socket."""

from collections.abc import Iterator, Sequence

import pytest

from fakes.collector import FakeCollector
from fakes.http import RESET, http
from tailsts.audit import Event, json_line
from tailsts.server.webhook.cloudevents import Receiver, Trouble
from tailsts.server.webhook.delivery import ATTEMPTS_FOR_ONE, LAST_RETRY_SECONDS, MAX_EVENTS, Delivery, Verdict


def events(count: int) -> list[bytes]:
    """Return the lines of so many events; each has its number as decision."""
    return [json_line(Event("2026-01-02T03:04:05Z", str(number), "g", "p", "a")) for number in range(count)]


@pytest.fixture
def collector() -> Iterator[FakeCollector]:
    """Return a receiver that takes everything."""
    with FakeCollector() as running:
        yield running


class Told:
    """A delivery, and what it tells."""

    def __init__(self, url: str) -> None:
        self.faults: list[str | None] = []
        self.delivery = Delivery(Receiver(url), (), self.faults.append)

    async def offer_all(self, lines: Sequence[bytes]) -> list[Verdict]:
        """Offer these until all are done with, without waiting."""
        rest = list(lines)
        verdicts: list[Verdict] = []
        while rest:
            assert len(verdicts) < 10 * MAX_EVENTS, "it never ends"
            offered = rest[: self.delivery.most]
            verdicts.append(await self.delivery.offer(offered))
            if verdicts[-1].done:
                del rest[: len(offered)]
        return verdicts


async def test_taken(collector: FakeCollector) -> None:
    """Events that are taken are done with, and nothing is said."""
    told = Told(collector.url)
    assert Verdict(done=True) == await told.delivery.offer(events(3))
    assert (told.delivery.delivered, told.delivery.failed, told.faults) == (3, 0, [])


async def test_torn_ones(collector: FakeCollector) -> None:
    """What is no event is done with, and counted; if nothing else is there, nothing is sent."""
    told = Told(collector.url)
    assert Verdict(done=True, torn=1) == await told.delivery.offer([b"{\n", *events(1)])
    assert Verdict(done=True, torn=2) == await told.delivery.offer([b"{\n", b"\0\n"])
    assert len(collector.requests) == 1
    assert told.delivery.delivered == 1


@pytest.mark.parametrize("status", [301, 401, 404, 408, 410, 415, 429, 500, 502, 503])
async def test_passing_trouble(collector: FakeCollector, status: int) -> None:
    """However often a receiver does not take events for another reason than what they hold, they are kept."""
    told = Told(collector.url)
    collector.trouble = http(status, b"", Location=collector.url)
    for _ in range(ATTEMPTS_FOR_ONE + 1):
        verdict = await told.delivery.offer(events(2))
        assert not verdict.done
        assert verdict.seconds > 0
    assert collector.sizes == [2] * (ATTEMPTS_FOR_ONE + 1)
    assert len(told.faults) == 1


async def test_a_broken_connection(collector: FakeCollector) -> None:
    """So are they where no answer comes."""
    told = Told(collector.url)
    collector.trouble = RESET
    verdict = await told.delivery.offer(events(2))
    assert not verdict.done
    assert str(told.delivery.fault).startswith("cannot be reached: ")


async def test_pauses_grow_to_a_minute() -> None:
    """The pause after a failure doubles from a second to a minute, half of it by chance; an answer begins anew."""
    told = Told("http://127.0.0.1:1")
    for exponent in range(12):
        seconds = min(2.0**exponent, LAST_RETRY_SECONDS)
        assert seconds / 2 <= told.delivery.postpone(Trouble("fails")).seconds <= seconds
    assert told.faults == ["fails"]


async def test_a_pause_that_is_asked_for(collector: FakeCollector) -> None:
    """Retry-After is respected if it is longer."""
    told = Told(collector.url)
    collector.trouble = http(429, b"", Retry_After="120")
    assert Verdict(done=False, seconds=120, asked=True) == await told.delivery.offer(events(1))
    collector.trouble = None
    assert (await told.delivery.offer(events(1))).done
    assert told.faults == ["answers 429", None]
    assert told.delivery.postpone(Trouble("fails")).seconds <= 1


async def test_one_event_that_is_refused(collector: FakeCollector) -> None:
    """One event that the receiver does not like is found by halves and given up after three attempts, no other one."""
    told = Told(collector.url)
    collector.refuses = lambda event: 422 if event["id"] == "123" else None
    verdicts = await told.offer_all(events(MAX_EVENTS))
    assert [str(number) for number in range(MAX_EVENTS) if number != 123] == collector.decisions()
    assert sum(verdict.refused for verdict in verdicts) == 1
    assert sum(verdict.seconds > 0 for verdict in verdicts) == ATTEMPTS_FOR_ONE
    assert told.delivery.delivered + 1 == MAX_EVENTS
    assert told.delivery.fault is None


def firewall(collector: FakeCollector, *names: str) -> None:
    """Let the receiver be behind a firewall that answers 403 to these events, and to whatever has them in it."""
    collector.refuses = lambda event: 403 if event["id"] in names else None


async def test_events_that_a_firewall_refuses(collector: FakeCollector) -> None:
    """What a firewall says 403 to is found by halves and given up without a pause, however many: others arrive."""
    told = Told(collector.url)
    firewall(collector, "23", "24", "25", "99")
    verdicts = await told.offer_all(events(100))
    assert [str(number) for number in range(100) if number not in {23, 24, 25, 99}] == collector.decisions()
    assert sum(verdict.refused for verdict in verdicts) == 4
    assert all(verdict.seconds == 0 for verdict in verdicts)
    assert (told.delivery.delivered, told.delivery.fault) == (96, None)


async def test_a_firewall_that_refuses_the_first(collector: FakeCollector) -> None:
    """Where none was taken yet, 403 to one is about us until the receiver takes another event that waits."""
    told = Told(collector.url)
    firewall(collector, "0")
    refused, witness = events(2)
    for _ in range(ATTEMPTS_FOR_ONE + 1):
        assert not (await told.delivery.offer([refused])).done
    assert Verdict(done=True, refused=1) == await told.delivery.offer([refused], lambda: witness)
    assert collector.decisions() == ["1"]
    assert told.faults == ["answers 403", None]


async def test_a_firewall_that_learns(collector: FakeCollector) -> None:
    """Where what was taken before would not be taken any more, the other event says whom it is about."""
    told = Told(collector.url)
    taken, refused, witness = events(3)
    assert (await told.delivery.offer([taken])).done
    firewall(collector, "0", "1")
    assert Verdict(done=True, refused=1) == await told.delivery.offer([refused], lambda: witness)
    assert Verdict(done=True, refused=1) == await told.delivery.offer([refused])


async def test_what_was_torn_proves_nothing(collector: FakeCollector) -> None:
    """What is no event is not sent as the one that says whom it is about."""
    told = Told(collector.url)
    firewall(collector, "1")
    first, second = events(2)
    assert (await told.delivery.offer([first, b"{"])).torn == 1
    assert not (await told.delivery.offer([second], lambda: b"{")).done
    assert Verdict(done=True, refused=1) == await told.delivery.offer([second], lambda: first)


@pytest.mark.parametrize("taken_before", [0, 3])
async def test_a_receiver_that_does_not_want_us(collector: FakeCollector, taken_before: int) -> None:
    """A receiver that answers 403 to everything is about us: none is given up, and all arrive later."""
    told = Told(collector.url)
    lines = events(taken_before + 8)
    if taken_before:
        await told.delivery.offer(lines[:taken_before])
    collector.trouble = http(403, b"")
    while told.delivery.most > 1:
        assert Verdict(done=False) == await told.delivery.offer(lines[taken_before:][: told.delivery.most])
    for _ in range(ATTEMPTS_FOR_ONE + 2):
        verdict = await told.delivery.offer(lines[taken_before:][:1], lambda: lines[-1])
        assert (verdict.done, verdict.refused) == (False, 0)
        assert verdict.seconds > 0
    assert told.delivery.fault == "answers 403"
    collector.trouble = None
    assert sum(verdict.refused for verdict in await told.offer_all(lines[taken_before:])) == 0
    assert len(collector.decisions()) == len(lines)


async def test_forbidden_for_a_while(collector: FakeCollector) -> None:
    """403 with Retry-After is respected; no event is looked for."""
    told = Told(collector.url)
    collector.trouble = http(403, b"", Retry_After="120")
    assert Verdict(done=False, seconds=120, asked=True) == await told.delivery.offer(events(5))
    assert told.delivery.most == MAX_EVENTS


async def test_a_receiver_with_a_small_mouth(collector: FakeCollector) -> None:
    """A receiver to which batches are too large gets smaller ones, and none is lost."""
    told = Told(collector.url)
    collector.trouble = lambda _request: http(413 if collector.sizes[-1] > 10 else 200, b"")
    verdicts = await told.offer_all(events(100))
    assert sum(verdict.refused for verdict in verdicts) == 0
    assert all(verdict.seconds == 0 for verdict in verdicts)
    assert told.delivery.delivered == 100


async def test_a_receiver_that_refuses_everything(collector: FakeCollector) -> None:
    """A receiver that answers 400 to all gets one event in three attempts, each after a longer pause than before."""
    told = Told(collector.url)
    collector.trouble = http(400, b"")
    verdicts = await told.offer_all(events(4))
    paused = [verdict.seconds for verdict in verdicts if verdict.seconds]
    assert len(paused) == 4 * ATTEMPTS_FOR_ONE
    assert min(paused[-3:]) >= LAST_RETRY_SECONDS / 2
    assert sum(verdict.refused for verdict in verdicts) == 4
    assert len(told.faults) == 1


async def test_no_token_is_shown(collector: FakeCollector) -> None:
    """Without a token, no Authorization is sent."""
    await Told(collector.url).delivery.offer(events(1))
    assert "authorization" not in collector.requests[0].headers
