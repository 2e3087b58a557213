"""An event loop in a hurry, and the clock that goes with it: the whole demo in a fraction of its time.

Everything keeps its own numbers (a key of 20 s still lives 20 s of this loop's time), so that a test can watch the very
story that people see. Sockets and processes are as real, and as slow, as ever.
"""

from __future__ import annotations

import asyncio
import selectors
import time

from voicepilot.clock import SystemClock
from voicepilot.ports import Clock


class _HurriedSelector(selectors.DefaultSelector):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self._factor = factor

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout if timeout is None else timeout / self._factor)


class HurriedLoop(asyncio.SelectorEventLoop):
    """A loop whose seconds pass `factor` times faster."""

    def __init__(self, factor: float) -> None:
        self._factor = factor
        super().__init__(_HurriedSelector(factor))

    def time(self) -> float:
        """Seconds, hurried."""
        return super().time() * self._factor


def clock_of(loop: asyncio.AbstractEventLoop) -> Clock:
    """The clock for what runs on `loop`: the system's, or one that hurries with it."""
    if not isinstance(loop, HurriedLoop):
        return SystemClock()
    offset = time.time() - loop.time()
    return SystemClock(steady=loop.time, wall=lambda: loop.time() + offset)
