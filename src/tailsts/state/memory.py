"""State in this process: for one worker on one machine, and gone with it."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from tailsts.errors import StateUnavailableError
from tailsts.policy.rate import Rate
from tailsts.state.pace import advance, micros, pace_of, retreat, whole_seconds
from tailsts.state.state import KEPT_LONGER

# Of claims, and of rates. More than fit are refused, since one that was forgotten would be a token used twice.
MOST = 1_000_000
# Looked at for each that is new. Any number above one keeps what is over from piling up.
_LOOKED_AT = 4
# Looked at before something is refused because all is full.
_LOOKED_AT_WHEN_FULL = 1000

V = TypeVar("V")


class _Fading(Generic[V]):
    """Entries that are over at some time, `most` of them. Each new one clears away some that are over.

    They stand in a ring: one that is looked at and not yet over goes to its end.
    """

    def __init__(self, most: int) -> None:
        self.entries: OrderedDict[str, V] = OrderedDict()
        self._most = most

    def put(self, key: str, value: V, is_over: Callable[[V], bool]) -> None:
        if key not in self.entries:
            self._sweep(_LOOKED_AT, is_over)
            if len(self.entries) >= self._most:
                self._sweep(_LOOKED_AT_WHEN_FULL, is_over)
            if len(self.entries) >= self._most:
                raise StateUnavailableError(f"the state in memory holds {self._most} entries", retry_after=5)
        self.entries[key] = value

    def _sweep(self, count: int, is_over: Callable[[V], bool]) -> None:
        for _ in range(min(count, len(self.entries))):
            key, value = self.entries.popitem(last=False)
            if not is_over(value):
                self.entries[key] = value


class MemoryState:
    """Claims and rates in memory. `monotonic` is a clock that nobody sets; `most` bounds each of them."""

    def __init__(self, *, monotonic: Callable[[], float], most: int = MOST) -> None:
        self._monotonic = monotonic
        self._claims: _Fading[tuple[float, float, str]] = _Fading(most)
        self._rates: _Fading[int] = _Fading(most)

    async def claim(self, key: str, until: float, now: float, mark: str) -> bool:
        """Return whether nobody had claimed `key`; see `State`."""
        steady = self._monotonic()

        # By both clocks: one that was set a day forth, and back again, would make a claim of today one of yesterday.
        def is_over(claim: tuple[float, float, str]) -> bool:
            return claim[0] <= now and claim[1] <= steady

        held = self._claims.entries.get(key)
        if held is not None and not is_over(held):
            return False
        self._claims.put(key, (until + KEPT_LONGER, steady + (until - now) + KEPT_LONGER, mark), is_over)
        return True

    async def give_back(self, key: str, mark: str) -> None:
        """Let `key` be claimed again; see `State`."""
        held = self._claims.entries.get(key)
        if held is not None and held[2] == mark:
            del self._claims.entries[key]

    async def take(self, key: str, rate: Rate, now: float, mark: str) -> int:  # noqa: ARG002 - nothing is in doubt here
        """Return 0, or how many seconds `key` is above its rate; see `State`."""
        at = micros(now)
        kept, early = advance(self._rates.entries.get(key), pace_of(rate), at)
        self._rates.put(key, kept, lambda number: number <= at)
        return whole_seconds(early)

    async def untake(self, key: str, rate: Rate, now: float, mark: str) -> None:  # noqa: ARG002 - as was just said
        """Count one no more; see `State`."""
        kept = self._rates.entries.get(key)
        if kept is not None:
            self._rates.entries[key] = retreat(kept, pace_of(rate), micros(now))

    async def close(self) -> None:
        """Nothing is held that needs letting go."""

    def __len__(self) -> int:
        """Return how many entries are kept."""
        return len(self._claims.entries) + len(self._rates.entries)
