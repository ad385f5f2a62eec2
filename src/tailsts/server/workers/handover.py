"""What a parent process hands to a worker that it starts: open files, and their numbers in its environment.

Nothing else: a worker is told what the parent was told, on the same command line and in the same environment, and
reads the same files.
"""

import os
import socket
from collections.abc import MutableMapping

import msgspec

VARIABLE = "TAILSTS_INTERNAL_WORKER"


class Handed(msgspec.Struct, frozen=True):
    """The worker's number, and its open files: the public port, its end of the control channel, the turns."""

    worker: int
    public: int
    control: int
    turns: int

    def descriptors(self) -> tuple[int, int, int]:
        """Return the open files."""
        return self.public, self.control, self.turns

    def as_variable(self) -> dict[str, str]:
        """Return what its environment has more than the parent's."""
        return {VARIABLE: msgspec.json.encode(self).decode()}

    def public_socket(self) -> socket.socket:
        """Return the public port. All workers accept its connections; none is lost when one of them ends."""
        return socket.socket(fileno=self.public)

    def control_socket(self) -> socket.socket:
        """Return this end of the control channel."""
        return socket.socket(fileno=self.control)


def receive(environment: MutableMapping[str, str]) -> Handed | None:
    """Return what was handed to this process, None if it is no worker. What it starts in turn inherits nothing."""
    text = environment.pop(VARIABLE, None)
    if text is None:
        return None
    handed = msgspec.json.decode(text, type=Handed)
    for descriptor in handed.descriptors():
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - it has no name
    return handed
