"""A clock that a test sets, for one process: the time of day alone, as libfaketime gives it (Debian: faketime)."""

from pathlib import Path

_FOUND = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
IS_THERE = bool(_FOUND)


class SteppedClock:
    """A clock of a process that is started with these `variables`; right, until it is stepped."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.step(0)
        self.variables = {
            "LD_PRELOAD": str(_FOUND[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            # Read anew each time, not every ten seconds.
            "FAKETIME_NO_CACHE": "1",
            # What a clock that is set does not change.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def step(self, seconds: int) -> None:
        """Set the clock so many seconds before or after the right time."""
        new = self._file.with_name("clock.new")
        new.write_text(f"{seconds:+d}")
        new.replace(self._file)
