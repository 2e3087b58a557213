"""The machine's own clock, for a controller that is given no other."""

from __future__ import annotations

import time

# Counts suspension where the platform has it (Linux); elsewhere the monotonic clock.
_STEADY: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def _steady() -> float:
    return time.clock_gettime(_STEADY) if _STEADY is not None else time.monotonic()


class SystemClock:
    """Implements `ports.Clock`."""

    def __init__(self) -> None:
        self._anchor = time.time() - _steady()

    def now(self) -> float:
        """Seconds since the epoch as of the anchoring, never jumping."""
        return self._anchor + _steady()

    def wall(self) -> float:
        """Seconds since the epoch as the wall clock shows them."""
        return time.time()
