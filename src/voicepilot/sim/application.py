"""The application: its hooks, handlers, purger and recovery step, as badly mannered as a scenario says."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

from voicepilot.errors import VoicePilotError
from voicepilot.events import Event
from voicepilot.lifecycle.session import SessionInfo
from voicepilot.ports import PurgeOrder, PurgeReceipt
from voicepilot.sim.chance import share
from voicepilot.sim.faults import Manners

FOREVER = 100_000.0


class SimulatedBug(Exception):  # noqa: N818 - it is a bug, not an error of ours
    """A bug of the simulated application."""


class Application:
    """Code of others. What each call does follows from the seed, the session and the number of the call."""

    def __init__(self, seed: int, call_back: Callable[[str, float], Awaitable[None]]) -> None:
        self._seed = seed
        self._call_back = call_back  # does something to the session from inside, which of several is the number's
        self._calls: Counter[str] = Counter()

    async def behave(self, what: str, session_id: str, manners: Manners) -> None:
        """Do one call's worth of harm."""
        call = f"{what}/{session_id}"
        self._calls[call] += 1
        number = self._calls[call]
        kind = manners.kind(share(self._seed, call, number))
        chance = share(self._seed, call, number, "more")
        match kind:
            case "slow":
                await asyncio.sleep(0.2 + 1.8 * chance)
            case "hangs":
                await asyncio.sleep(FOREVER)
            case "deaf":
                await self._deaf(3 + 27 * chance)
            case "raises":
                raise SimulatedBug(what)
            case "calls_back":
                with suppress(VoicePilotError):
                    await self._call_back(session_id, chance)

    async def _deaf(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while (left := end - loop.time()) > 0:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(left)

    def forget(self, session_id: str) -> None:
        """The session is over."""
        for call in [call for call in self._calls if call.endswith(f"/{session_id}")]:
            del self._calls[call]


class Hooks:
    """The application's part in a session's life."""

    def __init__(self, application: Application, manners: Manners) -> None:
        self._application = application
        self._manners = manners

    async def on_session_ready(self, session: SessionInfo) -> None:
        """Get ready."""
        await self._application.behave("ready", session.session_id, self._manners)

    async def on_session_suspending(self, session: SessionInfo, reason: str) -> None:
        """Suspend."""
        await self._application.behave("suspending", session.session_id, self._manners)

    async def on_session_resumed(self, session: SessionInfo) -> None:
        """Resume."""
        await self._application.behave("resumed", session.session_id, self._manners)

    async def on_session_ending(self, session: SessionInfo) -> None:
        """Say goodbye."""
        await self._application.behave("ending", session.session_id, self._manners)


def handler(application: Application, manners: Manners) -> Callable[[Event], Awaitable[None]]:
    """An async handler for any event."""

    async def handle(event: Event) -> None:
        await application.behave("handler", event.session_id, manners)

    return handle


class SimulatedPurger:
    """Holds a datum for each session from its start, and knows which purges went wrong."""

    def __init__(self, application: Application, manners: Manners) -> None:
        self.held: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.spoiled: set[str] = set()  # sessions whose purge was made to fail
        self._application = application
        self._manners = manners

    async def purge(self, order: PurgeOrder) -> PurgeReceipt:
        """Purge, or fail to."""
        session_id = order.session_id
        self.asked[session_id] += 1
        self.spoiled.add(session_id)
        await self._application.behave("purge", session_id, self._manners)
        self.spoiled.discard(session_id)
        cleared = int(session_id in self.held)
        self.held.discard(session_id)
        return PurgeReceipt(session_id=session_id, reason=order.reason, cleared=cleared)

    def forget(self, session_id: str) -> None:
        """The session is over and was judged."""
        self.held.discard(session_id)
        self.spoiled.discard(session_id)
        self.asked.pop(session_id, None)
