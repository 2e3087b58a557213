"""When each session's key comes to its natural end: one timer for all, and only while somebody wants to know."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_LONGEST_WAIT = 5.0  # seconds: loop timers stand still while a machine sleeps, so never wait long without looking


class Lapses:
    """Calls `on_lapse(session_id)` once for each key that ends while `watch(True)`."""

    def __init__(self, now: Callable[[], float], on_lapse: Callable[[str], None]) -> None:
        self._now = now
        self._on_lapse = on_lapse
        self._ends: dict[str, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._watched = False

    def note(self, session_id: str, expires_in: float) -> None:
        """The session's key is a new one, good for `expires_in` seconds."""
        self._ends[session_id] = self._now() + expires_in
        # The timer looks at least every few seconds anyway, so most keys need no timer of their own.
        if self._timer is None or self._timer.when() > asyncio.get_running_loop().time() + expires_in:
            self._arm()

    def forget(self, session_id: str) -> None:
        """The session has no key any more."""
        self._ends.pop(session_id, None)
        if not self._ends:
            self._disarm()

    def watch(self, wanted: bool) -> None:
        """Start or stop watching. Keys that ended before somebody watched are not told of."""
        if wanted and not self._watched:
            now = self._now()
            self._ends = {session_id: end for session_id, end in self._ends.items() if end > now}
        self._watched = wanted
        self._disarm()
        self._arm()

    def close(self) -> None:
        """Forget everything."""
        self._ends.clear()
        self._disarm()

    def _arm(self) -> None:
        if not self._watched or not self._ends:
            return
        wait = min(max(min(self._ends.values()) - self._now(), 0.0), _LONGEST_WAIT)
        self._disarm()
        self._timer = asyncio.get_running_loop().call_later(wait, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._now()
        for session_id in [session_id for session_id, end in self._ends.items() if end <= now]:
            del self._ends[session_id]
            self._on_lapse(session_id)
        self._arm()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
