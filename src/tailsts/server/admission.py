"""Who is looked at before anything is read of a request: a flood must cost next to nothing.

In memory, and of each worker: what it counts must be there at once, and may be forgotten.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from tailsts.server.settings import Admission
from tailsts.state.pace import advance, micros, pace_of, whole_seconds

# Of so many addresses it is remembered how much they asked. Beyond, those go that asked longest ago: at worst a flood
# from very many addresses is counted less exactly, and then the bound of what is in flight is what protects.
MAX_PEERS = 65_536
# One machine may have all addresses of such a network (RFC 6177).
IPV6_PREFIX = 64
IN_FLIGHT_RETRY_SECONDS = 1
# An IPv6 address with an IPv4 one in it (RFC 4291, 2.2).
MAX_ADDRESS = 45

_Address = IPv4Address | IPv6Address


class Doorkeeper:
    """Counts the exchanges in flight, and the requests of each address. `monotonic` gives seconds."""

    def __init__(self, admission: Admission, monotonic: Callable[[], float]) -> None:
        self.in_flight = 0
        self._max_in_flight = admission.max_in_flight
        self.turned_away = {"in_flight": 0, "peer_rate": 0, "forwarded_for": 0}
        self._monotonic = monotonic
        self._pace = None if admission.peer_rate is None else pace_of(admission.peer_rate)
        self._trusted = tuple(ip_network(network) for network in admission.trusted_proxies)
        self._kept: OrderedDict[str, int] = OrderedDict()
        self.is_trusted = lru_cache(4096)(self._lies_within)

    def client(self, peer: str, forwarded_for: Callable[[], list[str] | None]) -> str | None:
        """Return who is asking: `peer`, or whom a trusted proxy names; None if what it says cannot be read.

        Of X-Forwarded-For only that counts which trusted proxies wrote: read from its end, the first address that is
        none of theirs. What stands before that, anybody may have made up.
        """
        if not self._trusted or not self.is_trusted(host_of(peer)):
            return peer
        values = forwarded_for()
        if values is None:
            # Not the proxy itself: then whoever brings this about would count as everybody behind it.
            self.turned_away["forwarded_for"] += 1
            return None
        hops = [hop.strip() for value in values for hop in value.split(",")]
        for hop in reversed(hops):
            host = host_of(hop)
            # Before anything of it is remembered.
            if _address(host) is None:
                # Not an address: from here on it is made up, or the proxy does not say.
                return peer
            peer = host
            if not self.is_trusted(host):
                break
        return peer

    def is_full(self) -> bool:
        """Return whether as many exchanges are in hand as may be."""
        return self.in_flight >= self._max_in_flight

    def refuse(self) -> int:
        """Count a request for which there is no room; return after how many seconds another try is worth it."""
        self.turned_away["in_flight"] += 1
        return IN_FLIGHT_RETRY_SECONDS

    def seconds_to_wait(self, client: str) -> int:
        """Count a request; return 0 if the client is within its rate, else after how many seconds it is again."""
        if self._pace is None:
            return 0
        network = network_of(client)
        kept, early = advance(self._kept.get(network), self._pace, micros(self._monotonic()))
        self._kept[network] = kept
        self._kept.move_to_end(network)
        if len(self._kept) > MAX_PEERS:
            self._kept.popitem(last=False)
        if early:
            self.turned_away["peer_rate"] += 1
        return whole_seconds(early)

    def _lies_within(self, host: str) -> bool:
        address = _address(host)
        return address is not None and any(address in network for network in self._trusted)


def host_of(peer: str) -> str:
    """Return the address of `address:port`, `[address]:port`, or an address alone."""
    if peer.startswith("["):
        return peer[1:].partition("]")[0]
    host, colon, port = peer.rpartition(":")
    # An IPv6 address alone has more than one colon.
    return host if colon and port.isdigit() and ":" not in host else peer


@lru_cache(4096)
def network_of(client: str) -> str:
    """Return what is counted as one: an IPv4 address, or the /64 of an IPv6 address."""
    # A neighbour on the same link comes with a zone, which says nothing of who it is.
    address = _address(host_of(client).partition("%")[0])
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address), IPV6_PREFIX), strict=False))
    return client if address is None else str(address)


def _address(text: str) -> _Address | None:
    # Longer than any address is, or with a zone, which may be as long as one likes: nobody's, from here.
    if len(text) > MAX_ADDRESS or "%" in text:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # The same machine, seen through a socket for both kinds.
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
