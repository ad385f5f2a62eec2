"""What a parent process hands to a worker that it starts: open files, and their numbers in its environment.

Nothing else: a worker is told what the parent was told, on the same command line and in the same environment, and
reads the same files. The policies that are in force are in one of those that it inherits.
"""

import os
import socket
from collections.abc import MutableMapping

import msgspec

from tailsts.server.workers.turns import nameless_file

VARIABLE = "TAILSTS_INTERNAL_WORKER"


class Handed(msgspec.Struct, frozen=True):
    """The worker's number, and its open files: the public port, its end of the control channel, the turns.

    `policies` are those that are in force, packed, if the parent has them.
    """

    worker: int
    public: int
    control: int
    turns: int
    policies: int | None = None

    def descriptors(self) -> tuple[int, ...]:
        """Return the open files."""
        files = (self.public, self.control, self.turns, self.policies)
        return tuple(file for file in files if file is not None)

    def as_variable(self) -> dict[str, str]:
        """Return what its environment has more than the parent's."""
        return {VARIABLE: msgspec.json.encode(self).decode()}

    def public_socket(self) -> socket.socket:
        """Return the public port. All workers accept its connections; none is lost when one of them ends."""
        return socket.socket(fileno=self.public)

    def control_socket(self) -> socket.socket:
        """Return this end of the control channel."""
        return socket.socket(fileno=self.control)

    def packed_policies(self) -> bytes | None:
        """Return the policies that are in force, and let go of the file."""
        if self.policies is None:
            return None
        with os.fdopen(self.policies, "rb") as file:
            file.seek(0)
            return file.read()


def in_memory(packed: bytes) -> int:
    """Return a file that holds this, for one worker to inherit.

    Raises:
        OSError: there is no room for it.
    """
    descriptor = nameless_file("policies")
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(packed)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def receive(environment: MutableMapping[str, str]) -> Handed | None:
    """Return what was handed to this process, None if it is no worker. What it starts in turn inherits nothing."""
    text = environment.pop(VARIABLE, None)
    if text is None:
        return None
    handed = msgspec.json.decode(text, type=Handed)
    for descriptor in handed.descriptors():
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - it has no name
    return handed
