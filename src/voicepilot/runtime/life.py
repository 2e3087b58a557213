"""A manager's own life: what must be ready before it starts, and what it ends and lets go of when it is disposed."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from voicepilot.errors import NotInitializedError
from voicepilot.lifecycle.inputs import EndRequested
from voicepilot.ports import Clock, Collaborator
from voicepilot.runtime.perform import Performer
from voicepilot.runtime.supervisor import is_inside, others_code
from voicepilot.runtime.timers import SessionTimerManager

COLLABORATOR_LIMIT = 2.0
"""Seconds that dispose gives each collaborator of its own."""

DRAIN_LIMIT = 1.0
"""Seconds that dispose gives async handlers to hear of the last events."""

SLICE = 100
"""Sessions that dispose ends in one go before what they wait for gets its turn."""

END_LIMIT = 3.0
END_LIMIT_EACH = 0.001
"""Seconds that dispose waits for its sessions: each ends within 2, and saying so costs a little for each."""


class Life:
    """From new to initialized to disposing to disposed, one step at a time, whoever calls at once."""

    def __init__(
        self,
        performer: Performer,
        timers: SessionTimerManager,
        clock: Clock,
        logger: logging.Logger,
        owned: Sequence[Collaborator],
    ) -> None:
        self.state = "new"  # new, initialized, disposing, disposed
        self.owned = tuple(owned)  # collaborators that are initialised and disposed with us, in this order
        self.on_begin: Callable[[], Callable[[], None] | None] = lambda: None  # what it gives is called at the end
        self._performer = performer
        self._timers = timers
        self._clock = clock
        self._logger = logger
        self._turn = asyncio.Lock()
        self._at_end: Callable[[], None] | None = None

    # --- beginning --------------------------------------------------------------------------------------------------

    async def initialize(self, needed: Mapping[str, object]) -> None:
        """Check that the collaborators in `needed` are ready, by name, and start."""
        if self.state == "new":
            async with self._turn:
                if self.state == "new":
                    await self._begin(needed)
        if self.state != "initialized":
            raise NotInitializedError("SessionManager", "this SessionManager was disposed: make a new one")

    async def _begin(self, needed: Mapping[str, object]) -> None:
        for collaborator in self.owned:
            await collaborator.initialize()
        for name, given in needed.items():
            if not getattr(given, "is_initialized", True):
                raise NotInitializedError(name, f"{name} must be initialized before SessionManager")
        self._timers.bind(self._performer, self._clock)
        await self._performer.supervisor.start(self._close)
        self._at_end = self.on_begin()
        self.state = "initialized"

    def require_initialized(self) -> None:
        """Raise NotInitializedError before initialize()."""
        if self.state == "new":
            raise NotInitializedError(
                "SessionManager", "SessionManager is not initialized: await initialize() first, or use `async with`"
            )

    def require(self) -> None:
        """Raise NotInitializedError before initialize() and after dispose()."""
        self.require_initialized()
        if self.state == "disposed":
            raise NotInitializedError("SessionManager", "this SessionManager was disposed: make a new one")

    # --- ending -----------------------------------------------------------------------------------------------------

    async def dispose(self) -> None:
        """End everything and wait for it; from inside a hook or handler, only ask for it."""
        supervisor = self._performer.supervisor
        if self.state == "initialized":
            self.state = "disposing"
            supervisor.request_stop()
        if is_inside(supervisor):
            return
        async with self._turn:  # an initialize under way comes first
            if self.state in {"new", "initialized"}:
                self.state = "disposing"
            if supervisor.is_begun:
                await supervisor.stop()
            else:
                await self._let_go()
            self.state = "disposed"

    async def _close(self) -> None:
        self.state = "disposing"
        if self._at_end is not None:
            self._at_end()
        await self._end_all()
        await self._performer.observers.drain(DRAIN_LIMIT)
        self._performer.close()
        self._timers.close()
        await self._let_go()
        self.state = "disposed"

    async def _end_all(self) -> None:
        """Ask every session to end, and wait; what ends promptly is gone before the last is asked."""
        live = deque(self._performer.registry.live())
        over: deque[asyncio.Future[None]] = deque()
        limit = END_LIMIT + END_LIMIT_EACH * len(live)
        while live:
            over.append(live[0].until_over())
            self._performer.apply(live.popleft(), EndRequested("disposed"))
            if len(live) % SLICE == 0:
                await asyncio.sleep(0)
                while over and over[0].done():
                    over.popleft()
        if over:
            await asyncio.wait(over, timeout=limit)

    async def _let_go(self) -> None:
        """Dispose what is ours, the last first; one that fails or hangs does not hold up the others."""
        for collaborator in reversed(self.owned):
            try:
                with others_code():
                    async with asyncio.timeout(COLLABORATOR_LIMIT):
                        await collaborator.dispose()
            except Exception:
                self._logger.exception("%s could not be disposed", type(collaborator).__name__)
