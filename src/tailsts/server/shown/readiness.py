"""Whether the service can do its work now, in detail: for the admin listener alone. Pure."""

from collections.abc import Collection, Iterable, Sequence
from typing import Literal

import msgspec

from tailsts.policy.model import Generation

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
    """What the service needs beside keys: why the `audit` log, or the `state`, is not to be had; None if it is."""

    audit: str | None = None
    state: str | None = None


HEALTHY = Health()


def _no_fault() -> None:
    """Return the default of what is shown as null: made each time, it is not left out as `workers` is."""


class Readiness(msgspec.Struct, frozen=True, omit_defaults=True):
    """`ready`: all is well. `degraded`: some trust has no keys, or something else failed. `not ready`: none has any.

    What else can fail: the last reload, writing the audit log, asking the state. A policy that names issuers by a
    pattern needs no keys before a token comes. Of several workers the worst of each thing is shown, and all generations
    that are in force; `degraded` if they are not all ready, `not ready` if none can work.
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


def assess(
    generation: Generation,
    trusts: Sequence[TrustState],
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
        tuple(trusts),
        audit=health.audit,
        state=health.state,
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
    workers = tuple(_worker(number, part, number in silent) for number, part in enumerate(parts, 1))
    return Readiness(
        _status(workers, draining=draining),
        draining,
        min((part.policies for part in up), default=0),
        # Whoever waits until one generation is in force waits until it is in all workers.
        " ".join(sorted({part.generation for part in up})),
        tuple(dict.fromkeys([*(fault for part in up for fault in part.reload_faults), *start_faults])),
        _worst(trust for part in up for trust in part.trusts),
        workers,
        next((part.audit for part in up if part.audit is not None), None),
        next((part.state for part in up if part.state is not None), None),
    )


def _status(workers: Sequence[WorkerState], *, draining: bool) -> Status:
    statuses = {worker.status for worker in workers}
    if draining or not statuses & {"ready", "degraded"}:
        return "not ready"
    return "ready" if statuses == {"ready"} else "degraded"


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
