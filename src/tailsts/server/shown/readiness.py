"""Whether the service can do its work now, in detail: for the admin listener alone. Pure."""

from collections.abc import Collection, Iterable, Sequence
from typing import Literal

import msgspec

from tailsts.policy.model import Generation
from tailsts.server.shown.patterns import PatternState, worst_of_patterns

Status = Literal["ready", "degraded", "not ready"]
State = Literal["fresh", "stale", "missing"]
# From good to bad.
STATES: tuple[State, ...] = ("fresh", "stale", "missing")


class TrustState(msgspec.Struct, frozen=True):
    """The keys of one issuer. `age_seconds` since they were fetched; `fault` is that of the last attempt."""

    issuer: str
    source: str
    state: State
    keys: int
    age_seconds: float | None
    fault: str | None


class WorkerState(msgspec.Struct, frozen=True):
    """One of several workers. One that is `gone` is being started, or started again; one that is `silent` is stuck."""

    worker: int
    status: Status | Literal["gone", "silent"]
    generation: str


class Health(msgspec.Struct, frozen=True):
    """What the service needs beside keys: why the `audit` log, or the `state`, is not to be had; None if it is.

    `failing_fast` are the tailnets for which Tailscale failed so often in a row that it is hardly asked.
    """

    audit: str | None = None
    state: str | None = None
    failing_fast: tuple[str, ...] = ()


HEALTHY = Health()


def _no_fault() -> None:
    """Return the default of what is shown as null: made each time, it is not left out as `workers` is."""


class Readiness(msgspec.Struct, frozen=True, omit_defaults=True):
    """`ready`: all is well. `degraded`: some trust has no keys, or something else failed. `not ready`: none has any.

    What else can fail: the last reload, writing the audit log, asking the state, Tailscale. A policy that names issuers
    by a pattern needs no keys before a token comes. Of several workers the worst of each thing is shown, and all
    generations that are in force; `degraded` if these are several or not all are ready, `not ready` if none can work.
    """

    status: Status
    draining: bool
    policies: int
    generation: str
    reload_faults: tuple[str, ...]
    trusts: tuple[TrustState, ...]
    workers: tuple[WorkerState, ...] = ()
    audit: str | None = msgspec.field(default_factory=_no_fault)
    state: str | None = msgspec.field(default_factory=_no_fault)
    failing_fast: tuple[str, ...] = ()
    patterns: tuple[PatternState, ...] = ()


def assess(
    generation: Generation,
    trusts: Sequence[TrustState],
    patterns: Iterable[PatternState] = (),
    *,
    reload_faults: tuple[str, ...],
    draining: bool,
    health: Health = HEALTHY,
) -> Readiness:
    """Look at everything that an exchange needs."""
    usable = sum(trust.state != "missing" for trust in trusts)
    status: Status = "ready"
    # Whose keys a pattern of issuers needs is known when a token comes.
    if draining or not (usable or generation.families):
        status = "not ready"
    elif usable < len(trusts) or reload_faults or health != HEALTHY:
        status = "degraded"
    return Readiness(
        status,
        draining,
        len(generation.policies),
        generation.digest,
        reload_faults,
        # Two policies may name the same issuer with different roots of trust, which is not shown.
        _worst(trusts),
        audit=health.audit,
        state=health.state,
        failing_fast=health.failing_fast,
        patterns=worst_of_patterns(patterns),
    )


def together(
    parts: Sequence[Readiness | None],
    *,
    draining: bool,
    silent: Collection[int] = (),
    start_faults: Iterable[str] = (),
) -> Readiness:
    """Return the readiness of several workers; None stands for one that does not serve now.

    `silent` are the numbers of those that do not answer: what they last said is shown. `start_faults` keep others from
    starting.
    """
    up = [part for part in parts if part is not None]
    generations = sorted({part.generation for part in up})
    workers = tuple(_worker(number, part, number in silent) for number, part in enumerate(parts, 1))
    return Readiness(
        _status(workers, generations, draining=draining),
        draining,
        min((part.policies for part in up), default=0),
        # Whoever waits until one generation is in force waits until it is in all workers.
        " ".join(generations),
        tuple(dict.fromkeys([*(fault for part in up for fault in part.reload_faults), *start_faults])),
        _worst(trust for part in up for trust in part.trusts),
        workers,
        next((part.audit for part in up if part.audit is not None), None),
        next((part.state for part in up if part.state is not None), None),
        tuple(sorted({tailnet for part in up for tailnet in part.failing_fast})),
        worst_of_patterns(pattern for part in up for pattern in part.patterns),
    )


def _status(workers: Sequence[WorkerState], generations: Sequence[str], *, draining: bool) -> Status:
    statuses = {worker.status for worker in workers}
    if draining or not statuses & {"ready", "degraded"}:
        return "not ready"
    # As long as there are two, the same request is answered in two ways.
    return "ready" if statuses == {"ready"} and len(generations) == 1 else "degraded"


def _worker(number: int, part: Readiness | None, is_silent: bool) -> WorkerState:  # noqa: FBT001 - one caller, below it
    if part is None:
        return WorkerState(number, "gone", "")
    return WorkerState(number, "silent" if is_silent else part.status, part.generation)


def _worst(trusts: Iterable[TrustState]) -> tuple[TrustState, ...]:
    found: dict[tuple[str, str], TrustState] = {}
    for trust in trusts:
        pair = trust.issuer, trust.source
        found[pair] = trust if pair not in found else _worse(found[pair], trust)
    return tuple(found.values())


def _worse(one: TrustState, other: TrustState) -> TrustState:
    ages = [trust.age_seconds for trust in (one, other) if trust.age_seconds is not None]
    return TrustState(
        one.issuer,
        one.source,
        max(one.state, other.state, key=STATES.index),
        min(one.keys, other.keys),
        max(ages, default=None),
        one.fault or other.fault,
    )
