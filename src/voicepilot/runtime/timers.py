"""One wake-up heap for all sessions: the soonest deadline of each, and one timer of the event loop."""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import logging
from typing import Protocol

from voicepilot.errors import ConfigurationError
from voicepilot.lifecycle.diagnostics import NextEvent, TimerStatuses, next_event, timer_statuses
from voicepilot.lifecycle.inputs import HoldReleased, HoldTaken, Input
from voicepilot.ports import Clock
from voicepilot.runtime.registry import Entry, Registry

LOOK_AGAIN = 5.0
"""Seconds; no wait is longer, so that a machine that slept notices soon after it wakes."""

SLICE = 500
"""Sessions woken in one go before other work gets its turn."""

JUMP = 1.0
"""Seconds the wall clock may move against the steady clock before it counts as a jump."""

HOLDER = "timer-manager"
"""The holder that pause() holds for."""


class Sleeper(Protocol):
    """Who is woken: the part of the manager that the timers know."""

    registry: Registry

    def wake(self, entry: Entry) -> None:
        """Let the entry's due deadlines pass."""
        ...

    def apply(self, entry: Entry, given: Input) -> None:
        """Let something happen to the entry's session."""
        ...


class SessionTimerManager:
    """The timers of every session of one manager, which binds it; a timer manager serves one manager at a time."""

    def __init__(self, clock: Clock | None = None, logger: logging.Logger | None = None) -> None:
        self._clock = clock
        self._logger = logger or logging.getLogger("voicepilot")
        self._sleeper: Sleeper | None = None
        self._heap: list[tuple[float, int, str]] = []
        self._count = 0
        self._handle: asyncio.TimerHandle | None = None
        self._drift = 0.0
        self._context = contextvars.copy_context()

    def bind(self, sleeper: Sleeper, clock: Clock) -> None:
        """Serve this manager; called by its initialize."""
        if self._sleeper is not None and self._sleeper is not sleeper:
            raise ConfigurationError("this SessionTimerManager serves another SessionManager: give each its own")
        self._sleeper, self._clock = sleeper, self._clock or clock
        self._drift = self._clock.wall() - self._clock.now()
        self._context = contextvars.copy_context()  # else a timer would run in the context of whoever armed it last

    @property
    def clock(self) -> Clock:
        """What time it is for these timers."""
        if self._clock is None:
            raise ValueError("the SessionTimerManager is not bound: initialize its SessionManager first")
        return self._clock

    # --- for the manager --------------------------------------------------------------------------------------------

    def schedule(self, entry: Entry) -> None:
        """Look at the entry when it is due next. An earlier look that was scheduled before does no harm."""
        at = entry.due_at()
        if at is None or (entry.wake is not None and entry.wake <= at):
            return
        entry.wake = at
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, entry.session.session_id))
        if self._sleeper and len(self._heap) > 4 * len(self._sleeper.registry) + 64:
            self._compact()
        if self._heap[0][1] == self._count:
            self._arm()

    def close(self) -> None:
        """Forget every deadline; nothing is woken any more."""
        self._heap.clear()
        self._sleeper = None
        self._disarm()

    # --- for everybody ----------------------------------------------------------------------------------------------

    def timer_status(self, session_id: str) -> TimerStatuses | None:
        """The three timers of a session, or None when it is unknown."""
        entry = self._find(session_id)
        return timer_statuses(entry.fold(), self.clock.now()) if entry else None

    def next_event(self, session_id: str) -> NextEvent | None:
        """What the session waits for next, or None when it is unknown or waits for nothing."""
        entry = self._find(session_id)
        return next_event(entry.fold(), self.clock.now()) if entry else None

    def pause(self, session_id: str) -> None:
        """Let inactivity and heartbeat stand still, without a change of phase. Once, however often it is called."""
        self._apply(session_id, HoldTaken(HOLDER))

    def resume(self, session_id: str) -> None:
        """Let them run again from where they stood."""
        self._apply(session_id, HoldReleased(HOLDER))

    # --- inside -----------------------------------------------------------------------------------------------------

    def _find(self, session_id: str) -> Entry | None:
        return self._sleeper.registry.get(session_id) if self._sleeper else None

    def _apply(self, session_id: str, given: Input) -> None:
        entry = self._find(session_id)
        if entry and self._sleeper:
            self._sleeper.apply(entry, given)

    def _arm(self) -> None:
        """Look when the soonest deadline is due; a look that comes sooner anyway will do."""
        if not self._heap or self._sleeper is None:
            return
        loop = asyncio.get_running_loop()
        at = loop.time() + min(LOOK_AGAIN, max(0.0, self._heap[0][0] - self.clock.now()))
        if self._handle is None or self._handle.when() > at:
            self._disarm()
            self._handle = loop.call_at(at, self._look, context=self._context)

    def _disarm(self) -> None:
        if self._handle:
            self._handle.cancel()
            self._handle = None

    def _look(self) -> None:
        self._handle = None
        if self._sleeper is None:
            return
        self._notice_jump()
        now = self.clock.now()
        for _ in range(SLICE):
            if not self._heap or self._heap[0][0] > now:
                break
            at, _number, session_id = heapq.heappop(self._heap)
            entry = self._find(session_id)
            if entry is not None and entry.wake == at:
                entry.wake = None
                try:
                    self._sleeper.wake(entry)
                except Exception:
                    self._logger.exception("waking session %s failed; the others go on", session_id)
        self._arm()

    def _notice_jump(self) -> None:
        """Deadlines are on the steady clock, so a jump of the wall clock moves none; they are only looked at again."""
        drift = self.clock.wall() - self.clock.now()
        if abs(drift - self._drift) > JUMP:
            self._logger.info("the wall clock jumped by %.1f s; looking at every deadline again", drift - self._drift)
            self._drift = drift
            self._compact()

    def _compact(self) -> None:
        """Build the heap anew from the sessions themselves."""
        self._heap = []
        for entry in self._sleeper.registry if self._sleeper else ():
            entry.wake = entry.due_at()
            if entry.wake is not None:
                self._count += 1
                self._heap.append((entry.wake, self._count, entry.session.session_id))
        heapq.heapify(self._heap)
