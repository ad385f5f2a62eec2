"""What the parent process and its workers say to each other: short messages over a pair of sockets."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from typing import Self, TypeVar

import msgspec

from tailsts.server.shown.snapshot import Snapshot

LENGTH_BYTES = 4
# Ten thousand issuers, each with a fault that says much, take some megabytes.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024


class Look(msgspec.Struct, frozen=True, tag=True):
    """Say what is to be seen."""

    number: int


class Reload(msgspec.Struct, frozen=True, tag=True):
    """Read the policies anew. If the operator `asked` for it, open the audit log anew as well."""

    asked: bool = True


class Drain(msgspec.Struct, frozen=True, tag=True):
    """Finish what is in flight, and end."""


class Seen(msgspec.Struct, frozen=True, tag=True):
    """What is to be seen: answers the Look of that number. 0: without being asked, after the start and at the end."""

    number: int
    snapshot: Snapshot


class InForce(msgspec.Struct, frozen=True, tag=True):
    """The policies that are in force from now on, packed for workers to come; None if they are too large for that."""

    packed: bytes | None


class CannotStart(msgspec.Struct, frozen=True, tag=True):
    """The only message of a worker that cannot start: one line for each thing to mend."""

    faults: tuple[str, ...]


Command = Look | Reload | Drain
Report = Seen | InForce | CannotStart
_Message = TypeVar("_Message")
COMMANDS: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
REPORTS: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


class Channel:
    """One end of a pair of sockets."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Self:
        """Return the channel over this end, which belongs to it from now on."""
        return cls(*await asyncio.open_unix_connection(sock=end))

    def send(self, message: Command | Report) -> None:
        """Send a message, if the other end is still there; who listens notices when it is not."""
        self._writer.write(_framed(message))

    async def receive(self, decoder: msgspec.msgpack.Decoder[_Message]) -> _Message | None:
        """Return the next message, None if there is none to come: the other end is gone, or makes no sense."""
        try:
            length = int.from_bytes(await self._reader.readexactly(LENGTH_BYTES))
            if length > MAX_MESSAGE_BYTES:
                return None
            return decoder.decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, OSError, msgspec.DecodeError):
            return None

    async def close(self) -> None:
        """Close this end, when what was sent is on its way."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


def give_up(end: socket.socket, faults: Sequence[str]) -> None:
    """Tell the parent why this worker cannot start, if the parent is still there. For a worker without a loop."""
    with end, contextlib.suppress(OSError):
        end.sendall(_framed(CannotStart(tuple(faults))))


def _framed(message: Command | Report) -> bytes:
    encoded = msgspec.msgpack.encode(message)
    return len(encoded).to_bytes(LENGTH_BYTES) + encoded


async def obey(
    channel: Channel, look: Callable[[], Snapshot], reload: Callable[[bool], None], stop: asyncio.Event
) -> None:
    """Do what the parent says, as long as it is there; then stop: nobody would pass a signal on any more."""
    channel.send(Seen(0, look()))
    while (command := await channel.receive(COMMANDS)) is not None:
        match command:
            case Look(number=number):
                channel.send(Seen(number, look()))
            case Reload(asked=asked):
                reload(asked)
            case Drain():
                stop.set()
    stop.set()
