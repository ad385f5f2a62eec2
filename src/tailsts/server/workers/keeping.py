"""The policies that are in force, as the texts that they were made of, so that a worker to come can begin with them.

A worker tells its parent what has come into force, and the parent hands that to each worker that it starts. So a fault,
or a remote that is down, is to a worker that takes another one's place what it was to the others: a reload that failed.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from tailsts.errors import FileError
from tailsts.oidc.source import JwksText
from tailsts.policy.places.sheaf import File, Sheaf
from tailsts.server.workers.control import MAX_MESSAGE_BYTES, Channel, InForce

# A message has little more.
MAX_PACKED_BYTES = MAX_MESSAGE_BYTES - 1024


class _Texts(msgspec.Struct, frozen=True, array_like=True):
    place: str
    commit: str | None
    files: Sequence[File]
    read: Mapping[str, bytes]


# By the name that it has where the folder is gone.
_NOBODY = _Texts("", "none", (), {})


async def tell(channel: Channel | None, in_force: Callable[[], Sheaf | None]) -> None:
    """Tell the parent, if there is one, what is in force."""
    if channel is not None:
        sheaf = in_force()
        # Ten thousand take some milliseconds.
        packed = await asyncio.to_thread(pack, sheaf)
        # Unless something else is by now, which is told next.
        if sheaf is in_force():
            channel.send(InForce(packed))


def pack(sheaf: Sheaf | None) -> bytes | None:
    """Return the texts, None if they are too large. No sheaf is the generation that trusts nobody."""
    texts = _NOBODY if sheaf is None else _Texts(sheaf.place, sheaf.commit, sheaf.files, sheaf.read)
    packed = msgspec.msgpack.encode(texts)
    return packed if len(packed) <= MAX_PACKED_BYTES else None


def unpack(packed: bytes) -> Sheaf:
    """Return the sheaf. Files that policies name are those that were read with them, whatever they hold by now."""
    texts = msgspec.msgpack.decode(packed, type=_Texts)

    def named(name: str) -> bytes:
        try:
            return texts.read[name]
        except KeyError:
            raise FileError("was not read") from None

    return Sheaf(texts.place, texts.files, (), named, lambda name: JwksText(name, named(name)), texts.commit)
