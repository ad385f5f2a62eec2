"""A folder of policy files, read into one immutable generation, or into everything that is wrong with it.

Read is what an operator put there on purpose: regular `*.toml` files directly in the folder. Not read: dotfiles,
editor backups, sub-folders, and links that lead out of the folder (Kubernetes' own links lead back into it).
"""

import hashlib
import os
import stat
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from tailsts.errors import FileError, KeySetError
from tailsts.files import read_bounded
from tailsts.oidc.keys import normalise
from tailsts.oidc.source import Discovery, JwksFile, JwksUrl, KeySource
from tailsts.outbound import certificates
from tailsts.policy.finding import Finding, Page, Severity
from tailsts.policy.judge import judge
from tailsts.policy.model import Generation, Policy, assemble
from tailsts.policy.parse import Draft, parse

# A policy has some hundred bytes; a file beyond this is not one.
MAX_POLICY_BYTES = 16 * 1024
# Of SHA-256, in hexadecimal: enough to tell one generation from another.
DIGEST_LENGTH = 16
# A key set or a bundle of certificates that a policy names.
MAX_NAMED_FILE_BYTES = 512 * 1024


class Options(msgspec.Struct, frozen=True):
    """What a server adds to its policies: its own audiences, and whether security warnings are faults."""

    audiences: tuple[str, ...] = ()
    strict: bool = False


class Loaded(msgspec.Struct, frozen=True):
    """The result of reading a folder: a generation, or None if anything is at fault; and what is to be said."""

    generation: Generation | None
    findings: Sequence[Finding]


def load(folder: Path, options: Options) -> Loaded:
    """Read every policy in `folder`. One fault anywhere, and there is no generation: never a part of the policies."""
    try:
        files = sorted(_policy_files(folder), key=lambda path: path.name)
    except OSError as error:
        return Loaded(None, [_folder_fault(folder, f"cannot be read: {error.strerror}")])
    findings = list(_twins(files))
    if _may_be_changed_by_everybody(folder):
        findings.append(_folder_fault(folder, "can be changed by everybody on this machine; chmod o-w it"))
    if not files:
        findings.append(_folder_fault(folder, "holds no policy: no *.toml file directly in it"))
    reading = _Reading(folder, options)
    for path in files:
        reading.read(path)
    findings.extend(reading.findings)
    if any(finding.severity is Severity.FAULT for finding in findings):
        return Loaded(None, findings)
    return Loaded(assemble(reading.policies, reading.digest.hexdigest()[:DIGEST_LENGTH]), findings)


def _policy_files(folder: Path) -> Iterable[Path]:
    inside = folder.resolve(strict=True)
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".toml") and not entry.name.startswith(".") and not entry.is_dir():
                path = Path(entry.path)
                if not entry.is_symlink() or path.resolve().is_relative_to(inside):
                    yield path


def _may_be_changed_by_everybody(folder: Path) -> bool:
    mode = folder.stat().st_mode
    # With the sticky bit, as Kubernetes makes its volumes, nobody may replace what is another's.
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX


def _twins(files: Sequence[Path]) -> Iterable[Finding]:
    """Fault names that differ only in what some file systems and readers do not see."""
    seen: dict[str, Path] = {}
    for path in files:
        other = seen.setdefault(unicodedata.normalize("NFKC", path.stem).casefold(), path)
        if other is not path:
            message = f"the name differs from {other.name} only by case or form"
            yield Finding(Severity.FAULT, "name", _shown(path), None, "", message, "rename one of them")


class _Reading:
    """One pass over the files of a folder. A file that a policy names is read once for all of them."""

    def __init__(self, folder: Path, options: Options) -> None:
        self.policies: list[Policy] = []
        self.findings: list[Finding] = []
        self.digest = hashlib.sha256()
        self._folder = folder
        self._options = options
        self._named_files: dict[Path, bytes] = {}

    def read(self, path: Path) -> None:
        page = _open(path)
        self.digest.update(_framed(os.fsencode(path.stem)) + _framed(page.text.encode()))
        draft = None if page.findings else parse(path.stem, page)
        if draft is not None:
            source = self._source(draft, page)
            if source is not None:
                self.policies.append(_policy(draft, source, self._options))
            judge(draft, page, server_audience=bool(self._options.audiences))
        strict = self._options.strict
        self.findings.extend(_as_fault(finding) if strict else finding for finding in page.findings)

    def _source(self, draft: Draft, page: Page) -> KeySource | None:
        key = "ca_file" if draft.jwks_file is None else "jwks_file"
        try:
            if draft.jwks_file is not None:
                path, document = self._named_file(draft.jwks_file)
                if not len(normalise(document)):
                    raise KeySetError("holds no usable key")  # noqa: TRY301 - said with the other reasons
                return JwksFile(path)
            ca_pem = None
            if draft.ca_file is not None:
                _, ca_pem = self._named_file(draft.ca_file)
                certificates(ca_pem)
        except (FileError, KeySetError, ValueError) as error:
            page.fault("named-file", key, str(error), "a path, relative to the folder of the policies")
            return None
        if draft.jwks_url is not None:
            return JwksUrl(draft.jwks_url, ca_pem, draft.allow_http)
        return Discovery(ca_pem, draft.allow_http)

    def _named_file(self, name: str) -> tuple[Path, bytes]:
        path = (self._folder / name).absolute()
        if path not in self._named_files:
            self._named_files[path] = read_bounded(path, MAX_NAMED_FILE_BYTES, refuse_world_writable=True)
        return path, self._named_files[path]


def _open(path: Path) -> Page:
    """Return the file's page; with a fault on it if the file cannot be a policy."""
    page = Page(_shown(path), "")
    try:
        page.text = read_bounded(path, MAX_POLICY_BYTES, refuse_world_writable=True).decode("utf-8")
    except UnicodeDecodeError:
        page.fault("file", "", "is not UTF-8")
    except FileError as error:
        page.fault("file", "", str(error))
    if not path.stem.isprintable():
        page.fault("name", "", "the file's name holds characters that cannot be shown", "rename it")
    return page


def _policy(draft: Draft, source: KeySource, options: Options) -> Policy:
    return Policy(
        name=draft.name,
        issuer=draft.issuer,
        source=source,
        algorithms=draft.algorithms,
        subject=draft.subject,
        audiences=draft.audiences or frozenset(options.audiences),
        allowed_scopes=draft.allowed_scopes,
        max_lifetime=draft.max_lifetime,
    )


def _shown(path: Path) -> str:
    text = str(path)
    return text if text.isprintable() else ascii(text)


def _as_fault(finding: Finding) -> Finding:
    if finding.severity is not Severity.SECURITY:
        return finding
    return msgspec.structs.replace(finding, severity=Severity.FAULT)


def _folder_fault(folder: Path, message: str) -> Finding:
    return Finding(Severity.FAULT, "folder", _shown(folder), None, "", message)


def _framed(raw: bytes) -> bytes:
    return len(raw).to_bytes(8, "big") + raw
