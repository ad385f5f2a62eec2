"""What one process shows of itself, as values; and how several processes show themselves as one. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from tailsts.server.shown.readiness import Readiness, together

Labels = tuple[str, ...]


class Totals(msgspec.Struct, frozen=True):
    """What only grows. `counters` by name and labels; `stages` by name: the counts of a histogram, and its sum."""

    counters: Mapping[str, Mapping[Labels, int]] = {}
    stages: Mapping[str, tuple[tuple[int, ...], float]] = {}


class Workers(msgspec.Struct, frozen=True):
    """How many processes there should be, how many serve, and how many had to be started again."""

    wanted: int = 1
    up: int = 1
    restarts: int = 0


class Waiting(msgspec.Struct, frozen=True):
    """Audit events that the webhook has not taken yet, and how much of the spool is used, from 0 to 1."""

    events: int
    used: float


class Load(msgspec.Struct, frozen=True):
    """How much of something there is now, and how much of it there may be."""

    taken: int
    limit: int


class Snapshot(msgspec.Struct, frozen=True):
    """Everything that the admin port shows.

    `loads` has by name what there is only so much of; `failing_fast` by tailnet whether Tailscale is hardly asked at
    the moment. `state_reachable` is None for a state in memory.
    """

    totals: Totals
    readiness: Readiness
    loads: Mapping[str, Load]
    audit_writable: bool
    workers: Workers = Workers()
    webhook: Waiting | None = None
    failing_fast: Mapping[str, bool] = {}
    state_reachable: bool | None = None


def add_up(parts: Iterable[Totals]) -> Totals:
    """Return the sum."""
    counters: dict[str, dict[Labels, int]] = {}
    stages: dict[str, tuple[tuple[int, ...], float]] = {}
    for part in parts:
        for name, counts in part.counters.items():
            sums = counters.setdefault(name, {})
            for labels, count in counts.items():
                sums[labels] = sums.get(labels, 0) + count
        for name, (counted, total) in part.stages.items():
            before, sum_before = stages.get(name, ((0,) * len(counted), 0.0))
            stages[name] = tuple(map(sum, zip(before, counted, strict=True))), sum_before + total
    return Totals(counters, stages)


def merge(
    parts: Sequence[Snapshot | None],
    *,
    gone: Iterable[Totals],
    restarts: int,
    draining: bool,
    silent: Collection[int] = (),
    start_faults: Iterable[str] = (),
) -> Snapshot:
    """Return what workers show together; None stands for one that does not serve now.

    What was counted adds up, with what those that are `gone` had counted: a total never goes backwards. So do loads,
    of those that are there. Of what can be good or bad, the worst is shown. `silent` and `start_faults` are those of
    `together`.
    """
    up = [part for part in parts if part is not None]
    failing_fast: dict[str, bool] = {}
    for part in up:
        for tailnet, is_failing in part.failing_fast.items():
            failing_fast[tailnet] = failing_fast.get(tailnet, False) or is_failing
    return Snapshot(
        add_up([*gone, *(part.totals for part in up)]),
        together(
            [None if part is None else part.readiness for part in parts],
            draining=draining,
            silent=silent,
            start_faults=start_faults,
        ),
        _together_in(part.loads for part in up),
        all(part.audit_writable for part in up),
        Workers(len(parts), len(up), restarts),
        _waiting([part.webhook for part in up if part.webhook is not None]),
        failing_fast,
        _worst_of(part.state_reachable for part in up),
    )


def _together_in(parts: Iterable[Mapping[str, Load]]) -> dict[str, Load]:
    sums: dict[str, Load] = {}
    for loads in parts:
        for name, load in loads.items():
            before = sums.get(name, Load(0, 0))
            sums[name] = Load(before.taken + load.taken, before.limit + load.limit)
    return sums


def _worst_of(reachable: Iterable[bool | None]) -> bool | None:
    known = [each for each in reachable if each is not None]
    return all(known) if known else None


def _waiting(parts: Sequence[Waiting]) -> Waiting | None:
    return Waiting(sum(part.events for part in parts), max(part.used for part in parts)) if parts else None
