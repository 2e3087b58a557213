"""What the tests of the manager share: one in virtual time, with fakes around it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from voicepilot import SessionConfig, SessionManager
from voicepilot.runtime.managed import SessionLink
from voicepilot.runtime.perform import Performer
from voicepilot.testing import FakeKeyService, FakePurger, Recorder, VirtualClock


class Defaults:
    """A configuration whose values a test sets."""

    is_initialized = True

    def __init__(self, limit: int, config: SessionConfig) -> None:
        self.max_concurrent_sessions = limit
        self._config = config

    def session_config(self) -> SessionConfig:
        return self._config


class World:
    """A manager and what surrounds it."""

    def __init__(self, *, limit: int = 100, keys: FakeKeyService | None = None, **config: Any) -> None:
        self.keys = keys or FakeKeyService()
        self.clock = VirtualClock()
        self.purger = FakePurger()
        self.manager = SessionManager(
            self.keys,
            configuration=Defaults(limit, SessionConfig(**config)),
            privacy_controller=self.purger,
            clock=self.clock,
        )
        self.recorder = Recorder(self.manager)

    @property
    def performer(self) -> Performer:
        return self.manager._performer

    def link(self, session_id: str) -> SessionLink:
        """The session as a managed connection has it."""
        entry = self.performer.registry.get(session_id)
        assert entry is not None
        return SessionLink(self.performer, entry, self.clock, logging.getLogger("voicepilot"))

    def keys_held(self) -> int:
        return len(self.performer.vault)

    def leftovers(self) -> list[str]:
        """What is still there after dispose and should not be."""
        left = [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("voicepilot")]
        if self.keys_held():
            left.append(f"{self.keys_held()} keys")
        if self.performer.registry.slots or self.performer.registry.live():
            left.append(f"{self.performer.registry.slots} slots, {len(self.performer.registry.live())} live sessions")
        if self.manager._timers._handle is not None:
            left.append("a timer")
        return left


@asynccontextmanager
async def a_world(**options: Any) -> AsyncIterator[World]:
    """An initialised manager; disposed at the end, and checked to leave nothing."""
    world = World(**options)
    async with world.manager:
        yield world
    assert world.leftovers() == []
