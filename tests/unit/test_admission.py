"""Who is looked at: by address, by proxies that are trusted, at its rate."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailsts.policy.rate import Rate
from tailsts.server.admission import MAX_PEERS, Doorkeeper, host_of, network_of
from tailsts.server.settings import Admission

PROXIES = ("10.0.0.0/8", "fd00::/8")


class HandClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def monotonic(self) -> float:
        """Return the seconds."""
        return self.seconds


def doorkeeper(rate: Rate | None = None, *proxies: str, clock: HandClock | None = None) -> Doorkeeper:
    """Return one with this rate, behind these proxies."""
    return Doorkeeper(Admission(peer_rate=rate, trusted_proxies=proxies), (clock or HandClock()).monotonic)


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("192.0.2.1:443", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("unknown", "unknown"),
        ("", ""),
    ],
)
def test_host(peer: str, host: str) -> None:
    """A peer is an address, with or without a port."""
    assert host_of(peer) == host


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("192.0.2.1:1", "192.0.2.1"),
        ("[2001:db8:1:2:3::4]:1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("[::ffff:192.0.2.1]:1", "192.0.2.1"),
        # Of a neighbour on the same link: whatever its port.
        ("[fe80::1%2]:1", "fe80::/64"),
        ("[fe80::1%2]:2", "fe80::/64"),
    ],
)
def test_what_counts_as_one(peer: str, network: str) -> None:
    """An IPv4 address is one machine, whichever socket it is seen through; of IPv6, a /64 is."""
    assert network_of(peer) == network


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        # From the load balancer.
        ("10.1.2.3:1", ["203.0.113.7"], "203.0.113.7"),
        ("[fd00::1]:1", ["2001:db8::1"], "2001:db8::1"),
        # Through two of them.
        ("10.1.2.3:1", ["203.0.113.7, 10.9.9.9"], "203.0.113.7"),
        ("10.1.2.3:1", ["203.0.113.7", "10.9.9.9"], "203.0.113.7"),
        # What the client wrote itself stands before what the proxy adds.
        ("10.1.2.3:1", ["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
        ("10.1.2.3:1", ["10.0.0.1, 203.0.113.7"], "203.0.113.7"),
        ("10.1.2.3:1", ["nonsense, 203.0.113.7"], "203.0.113.7"),
        # With a port, as some write it.
        ("10.1.2.3:1", ["203.0.113.7:4711"], "203.0.113.7"),
        # Nothing, or nothing that is an address: then it is the proxy that asks.
        ("10.1.2.3:1", [], "10.1.2.3:1"),
        ("10.1.2.3:1", ["unknown"], "10.1.2.3:1"),
        ("10.1.2.3:1", [""], "10.1.2.3:1"),
        ("10.1.2.3:1", ["203.0.113.7, "], "10.1.2.3:1"),
        # With a zone, or endless: nobody's address.
        ("10.1.2.3:1", ["fe80::1%" + "x" * 60_000], "10.1.2.3:1"),
        ("10.1.2.3:1", ["fe80::1%eth0"], "10.1.2.3:1"),
        # All are proxies: the outermost.
        ("10.1.2.3:1", ["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
        # Somebody who is no proxy cannot say who he is.
        ("198.51.100.1:1", ["203.0.113.7"], "198.51.100.1:1"),
    ],
)
def test_h07_who_is_asking(peer: str, forwarded: list[str], client: str) -> None:
    """H-07: X-Forwarded-For counts as far as trusted proxies wrote it, and from nobody else."""
    assert doorkeeper(None, *PROXIES).client(peer, lambda: forwarded) == client


def test_h07_what_cannot_be_read_is_nobody() -> None:
    """H-07: a field that a trusted proxy sends and that cannot be read names nobody, not the proxy itself."""
    door = doorkeeper(None, *PROXIES)
    assert door.client("10.1.2.3:1", lambda: None) is None
    assert door.turned_away["forwarded_for"] == 1
    assert door.client("198.51.100.1:1", lambda: None) == "198.51.100.1:1"


def test_h07_nobody_is_trusted_by_default() -> None:
    """H-07: without trusted proxies the field is not even read."""

    def unread() -> list[str]:
        raise AssertionError

    assert doorkeeper().client("10.1.2.3:1", unread) == "10.1.2.3:1"


@given(st.lists(st.text(st.sampled_from("0123456789abcdef.:[], x"), max_size=30), max_size=4))
def test_h07_whatever_is_written_there(values: list[str]) -> None:
    """H-07: no text in the field is a fault, or brings anything but an address or the peer itself."""
    client = doorkeeper(None, *PROXIES).client("10.1.2.3:1", lambda: values) or ""
    assert client == "10.1.2.3:1" or network_of(client)
    assert client == "10.1.2.3:1" or client in ",".join(values)


def test_a_rate_of_an_address() -> None:
    """So many at once, then so many in the time; who waits as long as told is let in; others do not notice."""
    clock = HandClock()
    door = doorkeeper(Rate(3, 60), clock=clock)
    assert [door.seconds_to_wait("192.0.2.1:1") for _ in range(3)] == [0, 0, 0]
    assert door.seconds_to_wait("192.0.2.1:2") == 20
    assert door.seconds_to_wait("192.0.2.2:1") == 0
    clock.seconds += 20
    assert door.seconds_to_wait("192.0.2.1:1") == 0
    assert door.seconds_to_wait("192.0.2.1:1") == 20
    assert door.turned_away["peer_rate"] == 2
    clock.seconds += 60
    assert [door.seconds_to_wait("192.0.2.1:1") for _ in range(4)] == [0, 0, 0, 20]


def test_without_a_rate() -> None:
    """Without a rate nobody waits, and nothing is remembered."""
    door = doorkeeper()
    assert [door.seconds_to_wait("192.0.2.1:1") for _ in range(1000)] == [0] * 1000
    assert not door._kept


def test_memory_is_bounded() -> None:
    """However many addresses ask, only so many are remembered: those that asked last."""
    door = doorkeeper(Rate(1, 60))
    for number in range(MAX_PEERS + 10):
        door.seconds_to_wait(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}:1")
    assert len(door._kept) == MAX_PEERS
    assert door.seconds_to_wait("10.1.0.9:1") > 0
    assert door.seconds_to_wait("10.0.0.1:1") == 0


@given(st.lists(st.floats(0, 5), max_size=60), st.integers(1, 5), st.sampled_from([1, 60]))
def test_never_more_than_the_rate(pauses: list[float], times: int, seconds: int) -> None:
    """In no stretch of time more than twice the rate is let in, however requests are spread; none waits too long."""
    clock, let_in = HandClock(), []
    door = doorkeeper(Rate(times, seconds), clock=clock)
    for pause in pauses:
        clock.seconds += pause
        wait = door.seconds_to_wait("192.0.2.1:1")
        assert 0 <= wait <= seconds
        if not wait:
            let_in.append(clock.seconds)
    for at in let_in:
        assert sum(at <= other < at + seconds for other in let_in) <= 2 * times
