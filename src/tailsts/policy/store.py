"""Policy files, made into one immutable generation, or into everything that is wrong with them."""

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from tailsts.errors import FileError, KeySetError
from tailsts.oidc.keys import normalise
from tailsts.oidc.source import Discovery, JwksFile, JwksUrl, KeySource
from tailsts.outbound import certificates
from tailsts.policy.build import build
from tailsts.policy.draft import Draft
from tailsts.policy.finding import Finding, Page, Severity
from tailsts.policy.judging.judge import is_refused, judge
from tailsts.policy.model import DEFAULT_TAILNET, Generation, Policy, assemble
from tailsts.policy.parse import parse
from tailsts.policy.places.sheaf import File, Sheaf, place_fault, read_folder
from tailsts.policy.trusted import TrustedIssuers

# Of SHA-256, in hexadecimal: enough to tell one generation from another.
DIGEST_LENGTH = 16


class Options(msgspec.Struct, frozen=True):
    """What a server adds to its policies.

    Its own audiences; whether security warnings are faults; the tailnets that it has credentials of, None if that is
    not known; the allow-list of issuers that stands above all policies; whether each token may be used once only;
    whether all workers count together what policies bound.
    """

    audiences: tuple[str, ...] = ()
    strict: bool = False
    tailnets: frozenset[str] | None = frozenset({DEFAULT_TAILNET})
    trusted: TrustedIssuers | None = None
    single_use: bool = False
    counts_together: bool = True


class _Read(msgspec.Struct, gc=False):
    """What became of a file; `page` is there as long as it was not judged what is to be warned about."""

    policy: Policy | None
    draft: Draft | None
    findings: tuple[Finding, ...]
    page: Page | None = None


class Loaded(msgspec.Struct, frozen=True):
    """The result of reading policies: a generation, or None if anything is at fault; and what is to be said.

    `sheaf` is what the generation was made of; `later` is what `warnings` has to look at, if anything.
    """

    generation: Generation | None
    findings: Sequence[Finding]
    sheaf: Sheaf | None = None
    later: "_Later | None" = None


class _Later(msgspec.Struct, frozen=True):
    """What is to be said of the place, and all files, some of which were not judged yet."""

    findings: Sequence[Finding]
    read: Sequence[_Read]
    options: Options


class Memory:
    """What became of each file when it was last read, so that a reload looks only at those that changed.

    A file that names other files is looked at each time: they may have changed.
    """

    def __init__(self) -> None:
        self.known: dict[tuple[File, Options], _Read] = {}
        self._past: list[dict[tuple[File, Options], _Read]] = []

    def turn_to(self, known: dict[tuple[File, Options], _Read]) -> None:
        """Remember this from now on; what was known before waits until it may be forgotten."""
        self._past.append(self.known)
        self.known = known

    def forget(self) -> None:
        """Let go of what was known before, one by one: ten thousand at once would stop every other thread for long."""
        while self._past:
            past = self._past.pop()
            while past:
                past.popitem()


def load(folder: Path, options: Options, memory: Memory | None = None, *, may_be_empty: bool = False) -> Loaded:
    """Read every policy in `folder`: `compile_sheaf` of its files."""
    return compile_sheaf(read_folder(folder), options, memory, may_be_empty=may_be_empty)


def compile_sheaf(
    sheaf: Sheaf,
    options: Options,
    memory: Memory | None = None,
    *,
    may_be_empty: bool = False,
    warn_later: bool = False,
) -> Loaded:
    """Make the policies of all files. One fault anywhere, and there is no generation: never a part of the policies.

    No file at all is a fault, unless it `may_be_empty`: then nobody is trusted. `warn_later`: what is only warned about
    is not among the findings; `warnings` says it. Where warnings are faults it is.
    """
    findings = [*(_judged(finding, options) for finding in sheaf.findings), *_twins(sheaf.files)]
    if not sheaf.files and not may_be_empty and not any(found.severity is Severity.FAULT for found in findings):
        findings.append(place_fault(sheaf.place, "holds no policy: no *.toml file directly in it"))
    read = _read_all(_Reading(sheaf, options, warn_later=warn_later and not options.strict), memory or Memory())
    later = _Later(list(findings), read, options) if any(each.page is not None for each in read) else None
    findings += [finding for each in read for finding in each.findings]
    if any(finding.severity is Severity.FAULT for finding in findings):
        return Loaded(None, findings)
    policies = [each.policy for each in read if each.policy is not None]
    digest = sheaf.commit or _digest(sheaf.files, sheaf.read)
    return Loaded(assemble(policies, digest), findings, sheaf, later)


def warnings(loaded: Loaded) -> Sequence[Finding]:
    """Return all that is to be said of the policies, also that which was left for later; in the order of the files."""
    if (later := loaded.later) is None:
        return loaded.findings
    for each in later.read:
        if each.page is not None and each.draft is not None:
            _judge(later.options, each.draft, each.page)
            each.findings, each.page = tuple(each.page.findings), None
    return [*later.findings, *(finding for each in later.read for finding in each.findings)]


def _judge(options: Options, draft: Draft, page: Page) -> None:
    """Note on its page what a server with these options is to be warned about."""
    judge(draft, page, server_audience=bool(options.audiences), trusted=options.trusted)


def _read_all(reading: "_Reading", memory: Memory) -> list[_Read]:
    read: list[_Read] = []
    remembered: dict[tuple[File, Options], _Read] = {}
    options = reading.options
    for file in reading.sheaf.files:
        known = memory.known.get((file, options)) or reading.read(file)
        read.append(known)
        if known.draft is None or (known.draft.jwks_file is None and known.draft.ca_file is None):
            remembered[file, options] = known
    memory.turn_to(remembered)
    return read


def _digest(files: Sequence[File], named: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(_framed(os.fsencode(file.name)) + _framed(file.raw))
    if named:
        # No policy has an empty name.
        digest.update(_framed(b""))
    for name, raw in sorted(named.items()):
        digest.update(_framed(os.fsencode(name)) + _framed(raw))
    return digest.hexdigest()[:DIGEST_LENGTH]


def _twins(files: Sequence[File]) -> Iterable[Finding]:
    """Fault names that differ only in what some file systems and readers do not see."""
    seen: dict[str, File] = {}
    for file in files:
        other = seen.setdefault(unicodedata.normalize("NFKC", file.name).casefold(), file)
        if other is not file:
            message = f"the name differs from {other.name}.toml only by case or form"
            yield Finding(Severity.FAULT, "name", file.shown, None, "", message, "rename one of them")


class _Reading:
    """One pass over the files. A file that a policy names is read once for all of them, and is among the `named`."""

    def __init__(self, sheaf: Sheaf, options: Options, *, warn_later: bool) -> None:
        self.sheaf = sheaf
        self.options = options
        self._warn_later = warn_later

    def read(self, file: File) -> _Read:
        page = _open(file)
        draft = None if page.findings else parse(file.name, page)
        policy = None
        if draft is not None:
            self._check_tailnet(draft, page)
            source = self._source(draft, page)
            if source is not None:
                policy = build(draft, source, self.options.audiences, server_single_use=self.options.single_use)
                self._check_bounds(policy, page)
            if self._warn_later and not page.findings and not is_refused(draft, page):
                return _Read(policy, draft, (), page)
            _judge(self.options, draft, page)
        findings = tuple(_judged(finding, self.options) for finding in page.findings)
        return _Read(policy, draft, findings)

    def _check_tailnet(self, draft: Draft, page: Page) -> None:
        tailnets = self.options.tailnets
        if tailnets is not None and draft.tailnet not in tailnets:
            known = ", ".join(sorted(tailnets)) or "none"
            advice = f"known: {known}; others are named in the configuration file (--config)"
            page.fault("unknown-tailnet", "tailnet", f'is "{draft.tailnet}", of which there is no credential', advice)

    def _check_bounds(self, policy: Policy, page: Page) -> None:
        if policy.bounds is not None and not self.options.counts_together:
            key = "single_use" if policy.bounds.single_use else "rate_limit"
            message = "is counted by each of the workers alone"
            page.fault("state", key, message, "--state sqlite:PATH, or Redis: one that all of them share")

    def _source(self, draft: Draft, page: Page) -> KeySource | None:
        key = "ca_file" if draft.jwks_file is None else "jwks_file"
        try:
            if draft.jwks_file is not None:
                raw = self._read_named(draft.jwks_file)
                if not len(normalise(raw)):
                    raise KeySetError("holds no usable key")  # noqa: TRY301 - said with the other reasons
                return _with_content(self.sheaf.key_file(draft.jwks_file), raw)
            ca_pem = None
            if draft.ca_file is not None:
                ca_pem = self._read_named(draft.ca_file)
                certificates(ca_pem)
        except (FileError, KeySetError, ValueError) as error:
            page.fault("named-file", key, str(error), "a path, relative to the folder of the policies")
            return None
        if draft.jwks_url is not None:
            return JwksUrl(draft.jwks_url, ca_pem, draft.allow_http)
        return Discovery(ca_pem, draft.allow_http)

    def _read_named(self, name: str) -> bytes:
        read = self.sheaf.read
        if name not in read:
            read[name] = self.sheaf.named(name)
        return read[name]


def _with_content(source: KeySource, raw: bytes) -> KeySource:
    if isinstance(source, JwksFile):
        return msgspec.structs.replace(source, digest=hashlib.sha256(raw).hexdigest(), content=raw)
    return source


def _open(file: File) -> Page:
    """Return the file's page; with a fault on it if the file cannot be a policy."""
    page = Page(file.shown, "")
    if file.fault:
        page.fault("file", "", file.fault)
    try:
        page.text = file.raw.decode("utf-8")
    except UnicodeDecodeError:
        page.fault("file", "", "is not UTF-8")
    if not file.name.isprintable():
        page.fault("name", "", "the file's name holds characters that cannot be shown", "rename it")
    return page


def _judged(finding: Finding, options: Options) -> Finding:
    if not options.strict or finding.severity is not Severity.SECURITY:
        return finding
    return msgspec.structs.replace(finding, severity=Severity.FAULT)


def _framed(raw: bytes) -> bytes:
    return len(raw).to_bytes(8, "big") + raw
