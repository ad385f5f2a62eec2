"""What must be there before the service starts, looked at together, so that every fault is said at once."""

import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import structlog

from tailsts.errors import ConfigurationError
from tailsts.exchange import Clock
from tailsts.policy.finding import Finding, Severity
from tailsts.policy.model import Generation
from tailsts.policy.places.sheaf import Sheaf
from tailsts.policy.store import Loaded, Options
from tailsts.server.journal import appending_to, end_half_line
from tailsts.server.listener import bind
from tailsts.server.settings import MEMORY, Settings, faults
from tailsts.server.sources import Commits, Folder, Source
from tailsts.server.traces.exporting import missing
from tailsts.server.webhook.spools import refuse_folder
from tailsts.server.workers.handover import Handed
from tailsts.server.workers.keeping import unpack
from tailsts.state.opening import open_state
from tailsts.state.state import State


class Prepared(msgspec.Struct, frozen=True):
    """Policies, ports, the audit log. A worker has the public port of its parent, and no admin port."""

    settings: Settings
    source: Source
    generation: Generation
    sheaf: Sheaf
    warnings: tuple[Finding, ...]
    public: socket.socket
    admin: socket.socket | None
    state: State
    handed: Handed | None
    # What the parent has already: it has handed it over.
    told: Sheaf | None = None


def prepare(settings: Settings, lines: Iterable[str], handed: Handed | None, clock: Clock) -> Prepared:
    """Check the settings, load the policies and take the ports. `lines` are faults that were found before.

    Raises:
        ConfigurationError: with every fault in any of these.
    """
    told = list(faults(settings))
    lines = [*lines, *told, *_platform_faults(settings)]
    source = _source(settings, clock)
    # A repository is not asked before it is known to be one that may be.
    handed_over = _handed_over(source, handed)
    loaded = handed_over or (source.first() if settings.git is None or not told else Loaded(None, ()))
    lines.extend(str(found) for found in loaded.findings if found.severity is Severity.FAULT)
    lines.extend(_audit_log_faults(settings))
    state = None if told else _state(settings, lines, clock)
    if settings.traces is not None and (lacking := missing()):
        lines.append(lacking)
    public, admin = _ports(settings, lines) if handed is None else (handed.public_socket(), None)
    if lines or loaded.generation is None or loaded.sheaf is None or public is None or state is None:
        for taken in (public, admin):
            if taken is not None:
                taken.close()
        raise ConfigurationError(lines)
    warnings = tuple(loaded.findings)
    known = None if handed_over is None else handed_over.sheaf
    return Prepared(settings, source, loaded.generation, loaded.sheaf, warnings, public, admin, state, handed, known)


def _platform_faults(settings: Settings) -> Iterator[str]:
    if os.name == "nt" and settings.workers > 1:
        yield "--workers: on Windows there is one process only"


def _source(settings: Settings, clock: Clock) -> Source:
    options = Options(
        settings.audiences,
        settings.strict,
        frozenset(settings.tailnets) or None,
        settings.trusted_issuers,
        settings.single_use,
        counts_together=settings.workers == 1 or settings.state.reveal() != MEMORY,
    )
    git = settings.git
    if git is None:
        return Folder(Path(settings.policies_dir), options, clock.now, clock.monotonic)
    # Its libraries take several megabytes, which most do without.
    from tailsts.policy.places.repository import Remote, Repository  # noqa: PLC0415 - as was just said

    remote = Remote(git.url, git.ref, git.path, git.token_file, git.cache_dir, settings.extra_roots)
    return Commits(Repository(remote, report=_say_cache_trouble), f"{git.url} {git.ref} {git.path}".rstrip(), options)


def _handed_over(source: Source, handed: Handed | None) -> Loaded | None:
    """A worker begins with what is in force, whatever is where the policies are: it looks there when it serves."""
    packed = None if handed is None else handed.packed_policies()
    if packed is not None:
        loaded = source.handed_over(unpack(packed))
        if loaded.generation is not None:
            return loaded
        # The service is told something else by now, which these policies do not go with. Others may.
    return None


def _say_cache_trouble(trouble: str) -> None:
    structlog.get_logger().warning("the last good policies cannot be kept", trouble=trouble)


def _state(settings: Settings, lines: list[str], clock: Clock) -> State | None:
    try:
        return open_state(settings.state.reveal(), monotonic=clock.monotonic, extra_roots=settings.extra_roots)
    except ConfigurationError as error:
        lines.extend(error.faults)
        return None


def _ports(settings: Settings, lines: list[str]) -> tuple[socket.socket | None, socket.socket | None]:
    taken: list[socket.socket | None] = []
    for host, port in ((settings.host, settings.port), (settings.admin_host, settings.admin_port)):
        try:
            taken.append(None if port is None else bind(host, port))
        except ConfigurationError as error:
            lines.extend(error.faults)
            taken.append(None)
    return taken[0], taken[1]


def _audit_log_faults(settings: Settings) -> Iterator[str]:
    if settings.audit_log is not None:
        try:
            os.close(appending_to(settings.audit_log)())
            end_half_line(settings.audit_log)
        except OSError as error:
            yield f"--audit-log {settings.audit_log} cannot be opened: {error.strerror}"
    if settings.audit_webhook is not None and (reason := refuse_folder(Path(settings.audit_webhook.spool))):
        yield f"--audit-spool {settings.audit_webhook.spool} {reason}"
