"""Room on a port: when almost as many connections are open as may be, those are closed that wait longest.

Granian bounds how many there are, and closes each whose request is not there within ten seconds. It has no other rule:
a stranger with that many idle ones would keep everybody else out. On Linux alone; elsewhere it is up to what stands in
front of the service.
"""

import asyncio
import contextlib
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable

import structlog

from tailsts.server import process
from tailsts.server.accepted import AT_ONCE, Connection, accepted, hang_up
from tailsts.server.admission import host_of, network_of
from tailsts.server.rsgi import InHand

# How often it is asked whether there is room, by the number of files; how often it is looked which connections there
# are, if there is; and how often if other files are so many that they might hide it.
PAUSE_SECONDS = 0.1
LOOK_SECONDS = 5.0
DOUBT_SECONDS = 1.0
# From which part of those that may be open on some are closed, and which part stays.
CROWDED = 0.75
ROOMY = 0.5
# The request of one that was just accepted is in hand a moment later.
GRACE_MILLISECONDS = 100
# A crowd that stays is said so often.
SAY_SECONDS = 60.0


class Room:
    """The connections to one port. Those whose whole request is `in_hand` stay."""

    def __init__(
        self, port: int, allowed: int, in_hand: InHand, is_proxy: Callable[[str], bool] = lambda _: False
    ) -> None:
        self.allowed = allowed
        # As far as it was looked, and since the start.
        self.connections = 0
        self.cut_off = 0
        self._port = port
        self._in_hand = in_hand
        self._is_proxy = is_proxy
        # Files that are none of these.
        self._others = 0
        self._said = -SAY_SECONDS

    async def keep(self) -> None:
        """Look after it, for ever."""
        if sys.platform != "linux":
            return
        loop = asyncio.get_running_loop()
        much = self.allowed * CROWDED
        looked = loop.time()
        while True:
            # Without a file to spare: the next time, then.
            with contextlib.suppress(OSError):
                files, since = process.files_open(), loop.time() - looked
                if files - self._others > much or since > (DOUBT_SECONDS if files > much else LOOK_SECONDS):
                    looked = loop.time()
                    await self._look(files, looked)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _look(self, files: int, now: float) -> None:
        found = [connection async for connection in accepted(self._port)]
        self.connections = len(found)
        # Some come and go meanwhile: rather too few others than a crowd that is taken for them.
        self._others = max(0, min(files, process.files_open()) - len(found))
        if len(found) <= self.allowed * CROWDED:
            return
        cut_off = 0
        for number, connection in enumerate(self._superfluous(found), 1):
            # Its request may have come meanwhile.
            cut_off += not self._in_hand.has(connection.peer) and hang_up(connection, self._port)
            if not number % AT_ONCE:
                await asyncio.sleep(0)
        self.connections -= cut_off
        self.cut_off += cut_off
        if cut_off and now - self._said > SAY_SECONDS:
            self._said = now
            log = structlog.get_logger()
            log.warning("crowded: those who wait longest are cut off", connections=len(found), cut_off=cut_off)

    def _superfluous(self, found: list[Connection]) -> list[Connection]:
        count = len(found) - int(self.allowed * ROOMY)
        free = [each for each in found if not self._in_hand.has(each.peer)]
        if len(free) <= self.allowed * (1 - CROWDED):
            # It is full of callers who are being answered: no crowd.
            return []
        strangers = [each for each in free if not self._is_proxy(host_of(each.peer))]
        chosen = longest_waiting(strangers, count, self._in_hand.had)
        # If need be, also those of a proxy: it has many for all who come through it, and bounds these itself.
        proxied = [each for each in free if self._is_proxy(host_of(each.peer))]
        chosen += longest_waiting(proxied, count - len(chosen), self._in_hand.had)
        # Nobody else has to go in the place of one that has just come.
        return [each for each in chosen if each.unanswered_milliseconds >= GRACE_MILLISECONDS]


def longest_waiting(
    connections: Iterable[Connection], count: int, had: Callable[[str], bool] = lambda _: False
) -> list[Connection]:
    """Return so many: of the networks that have most of them, and there those that wait longest for an answer.

    So one stranger keeps nobody out, and of many strangers each has to come again and again. Those that `had` an answer
    a moment ago come last among those of their network, not of all: asking all the time makes nobody safe.
    """

    def urgency(connection: Connection) -> tuple[bool, int]:
        return not had(connection.peer), connection.unanswered_milliseconds

    networks: defaultdict[str, list[Connection]] = defaultdict(list)
    for connection in connections:
        networks[network_of(host_of(connection.peer))].append(connection)
    ranked: list[tuple[int, Connection]] = []
    for members in networks.values():
        members.sort(key=urgency)
        ranked += enumerate(members)
    ranked.sort(key=lambda each: (each[0], urgency(each[1])), reverse=True)
    return [connection for _, connection in ranked[:count]]
