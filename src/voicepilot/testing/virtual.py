"""Virtual time: an event loop that never waits, and a clock that can be suspended or set.

When nothing is ready to run, the loop moves its own time to the next timer instead of sleeping, so an hour of session
life takes milliseconds and always happens in the same order.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH = 1_790_000_000.0
"""Where virtual clocks begin: a moment in September 2026, so that times look like times."""


class DeadlockError(RuntimeError):
    """Everything waits and no timer is set: in virtual time nothing can ever happen again."""


POLL_EVERY = 50
"""How often the loop goes round until the operating system is asked for news, which can only be a signal."""


class _JumpingSelector(selectors.SelectSelector):
    """Polls without blocking, and counts the time the loop asked it to block."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed = 0.0
        self._rounds = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._rounds += 1
        if timeout is not None and self._rounds % POLL_EVERY:
            self.elapsed += timeout
            return []
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise DeadlockError("every task waits and no timer is set")
        self.elapsed += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time. It has no use for sockets: nothing outside the process moves its time."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jumping.elapsed


class VirtualClock:
    """A `Clock` that follows a `VirtualTimeLoop`, and can do what real clocks do to people.

    `suspend(seconds)` is a laptop lid: the loop's timers stand still, yet time has passed. `set_wall(offset)` moves
    the wall clock against true time, as NTP or a user does.
    """

    def __init__(self, epoch: float = EPOCH) -> None:
        self._epoch = epoch
        self._suspended = 0.0
        self._wall_offset = 0.0

    def now(self) -> float:
        """Seconds since the epoch, counting suspension, never jumping."""
        return self._epoch + asyncio.get_running_loop().time() + self._suspended

    def wall(self) -> float:
        """Seconds since the epoch as the wall clock shows them."""
        return self.now() + self._wall_offset

    def suspend(self, seconds: float) -> None:
        """Let `seconds` pass while no timer runs."""
        self._suspended += seconds

    def set_wall(self, offset: float) -> None:
        """Put the wall clock `offset` seconds away from true time."""
        self._wall_offset = offset


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end in virtual time, as `asyncio.run` does in real time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
