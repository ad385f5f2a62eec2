"""Policy files as they lie somewhere, read whole before any is looked at: a folder, or what came out of a repository.

Read is what an operator put there on purpose: regular `*.toml` files directly in the folder. Not read: dotfiles,
editor backups, tests (`*.test.toml`), sub-folders, and links that lead out of the folder (Kubernetes' own links lead
back into it).
"""

import os
import stat
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import msgspec

from tailsts.errors import FileError
from tailsts.files import read_bounded
from tailsts.oidc.source import JwksFile, JwksText, KeySource
from tailsts.policy.finding import Finding, Severity

# A policy has some hundred bytes; a file beyond this is not one.
MAX_POLICY_BYTES = 16 * 1024
# A key set or a bundle of certificates that a policy names.
MAX_NAMED_FILE_BYTES = 512 * 1024
TEST_ENDING = ".test.toml"
# The code of the warning that something older stands in for what was asked for.
STAND_IN = "place"


class File(msgspec.Struct, frozen=True, gc=False):
    """One file: its policy's name, how it is shown, and its bytes, or why it has none that can be used."""

    name: str
    shown: str
    raw: bytes
    fault: str = ""


class Sheaf(msgspec.Struct, frozen=True):
    """All policy files at one moment, ordered by name, and what is to be said about their place.

    `named` reads a file that a policy names, `key_file` makes it a source of keys; both raise FileError. `commit` is
    that of the repository, if they are from one; `changed_at` is when a file last changed, in seconds since the epoch.
    """

    place: str
    files: Sequence[File]
    findings: Sequence[Finding]
    named: Callable[[str], bytes]
    key_file: Callable[[str], KeySource]
    commit: str | None = None
    changed_at: float = 0.0


def read_folder(folder: Path) -> Sheaf:
    """Read the policy files in `folder`. What is wrong with the folder itself is among the findings."""
    place = shown(str(folder))
    findings: list[Finding] = []
    files: list[File] = []
    changed_at = 0.0
    try:
        paths = sorted(_policy_files(folder), key=lambda path: path.name)
        changed_at = max(map(_changed_at, paths), default=0.0)
        files = [_read(path) for path in paths]
        if _may_be_changed_by_everybody(folder):
            findings.append(place_fault(place, "can be changed by everybody on this machine; chmod o-w it"))
    except OSError as error:
        findings.append(place_fault(place, f"cannot be read: {error.strerror}"))
    return Sheaf(
        place,
        files,
        findings,
        named=lambda name: read_bounded(_absolute(folder, name), MAX_NAMED_FILE_BYTES, refuse_world_writable=True),
        key_file=lambda name: JwksFile(_absolute(folder, name)),
        changed_at=changed_at,
    )


def of_commit(place: str, commit: str, files: Mapping[str, bytes]) -> Sheaf:
    """Return the policy files of a repository's `commit`, given the `files` at the policies' path by relative name."""
    found = [
        File(name.removesuffix(".toml"), shown(name), raw, _refuse_size(raw))
        for name, raw in sorted(files.items())
        if is_policy_file(name) and "/" not in name
    ]

    def named(name: str) -> bytes:
        raw = files.get(str(PurePosixPath(name)))
        if raw is None:
            raise FileError("is not in the repository, in or below the folder of the policies")
        if len(raw) > MAX_NAMED_FILE_BYTES:
            raise FileError(f"is larger than {MAX_NAMED_FILE_BYTES} bytes")
        return raw

    return Sheaf(place, found, (), named, key_file=lambda name: JwksText(name, named(name)), commit=commit)


def is_policy_file(name: str) -> bool:
    """Return whether a file of this name is a policy: not hidden, no test, no editor's backup."""
    return name.endswith(".toml") and not name.startswith(".") and not name.endswith(TEST_ENDING)


def place_fault(place: str, message: str) -> Finding:
    """Return a fault of the folder or repository as a whole."""
    return Finding(Severity.FAULT, "folder", place, None, "", message)


def place_warning(place: str, message: str) -> Finding:
    """Return a warning about the folder or repository as a whole."""
    return Finding(Severity.SECURITY, "place", place, None, "", message)


def shown(text: str) -> str:
    """Return a file's name as it can be shown."""
    return text if text.isprintable() else ascii(text)


def _absolute(folder: Path, name: str) -> Path:
    return (folder / name).absolute()


def _policy_files(folder: Path) -> Iterable[Path]:
    inside = folder.resolve(strict=True)
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_policy_file(entry.name) and not entry.is_dir():
                path = Path(entry.path)
                if not entry.is_symlink() or path.resolve().is_relative_to(inside):
                    yield path


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        # Said when it is read.
        return 0.0


def _read(path: Path) -> File:
    try:
        return File(path.stem, shown(str(path)), read_bounded(path, MAX_POLICY_BYTES, refuse_world_writable=True))
    except FileError as error:
        return File(path.stem, shown(str(path)), b"", str(error))


def _refuse_size(raw: bytes) -> str:
    return f"is larger than {MAX_POLICY_BYTES} bytes" if len(raw) > MAX_POLICY_BYTES else ""


def _may_be_changed_by_everybody(folder: Path) -> bool:
    mode = folder.stat().st_mode
    # With the sticky bit nobody may replace what is another's. Kubernetes makes some of its volumes so, and others
    # without it, but read-only for everybody who has them mounted.
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX and not _is_read_only(folder)


def _is_read_only(folder: Path) -> bool:
    return sys.platform != "win32" and bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
