"""Policy files as they lie somewhere, read whole before any is looked at: a folder, or what came out of a repository.

Read is what an operator put there on purpose: regular `*.toml` files directly in the folder. Not read: dotfiles,
editor backups, tests (`*.test.toml`), sub-folders, and links that lead out of the folder (Kubernetes' own links lead
back into it).
"""

import os
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
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
    that of the repository, if they are from one; `read` has what was read of files that policies name.
    """

    place: str
    files: Sequence[File]
    findings: Sequence[Finding]
    named: Callable[[str], bytes]
    key_file: Callable[[str], KeySource]
    commit: str | None = None
    read: dict[str, bytes] = msgspec.field(default_factory=dict)


def read_folder(folder: Path) -> Sheaf:
    """Read the policy files in `folder`. What is wrong with the folder itself is among the findings."""
    place = shown(str(folder))
    findings: list[Finding] = []
    files: list[File] = []
    try:
        paths, passed_over = _policy_files(folder)
        findings += [_passed_over(shown(str(path)), what) for path, what in passed_over]
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
        key_file=lambda name: key_file_of(folder, name),
    )


def of_commit(
    place: str, commit: str, files: Mapping[str, bytes], passed_over: Mapping[str, str] | None = None
) -> Sheaf:
    """Return the policy files of a repository's `commit`, given the `files` at the policies' path by relative name.

    `passed_over` says of other entries what they are.
    """
    others = passed_over or {}
    found = [
        File(name.removesuffix(".toml"), shown(name), raw, _refuse_size(raw))
        for name, raw in sorted(files.items())
        if is_policy_file(name) and "/" not in name
    ]
    findings = [
        _passed_over(shown(name), what)
        for name, what in sorted(others.items())
        if is_policy_file(name) and "/" not in name
    ]

    def named(name: str) -> bytes:
        relative = str(PurePosixPath(name))
        raw = files.get(relative)
        if raw is None:
            if relative in others:
                raise FileError(f"{others[relative]}, and is not read")
            raise FileError("is not in the repository, in or below the folder of the policies")
        if len(raw) > MAX_NAMED_FILE_BYTES:
            raise FileError(f"is larger than {MAX_NAMED_FILE_BYTES} bytes")
        return raw

    return Sheaf(place, found, findings, named, key_file=lambda name: JwksText(name, named(name)), commit=commit)


def is_policy_file(name: str) -> bool:
    """Return whether a file of this name is a policy: not hidden, no test, no editor's backup."""
    return name.endswith(".toml") and not name.startswith(".") and not name.endswith(TEST_ENDING)


def place_fault(place: str, message: str) -> Finding:
    """Return a fault of the folder or repository as a whole."""
    return Finding(Severity.FAULT, "folder", place, None, "", message)


def _passed_over(file: str, what: str) -> Finding:
    """Return a warning: whoever gave a file the name of a policy may believe that it is one."""
    return Finding(
        Severity.SECURITY, "passed-over", file, None, "", f"{what}, and is not read", "put a file in its place"
    )


def place_warning(place: str, message: str) -> Finding:
    """Return a warning about the folder or repository as a whole."""
    return Finding(Severity.SECURITY, "place", place, None, "", message)


def shown(text: str) -> str:
    """Return a file's name as it can be shown."""
    return text if text.isprintable() else ascii(text)


def key_file_of(folder: Path, name: str) -> JwksFile:
    """Return the file of keys that a policy in the folder names."""
    return JwksFile(_absolute(folder, name))


def _absolute(folder: Path, name: str) -> Path:
    return (folder / name).absolute()


def _policy_files(folder: Path) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Return what is read, by name, and what has the name of a policy and is not, with what it is."""
    inside = folder.resolve(strict=True)
    paths: list[Path] = []
    passed_over: list[tuple[Path, str]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not is_policy_file(entry.name):
                continue
            path = Path(entry.path)
            if entry.is_dir():
                passed_over.append((path, "is a folder"))
            elif entry.is_symlink() and not path.resolve().is_relative_to(inside):
                passed_over.append((path, "is a link that leads out of the folder"))
            else:
                paths.append(path)
    return sorted(paths, key=_name), sorted(passed_over, key=lambda found: found[0].name)


def _name(path: Path) -> str:
    return path.name


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
