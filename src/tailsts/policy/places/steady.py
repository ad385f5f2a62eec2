"""A folder of policies whose files may be written while it is read: nothing is taken that may be half of something.

The beginning of a policy may be a policy as well, and allow more than all of it. So a file that is new, or has another
content than before, counts when nobody has it open for writing and nothing was written to it for a moment; and the
files count together if none of them changed while they were read.
"""

import hashlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from tailsts.errors import FileError
from tailsts.policy.places.sheaf import File, Sheaf, is_policy_file, place_fault, read_folder, shown
from tailsts.policy.places.writers import has_writer

# Whoever writes with pauses may open the file anew each time. Where nobody tells whether it is open, a pause may be one
# within a write.
REST_SECONDS = 0.1
UNTOLD_REST_SECONDS = 0.5
IS_OPEN = "is being written: a process has it open for writing"
IS_MOVING = "is being written: it changes while it is read"


class Stamp(NamedTuple):
    """What differs when another file is behind a name, or something was written to it. Times are in nanoseconds."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int


class Steady:
    """Reads the folder, and knows what of it is `restless`: the paths of what is being written, each with its reason.

    `now` gives seconds since the epoch, as the times of files do; `monotonic` those of a clock that nobody sets.
    `is_open` says whether some process has a file open for writing, None where it cannot tell.
    """

    def __init__(
        self,
        folder: Path,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        is_open: Callable[[str], bool | None] = has_writer,
    ) -> None:
        self.restless: dict[str, str] = {}
        self._folder = folder
        self._now = now
        self._monotonic = monotonic
        self._is_open = is_open
        # What was at rest is whole: policies, and the digests of what they name. That somebody has it open does not
        # matter before something is written.
        self._taken: frozenset[File] = frozenset()
        self._named_taken: dict[str, bytes] = {}
        # Since when young files look as they do. Their times alone may be those of a file server with another clock.
        self._since: dict[str, tuple[Stamp, float]] = {}

    def read(self) -> Sheaf:
        """Read the folder as it is now. What is being written has that as its fault, also if a policy names it."""
        self.restless = {}
        before = self._survey()
        sheaf = read_folder(self._folder)
        findings = list(sheaf.findings)
        files = [self._judged(file, before.get(f"{file.name}.toml")) for file in sheaf.files]
        # Only now: a writer may have ended after its file was read, and before it was asked about.
        after = self._survey()
        if moved := sorted({name for name, _ in before.items() ^ after.items()}):
            # Kubernetes' swap of a link, for one: some of these files would be from before, some from after it.
            self.restless = {self._path(name): IS_MOVING for name in moved}
            findings.append(place_fault(sheaf.place, f"{shown(moved[0])} {IS_MOVING}"))
            files = list(sheaf.files)
        named = partial(self._named, sheaf.named)
        return msgspec.structs.replace(sheaf, files=files, findings=findings, named=named)

    def take(self, sheaf: Sheaf) -> None:
        """Remember that nothing in this was being written."""
        self._taken = frozenset(sheaf.files)
        self._since.clear()

    def rests(self) -> bool:
        """Look again at what was being written, and at nothing else; return whether it is not any more."""
        return not any(self._unrest(path, stamp) for path in self.restless if (stamp := _stamp(path)) is not None)

    def _judged(self, file: File, stamp: Stamp | None) -> File:
        if file.fault or file in self._taken:
            return file
        path = self._path(f"{file.name}.toml")
        if why := self._unrest(path, stamp):
            self.restless[path] = why
            return File(file.name, file.shown, b"", why)
        return file

    def _named(self, read: Callable[[str], bytes], name: str) -> bytes:
        """Read a file that a policy names. It is judged as policies are.

        Raises:
            FileError: it cannot be read, or is being written.
        """
        path = self._path(name)
        before = _stamp(path)
        raw = read(name)
        digest = hashlib.sha256(raw).digest()
        if self._named_taken.get(name) != digest:
            why = self._unrest(path, before)
            if _stamp(path) != before:
                why = IS_MOVING
            if why:
                self.restless[path] = why
                raise FileError(why)
            self._named_taken[name] = digest
        return raw

    def _unrest(self, path: str, stamp: Stamp | None) -> str:
        """Return why the file, which looks so, may be half of something; or nothing."""
        if stamp is None:
            return IS_MOVING
        is_open = self._is_open(path)
        if is_open:
            return IS_OPEN
        rest = UNTOLD_REST_SECONDS if is_open is None else REST_SECONDS
        if self._now() - stamp.modified / 1e9 >= rest:
            return ""
        known = self._since.get(path)
        if known is None or known[0] != stamp:
            known = self._since[path] = stamp, self._monotonic()
        return "" if self._monotonic() - known[1] >= rest else f"is being written: it changed less than {rest:g} s ago"

    def _survey(self) -> dict[str, Stamp]:
        """Return what the policy files look like, those too that are not read. What cannot be seen is not there."""
        found: dict[str, Stamp] = {}
        for name in _names(self._folder):
            if is_policy_file(name) and (stamp := _stamp(self._path(name))) is not None:
                found[name] = stamp
        return found

    def _path(self, name: str) -> str:
        # A Path for each of 10,000 files is slow.
        return os.path.join(self._folder, name)  # noqa: PTH118


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - quick
    except OSError:
        return []


def _stamp(path: str) -> Stamp | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - quick
    except OSError:
        return None
    return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
