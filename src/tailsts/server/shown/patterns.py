"""How the keys of issuers stand that only a pattern names. Each pattern is one: strangers choose the names. Pure."""

from collections.abc import Iterable

import msgspec


class PatternState(msgspec.Struct, frozen=True):
    """The issuers that match a pattern and whose keys are kept, or awaited.

    `stale` are those whose last fetch failed. `age_seconds` is the age of the oldest keys, None if there are none yet.
    """

    pattern: str
    source: str
    issuers: int
    stale: int
    age_seconds: float | None


def worst_of_patterns(states: Iterable[PatternState]) -> tuple[PatternState, ...]:
    """Return each pattern and source once, with the greatest numbers: of workers, or of two roots of trust."""
    found: dict[tuple[str, str], PatternState] = {}
    for state in states:
        pair = state.pattern, state.source
        found[pair] = state if pair not in found else _worse(found[pair], state)
    return tuple(found.values())


def _worse(one: PatternState, other: PatternState) -> PatternState:
    ages = [state.age_seconds for state in (one, other) if state.age_seconds is not None]
    return PatternState(
        one.pattern,
        one.source,
        max(one.issuers, other.issuers),
        max(one.stale, other.stale),
        max(ages, default=None),
    )
