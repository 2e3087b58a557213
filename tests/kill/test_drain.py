"""Whatever hangs, a manager with many sessions is disposed of within five seconds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support import World

from voicepilot import ConversationLifecycleHooks

LIMIT = 5.0
"""Seconds that are promised between SIGTERM and the end."""


async def for_ever(*_: Any) -> None:
    """Waits for what never comes, and does not want to be cancelled."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.sleep(0.1)
        raise


class Collaborator:
    """One of the manager's own that does not want to go."""

    is_initialized = True

    async def initialize(self) -> None:
        pass

    dispose = for_ever


EACH = ("hooks", "purge", "handlers", "mint", "collaborator")


@pytest.mark.parametrize("sessions", [1, 200])
@pytest.mark.parametrize("hang", [(), *((one,) for one in EACH), EACH], ids="+".join)
async def test_dispose_is_over_in_time(hang: tuple[str, ...], sessions: int) -> None:
    world = World(limit=sessions)
    if "collaborator" in hang:
        world.manager._life.owned = (Collaborator(),)
    async with asyncio.TaskGroup() as waiting:
        async with world.manager:
            for _ in range(sessions):
                await world.manager.start_session()
            if "hooks" in hang:
                world.manager.register_conversation_hooks(ConversationLifecycleHooks(on_session_ending=for_ever))
            if "purge" in hang:
                world.purger.delay = 1e6
            if "handlers" in hang:
                world.manager.on_session_ended(for_ever)
            if "mint" in hang:
                world.keys.hang(sessions)
                for session in world.manager.get_all_sessions():
                    waiting.create_task(world.manager.renew_session(session.session_id))
                await asyncio.sleep(0)
            told = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - told <= LIMIT
    assert world.leftovers() == []
