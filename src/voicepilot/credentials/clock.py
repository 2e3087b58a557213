"""The machine's own clocks, for a key service that is given no other."""

from __future__ import annotations

import time

# Counts suspension where the platform has it (Linux); elsewhere the monotonic clock.
_STEADY: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class SystemClock:
    """Implements `ports.Clock`, except that `now` counts from an arbitrary moment: only differences are used here."""

    def now(self) -> float:
        """Seconds on a steady clock."""
        return time.clock_gettime(_STEADY) if _STEADY is not None else time.monotonic()

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()
