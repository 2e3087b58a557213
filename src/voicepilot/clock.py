"""The real clock: anchored to the epoch once, then moved by a steady clock that counts suspension."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial


def steady_clock() -> Callable[[], float]:
    """The platform's clock that goes on while the machine sleeps.

    Linux: CLOCK_BOOTTIME (clock_gettime(2)). macOS: CLOCK_MONOTONIC counts sleep there, unlike `time.monotonic`.
    Elsewhere `time.monotonic` is the best there is.
    """
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC" if sys.platform == "darwin" else ""):
        if name and hasattr(time, name):
            kind: int = getattr(time, name)
            return partial(time.clock_gettime, kind)
    return time.monotonic


class SystemClock:
    """The `Clock` of real life."""

    def __init__(self, steady: Callable[[], float] | None = None, wall: Callable[[], float] = time.time) -> None:
        self._steady = steady or steady_clock()
        self._wall = wall
        self._anchor = wall() - self._steady()

    def now(self) -> float:
        """Seconds since the epoch as of the anchoring, never jumping."""
        return self._anchor + self._steady()

    def wall(self) -> float:
        """Seconds since the epoch as the wall clock shows them."""
        return self._wall()
