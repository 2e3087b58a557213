"""Who else is in the stories: an application with hooks, a recovery executor, a registrar, a host."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from tests.support import World

from voicepilot import EphemeralKey, Event, KeyRequest, Phase, SessionInfo
from voicepilot.ports import OperationContext
from voicepilot.testing import FakeKeyService

T = TypeVar("T")


class Application:
    """Hooks that remember what they were called with; `takes` says how long each takes, in seconds."""

    def __init__(self, **takes: float) -> None:
        self.calls: list[str] = []
        self.seen: list[SessionInfo] = []
        self.takes = takes

    async def _note(self, name: str, session: SessionInfo, reason: str = "") -> None:
        self.calls.append(f"{name} {reason}".strip())
        self.seen.append(session)
        await asyncio.sleep(self.takes.get(name, 0))

    async def on_session_ready(self, session: SessionInfo) -> None:
        await self._note("ready", session)

    async def on_session_suspending(self, session: SessionInfo, reason: str) -> None:
        await self._note("suspending", session, reason)

    async def on_session_resumed(self, session: SessionInfo) -> None:
        await self._note("resumed", session)

    async def on_session_ending(self, session: SessionInfo) -> None:
        await self._note("ending", session)


class FakeExecutor:
    """A recovery executor that lets everything through and remembers the contexts; `refusal` refuses instead."""

    def __init__(self) -> None:
        self.contexts: list[OperationContext] = []
        self.refusal: Exception | None = None

    async def execute(self, operation: Callable[[], Awaitable[T]], context: OperationContext) -> T:
        self.contexts.append(context)
        if self.refusal is not None:
            raise self.refusal
        return await operation()


class FakeRegistrar:
    """A registrar that keeps what it is given, and runs it by name."""

    def __init__(self) -> None:
        self.steps: dict[str, Callable[[str], Awaitable[bool]]] = {}
        self.fallbacks: dict[str, Callable[[str], Awaitable[None]]] = {}

    def add_step(self, name: str, run: Callable[[str], Awaitable[bool]]) -> None:
        self.steps[name] = run

    def add_fallback(self, mode: str, run: Callable[[str], Awaitable[None]]) -> None:
        self.fallbacks[mode] = run


class FakeHost:
    """A host that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, object]] = []

    def set_context(self, key: str, value: object) -> None:
        self.told.append((key, value))


class StubbornKeyService(FakeKeyService):
    """Answers all the same, after the request was cancelled."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.late = 0

    async def _answer(self, request: KeyRequest, *, renewal: bool) -> EphemeralKey:
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.late += 1
        return await super()._answer(request, renewal=renewal)


class Stamps:
    """The events of a world as `(seconds since this was made, type)`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.began = world.clock.now()

    def of(self, *types: str) -> list[float]:
        return [round(event.at - self.began, 3) for event in self._world.recorder.of(*types)]


def phase(world: World, session_id: str) -> Phase | None:
    found = world.manager.get_session_info(session_id)
    return found.state if found else None


def seconds_since(world: World, since: float) -> float:
    return round(world.clock.now() - since, 3)


def moves(events: list[Event]) -> list[tuple[str, str]]:
    """The phase changes among the events."""
    return [(e.previous_state.value, e.new_state.value) for e in events if e.type == "state-changed"]  # type: ignore[attr-defined]  # told by its type


def picture(value: Any) -> str:
    """Everything that a value shows of itself."""
    return f"{value!r} {value}"
